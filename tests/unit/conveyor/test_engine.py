"""Container engines as executors: the same bytes, view and bounds as in bubblewrap, and nothing left over."""

import hashlib
import io
import json
import os
import subprocess
import tarfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from engines import engine, left_over
from workshop import EPOCH, RECIPES, c_recipe, digests, environment, tree_of

from glasshouse.conveyor import engine as engines
from glasshouse.conveyor.build import CPUS_NOT_VARIED, BuildResult, build
from glasshouse.conveyor.engine import ExecutorName, executor_of, write_layer
from glasshouse.conveyor.errors import BuildFailed, SandboxUnavailable
from glasshouse.conveyor.execution import Executor
from glasshouse.conveyor.rootfs import listing_digest
from glasshouse.conveyor.sandbox import Bubblewrap
from glasshouse.conveyor.seccomp import filter_profile

ENGINES = [ExecutorName.PODMAN, ExecutorName.DOCKER]
# What a build can tell about where it is, without what the specification says that cannot be hidden.
VIEW = """
exec > /build/out/out
id; env | sort; pwd; umask; uname -n; ulimit -n; ulimit -s; ulimit -c; ulimit -l; ulimit -f; ulimit -d
ls /; ls -A /build /etc /run /tmp/; ls /sys | while read n; do [ $n = fs ] || echo $n; done; cat /etc/passwd /etc/group
read name < /etc/hostname; echo $name; cat /etc/resolv.conf /etc/hosts
tail -n +3 /proc/net/dev | cut -d: -f1; ls /dev/null /dev/zero /dev/full /dev/random /dev/urandom
stat -c '%Y %a %u %g' . build.sh /build
while read key value; do
    case $key in CapPrm:|CapEff:|CapBnd:|CapAmb:|NoNewPrivs:|Seccomp:) echo $key $value;; esac
done < /proc/self/status
echo visible > /dev/stderr
"""
HARMLESS = r"""
cat > a.c <<'END'
#define _GNU_SOURCE
#include <sched.h>
#include <stdio.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>
int main(void) {
    printf("%d %ld %ld %ld %ld %d %d %d\n", unshare(CLONE_NEWUSER), syscall(SYS_io_uring_setup, 1, 0),
        syscall(SYS_keyctl, 0, -3, 1), syscall(SYS_memfd_create, "x", 0), syscall(SYS_clone3, 0, 0),
        socket(AF_VSOCK, SOCK_STREAM, 0), socket(38, SOCK_SEQPACKET, 0), socket(AF_UNIX, SOCK_STREAM, 0) < 0);
}
END
cc -w -o /build/a a.c && /build/a > /build/out/out
"""


@pytest.fixture(params=ENGINES, ids=str)
def executor(request: pytest.FixtureRequest) -> Iterator[Executor]:
    environment()
    with engine(request.param) as usable:
        yield usable
        assert left_over(request.param) == ""
        root = environment().root
        assert listing_digest(root.directory) == root.digest


def run(directory: Path, executor: Executor, script: str, **bounds: int) -> BuildResult:
    tree = tree_of(directory / "tree", {"build.sh": script})
    recipe = c_recipe(["sh", "build.sh"], ["out"], **bounds)
    return build(tree, recipe, environment().root, EPOCH, directory / "out", executor=executor)


def test_the_same_bytes_as_in_bubblewrap(tmp_path: Path, executor: Executor) -> None:
    source = (RECIPES / "hello-c/source/hello.c").read_text()
    results = []
    for name, one in (("bubblewrap", Bubblewrap()), ("engine", executor)):
        tree = tree_of(tmp_path / name / "tree", {"hello.c": source})
        recipe = c_recipe(["cc", "-g", "-O2", "-o", "/build/out/out", "hello.c"], ["out"])
        results.append(build(tree, recipe, environment().root, EPOCH, tmp_path / name / "out", executor=one))
    assert digests(results[0]) == digests(results[1])
    assert results[0].executor.startswith("bubblewrap ")
    assert results[1].executor == executor.describe()
    assert results[1].variations["executor"] == executor.describe()


