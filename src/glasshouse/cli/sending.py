"""`glasshouse submit` and `reputation`: a customer sends files to its region, or asks there what is known of them."""

import contextlib
import functools
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

import typer
from glasshouse_verify.codec import Identifier
from glasshouse_verify.encoding import JSON
from glasshouse_verify.region import Kind, Mode

from glasshouse.cli.wiring import JsonOption, emit
from glasshouse.parties.errors import SettingsError
from glasshouse.regions.client import Progress, SiteClient, digest_of
from glasshouse.regions.customers.profile import Profile, open_profile
from glasshouse.regions.destination import Charters, Destination, destination_of
from glasshouse.regions.metadata import MEMBERS, check_metadata
from glasshouse.regions.reputation import MAX_BATCH
from glasshouse.storage import files

CustomerOption = Annotated[
    Path, typer.Option("--customer", help="the customer's directory (glasshouse customer profile)", file_okay=False)
]
_SHA256 = re.compile(r"[0-9a-f]{64}")
_DAY = 86_400


def register(app: typer.Typer) -> None:
    """Add the commands of this module to the application."""
    app.command()(submit)
    app.command()(reputation)


def destination_for(profile: Profile, *, at_once: bool = False) -> Destination:
    """Where the newest charter sends this customer's data; it is asked for every ten minutes, or `at_once`."""
    *earlier, link = Charters(profile.pin, profile.cache, ledger=profile.settings.ledger).links(at_once=at_once)
    return destination_of(link, profile.settings.country, earlier)


def _client(profile: Profile, destination: Destination) -> SiteClient:
    """Where the region moves while a charter is cached, the client asks for the newest one."""
    renew = functools.partial(destination_for, profile, at_once=True)
    return SiteClient(destination, profile.token, key=profile.key, renew=renew)


@contextlib.contextmanager
def open_client(directory: Path) -> Iterator[tuple[Profile, SiteClient]]:
    """A customer's connection to the sites of its region."""
    profile = open_profile(directory)
    with _client(profile, destination_for(profile)) as client:
        yield profile, client


def submit(
    paths: Annotated[list[Path], typer.Argument(help="the files to send", exists=True, dir_okay=False, metavar="FILE")],
    category: Annotated[str | None, typer.Option("--category", help="of the region's categories for files")] = None,
    say: Annotated[
        list[str] | None, typer.Option("--say", help=f"KEY=VALUE about the files; keys: {', '.join(MEMBERS[1:])}")
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="show what would be sent, where to, and how long it would be kept")
    ] = False,
    customer: CustomerOption = Path(),
    as_json: JsonOption = False,
) -> None:
    """Send files to the region of your country; each receipt is kept in receipts/."""
    profile = open_profile(customer)
    destination = destination_for(profile)
    metadata = _metadata(destination, category, say or [])
    if dry_run:
        document = _preview(destination, paths, metadata)
        emit(document, _told(document), as_json=as_json)
        return
    sent = []
    total = sum(path.stat().st_size for path in paths)
    with _client(profile, destination) as client, _bar(total, as_json=as_json) as tell:
        for path in paths:
            done = client.send_file(path, metadata, tell)
            files.make_directory(profile.receipts, mode=0o700)
            kept = profile.receipts / f"{done.receipt.handle}.json"
            files.create(kept, done.envelope)
            said = done.receipt
            facts = {"handle": said.handle, "sha256": said.sha256, "size": said.size, "number": said.number}
            sent.append({"file": str(path), "created": done.created, "site": said.site, "receipt": str(kept), **facts})
    document = {"schema": "glasshouse.submit/v1", "region": destination.region, "files": sent}
    lines = (f"{f['file']}: {f['site']} receipt {f['number']}, handle {f['handle']}" for f in sent)
    emit(document, "\n".join(lines), as_json=as_json)


def _metadata(destination: Destination, category: str | None, say: list[str]) -> dict[str, JSON]:
    kept = [name for name, shown in destination.rules.categories.items() if shown.kind == Kind.FILE]
    if category is None and len(kept) != 1:
        raise SettingsError("--category", "is missing", f"Choose one of: {', '.join(kept)}.")
    metadata: dict[str, JSON] = {"category": category or str(kept[0])}
    for words in say:
        key, separator, value = words.partition("=")
        if not separator:
            raise SettingsError("--say", f"{words} has no =", "Write it as detection=HEUR:Trojan.Script.")
        metadata[key] = int(value) if key == "seen" and value.isdecimal() and value.isascii() else value
    check_metadata(metadata)
    if metadata["category"] not in kept:
        reason = f"{metadata['category']} takes no files in this region"
        raise SettingsError("--category", reason, f"Use one of: {', '.join(kept)}.")
    return metadata


