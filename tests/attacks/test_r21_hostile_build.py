"""R21 A hostile build that attacks the rebuilder's host or keys.

Cheat: the source holds a build that attacks whoever builds it: it forks without end, fills memory, disk and pipes,
    waits for ever, makes 10^6 files, forges the stream of its output, reaches for the host's files, processes, kernel
    settings and sockets, and tries the system calls that kernel exploits begin with.
Noticed by: every rebuilder, each by itself: bounds and isolation are its own, and it hashes the output outside.
Seen: the verdict *build-failed* with the bound that was broken or what was refused; on the host nothing has changed.
"""

import contextlib
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from glasshouse_verify.statement import Verdict
from rebuilds import Rebuilder
from workshop import RECIPES, c_recipe, digests, environment, run_script
from world import World, digest

from glasshouse.conveyor import sandbox, watch
from glasshouse.conveyor.errors import BuildFailed
from glasshouse.conveyor.execution import MAX_LOG_BYTES
from glasshouse.conveyor.sandbox import FORK_MARGIN, NOBODY_UIDS, other_account

HELLO = (RECIPES / "hello-c/source/hello.c").read_text()
KERNEL_SETTINGS = ("core_pattern", "modprobe", "hostname", "printk", "panic")
DEFINES = """
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <linux/keyctl.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/ptrace.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>
#define TRY(what, call) if ((long)(call) >= 0) { printf("succeeded: %s\\n", what); broken = 1; }
static int broken;
"""