def test_the_same_view_as_in_bubblewrap(tmp_path: Path, executor: Executor) -> None:
    views = []
    for name, one in (("bubblewrap", Bubblewrap()), ("engine", executor)):
        result = run(tmp_path / name, one, VIEW)
        assert result.log.read_text() == "visible\n"
        views.append((tmp_path / name / "out/out").read_text().splitlines())
    assert views[1] == views[0]
    assert "Seccomp: 2" in views[1]


def test_the_same_filter_as_in_bubblewrap(tmp_path: Path, executor: Executor) -> None:
    for name, one in (("bubblewrap", Bubblewrap()), ("engine", executor)):
        run(tmp_path / name, one, HARMLESS)
        assert (tmp_path / name / "out/out").read_text().split() == ["-1"] * 7 + ["0"]


@pytest.mark.parametrize(
    ("script", "bounds", "reason"),
    [
        ("exit 3", {}, "exited with status 3"),
        ("kill -KILL -1; kill -KILL $$", {}, "signal 9"),
        ("sleep 100", {"timeout_seconds": 3}, "longer than 3 seconds"),
        ("f() { f | f & sleep 60; }; f", {"processes": 64}, "more than 64 processes"),
        ("head -c 30m /dev/zero > big", {"work_mib": 10}, "status 1"),
        ("ln -s /etc/passwd /build/out/out", {}, "not a plain file"),
    ],
    ids=["status", "signal", "time", "fork bomb", "disk", "link"],
)
def test_a_build_is_bounded(
    script: str, bounds: dict[str, int], reason: str, tmp_path: Path, executor: Executor
) -> None:
    with pytest.raises(BuildFailed, match=reason):
        run(tmp_path, executor, script, **bounds)


def test_the_root_is_read_only_and_there_is_no_network(tmp_path: Path, executor: Executor) -> None:
    script = "for d in / /usr /etc /sys /run /proc /dev /dev/null/x; do touch $d/x 2>/dev/null && echo $d; done\n"
    script += "ls /proc/sys/net/ipv4/conf > /build/out/out"
    result = run(tmp_path, executor, script)
    assert [line for line in result.log.read_text().splitlines() if line != "/dev"] == []
    assert set((tmp_path / "out/out").read_text().split()) == {"all", "default", "lo"}


def test_cpus_are_varied_or_said_not_to_be(tmp_path: Path, executor: Executor) -> None:
    cpus = sorted(os.sched_getaffinity(0))[-1:]
    tree = tree_of(tmp_path / "tree", {"a": ""})
    recipe = c_recipe(["sh", "-c", "nproc > /build/out/out"], ["out"])
    result = build(tree, recipe, environment().root, EPOCH, tmp_path / "out", cpus=cpus, executor=executor)
    pinned = (tmp_path / "out/out").read_text() == "1\n"
    assert pinned == executor.pins_cpus or len(os.sched_getaffinity(0)) == 1
    assert (CPUS_NOT_VARIED in result.not_varied) == (not pinned or len(os.sched_getaffinity(0)) == 1)


