"""What a rebuild can reach: no key, nothing of the node, and not the file it is to be compared with."""

from pathlib import Path

import pytest
from glasshouse_verify.statement import Verdict
from rebuilds import Rebuilder
from workshop import RECIPES, c_recipe, environment, run_script
from world import World, digest

from glasshouse.conveyor.build import CPUS_NOT_VARIED, NOT_VARIED
from glasshouse.supervision.workshop import RECORD

HELLO = (RECIPES / "hello-c/source/hello.c").read_text()
# Looks for a secret in every file there is, in every process, and for every way out that is open.
LOOK = r"""
#define _GNU_SOURCE
#include <dirent.h>
#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
static char data[1 << 26], secret[16] = "KEY-SECRET-AGE";
static void look(const char *path) {
    FILE *file = fopen(path, "r");
    if (!file) return;
    size_t size = fread(data, 1, sizeof data, file);
    fclose(file);
    if (memmem(data, size, secret, 14)) printf("found in %s\n", path);
}
static int visit(const char *path, const struct stat *s, int kind, struct FTW *at) {
    const char *end = strrchr(path, '.');
    if (!strncmp(path, "/proc", 5) || !strncmp(path, "/dev/", 5)) return 0;
    if (end && (!strcmp(end, ".age") || !strcmp(end, ".key") || !strcmp(end, ".dsse"))) printf("name %s\n", path);
    if (kind == FTW_F) look(path);
    return 0;
}
static void process(const char *pid) {
    const char *parts[] = {"environ", "cmdline"};
    char path[600], target[600];
    for (int n = 0; n < 2; n++) { snprintf(path, sizeof path, "/proc/%s/%s", pid, parts[n]); look(path); }
    for (int fd = 0; fd < 256; fd++) {
        snprintf(path, sizeof path, "/proc/%s/fd/%d", pid, fd);
        ssize_t length = readlink(path, target, sizeof target - 1);
        if (length < 0) continue;
        target[length] = 0;
        if (strncmp(target, "pipe:", 5) && strncmp(target, "anon_inode:", 11)
            && strncmp(target, "/build/", 7) && strcmp(target, "/dev/null"))
            printf("open in %s: %s\n", pid, target);
    }
}
int main(int argc, char **argv) {
    memcpy(secret, "AGE", 3), memcpy(secret + 11, "KEY", 3); /* so that the needle is not in the program */
    nftw("/", visit, 64, FTW_PHYS);
    for (int n = 1; n < argc; n++) if (!access(argv[n], F_OK)) printf("exists: %s\n", argv[n]);
    DIR *processes = opendir("/proc");
    for (struct dirent *e; (e = readdir(processes));)
        if (e->d_name[0] >= '1' && e->d_name[0] <= '9' && atoi(e->d_name) != getpid()) process(e->d_name);
    return 0;
}
"""


@pytest.fixture
def rebuilder(tmp_path: Path) -> Rebuilder:
    environment()
    return Rebuilder(World(), tmp_path / "lab")


def search(directory: Path, prepare: str, *paths: Path) -> list[str]:
    """What the search prints in a build that does `prepare` first."""
    names = " ".join(map(str, paths))
    script = f"{prepare}\ncat > /build/l.c <<'END'\n{LOOK}\nEND\ncc -w -o /build/l /build/l.c && /build/l {names}\n"
    run_script(directory, script + ": > /build/out/out")
    return (directory / "out/build.log").read_text().splitlines()


def test_nothing_of_the_node_is_visible_inside(rebuilder: Rebuilder, tmp_path: Path) -> None:
    settings = rebuilder.directory / "node.toml"
    settings.write_text('party = "lab"\n')
    paths = (settings, rebuilder.identity, rebuilder.directory, tmp_path)
    assert all(path.exists() for path in paths)
    assert search(tmp_path / "build", ":", *paths) == []


def test_control_the_search_finds_what_is_there(rebuilder: Rebuilder, tmp_path: Path) -> None:
    prepare = "mkdir -p /build/keys; echo AGE-SECRET-KEY > /build/keys/recipient.age; AGE=AGE-SECRET-KEY sleep 9 &"
    found = search(tmp_path / "build", f"{prepare} exec 7</etc/passwd", Path("/build/keys"))
    assert found[:2] == ["name /build/keys/recipient.age", "found in /build/keys/recipient.age"]
    assert [line for line in found if line.startswith("found in /proc/") and line.endswith("/environ")]
    assert [line for line in found if line.startswith("open in ") and line.endswith(": /etc/passwd")]
    assert "exists: /build/keys" in found


def test_the_shipped_file_is_fetched_after_the_build_only(rebuilder: Rebuilder) -> None:
    world, shipped = rebuilder.world, b"other bytes than the source gives"
    recipe = c_recipe(["cc", "-o", "/build/out/out", "hello.c"], ["out"])
    world.blobs[digest(shipped)] = shipped
    release = world.release(shipped=shipped, name="out", source=rebuilder.source(recipe, {"hello.c": HELLO}))
    source = world.history.records[release].predicate.source
    finished: dict[str, bool] = {}

    def watched(sha: str) -> None:
        finished[sha] = (rebuilder.workshop.kept / source / RECORD).exists()

    rebuilder.watched = watched
    judged = rebuilder.judge(release)
    assert judged.rebuild.verdict == Verdict.DIFFERS
    assert judged.rebuild.report is not None
    assert judged.blobs[judged.rebuild.report].startswith(b"<!doctype html>")
    assert finished.pop(digest(shipped))
    assert rebuilder.asked[-1] == digest(shipped)
    assert finished
    assert not any(finished.values())


def test_the_verdict_names_the_executor_and_what_was_not_varied(rebuilder: Rebuilder) -> None:
    world = rebuilder.world
    recipe = c_recipe(["cp", "hello.c", "/build/out/out"], ["out"])
    release = world.release(shipped=HELLO.encode(), name="out", source=rebuilder.source(recipe, {"hello.c": HELLO}))
    outcome = rebuilder.judge(release).rebuild
    assert outcome.verdict == Verdict.IDENTICAL
    assert outcome.executor is not None
    assert outcome.executor.startswith("bubblewrap ")
    assert set(NOT_VARIED) <= set(outcome.not_varied) <= {*NOT_VARIED, CPUS_NOT_VARIED}