@pytest.fixture(autouse=True)
def host(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """What an attack could harm, the same before and after."""
    environment()
    # Whatever else builds on this machine at the same time does so as another user.
    monkeypatch.setattr(sandbox, "_RUN_UIDS", (NOBODY_UIDS[20_000 + os.getpid() % 20_000], 64_001))
    canary = tmp_path / "canary"
    canary.write_text("unharmed")
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as neighbour:
        before = host_state(canary)
        yield
        deadline = time.monotonic() + 5
        while processes_of_builds() and time.monotonic() < deadline:
            # Death by a signal takes its moment.
            time.sleep(0.05)
        assert host_state(canary) == before
        assert neighbour.poll() is None
        neighbour.kill()


def host_state(canary: Path) -> dict[str, str]:
    places = [Path("/proc/sys/kernel", name) for name in KERNEL_SETTINGS]
    settings = {place.name: place.read_text() for place in places if place.exists()}
    settings["left running"] = " ".join(processes_of_builds())
    settings["cgroups"] = Path("/proc/self/cgroup").read_text()
    return settings | {"canary": canary.read_text(), "keys": Path("/proc/key-users").read_text().split(":")[0]}


def processes_of_builds() -> list[str]:
    """Processes that belong to the user of builds, where that is a user of its own, and that have not ended."""
    account, found = other_account(), list[str]()
    for place in Path("/proc").iterdir():
        if place.name.isdigit() and account is not None:
            with contextlib.suppress(OSError):
                state = (place / "stat").read_text().rpartition(")")[2].split()[0]
                if f"Uid:\t{account.uid}\t" in (place / "status").read_text() and state not in "ZX":
                    found.append(place.name)
    return found


def test_control_a_process_of_a_build_would_be_noticed() -> None:
    account = other_account()
    if account is None:
        pytest.skip("a build belongs to the caller here")
    with subprocess.Popen(["sleep", "9"], user=account.uid, group=account.gid, extra_groups=[]) as left:
        assert processes_of_builds() == [str(left.pid)]
        left.kill()


def attack(directory: Path, script: str, reason: str, **bounds: int) -> BuildFailed:
    """Build the script; it must fail for the reason, and not take long for it."""
    started = time.monotonic()
    with pytest.raises(BuildFailed, match=reason) as caught:
        run_script(directory, script, **bounds)
    assert time.monotonic() - started < 60
    left = sum(path.stat().st_size for path in (directory / "out").iterdir())
    assert left <= MAX_LOG_BYTES + (1 << 20) + (bounds.get("output_mib", 1) << 20)
    return caught.value


def program(body: str) -> str:
    """A script that compiles and runs `body` as main, and fails if it has broken anything."""
    code = f"{DEFINES}\nint main(void) {{\n{body}\nreturn broken; }}"
    return f"cat > a.c <<'END'\n{code}\nEND\ncc -w -o /build/a a.c && /build/a || exit 1\n"


def refused(directory: Path, body: str) -> None:
    """None of what the program tries succeeds; the rest of the build is honest, and comes out as ever."""
    result = run_script(directory, program(body) + 'echo "built" > /build/out/out')
    assert "succeeded" not in result.log.read_text()
    assert digests(result) == {"out": digest(b"built\n")}


# --- controls ------------------------------------------------------------------------------------------------------


def test_control_a_build_that_uses_its_bounds(tmp_path: Path) -> None:
    """Many processes, much memory, a large log, many files, a socket pair: within the bounds, all that is fine."""
    script = program("""
        int pair[2];
        char *memory = malloc(100 << 20);
        memset(memory, 1, 100 << 20);
        return socketpair(AF_UNIX, SOCK_STREAM, 0, pair);
    """)
    script += """
for i in 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20; do sleep 0.3 & done; wait
seq 100000; mkdir many; cd many; seq 3000 | while read n; do : > $n; done
echo fine > /build/out/out
"""
    result = run_script(tmp_path, script, processes=64, memory_mib=256)
    assert (tmp_path / "out/out").read_text() == "fine\n"
    assert result.log.stat().st_size > 500_000


def test_control_an_honest_release_is_identical(tmp_path: Path) -> None:
    """The rebuilder that withstands all this still says *identical* of an honest build."""
    rebuilder = Rebuilder(World(), tmp_path / "lab")
    recipe = c_recipe(["cp", "hello.c", "/build/out/out"], ["out"])
    source = rebuilder.source(recipe, {"hello.c": HELLO})
    release = rebuilder.world.release(shipped=HELLO.encode(), name="out", source=source)
    assert rebuilder.judge(release).rebuild.verdict == Verdict.IDENTICAL


# --- the verdict ---------------------------------------------------------------------------------------------------


def test_attack_the_verdict_is_build_failed(tmp_path: Path) -> None:
    """A fork bomb that first leaves the very bytes that are shipped: the verdict is *build-failed*, and says why."""
    rebuilder = Rebuilder(World(), tmp_path / "lab")
    recipe = c_recipe(
        ["sh", "-c", "cp hello.c /build/out/out; f() { f | f & sleep 60; }; (f) & wait"], ["out"], processes=32
    )
    source = rebuilder.source(recipe, {"hello.c": HELLO})
    release = rebuilder.world.release(shipped=HELLO.encode(), name="out", source=source)
    before = {path: path.read_bytes() for path in (rebuilder.directory / "keys").iterdir()}
    outcome = rebuilder.judge(release)
    assert outcome.rebuild.verdict == Verdict.BUILD_FAILED
    assert "it ran more than 32 processes" in outcome.rebuild.explanation
    assert outcome.rebuild.executor is not None
    assert outcome.rebuild.log in outcome.blobs
    assert before == {path: path.read_bytes() for path in (rebuilder.directory / "keys").iterdir()}


# --- exhaustion ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("script", "bounds", "reason"),
    [
        ("f() { f | f & sleep 60; }; (f) & wait", {"processes": 64}, "more than 64 processes"),
        ("tail /dev/zero", {"memory_mib": 64}, "status 1|memory"),
        ("for i in 1 2 3 4 5 6; do (head -c 40m /dev/zero; sleep 9) | tail & done; wait", {"memory_mib": 96}, "memory"),
        ("head -c 99m /dev/zero > big || exit 4", {"work_mib": 10}, "status 4"),
        ("head -c 99m /dev/zero > /dev/shm/big || exit 4", {}, "status 4"),
        ("while :; do echo 0123456789012345678901234567890; done", {"timeout_seconds": 3}, "longer than 3"),
        ("head -c 30m /dev/zero > /build/out/out", {"output_mib": 10}, "larger than allowed"),
        ("truncate -s 1T /build/out/out", {}, "status|signal"),
        ("truncate -s 200M /build/out/out", {"output_mib": 10}, "larger than allowed"),
    ],
    ids=["fork bomb", "memory", "memory of many", "disk", "shared memory", "log", "output", "hole", "small hole"],
)
def test_attack_exhaustion(script: str, bounds: dict[str, int], reason: str, tmp_path: Path) -> None:
    attack(tmp_path, script, reason, **bounds)


