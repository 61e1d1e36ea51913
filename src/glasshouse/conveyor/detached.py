"""Detached signatures: `<file>.sig` beside a shipped file is the envelope of the release that names it.

The vendor's release statement is signed and lists every shipped file with its SHA-256, so it is a signature of each.
Nothing is signed a second time, and what is handed out is what the ledger holds. See docs/spec/detached-signature.md.
"""

from collections.abc import Iterable
from hashlib import file_digest
from pathlib import Path

from glasshouse_verify.charter import Charter, entitled, verified_keyids
from glasshouse_verify.codec import Identifier
from glasshouse_verify.dsse import Envelope, format_envelope, parse_envelope
from glasshouse_verify.errors import SignatureError
from glasshouse_verify.statement import Release, Use, parse_statement

from glasshouse.storage import files

SUFFIX = ".sig"


def write_detached(release: Envelope, shipped: Iterable[Path]) -> list[Path]:
    """Put the release's envelope beside each shipped file; returns the signature files."""
    places = [path.with_name(path.name + SUFFIX) for path in shipped]
    for place in places:
        files.write(place, format_envelope(release))
    return places


def check_detached(signature: bytes, file: Path, charter: Charter) -> Release:
    """The release that the signature of a file is, once it holds under a charter and names this very file.

    The file's name counts: `good.exe` renamed to `other.exe` is not what was signed. Raises FormatError where the
    signature is no release, SignatureError where no key that the charter entitles signed it or the file is another.
    """
    envelope = parse_envelope(signature)
    statement = parse_statement(envelope.payload)
    if not isinstance(statement.predicate, Release):
        raise SignatureError("the signature file is a statement about something else than a release")
    release = statement.predicate
    vendor = Identifier(release.product.partition("/")[0])
    # Without a ledger index nobody can say whether a key signed before or after it was stopped.
    keys = [kid for kid in verified_keyids(charter, envelope) if (key := charter.key(kid)) and key.stops is None]
    signers = entitled(charter, keys, Use.RELEASE)
    if release.party != vendor or vendor not in signers:
        raise SignatureError(f"no key that the charter lets release {release.product} signed it")
    with file.open("rb") as content:
        digest = file_digest(content, "sha256").hexdigest()
    if (file.name, digest) not in statement.subject:
        raise SignatureError(f"the signature is for other files than {file.name} with SHA-256 {digest}")
    return release