def _preview(destination: Destination, paths: list[Path], metadata: dict[str, JSON]) -> dict[str, Any]:
    rules, custody = destination.rules, destination.rules.custody
    kept = rules.categories[Identifier(str(metadata["category"]))]
    listed = []
    for path in paths:
        sha256, size = digest_of(path)
        listed.append({"file": str(path), "sha256": sha256, "size": size})
    return {
        "schema": "glasshouse.submit-preview/v1",
        "files": listed,
        "metadata": metadata,
        "country": destination.country,
        "region": destination.region,
        "sites": [
            {"site": str(site), "url": shown.url, "jurisdiction": destination.jurisdictions[site], "party": shown.party}
            for site, shown in rules.sites.items()
        ],
        "copies": rules.replicas,
        "retention": kept.retention,
        "custody": {"mode": custody.mode.value, **({} if custody.party is None else {"party": str(custody.party)})},
        "charter": {"version": destination.link.charter.version, "id": destination.link.id},
    }


def _told(preview: dict[str, Any]) -> str:
    """The preview in sentences."""
    custody = preview["custody"]
    lines = ["Nothing is sent. This would be:"]
    lines += [f"  {f['file']}  {f['size']} bytes  SHA-256 {f['sha256']}" for f in preview["files"]]
    lines.append("said of them: " + ", ".join(f"{name} {value}" for name, value in preview["metadata"].items()))
    lines.append(f"to the region {preview['region']}, which takes the data of {preview['country']}, at one of:")
    lines += [f"  {s['site']} in {s['jurisdiction']}, run by {s['party']}  {s['url']}" for s in preview["sites"]]
    lines.append(f"stored sealed at {preview['copies']} of these sites, and erased after {_span(preview['retention'])}")
    if custody["mode"] == Mode.DUAL:
        lines.append(f"read only where {custody['party']} takes part, which counts every time")
    else:
        lines.append("read by the sites alone: who reads is recorded, and nobody else can prevent it")
    lines.append(f"by charter {preview['charter']['version']}, {preview['charter']['id']}")
    return "\n".join(lines)


def _span(seconds: int) -> str:
    days, rest = divmod(seconds, _DAY)
    return f"{days} days" if not rest else f"{seconds} seconds"


@contextlib.contextmanager
def _bar(total: int, *, as_json: bool) -> Iterator[Progress | None]:
    """A progress bar on a terminal, nothing elsewhere."""
    if as_json or not sys.stderr.isatty():
        yield None
        return
    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn, TimeRemainingColumn, TransferSpeedColumn
    from rich.progress import Progress as Bar

    columns = (BarColumn(), DownloadColumn(), TransferSpeedColumn(), TimeRemainingColumn())
    with Bar(*columns, console=Console(stderr=True)) as bar:
        task = bar.add_task("", total=total)
        yield lambda size: bar.advance(task, size)


def reputation(
    wanted: Annotated[list[str], typer.Argument(help="files, or SHA-256 digests", metavar="FILE|SHA256")],
    customer: CustomerOption = Path(),
    as_json: JsonOption = False,
) -> None:
    """Ask your region what the released indicator lists say of files; only their SHA-256 is sent."""
    digests: dict[str, str] = {}
    for word in wanted:
        digest = word if _SHA256.fullmatch(word) and not Path(word).exists() else digest_of(Path(word))[0]
        digests.setdefault(digest, word)
    listed: dict[str, str] = {}
    with open_client(customer) as (_, client):
        names = list(digests)
        for start in range(0, len(names), MAX_BATCH):
            listed |= client.look_up(names[start : start + MAX_BATCH])
    found = [
        {"asked": word, "sha256": digest, "listed": digest in listed, "about": listed.get(digest)}
        for digest, word in digests.items()
    ]
    lines = [f"{f['asked']}: {'listed: ' + str(f['about']) if f['listed'] else 'not listed'}" for f in found]
    emit({"schema": "glasshouse.reputation-answers/v1", "files": found}, "\n".join(lines), as_json=as_json)