def test_attack_fork_faster_than_anybody_looks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """While nobody counts, the kernel does: it refuses the process that is one too many, to root's builds too."""
    monkeypatch.setattr(watch, "_POLL_SECONDS", 60)
    body = """
        int n = 0;
        for (;; n++) {
            int child = fork();
            if (child == 0) { pause(); _exit(0); }
            if (child < 0 || n > 5000) break;
        }
        printf("%d processes\\n", n);
        fflush(stdout);
        kill(-1, SIGKILL);
    """
    failed = attack(tmp_path, program(body), "signal 9", processes=50)
    assert int(failed.log_tail.split()[0]) <= 50 + FORK_MARGIN


def test_attack_a_million_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Files without content fill no disk, but the kernel's memory. Here the bound is a tenth, to save time."""
    if not os.environ.get("GLASSHOUSE_SOAK"):
        monkeypatch.setattr(watch, "MAX_FILES", 100_000)
    body = """
        char name[40];
        for (int n = 0; n < 1100000; n++) {
            snprintf(name, sizeof name, "/build/out/%d", n);
            int file = open(name, O_CREAT | O_WRONLY, 0644);
            if (file < 0) return 2;
            close(file);
        }
    """
    attack(tmp_path, program(body), "more than 1000000? files")


def test_attack_memory_that_belongs_to_no_process(tmp_path: Path) -> None:
    """Files without a name, shared segments, and what lies unread in sockets: they cannot be had, or are counted."""
    refused(
        tmp_path / "none",
        'TRY("memfd", syscall(SYS_memfd_create, "x", 0)) TRY("segment", syscall(SYS_shmget, 0, 1 << 30, 01600))'
        ' TRY("secret", syscall(SYS_memfd_secret, 0))',
    )
    body = """
        for (int child = 0; child < 8; child++) if (!fork()) {
            int pair[2];
            while (!socketpair(AF_UNIX, SOCK_STREAM, 0, pair)) ;
            pause();
        }
        sleep(30);
    """
    attack(tmp_path / "sockets", program(body), f"more than {watch.MAX_SOCKETS} sockets")


# --- waiting -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "script",
    ["sleep 100", "trap '' TERM INT HUP; while :; do sleep 1; done", "kill -STOP $$", "kill -STOP $PPID; sleep 100"],
    ids=["sleep", "deaf", "stopped", "driver stopped"],
)
def test_attack_time_bomb(script: str, tmp_path: Path) -> None:
    """Whatever it waits for, the time is up, and nothing of it is left."""
    attack(
        tmp_path, f"(setsid sleep 1000 &) ; echo armed > /build/out/out; {script}", "longer than 2", timeout_seconds=2
    )


# --- the streams ---------------------------------------------------------------------------------------------------

# Where the driver keeps the pipe of the output while the command runs.
FORGE = "mkdir -p /build/f; cd /build/f; echo evil > evil; ln -s / root; "
STREAM = "> /proc/$PPID/fd/10; sleep 100"


@pytest.mark.parametrize(
    ("script", "reason"),
    [
        (f"cat /dev/zero {STREAM}", "longer than 3|tar"),
        (f"while :; do echo garbage; done {STREAM}", "tar"),
        (f"{FORGE} tar -c -P -f - --transform='s,^,../../,' evil {STREAM}", "refused"),
        (f"{FORGE} tar -c -P -f - --transform='s,^,/tmp/glasshouse-r21-,' evil {STREAM}", "refused"),
        (f"{FORGE} tar -c -f - root {STREAM}", "refused"),
        (f"{FORGE} mkfifo pipe; tar -c -f - pipe {STREAM}", "refused"),
    ],
    ids=["zeroes", "garbage", "upwards", "absolute", "link", "pipe"],
)
def test_attack_forged_output(script: str, reason: str, tmp_path: Path) -> None:
    """The build writes into the pipe of the output itself: no more comes out than it could have left there."""
    attack(tmp_path, script, reason, timeout_seconds=3)
    assert not [path for path in (tmp_path, Path("/tmp")) for path in path.glob("*evil*")]  # noqa: S108


