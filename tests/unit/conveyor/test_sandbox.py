"""What a build sees and may do: everything fixed, everything else absent, every bound enforced, no way out."""

import os
import socket
import stat
import time
from pathlib import Path

import pytest
from workshop import EPOCH, c_recipe, digests, environment, need_sandbox, run_script, tree_of

from glasshouse.conveyor import execution, sandbox
from glasshouse.conveyor.build import build
from glasshouse.conveyor.errors import BuildFailed, InvalidSource, SandboxUnavailable
from glasshouse.conveyor.recipe import parse_recipe
from glasshouse.conveyor.rootfs import RootFs
from glasshouse.conveyor.seccomp import filter_program
from glasshouse.conveyor.tree import scan_tree

TOP_LEVEL = {*("bin", "build", "dev", "etc", "lib", "lib32", "lib64", "libx32", "proc"), *("run", "sbin", "sys", "tmp")}
TOP_LEVEL |= {"usr", "var"}


def output(tmp_path: Path, script: str) -> str:
    """What a script prints into its output."""
    result = run_script(tmp_path, f"exec > /build/out/out\n{script}")
    return (tmp_path / "out" / "out").read_text() if result.outputs else ""


def test_the_environment_is_fixed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SECRET_OF_THE_HOST", "x")
    lines = dict(line.split("=", 1) for line in output(tmp_path, "exec env").splitlines())
    lines.pop("_", None)
    assert lines == {
        **execution.FIXED_ENVIRONMENT,
        "SOURCE_DATE_EPOCH": str(EPOCH),
        "PWD": "/build/source",
    }


def test_the_recipe_may_add_to_the_environment_and_not_change_it(tmp_path: Path) -> None:
    recipe = c_recipe(["sh", "-c", "echo $FLAVOUR $TZ > /build/out/out"], ["out"])
    text = recipe.text.replace(b"[build]", b"[build]\nenv = {FLAVOUR = 'plain'}")
    tree = tree_of(tmp_path / "tree", {"a": ""})
    build(tree, parse_recipe(text), environment().root, EPOCH, tmp_path / "out")
    assert (tmp_path / "out/out").read_text() == "plain UTC\n"


def test_identity_and_place_are_fixed(tmp_path: Path) -> None:
    assert output(tmp_path, "id -u; id -g; id -un; uname -n; pwd; umask; ulimit -n; ulimit -s").split() == [
        *("1000", "1000", "builder", "builder", "/build/source", "0022", "1024", "8192")
    ]


def test_nothing_of_the_host_is_there(tmp_path: Path) -> None:
    listing = output(
        tmp_path, "cd /; ls -d *; echo; ls /dev; echo; ls -d /proc/[0-9]* | wc -l; ls /sys; ls /home 2>&1 | wc -l"
    )
    top, devices, rest = listing.split("\n\n")
    assert set(top.split()) <= TOP_LEVEL
    assert not {"sda", "vda", "kvm", "mem", "dri", "fuse"} & set(devices.split())
    processes, missing = rest.split()
    assert int(processes) < 10
    assert int(missing) == 1


def test_only_the_work_directory_can_be_written(tmp_path: Path) -> None:
    script = "for d in / /usr /etc /usr/bin /dev /proc /var; do touch $d/x 2>/dev/null && echo $d; done; echo done"
    assert output(tmp_path, script) == "done\n"


