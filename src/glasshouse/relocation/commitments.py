"""The secrets that make the seed of a sample: committed to before the move begins, revealed once everything is there.

    <directory>/au-2026.secret        32 random bytes in hex, for this party alone, durable before its hash is logged
    <directory>/au-2026.commitment    the statement with the hash, so that one tried again is the same one

Whoever takes part in the seed can keep it from being known, and nobody can choose it: not who reveals last, since each
secret was fixed before the rows were, and not who runs the log, since neither time nor place of a statement is in it.
"""

import secrets
from pathlib import Path

from glasshouse_verify.codec import Identifier, decode, encode
from glasshouse_verify.encoding import format_json, parse_json
from glasshouse_verify.errors import FormatError
from glasshouse_verify.relocation import SECRET_BYTES, Relocation, Step, commitment_of

from glasshouse.relocation.course import Course
from glasshouse.relocation.errors import InvalidInput
from glasshouse.storage import files
from glasshouse.storage.errors import ObjectConflict, from_os_error

_MAX_STATEMENT = 65_535


def commit(course: Course, directory: Path, *, party: str, now: int) -> Relocation:
    """What a party commits to, at Unix time `now`; its secret is on disk when this returns. Log it, and never another.

    Asked again before it is logged, it is the same statement. Raises NotYet, and InvalidInput where it stands already
    or comes too late to count.
    """
    for record in course.records(Step.COMMITMENT):
        if record.predicate.party == party:
            reason = f"{party} has committed itself for {course.id} at entry {record.index}"
            raise InvalidInput("commitment", reason, "One secret a party: reveal it once everything has arrived.")
    if course.last(Step.OPEN) is not None:
        raise InvalidInput("commitment", f"{course.id} is open", "Only commitments that open names count.")
    previous = course.before(Step.COMMITMENT, party)
    kept = directory / f"{course.id}.commitment"
    if not kept.exists():
        statement = Relocation(
            party=Identifier(party),
            region=course.need(Step.SCOPE).predicate.region,
            relocation=Identifier(course.id),
            step=Step.COMMITMENT,
            time=now,
            previous=previous,
            commitment=commitment_of(course.id, party, _make(directory, course.id)),
        )
        files.create(kept, format_json(encode(statement)), mode=0o600)
    try:
        found: Relocation = decode(Relocation, parse_json(kept.read_bytes(), "kept", _MAX_STATEMENT), "kept")
    except OSError as error:
        raise from_os_error(error, f"reading {kept}") from error
    if found.party != party:
        raise InvalidInput("party", f"{kept} is a commitment of {found.party}", "Use this party's own node.")
    return found


def reveal(course: Course, directory: Path, *, party: str, now: int) -> Relocation:
    """The secret that a party committed to, to be logged: from then on everybody knows what is in the sample.

    Raises NotYet until an arrival of every destination stands, and InvalidInput where it is revealed already or the
    secret here is not the one committed to.
    """
    previous = course.before(Step.REVEAL, party)
    if party in course.reveals:
        entry = course.reveals[Identifier(party)].index
        raise InvalidInput("reveal", f"{party} has revealed its secret at entry {entry}", "Go on with the sample.")
    secret = _read(directory, course.id)
    if commitment_of(course.id, party, secret) != course.commitments[Identifier(party)].predicate.commitment:
        reason = f"{_path(directory, course.id)} is not what {party} committed to"
        raise InvalidInput("secret", reason, "Use the node that has committed itself.")
    return Relocation(
        party=Identifier(party),
        region=course.need(Step.OPEN).predicate.region,
        relocation=Identifier(course.id),
        step=Step.REVEAL,
        time=now,
        previous=previous,
        secret=secret,
    )


def _path(directory: Path, relocation: str) -> Path:
    return directory / f"{relocation}.secret"


def _make(directory: Path, relocation: str) -> bytes:
    """The secret of a move, made now unless it is there: one that a crash left behind was never logged otherwise."""
    files.make_directory(directory, mode=0o700)
    if not _path(directory, relocation).exists():
        made = secrets.token_bytes(SECRET_BYTES).hex().encode()
        try:
            files.create(_path(directory, relocation), made, mode=0o600)
        except ObjectConflict:
            # Another process of this node was faster.
            return _read(directory, relocation)
    return _read(directory, relocation)


def _read(directory: Path, relocation: str) -> bytes:
    path = _path(directory, relocation)
    try:
        secret = bytes.fromhex(path.read_text("ascii"))
    except FileNotFoundError:
        raise InvalidInput("secret", f"{path} is not there", "Use the node that has committed itself.") from None
    except OSError as error:
        raise from_os_error(error, f"reading {path}") from error
    except ValueError as error:
        raise FormatError("secret", f"{path} is not {SECRET_BYTES} bytes in hex") from error
    return secret