# --- without an engine ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ENGINES)
def test_a_missing_engine_is_told(name: ExecutorName, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(SandboxUnavailable, match=f"install the package {name}"):
        executor_of(name).probe()


@pytest.mark.parametrize("name", ENGINES)
@pytest.mark.parametrize("says", ["echo no >&2; exit 1", "echo '[]'", "echo '{}'", "echo no", "exit 0"])
def test_an_engine_without_an_answer_is_told(
    name: ExecutorName, says: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program = tmp_path / name
    program.write_text(f"#!/bin/sh\n{says}\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    with pytest.raises(SandboxUnavailable, match=r"no answer|in words"):
        executor_of(name).probe()


@pytest.mark.parametrize("name", ENGINES)
def test_an_engine_that_starts_nothing_is_not_a_failed_build(
    name: ExecutorName, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    said = {"version": {"Version": "9"}, "host": {"cgroupControllers": ["memory", "pids"]}, "ServerVersion": "9"}
    said |= {"MemoryLimit": True, "PidsLimit": True}
    program = tmp_path / name
    program.write_text(f"#!/bin/sh\n[ $1 = info ] && echo '{json.dumps(said)}' && exit\necho broken >&2; exit 125\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    monkeypatch.setattr(engines, "_image_of", lambda _: "image")
    with pytest.raises(SandboxUnavailable, match=f"{name} 9 did not start the build: broken"):
        run(tmp_path / "run", executor_of(name), "true")


def test_the_commands_are_what_the_engines_understand(tmp_path: Path) -> None:
    """Every option that we give is one that the installed engine documents."""
    for name in ENGINES:
        try:
            told = subprocess.run([name, "run", "--help"], capture_output=True, text=True, check=True).stdout
        except (OSError, subprocess.CalledProcessError):
            pytest.skip(f"{name} is not installed")
        text = Path(engines.__file__).read_text()
        options = {word for word in text.replace('"', " ").replace("=", " ").split() if word.startswith("--")}
        foreign = {"--force", "--format", "--rootfs", "--pull"} | {"--uidmap", "--gidmap", "--cpuset-cpus", "--tmpfs"}
        podman_only = {"--read-only-tmpfs", "--no-hosts", "--systemd", "--umask", "--cgroups", "--mount"}
        wanted = options - foreign - (podman_only if name == ExecutorName.DOCKER else set())
        assert {option for option in wanted if option.strip(",]") not in told} == set()


# --- the root as an image ------------------------------------------------------------------------------------------


def layer_of(root: Path) -> bytes:
    out = io.BytesIO()
    write_layer(root, out)
    return out.getvalue()


def test_a_layer_depends_on_the_tree_only(tmp_path: Path) -> None:
    for place, order in (("a", ["x", "y"]), ("b", ["y", "x"])):
        for name in order:
            (tmp_path / place / "d").mkdir(parents=True, exist_ok=True)
            (tmp_path / place / "d" / name).write_text(name)
        (tmp_path / place / "link").symlink_to("d/x")
        os.link(tmp_path / place / "d/x", tmp_path / place / "hard")
        for path in (tmp_path / place, *(tmp_path / place).rglob("*")):
            os.utime(path, (EPOCH, EPOCH), follow_symlinks=False)
    assert layer_of(tmp_path / "a") == layer_of(tmp_path / "b")
    with tarfile.open(fileobj=io.BytesIO(layer_of(tmp_path / "a"))) as archive:
        members = archive.getmembers()
        assert [member.name for member in members] == ["d", "d/x", "d/y", "hard", "link"]
        assert {(member.uid, member.gid, member.uname, member.mtime) for member in members} == {(0, 0, "", EPOCH)}
        assert archive.extractfile("hard").read() == b"x"  # type: ignore[union-attr]


def test_docker_is_given_the_root_again_when_it_holds_another(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "root").mkdir()
    (tmp_path / "root/file").write_text("x")
    layer = hashlib.sha256(layer_of(tmp_path / "root")).hexdigest()
    root = environment().root.__class__(directory=tmp_path / "root", digest="0" * 64)
    held, given = ["sha256:of something else"], list[str]()
    monkeypatch.setattr(engines, "_layers", lambda _: held)

    def take(directory: Path, name: str) -> None:
        given.append(name)
        held[0] = f"sha256:{layer}"

    monkeypatch.setattr(engines, "_import", take)
    assert engines._image_of(root) == engines._image_of(root) == given[0]
    assert len(given) == 1
    monkeypatch.setattr(engines, "_import", lambda *_: None)
    held[0] = "sha256:of something else"
    with pytest.raises(SandboxUnavailable, match="does not hold the root"):
        engines._image_of(root)


def test_the_profile_names_what_the_filter_does() -> None:
    for machine in ("x86_64", "aarch64"):
        profile = json.loads(filter_profile(machine))
        names = {name for rule in profile["syscalls"] for name in rule["names"]}
        assert {"keyctl", "io_uring_setup", "bpf", "memfd_create", "clone3", "clone", "unshare", "socket"} <= names
        assert profile["defaultAction"] == "SCMP_ACT_ALLOW"
        assert len(profile["architectures"]) == 1
