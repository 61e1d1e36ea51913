"""M12 A destination that proxies to the old site.

Cheat: a destination keeps nothing: its store passes every read on to the old site's, so that all that it has said is
    right as long as that one is there.
Noticed by: the supervisor, which reads another sample after the erasure, with the old site cut off, and before that
    makes sure that nothing answers there.
Seen: a refusal in the ledger that names the destination and its objects, or no second sample at all; the move is not
    done, and the programme shows it as late.
"""

import contextlib
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import urlsplit

import httpx
import pytest
from glasshouse_verify.relocation import Step
from hostile_s3 import BUCKET, HostileS3, hostile_s3
from supervised import Supervised

from glasshouse.relocation.course import programme
from glasshouse.relocation.errors import NotYet, Unavailable
from glasshouse.relocation.stores.addresses import Credentials
from glasshouse.relocation.stores.interface import Source
from glasshouse.relocation.stores.opening import open_store

PROXIED = "zurich-2"
CREDENTIALS = Credentials(access_key="read-only", secret_key="of the supervisor")


@contextlib.contextmanager
def proxy(upstream: str, *, lists_itself: bool) -> Iterator[str]:
    """A store that has nothing of its own; it may remember what it once listed."""

    class Forwards(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        remembered: tuple[int, bytes] | None = None

        def log_message(self, *_: object) -> None:
            return

        def do_GET(self) -> None:
            listing = urlsplit(self.path).path.strip("/") == BUCKET
            kept = type(self).remembered
            if listing and lists_itself and kept is not None:
                status, body = kept
            else:
                try:
                    answer = httpx.get(upstream + self.path)
                    status, body = answer.status_code, answer.content
                except httpx.HTTPError:
                    status, body = 404, b"<Error><Code>NoSuchKey</Code></Error>"
            if listing:
                type(self).remembered = (status, body)
            self.send_response(status)
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

    server = ThreadingHTTPServer(("127.0.0.1", 0), Forwards)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def bucket(url: str) -> str:
    return f"s3://{BUCKET}?endpoint={url}"


def reached(url: str) -> Source:
    return open_store(bucket(url), CREDENTIALS)


def fill(server: HostileS3, world: Supervised) -> None:
    for path in world.held[PROXIED].vault.glob("?/*"):
        server.objects[f"{path.parent.name}/{path.name}"] = path.read_bytes()


def move(tmp_path: Path) -> Supervised:
    world = Supervised(tmp_path, count=30)
    world.draws = 15
    world.arrive()
    return world


@pytest.mark.parametrize("lists_itself", [True, False])
def test_attack_nothing_is_there_once_the_old_site_is_cut_off(tmp_path: Path, *, lists_itself: bool) -> None:
    world = move(tmp_path)
    with contextlib.ExitStack() as stack:
        old_site = contextlib.ExitStack()
        old = old_site.enter_context(hostile_s3())
        fill(old, world)
        front = stack.enter_context(proxy(old.url, lists_itself=lists_itself))
        supervisor = stack.enter_context(world.serving({PROXIED: reached(front)}))
        assert len(list(reached(front).list())) == len(world.rows)
        first = supervisor.sample()
        assert first.statement.step == Step.COUNTERSIGN
        supervisor.log(first)
        world.erase()
        # The old site has erased what it was known to hold, and goes on serving the other one.
        with pytest.raises(NotYet, match="can still be reached"):
            supervisor.resample(bucket(old.url))
        old_site.close()
        if not lists_itself:
            with pytest.raises(Unavailable, match="is not there"):
                supervisor.resample(bucket(old.url))
        else:
            found = supervisor.resample(bucket(old.url))
            assert found.statement.step == Step.REFUSAL
            assert {fault.site for fault in found.faults} == {PROXIED}
            assert {str(fault.handle) for fault in found.faults} == set(world.drawn(PROXIED, erasure(world)))
            supervisor.log(found)
    assert world.course.last(Step.RESAMPLE) is None
    (line,) = programme(world.history, world.now + 365 * 86_400)
    assert (line.done, line.late) == (None, True)


def test_control_a_destination_with_a_store_of_its_own(tmp_path: Path) -> None:
    world = move(tmp_path)
    with contextlib.ExitStack() as stack:
        old_site = contextlib.ExitStack()
        old, mine = old_site.enter_context(hostile_s3()), stack.enter_context(hostile_s3())
        fill(mine, world)
        supervisor = stack.enter_context(world.serving({PROXIED: reached(mine.url)}))
        supervisor.log(supervisor.sample())
        world.erase()
        old_site.close()
        found = supervisor.resample(bucket(old.url))
        assert found.statement.step == Step.RESAMPLE
        supervisor.log(found)
    assert world.course.last(Step.RESAMPLE) is not None
    (line,) = programme(world.history, world.now)
    assert line.done is not None


def erasure(world: Supervised) -> str:
    return world.course.need(Step.ERASURE).id
