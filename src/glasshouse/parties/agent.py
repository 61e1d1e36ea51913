"""The signing process: holds one key, reads messages on standard input, answers signatures on standard output.

It signs a message only if it is the DSSE encoding of a statement of a kind that its key is meant for, so that whoever
controls the process that asks gains no charter vote and no other party's claim from it. See `signer.AgentSigner`.
"""

import sys
from collections.abc import Collection
from pathlib import Path
from typing import BinaryIO

from glasshouse_verify.dsse import PAYLOAD_TYPE, pae
from glasshouse_verify.errors import FormatError
from glasshouse_verify.statement import Use, parse_statement

from glasshouse.parties.errors import KeyUnavailable, PinRefused
from glasshouse.parties.hardware import parse_place
from glasshouse.parties.signer import BAD_PIN, MAX_MESSAGE, NO_KEY, OK, REFUSED, Signer, open_key


def check_message(message: bytes, uses: Collection[Use]) -> None:
    """Raise FormatError unless `message` encodes a statement of one of `uses`."""
    head = b"DSSEv1 %d %s " % (len(PAYLOAD_TYPE), PAYLOAD_TYPE.encode())
    payload = message[len(head) :].partition(b" ")[2]
    if message != pae(payload):
        raise FormatError("message", "is not the DSSE encoding of a statement")
    use = parse_statement(payload).use
    if use not in uses:
        raise FormatError("message", f"is a {use} statement, this key signs {', '.join(sorted(uses))} only")


def serve(signer: Signer, uses: Collection[Use], requests: BinaryIO, answers: BinaryIO) -> None:
    """Answer requests until the other side closes."""
    _answer(answers, OK, signer.public)
    while len(head := requests.read(4)) == 4:
        length = int.from_bytes(head, "big")
        if length > MAX_MESSAGE:
            _answer(answers, REFUSED, f"a message has at most {MAX_MESSAGE} bytes".encode())
            return
        message = requests.read(length)
        try:
            check_message(message, uses)
            signature = signer.sign(message)
        except FormatError as error:
            _answer(answers, REFUSED, str(error).encode())
        except KeyUnavailable as error:
            _answer(answers, _status(error), str(error).encode())
        else:
            _answer(answers, OK, signature)


def _status(error: KeyUnavailable) -> int:
    return BAD_PIN if isinstance(error, PinRefused) else NO_KEY


def _answer(answers: BinaryIO, status: int, body: bytes) -> None:
    answers.write(bytes([status]) + len(body).to_bytes(2, "big") + body)
    answers.flush()


def main(place: str, uses: list[str]) -> None:
    """Serve the key in a file, or in a token (`hardware.format_place`); what cannot be used is the first answer."""
    try:
        signer = open_key(parse_place(place) if place.startswith("{") else Path(place))
    except KeyUnavailable as error:
        _answer(sys.stdout.buffer, _status(error), str(error).encode())
        return
    serve(signer, [Use(use) for use in uses], sys.stdin.buffer, sys.stdout.buffer)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2:])