@pytest.mark.parametrize(
    ("make", "reason"),
    [
        ("ln -s /etc/passwd out", "not a plain file"),
        ("ln -s ../../../../etc out", "not a plain file"),
        ("mkfifo out", "neither a plain file"),
        ("mknod out c 1 5 || exit 5", "status 5"),
        ("ln /etc/passwd out || exit 5", "status 5"),
        ("mkdir out; echo x > out/x", "not a plain file"),
        ("echo x > 'out\nnext'", "control|refused|does not name"),
    ],
    ids=["link", "link upwards", "pipe", "device", "hard link to the root", "directory", "line end in a name"],
)
def test_attack_output_that_is_no_file(make: str, reason: str, tmp_path: Path) -> None:
    attack(tmp_path, f"cd /build/out; {make}", reason)


def test_attack_output_with_a_set_user_bit(tmp_path: Path) -> None:
    """It comes out as a plain file of the rebuilder's, without the bit."""
    result = run_script(tmp_path, "cp /bin/sh /build/out/out; chmod 6777 /build/out/out")
    assert result.outputs[0].path.stat().st_mode & 0o7777 == 0o755
    assert result.outputs[0].path.stat().st_uid == os.getuid()


# --- the host ------------------------------------------------------------------------------------------------------


def test_attack_kernel_interfaces(tmp_path: Path) -> None:
    """Keyrings, io_uring, bpf, user namespaces, mounts, foreign socket families: none of them answers."""
    refused(
        tmp_path,
        """
        TRY("keyring", syscall(SYS_keyctl, KEYCTL_GET_KEYRING_ID, KEY_SPEC_USER_KEYRING, 1))
        TRY("key", syscall(SYS_add_key, "user", "x", "y", 1, KEY_SPEC_SESSION_KEYRING))
        TRY("io_uring", syscall(SYS_io_uring_setup, 1, 0))
        TRY("bpf", syscall(SYS_bpf, 0, 0, 0))
        TRY("perf", syscall(SYS_perf_event_open, 0, 0, -1, -1, 0))
        TRY("userfaultfd", syscall(SYS_userfaultfd, 0))
        TRY("user namespace", unshare(CLONE_NEWUSER))
        TRY("user namespace, clone", syscall(SYS_clone, CLONE_NEWUSER | SIGCHLD, 0, 0, 0, 0))
        TRY("user namespace, clone3", syscall(SYS_clone3, 0, 0))
        TRY("mount namespace", unshare(CLONE_NEWNS))
        TRY("mount", mount("none", "/build", "tmpfs", 0, 0))
        TRY("unmount", umount2("/build", MNT_DETACH))
        TRY("chroot", chroot("/build"))
        TRY("host name", sethostname("evil", 4))
        TRY("module", syscall(SYS_init_module, 0, 0, ""))
        TRY("reboot", syscall(SYS_reboot, 0xfee1dead, 672274793, 0x01234567, 0))
        TRY("swap", syscall(SYS_swapon, "/build/a", 0))
        TRY("clock", syscall(SYS_clock_settime, 0, "0123456789abcdef"))
        TRY("vsock", socket(AF_VSOCK, SOCK_STREAM, 0))
        TRY("crypto", socket(38, SOCK_SEQPACKET, 0))
        TRY("raw", socket(AF_INET, SOCK_RAW, 1))
        TRY("packet", socket(17, SOCK_RAW, 0))
        TRY("root again", setuid(0))
        TRY("priority", setpriority(0, 0, -20))
        struct { unsigned long now, most; } limit = {1 << 20, 1 << 20};
        TRY("limits", syscall(SYS_setrlimit, 6, &limit))
        """.replace("setpriority(0, 0, -20)", "syscall(SYS_setpriority, 0, 0, -20)"),
    )


def test_attack_through_proc(tmp_path: Path) -> None:
    """Kernel settings, other processes' memory and roots, the maps of users: not to be written, not to be left by."""
    places = "sys/kernel/core_pattern sys/kernel/modprobe sys/kernel/panic sys/vm/drop_caches sysrq-trigger kcore kmsg"
    places += " 1/mem 1/oom_score_adj self/uid_map self/gid_map self/setgroups irq/default_smp_affinity bus/pci/devices"
    script = f"""
for p in {places}; do (echo '|/build/a' > /proc/$p) 2>/dev/null && echo "succeeded: $p"; done
for d in 1 self $PPID; do for up in . .. ../../..; do
    [ -e /proc/$d/root/$up/proc/1/root/build/source/build.sh ] || echo "succeeded: root of $d"
    [ -e /proc/$d/cwd/../../../../etc/shadow ] && echo "succeeded: cwd of $d"
done; done
: > /build/out/out
"""
    result = run_script(tmp_path, script)
    assert result.log.read_text() == ""


