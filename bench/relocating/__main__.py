"""One party of a move, as a process: python -m bench.relocating PART DIRECTORY SOURCE DESTINATION...

It says "ready" once its database runs, waits for a line for each step, and answers a line of JSON. A destination copies
(every pass until one finds nothing) and then lists; the old site takes its inventory; the supervisor lists the source
and, at last, reads a sample at every destination.
"""

import itertools
import json
import os
import resource
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path

import uvloop  # noqa: F401  loaded before anything is timed, as in a node that runs
from glasshouse_verify.codec import Digest, Identifier
from glasshouse_verify.relocation import draw
from glasshouse_verify.relocation_check import SAMPLE
from glasshouse_verify.shards import Sharded

from bench.relocating.servers import ACCESS, BUCKET, SECRET
from glasshouse.regions.keys.file_keyring import FileKeyring
from glasshouse.regions.wrapping import Wrapper
from glasshouse.relocation.archive import ArchiveBucket
from glasshouse.relocation.catalogue import open_catalogue
from glasshouse.relocation.copying import Destination, copy_all
from glasshouse.relocation.descriptions import read_descriptions
from glasshouse.relocation.examining import Ciphertexts, Examiner, Expected
from glasshouse.relocation.foreign import take_inventory
from glasshouse.relocation.landing import Landed, Landings
from glasshouse.relocation.listing import list_archive
from glasshouse.relocation.lists import RowList, known_list
from glasshouse.relocation.openings import Opening, VersionFacts
from glasshouse.relocation.stores.addresses import Credentials, parse_bucket
from glasshouse.relocation.stores.opening import open_store
from glasshouse.relocation.stores.s3 import S3Bucket  # noqa: F401
from glasshouse.storage.db import Database
from glasshouse.storage.postgres import EmbeddedPostgres

MOVE = "bench-2026"
# A smaller store has a smaller sample, so that its share of the time is that of a whole run.
SHARE = float(os.environ.get("GLASSHOUSE_RELOCATION_SHARE", "1"))
SITES = ("zurich-1", "zurich-2")
SECRET_OF_MOVE = bytes(range(32))
CREDENTIALS = Credentials(access_key=ACCESS, secret_key=SECRET)
Step = Callable[[], dict[str, object]]


def address(endpoint: str) -> str:
    return f"s3://{BUCKET}?endpoint={endpoint}"


def destination(stack: ExitStack, directory: Path, endpoint: str) -> Destination:
    """A destination with its own database and keys, in dual custody."""
    from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

    (directory / "keys").mkdir(mode=0o700)
    keys = FileKeyring(directory / "keys")
    keys.next_epoch()
    server = stack.enter_context(EmbeddedPostgres(directory / "postgres"))
    landings = Landings(database=stack.enter_context(Database(server.dsn)), relocation=MOVE)
    landings.prepare()
    bucket = parse_bucket(address(endpoint))
    return Destination(
        landings=landings,
        archive=ArchiveBucket(bucket=bucket, credentials=CREDENTIALS, relocation=MOVE, spool=directory / "spool"),
        wrapper=Wrapper(keys, X25519PrivateKey.generate().public_key().public_bytes_raw()),
        transfer=Wrapper(keys, None),
        region="au",
        secret=SECRET_OF_MOVE,
    )


def destination_steps(to: Destination, directory: Path, source: str) -> Iterator[Step]:
    def copied() -> dict[str, object]:
        """Every pass, until one finds nothing to do."""
        totals = copy_all(open_store(source, CREDENTIALS), to)
        return {"objects": totals.landed, "size": totals.size}

    def listed() -> dict[str, object]:
        arrival = list_archive(to, directory / "lists")
        return {"rows": arrival.rows.sharded.root, "objects": arrival.rows.sharded.size}

    def opened() -> dict[str, object]:
        """What opens the objects that are drawn."""
        rows = row_list(directory, "rows", size := to.landings.size()[0])
        handles = [str(rows.at(place)["key"]) for place in drawn(directory.name, size)]
        with (directory / "opened").open("w") as file:
            for start in range(0, len(handles), 500):
                for one in to.landings.of(handles[start : start + 500]):
                    file.write(f"{one.handle} {data_key(to, one).hex()} {one.sealed} {one.ordinal} {one.key.hex()}\n")
        return {}

    yield from (copied, listed, opened)


