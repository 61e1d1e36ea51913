"""The Kubernetes Job of a build: the driver of every executor, confined; valid by Kubernetes' own schemas."""

import json
import os
import shutil
import subprocess
import tarfile
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner
from workshop import EPOCH, RECIPES, cache, environment

from glasshouse.cli.app import build
from glasshouse.conveyor.build import job_of
from glasshouse.conveyor.errors import InvalidInput
from glasshouse.conveyor.execution import driver_command
from glasshouse.conveyor.kubernetes import job_manifest
from glasshouse.conveyor.sandbox import FORK_MARGIN

IMAGE = f"registry.example/glasshouse-root@sha256:{'0' * 64}"
VERSIONS = ("1.30", "1.37")
VALIDATOR = "kubernetes-validate==1.37.0"


def manifest() -> dict[str, Any]:
    known = environment()
    job = job_of(known.recipe, known.root, EPOCH)
    made: dict[str, Any] = json.loads(job_manifest(job, known.recipe, known.lock, IMAGE))
    return made


def test_the_pod_runs_the_driver_and_has_nothing_else() -> None:
    policy, job = manifest()["items"]
    known = environment()
    pod = job["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    bounds = job_of(known.recipe, known.root, EPOCH).bounds
    assert container["command"] == driver_command(
        job_of(known.recipe, known.root, EPOCH), bounds.processes + FORK_MARGIN
    )
    assert container["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "capabilities": {"drop": ["ALL"]},
        "readOnlyRootFilesystem": True,
        "runAsGroup": 1000,
        "runAsNonRoot": True,
        "runAsUser": 1000,
    }
    assert (container["stdin"], container["stdinOnce"], container.get("tty")) == (True, True, None)
    assert [volume["emptyDir"]["medium"] for volume in pod["volumes"]] == ["Memory"]
    assert container["volumeMounts"] == [{"name": "build", "mountPath": "/build"}]
    assert pod["automountServiceAccountToken"] is pod["enableServiceLinks"] is pod["hostUsers"] is False
    assert not {"hostNetwork", "hostPID", "hostIPC", "shareProcessNamespace", "serviceAccountName"} & set(pod)
    assert job["spec"]["backoffLimit"] == 0
    assert job["spec"]["activeDeadlineSeconds"] > bounds.timeout_seconds
    assert policy["spec"]["podSelector"]["matchLabels"] == job["spec"]["template"]["metadata"]["labels"]
    assert set(policy["spec"]) == {"podSelector", "policyTypes"}


@pytest.mark.parametrize(
    "image", ["root", "registry.example/root:latest", f"x@sha256:{'0' * 63}", f"X y@sha256:{'0' * 64}"]
)
def test_an_image_without_a_digest_is_refused(image: str) -> None:
    known = environment()
    with pytest.raises(InvalidInput, match="must be named by its digest"):
        job_manifest(job_of(known.recipe, known.root, EPOCH), known.recipe, known.lock, image)


@pytest.mark.parametrize("version", VERSIONS)
def test_the_schemas_of_kubernetes_accept_it(version: str, tmp_path: Path) -> None:
    paths = []
    for item in manifest()["items"]:
        paths.append(tmp_path / f"{item['kind']}.json")
        paths[-1].write_text(json.dumps(item))
    assert validate(version, *paths) == 0
    broken = json.loads(paths[1].read_text())
    broken["spec"]["template"]["spec"]["containers"][0]["stdinTwice"] = True
    (tmp_path / "broken.json").write_text(json.dumps(broken))
    assert validate(version, tmp_path / "broken.json") != 0


def validate(version: str, *paths: Path) -> int:
    """Exit status of a validator that carries the schemas of every Kubernetes; it is fetched once, by uv."""
    if shutil.which("uv") is None:
        pytest.skip("uv is not at hand to fetch kubernetes-validate")
    prefix = ["uv", "run", "--no-project", "--isolated", "--quiet", "--with", VALIDATOR, "kubernetes-validate"]
    environ = {key: value for key, value in os.environ.items() if key != "VIRTUAL_ENV"}
    fetched = subprocess.run([*prefix, "--version"], capture_output=True, text=True, check=False, env=environ)
    if fetched.returncode:
        pytest.skip(f"{VALIDATOR} cannot be fetched: {fetched.stderr.strip()[-200:]}")
    command = [*prefix, "--strict", "--no-warn", "-k", version, *map(str, paths)]
    return subprocess.run(command, capture_output=True, check=False, env=environ).returncode


def test_the_command_prints_the_manifest_and_writes_its_parts(tmp_path: Path) -> None:
    known = environment()
    lock = tmp_path / "lock.jsonl"
    lock.write_bytes(known.lock.data)
    words = ["conveyor", "job", str(RECIPES / "hello-c"), "--image", IMAGE, "--lock", str(lock)]
    words += ["--cache", str(cache()), "--parts", str(tmp_path / "parts")]
    result = CliRunner().invoke(build("conveyor"), words)
    assert result.exit_code == 0, result.output
    printed = json.loads(result.stdout)
    assert [item["kind"] for item in printed["items"]] == ["NetworkPolicy", "Job"]
    with tarfile.open(tmp_path / "parts/tree.tar") as tree:
        assert "source/hello.c" in tree.getnames()
    with tarfile.open(tmp_path / "parts/root.tar") as root:
        assert {"usr/bin/tar", "etc/passwd", "build"} <= set(root.getnames())
    name = printed["items"][1]["metadata"]["name"]
    assert len(name) <= 63
    assert name.replace("-", "").isalnum()