def test_attack_ptrace(tmp_path: Path) -> None:
    """It can take over the driver, or the sandbox's first process: both are as confined as itself, and know nothing."""
    script = """
for d in 1 $PPID; do while read key value; do case $key in
    CapPrm:|CapEff:|CapBnd:|CapAmb:) [ $value = 0000000000000000 ] || echo "succeeded: $key $value of $d" ;;
    NoNewPrivs:) [ $value = 1 ] || echo "succeeded: new rights of $d" ;;
    Seccomp:) [ $value = 2 ] || echo "succeeded: no filter of $d" ;;
esac; done < /proc/$d/status; done
: > /build/out/out
"""
    assert run_script(tmp_path / "first", script).log.read_text() == ""
    body = "ptrace(PTRACE_ATTACH, getppid(), 0, 0); waitpid(getppid(), 0, 0); sleep(100);"
    attack(tmp_path / "held", "exec > /dev/null; " + program(body), "longer than 3", timeout_seconds=3)
    body = "ptrace(PTRACE_SEIZE, 1, 0, 0); ptrace(PTRACE_INTERRUPT, 1, 0, 0); kill(-1, SIGKILL); sleep(100);"
    attack(tmp_path / "seized", program(body), "longer than 3|signal 9", timeout_seconds=3)


@pytest.mark.parametrize(
    ("script", "reason"),
    [
        ("kill -KILL -1; sleep 9", "signal 9"),
        ("n=1; while [ $n -lt 32768 ]; do kill -KILL $n 2>/dev/null; n=$((n+1)); done; sleep 9", "signal 9"),
        ("kill -KILL $PPID; sleep 9", "signal 9"),
    ],
    ids=["all", "every number", "driver"],
)
def test_attack_signals(script: str, reason: str, tmp_path: Path) -> None:
    """Every signal to every number: it reaches the build's own processes."""
    attack(tmp_path, script, reason)


def test_attack_an_abstract_socket_of_the_host(tmp_path: Path) -> None:
    """A name without a file needs no file system; it does need the network namespace."""
    name = f"\0glasshouse-r21-{os.getpid()}"
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(name)
        server.listen()
        server.settimeout(0.2)
        with socket.socket(socket.AF_UNIX) as client:
            client.connect(name)
            server.accept()[0].close()
        refused(
            tmp_path,
            f"""
            struct sockaddr_un at = {{ .sun_family = AF_UNIX }};
            memcpy(at.sun_path + 1, "{name[1:]}", {len(name) - 1});
            TRY("connect", connect(socket(AF_UNIX, SOCK_STREAM, 0), (void *)&at, 2 + {len(name)}))
            """,
        )
        with pytest.raises(TimeoutError):
            server.accept()


def test_attack_files_of_the_host(tmp_path: Path) -> None:
    """By every path that leads to them on the host, the keys are not there."""
    rebuilder = Rebuilder(World(), tmp_path / "lab")
    places = [
        rebuilder.identity,
        tmp_path / "canary",
        Path("/etc/shadow"),
        Path("/root"),
        Path("/home"),
        Path("/sys/block"),
    ]
    script = "; ".join(f"cat {p} 2>/dev/null && echo succeeded; [ -e {p} ] && echo succeeded" for p in places)
    script += (
        "; for d in 1 $PPID self; do cat /proc/$d/environ; done | tr '\\0' '\\n' | while read line; do case $line in"
    )
    script += (
        " PATH=* | HOME=* | TMPDIR=* | USER=* | LOGNAME=* | LANG=* | LC_ALL=* | TZ=* | PWD=* | SOURCE_DATE_EPOCH=*)"
    )
    script += " ;; *) echo succeeded $line;; esac; done; : > /build/out/out"
    assert run_script(tmp_path / "run", script).log.read_text() == ""