def drawn(site: str, size: int) -> list[int]:
    return sorted(set(draw("5a" * 32, site, size, round(SAMPLE * SHARE))))


def row_list(directory: Path, name: str, size: int) -> RowList:
    return known_list(directory / "lists" / name, Sharded(root=Digest("00" * 32), size=size, depth=4), name)


def data_key(to: Destination, one: Landed) -> bytes:
    """As the site gives it to the supervisor: here for all, so that the custodian's part is not in the figure."""
    if one.transfer is None or to.transfer is None:
        raise RuntimeError(f"{one.handle} has no data key")
    return to.transfer.unwrap(one.transfer, handle=one.handle, region=to.region)


def old_site_steps(directory: Path, source: str) -> Iterator[Step]:
    def inventory() -> dict[str, object]:
        taken = take_inventory(open_store(source, CREDENTIALS), directory / "source", SECRET_OF_MOVE)
        return {"rows": taken.rows.sharded.root, "objects": taken.rows.sharded.size, "size": taken.size}

    yield inventory


def supervisor_steps(directory: Path, source: str, endpoints: list[str]) -> Iterator[Step]:
    def compared() -> dict[str, object]:
        """Its own listing against the old site's description, key by key."""
        listed = open_catalogue(source, CREDENTIALS, directory / "scratch").list()
        described = read_descriptions(directory.parent / "old" / "source" / "described")
        for one, other in itertools.zip_longest(listed, described):
            if one is None or other is None or (one.key, one.ordinal, one.size) != (*other.place, other.size):
                raise RuntimeError(f"{one} and {other} differ")
        return {}

    def sampled() -> dict[str, object]:
        """What is drawn is read at each destination, opened, and tried against the other destination's ciphertext."""
        vaults = {
            site: Ciphertexts(store=open_store(address(at), CREDENTIALS), prefix=f"archive/{MOVE}/".encode())
            for site, at in zip(SITES, endpoints, strict=True)
        }
        found = {}
        with ThreadPoolExecutor(8) as threads:
            for site in vaults:
                examiner = Examiner(
                    site=Identifier(site),
                    region="au",
                    here=vaults[site],
                    others={other: vault for other, vault in vaults.items() if other != site},
                    secret=SECRET_OF_MOVE,
                    buried=lambda _: False,
                )
                results = list(
                    threads.map(lambda pair, one=examiner: one.examine(*pair), pairs(directory.parent / site))
                )
                if any(result.fault for result in results):
                    raise RuntimeError(f"{site}: {next(result for result in results if result.fault)}")
                found[site] = len(results)
        return dict(found)

    yield from (compared, sampled)


def pairs(site: Path) -> Iterator[tuple[Expected, Opening]]:
    """What the ledger and the site say of the objects that are drawn."""
    lines = (site / "opened").read_text().splitlines()
    size = len((site / "lists" / "rows").read_bytes().splitlines())
    rows, sealed = row_list(site, "rows", size), row_list(site, "sealed", size)
    for line in lines:
        handle, key, ciphertext, ordinal, name = line.split()
        row = rows.find(handle)
        if row is None:
            raise RuntimeError(f"{handle} has no row")
        version = VersionFacts(key=bytes.fromhex(name), ordinal=int(ordinal), marker=False)
        yield (
            Expected(row=row, sealed=sealed.find(handle)),
            Opening(handle=Digest(handle), data_key=bytes.fromhex(key), sealed=Digest(ciphertext), version=version),
        )


def main(part: str, place: str, source: str, *endpoints: str) -> None:
    """Be that party."""
    directory = Path(place)
    with ExitStack() as stack:
        if part in SITES:
            to = destination(stack, directory, endpoints[SITES.index(part)])
            steps = destination_steps(to, directory, address(source))
        elif part == "old":
            steps = old_site_steps(directory, address(source))
        else:
            steps = supervisor_steps(directory, address(source), list(endpoints))
        print("ready", flush=True)
        for step in steps:
            if not sys.stdin.readline():
                return
            start, before = time.perf_counter(), resource.getrusage(resource.RUSAGE_SELF)
            found = step()
            after = resource.getrusage(resource.RUSAGE_SELF)
            used = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
            peak = after.ru_maxrss / 1024
            told = {"seconds": time.perf_counter() - start, "processor": used, "peak_mb": peak, **found}
            print(json.dumps(told), flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