def test_there_is_no_network(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        script = f"""
cat > n.c <<'END'
#include <arpa/inet.h>
#include <stdio.h>
#include <sys/socket.h>
int main(void) {{
    struct sockaddr_in a = {{ .sin_family = AF_INET, .sin_port = htons({port}), .sin_addr = {{ htonl(0x7f000001) }} }};
    int s = socket(AF_INET, SOCK_STREAM, 0);
    printf("loopback %d\\n", connect(s, (void *)&a, sizeof a));
    a.sin_addr.s_addr = htonl(0x01010101);
    printf("outside %d\\n", connect(socket(AF_INET, SOCK_STREAM, 0), (void *)&a, sizeof a));
    printf("vsock %d alg %d\\n", socket(AF_VSOCK, SOCK_STREAM, 0), socket(AF_ALG, SOCK_SEQPACKET, 0));
    return 0;
}}
END
cc -o /build/n n.c && /build/n; cat /proc/net/dev | tail -n +3 | cut -d: -f1
"""
        assert output(tmp_path, script).split() == ["loopback", "-1", "outside", "-1", "vsock", "-1", "alg", "-1", "lo"]


def test_no_further_namespace_and_no_new_right(tmp_path: Path) -> None:
    script = """
cat > u.c <<'END'
#define _GNU_SOURCE
#include <sched.h>
#include <stdio.h>
#include <sys/syscall.h>
#include <unistd.h>
int main(void) {
    printf("%d %ld %ld\\n", unshare(CLONE_NEWUSER), syscall(SYS_io_uring_setup, 1, 0), syscall(SYS_keyctl, 0, -3, 1));
    return 0;
}
END
cc -o /build/u u.c && /build/u; while read key value; do
    case $key in CapEff:|CapBnd:|NoNewPrivs:|Seccomp:) echo $key $value;; esac
done < /proc/self/status
"""
    lines = output(tmp_path, script).splitlines()
    assert lines[0] == "-1 -1 -1"
    assert lines[1:] == ["CapEff: " + "0" * 16, "CapBnd: " + "0" * 16, "NoNewPrivs: 1", "Seccomp: 2"]


def test_files_have_the_time_of_the_commit_and_plain_modes(tmp_path: Path) -> None:
    tree = tree_of(tmp_path / "tree", {"d/file": "x", "program": "y"})
    (tmp_path / "tree/program").chmod(0o4711)
    (tmp_path / "tree/d/file").chmod(0o600)
    recipe = c_recipe(["sh", "-c", "stat -c '%n %Y %a %u' . d d/file program > /build/out/out"], ["out"])
    build(scan_tree(tmp_path / "tree"), recipe, environment().root, EPOCH, tmp_path / "out")
    assert tree.files
    assert (tmp_path / "out/out").read_text().splitlines() == [
        f". {EPOCH} 755 1000",
        f"d {EPOCH} 755 1000",
        f"d/file {EPOCH} 644 1000",
        f"program {EPOCH} 755 1000",
    ]


@pytest.mark.parametrize(
    ("script", "reason"),
    [
        ("exit 3", "exited with status 3"),
        ("kill -9 $$", "killed by signal 9"),
        ("true", "no file 'out'"),
        ("touch /build/out/out /build/out/more", "'more', which the recipe does not name"),
        ("ln -s /etc/passwd /build/out/out", "not a plain file"),
        ("mkdir /build/out/out", "not a plain file"),
        ("mkdir /build/out/d; touch /build/out/out /build/out/d/x", "not a plain file"),
        ("mkfifo /build/out/out", "neither a plain file"),
        ("touch /build/out/build.log /build/out/out", "own log"),
        ("i=0; while [ $i -lt 1100 ]; do i=$((i+1)); : > /build/out/$i; done", "more than 1000 members"),
        ("rm -rf /build/out", "status 2"),
    ],
)
def test_a_build_that_breaks_the_rules_fails_with_the_reason(script: str, reason: str, tmp_path: Path) -> None:
    with pytest.raises(BuildFailed, match=reason):
        run_script(tmp_path, script)


@pytest.mark.parametrize(
    ("script", "bound", "reason"),
    [
        ("sleep 100", {"timeout_seconds": 1}, "longer than 1 seconds"),
        ("sleep 100 & sleep 100 & sleep 100 & sleep 100 & wait", {"processes": 4}, "more than 4 processes"),
        ("head -c 30m /dev/zero > /build/out/out", {"output_mib": 10}, "larger than allowed"),
        ("head -c 30m /dev/zero > big", {"work_mib": 10}, "status 1"),
        ("tail /dev/zero > /build/out/out", {"memory_mib": 64}, "status 1|memory"),
        ("f() { f | f & sleep 60; }; (f) & wait", {"processes": 64}, "more than 64 processes"),
    ],
    ids=["time", "processes", "output", "work", "memory", "fork bomb"],
)
def test_a_build_is_bounded(script: str, bound: dict[str, int], reason: str, tmp_path: Path) -> None:
    started = time.monotonic()
    with pytest.raises(BuildFailed, match=reason):
        run_script(tmp_path, script, **bound)
    assert time.monotonic() - started < 60


def test_the_log_is_kept_and_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(execution, "MAX_LOG_BYTES", 1000)
    result = run_script(tmp_path, "seq 100000; echo also >&2; : > /build/out/out")
    log = result.log.read_text()
    assert log.startswith("1\n2\n")
    assert log.endswith("(the log was cut here)\n")
    assert len(log) < 1100


def test_the_end_of_the_log_is_in_the_error(tmp_path: Path) -> None:
    with pytest.raises(BuildFailed) as caught:
        run_script(tmp_path, "echo it went wrong here; exit 7")
    assert caught.value.exit_code == 7
    assert caught.value.log_tail == "it went wrong here"


def test_what_a_build_leaves_running_cannot_change_its_output(tmp_path: Path) -> None:
    script = "(while :; do echo more >> /build/out/out; done) & sleep 0.1; echo done"
    result = run_script(tmp_path, script)
    assert digests(result)
    assert not [p for p in Path("/proc").iterdir() if p.name.isdigit() and b"more >> /build" in read_command(p)]


def read_command(process: Path) -> bytes:
    try:
        return (process / "cmdline").read_bytes()
    except OSError:
        return b""


def test_a_tree_that_changes_under_the_build_stops_it(tmp_path: Path) -> None:
    tree = tree_of(tmp_path / "tree", {"a": "1", "b": "2"})
    (tmp_path / "tree/b").unlink()
    with pytest.raises(InvalidSource):
        build(tree, c_recipe(["true"], ["out"]), environment().root, EPOCH, tmp_path / "out")


def test_hard_links_and_holes_come_out_as_plain_files(tmp_path: Path) -> None:
    script = "cd /build/out; echo x > out; ln out two; truncate -s 1000000 three"
    result = run_script(tmp_path, script, ["out", "t*"])
    assert [(item.name, item.size) for item in result.outputs] == [("out", 2), ("three", 1_000_000), ("two", 2)]
    assert all(stat.S_ISREG(item.path.lstat().st_mode) for item in result.outputs)


def test_cpus_can_be_varied(tmp_path: Path) -> None:
    recipe = c_recipe(["sh", "-c", "nproc > /build/out/out"], ["out"])
    tree = tree_of(tmp_path / "tree", {"a": ""})
    cpus = sorted(os.sched_getaffinity(0))[:1]
    result = build(tree, recipe, environment().root, EPOCH, tmp_path / "out", cpus=cpus)
    assert (tmp_path / "out/out").read_text() == "1\n"
    assert result.variations["cpus"] == str(cpus[0])
    assert os.sched_getaffinity(0) != set(cpus) or len(os.sched_getaffinity(0)) == 1


# --- no sandbox, no build -------------------------------------------------------------------------------------------


def test_without_bubblewrap_the_refusal_names_the_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(SandboxUnavailable, match="install the package bubblewrap"):
        sandbox.probe()


def fake_bwrap(directory: Path, message: str) -> None:
    program = directory / "bwrap"
    program.write_text(f"#!/bin/sh\necho '{message}' >&2\nexit 1\n")
    program.chmod(0o755)


@pytest.mark.parametrize(
    ("flags", "message", "advice"),
    [
        ({"kernel/apparmor_restrict_unprivileged_userns": "1"}, "bwrap: setting up uid map", "AppArmor"),
        ({"kernel/unprivileged_userns_clone": "0"}, "bwrap: No permissions", "unprivileged_userns_clone=1"),
        ({"user/max_user_namespaces": "0"}, "bwrap: No space left on device", "max_user_namespaces"),
        ({}, "bwrap: Unknown option --disable-userns", "0.8 or newer"),
        ({}, "bwrap: pivot_root: Operation not permitted", "container"),
    ],
)
def test_a_machine_that_forbids_it_is_told_the_way_round(
    flags: dict[str, str], message: str, advice: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Where any account can enter: as root, bwrap is called as another one.
    place = Path(os.environ["GLASSHOUSE_STATE"], tmp_path.name)
    place.mkdir()
    fake_bwrap(place, message)
    monkeypatch.setenv("PATH", f"{place}:{os.environ['PATH']}")
    monkeypatch.setattr(sandbox, "_kernel_flag", lambda name: flags.get(name, ""))
    with pytest.raises(SandboxUnavailable) as caught:
        sandbox.probe()
    assert message in caught.value.reason
    assert advice in caught.value.fix


def test_an_unknown_architecture_has_no_filter_and_no_sandbox() -> None:
    with pytest.raises(SandboxUnavailable, match="riscv64"):
        filter_program("riscv64")
    assert len(filter_program("x86_64")) == len(filter_program("aarch64"))


def test_a_failing_start_is_not_a_failed_build(tmp_path: Path) -> None:
    need_sandbox()
    recipe = c_recipe(["true"], ["out"])
    tree = tree_of(tmp_path / "tree", {"a": ""})
    with pytest.raises(SandboxUnavailable, match="did not start"):
        build(tree, recipe, RootFs(directory=tmp_path / "missing", digest=""), EPOCH, tmp_path / "out")
