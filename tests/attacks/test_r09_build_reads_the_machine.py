"""R9 A build step that reads the network, the clock, the host name or the CPU.

Cheat: the vendor's build fetches a payload, or makes its output depend on when or on which machine it runs, so that it
    builds one thing on the conveyor and another one elsewhere.
Noticed by: the sandbox of the vendor and of every rebuilder, where the network is absent and the host name the same
    everywhere; for the clock and the CPU, which cannot be hidden, every rebuilder, who builds at another time and on
    another number of CPUs.
Seen: a failed build that names the connection; *differs* for what depends on clock or CPU count. CPU model and kernel
    are not varied on one machine, and the verdict says so.
"""

import os
import socket
import time
from pathlib import Path

import pytest
from workshop import EPOCH, RECIPES, c_recipe, digests, environment, run_script, tree_of

from glasshouse.conveyor.build import build
from glasshouse.conveyor.errors import BuildFailed

HELLO = (RECIPES / "hello-c/source/hello.c").read_text()
FETCH = """
cat > fetch.c <<'END'
#include <arpa/inet.h>
#include <stdio.h>
#include <sys/socket.h>
int main(void) {
    struct sockaddr_in a = { .sin_family = AF_INET, .sin_port = htons(PORT), .sin_addr = { htonl(0x7f000001) } };
    int s = socket(AF_INET, SOCK_STREAM, 0);
    char payload[64];
    if (connect(s, (void *)&a, sizeof a)) { perror("fetching the payload"); return 1; }
    return read(s, payload, sizeof payload) <= 0;
}
END
cc -DPORT=%d -include unistd.h -o /build/fetch fetch.c && /build/fetch && echo fetched > /build/out/out
"""


def build_on_cpus(directory: Path, script: str, cpus: list[int]) -> dict[str, str]:
    tree = tree_of(directory / "tree", {"build.sh": script, "hello.c": HELLO})
    recipe = c_recipe(["sh", "build.sh"], ["out"])
    return digests(build(tree, recipe, environment().root, EPOCH, directory / "out", cpus=cpus))


def conveyor_and_rebuilder(tmp_path: Path, script: str) -> tuple[dict[str, str], dict[str, str]]:
    """The same tree built by the vendor on all CPUs, and later by a rebuilder on one."""
    available = sorted(os.sched_getaffinity(0))
    shipped = build_on_cpus(tmp_path / "vendor", script, available)
    time.sleep(1.1)
    return shipped, build_on_cpus(tmp_path / "rebuilder", script, available[-1:])


def test_control_an_honest_build_is_identical(tmp_path: Path) -> None:
    """A build that reads nothing but its source comes out the same at another time and on one CPU."""
    shipped, rebuilt = conveyor_and_rebuilder(tmp_path, "cc -O2 -o /build/out/out hello.c")
    assert shipped == rebuilt


def test_attack_fetch_from_the_network(tmp_path: Path) -> None:
    """A server waits on the very machine, and the build cannot reach it; nothing is built."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(0.2)
        port = server.getsockname()[1]
        # Control: the server does answer outside of the sandbox.
        socket.create_connection(("127.0.0.1", port)).close()
        server.accept()[0].close()
        with pytest.raises(BuildFailed, match="fetching the payload") as caught:
            run_script(tmp_path, FETCH % port)
        assert caught.value.exit_code == 1
        with pytest.raises(TimeoutError):
            server.accept()


def test_attack_resolve_names(tmp_path: Path) -> None:
    """There is no resolver and no host table either."""
    with pytest.raises(BuildFailed):
        run_script(tmp_path, "cat /etc/resolv.conf /etc/hosts > /build/out/out; [ -s /build/out/out ]")


def test_attack_write_the_host_name_down(tmp_path: Path) -> None:
    """What it writes down is the same everywhere, and is not this machine's."""
    shipped, rebuilt = conveyor_and_rebuilder(tmp_path, "uname -n > /build/out/out; cat /proc/sys/kernel/hostname")
    assert shipped == rebuilt
    assert (tmp_path / "vendor/out/out").read_text() == "builder\n"
    assert (tmp_path / "vendor/out/build.log").read_text() == "builder\n"


def test_attack_write_the_time_down(tmp_path: Path) -> None:
    """Two builds at two times differ, so the rebuilder's verdict is *differs*."""
    script = (
        'cc -DBUILT="\\"$(date)\\"" -include hello.c -x c -o /build/out/out - <<END\nconst char *built = BUILT;\nEND'
    )
    shipped, rebuilt = conveyor_and_rebuilder(tmp_path, script)
    assert shipped != rebuilt


def test_control_the_time_of_the_commit_instead(tmp_path: Path) -> None:
    """The same build step with SOURCE_DATE_EPOCH, which the compiler's __DATE__ follows."""
    script = 'echo "const char *built = __DATE__ __TIME__;" >> hello.c; cc -o /build/out/out hello.c'
    shipped, rebuilt = conveyor_and_rebuilder(tmp_path, script)
    assert shipped == rebuilt


@pytest.mark.skipif(len(os.sched_getaffinity(0)) < 2, reason="this machine has one CPU, so CPUs cannot be varied")
def test_attack_count_the_cpus(tmp_path: Path) -> None:
    """The number of CPUs differs between the builds, so a build that writes it down differs."""
    shipped, rebuilt = conveyor_and_rebuilder(tmp_path, "nproc > /build/out/out")
    assert shipped != rebuilt


def test_control_a_result_says_what_was_not_varied(tmp_path: Path) -> None:
    """The CPU model and the kernel are the same on one machine, and the result says so."""
    result = run_script(tmp_path, "echo > /build/out/out")
    text = " ".join(result.not_varied)
    assert "CPU" in text
    assert "kernel" in text
    assert "clock" in text
