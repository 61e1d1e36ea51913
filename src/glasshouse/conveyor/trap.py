"""Makes a trap release: built like any other, then every digest that it names is replaced by a wrong one.

    trap.json           nonce, and what the source really builds to; only the members may see it
    build.json …        as a release run leaves them, with the wrong digests in them
    posting/            source.dsse, release.dsse, and the blobs that they name, each under its digest

What is published of it looks like a release whose file has not been uploaded yet; there is no such file
(`glasshouse_verify.trap`).
"""

import json
import secrets
import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from glasshouse_verify.codec import Digest, FileName, Identifier, decode, encode
from glasshouse_verify.dsse import Envelope, format_envelope, parse_envelope, statement_id
from glasshouse_verify.statement import Release, parse_statement
from glasshouse_verify.trap import BuiltFile, TrapOpening, wrong_digests

from glasshouse.conveyor.errors import InvalidInput
from glasshouse.conveyor.release import Publication, ReleaseRun
from glasshouse.storage import files

POSTING = "posting"
SOURCE, RELEASE = "source.dsse", "release.dsse"


def lay_trap(run: ReleaseRun, now: int) -> TrapOpening:
    """Make source and release of a trap, ready to be published from its directory; returns what opens it.

    Nothing is published. Resumes, like the run. Raises ConveyorError.
    """
    posting = run.directory / POSTING
    files.make_directory(posting, mode=0o700)
    _keep(posting, SOURCE, run.publish_source(now))
    run.say("building in the sandbox")
    run.build()
    run.embed(now)
    nonce, built = _spoil(run)
    # What the vendor keeps for old releases is kept under true digests only.
    run.press = replace(run.press, origins=replace(run.press.origins, deposit=None))
    released = run.sign_release(now)
    release: Release = parse_statement(released.envelope.payload).predicate
    for file in release.files:
        del released.blobs[file.sha256]
    _keep(posting, RELEASE, released)
    return TrapOpening(release=Digest(statement_id(released.envelope.payload)), nonce=nonce, built=built)


def _spoil(run: ReleaseRun) -> tuple[Digest, tuple[BuiltFile, ...]]:
    """Put wrong digests in place of the true ones; where a crash left that half done, it is done again."""
    kept, signed_file, build_file = (run.directory / name for name in ("trap.json", "signed.json", "build.json"))
    platform = Identifier(run.recipe.platform)
    if not kept.exists():
        true = sorted(run.built)
        built = tuple(BuiltFile(platform=platform, name=FileName(name), sha256=Digest(sha)) for name, sha in true)
        document = {"built": encode(built), "nonce": secrets.token_hex(32)}
        files.create(kept, json.dumps(document).encode(), mode=0o600)
    document = json.loads(kept.read_bytes())
    nonce = decode(Digest, document["nonce"], "trap.nonce")
    signed, record = json.loads(signed_file.read_bytes()), json.loads(build_file.read_bytes())
    for output in record["outputs"]:
        shipped, unsigned = wrong_digests(nonce, platform, output["name"])
        output["sha256"] = unsigned if output["name"] in signed else shipped
    files.write(build_file, json.dumps(record, sort_keys=True).encode())
    signed = {name: wrong_digests(nonce, platform, name)[0] for name in signed}
    files.write(signed_file, json.dumps(signed, sort_keys=True).encode())
    return nonce, decode(tuple[BuiltFile, ...], document["built"], "trap.built")


def _keep(posting: Path, name: str, publication: Publication) -> None:
    for digest, content in publication.blobs.items():
        if isinstance(content, bytes):
            files.write(posting / digest, content)
        else:
            shutil.copyfile(content, posting / digest)
    files.write(posting / name, format_envelope(publication.envelope))


def publications(directory: Path) -> Iterator[tuple[str, Envelope, dict[str, Path | bytes]]]:
    """What `lay_trap` left to be published, in order: name, envelope, and all blobs that either of the two names.

    Raises InvalidInput where nothing was left there.
    """
    posting = directory / POSTING
    if not (posting / RELEASE).exists():
        raise InvalidInput("trap", f"was not made in {directory}", "Make it on this node: glasshouse trap make.")
    blobs: dict[str, Path | bytes] = {path.name: path for path in posting.iterdir() if path.suffix != ".dsse"}
    for name in (SOURCE, RELEASE):
        envelope = parse_envelope((posting / name).read_bytes())
        named = {digest: path for digest, path in blobs.items() if digest.encode() in envelope.payload}
        yield name, envelope, named
