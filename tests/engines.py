"""Container engines for tests: podman in a storage of its own, docker by whatever daemon answers.

Where one cannot run a container, the test that needs it is skipped and says why. podman's runtime refuses a machine
whose control groups are partly of the old kind; there it gets a mount namespace in which only the new kind exists.
"""

import contextlib
import functools
import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from workshop import EPOCH, c_recipe, environment, tree_of

from glasshouse.conveyor.build import build
from glasshouse.conveyor.engine import ExecutorName, executor_of
from glasshouse.conveyor.errors import SandboxUnavailable
from glasshouse.conveyor.execution import Executor

_STORAGE = '[storage]\ndriver = "vfs"\nrunroot = "{place}/run"\ngraphroot = "{place}/graph"\n'
_ONLY_NEW_GROUPS = 'umount -l /sys/fs/cgroup; mount -t cgroup2 none /sys/fs/cgroup; exec "$@"'
_HYBRID = Path("/sys/fs/cgroup/unified")


@contextlib.contextmanager
def engine(name: ExecutorName) -> Iterator[Executor]:
    """An executor that has been seen to run something; while it is open, PATH may begin with a way to it."""
    place = Path(os.environ["GLASSHOUSE_STATE"]) / name
    place.mkdir(exist_ok=True)
    with pytest.MonkeyPatch.context() as patch:
        if name == ExecutorName.PODMAN:
            _own_podman(place, patch)
        reason = _unusable(name, place)
        if reason:
            pytest.skip(f"{name} runs no container here: {reason}")
        yield executor_of(name)


def _own_podman(place: Path, patch: pytest.MonkeyPatch) -> None:
    settings = place / "storage.conf"
    settings.write_text(_STORAGE.format(place=place))
    patch.setenv("CONTAINERS_STORAGE_CONF", str(settings))
    real = shutil.which("podman")
    if real is None or not _HYBRID.is_dir() or os.geteuid() != 0:
        return
    program = place / "podman"
    space = f"unshare --mount --propagation private -- /bin/sh -c '{_ONLY_NEW_GROUPS}' sh"
    program.write_text(f'#!/bin/sh\nexec {space} {real} --cgroup-manager=cgroupfs "$@"\n')
    program.chmod(0o755)
    patch.setenv("PATH", f"{place}:{os.environ['PATH']}")


@functools.cache
def _unusable(name: ExecutorName, place: Path) -> str:
    """Why an engine cannot build, empty if it can."""
    executor = executor_of(name)
    try:
        executor.probe()
        tree = tree_of(place / "tree", {"a": ""})
        recipe = c_recipe(["touch", "/build/out/out"], ["out"])
        build(tree, recipe, environment().root, EPOCH, place / "out", executor=executor)
    except SandboxUnavailable as error:
        return str(error)
    return ""


def left_over(name: ExecutorName) -> str:
    """The containers that an engine still has of ours."""
    command = [name, "ps", "--all", "--quiet", "--filter", "name=glasshouse-"]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout
