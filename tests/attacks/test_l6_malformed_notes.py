"""L6 Malformed notes.

Cheat: the log itself, and its witness, sign one checkpoint in other spellings (leading zeros, "+42", base64 with other
    trailing bits, extra lines, oversize, control characters), so that two readers take the same signed bytes for two
    trees, or pads a good note with lines that another reader would skip.
Noticed by: the customer's verifier, which reads every format in one spelling only, with the log's real key pinned.
Seen: a format error that names the field; nothing verifies, whatever the signatures are worth.
"""

import base64

import pytest
from glasshouse_verify.encoding import encode_base64
from glasshouse_verify.errors import FormatError, SignatureError, VerifyError
from glasshouse_verify.note import MAX_NOTE, MAX_SIGNATURES, format_note, format_vkey, parse_note, parse_vkey
from glasshouse_verify.policy import check_checkpoint, witness_policy
from notary import Notary, Tree, signed, witness

LOG, WITNESS = Notary("example.com/log"), witness("witness.example/w1")
POLICY = witness_policy(LOG.key, {"witness": [WITNESS.key]}, 0)
TREE = Tree(42)
TEXT = TREE.checkpoint(42)
ROOT = encode_base64(TREE.roots[42])
NOTE = format_note(signed(TEXT, LOG, WITNESS))


def colluding(text: bytes) -> bytes:
    """Both the log and the witness sign a text that no honest program would, over exactly its bytes."""
    time = 1_700_000_000
    plain = LOG.key.key_id + LOG.sign_raw(text)
    timed = (
        WITNESS.key.key_id + time.to_bytes(8, "big") + WITNESS.sign_raw(b"cosignature/v1\ntime %d\n%b" % (time, text))
    )
    lines = ((LOG.key.name, plain), (WITNESS.key.name, timed))
    return text + b"\n" + b"".join(f"— {name} {encode_base64(value)}\n".encode() for name, value in lines)


def test_control_the_honest_note_verifies() -> None:
    assert colluding(TEXT.encode()) == NOTE
    cosigned = check_checkpoint(POLICY, parse_note(NOTE))
    assert (cosigned.checkpoint.size, cosigned.checkpoint.root) == (42, TREE.roots[42])
    assert cosigned.witnesses == {"witness/1": 1_700_000_000}


SIZES = [
    "042",
    "00042",
    "+42",
    "-42",
    " 42",
    "42 ",
    "\u00a042",
    "4_2",
    "42.0",
    "4.2e1",
    "0x2a",
    "٤٢",
    "４２",
    "",
    str(2**64 + 42),
]


@pytest.mark.parametrize("size", SIZES)
def test_attack_size_in_another_spelling(size: str) -> None:
    with pytest.raises(FormatError, match=r"checkpoint size|checkpoint: empty line"):
        check_checkpoint(POLICY, parse_note(colluding(TEXT.replace("\n42\n", f"\n{size}\n").encode())))


LOOSE_ROOT = ROOT[:-2] + chr(ord(ROOT[-2]) + 1) + "="
ROOTS = [
    LOOSE_ROOT,
    ROOT.rstrip("="),
    ROOT + "=",
    ROOT[:20] + " " + ROOT[20:],
    ROOT + " ",
    ROOT + ROOT,
    ROOT[:40],
    ROOT.lower() + "!",
]


@pytest.mark.parametrize("root", ROOTS)
def test_attack_root_in_another_spelling(root: str) -> None:
    with pytest.raises(FormatError, match="checkpoint root"):
        check_checkpoint(POLICY, parse_note(colluding(TEXT.replace(ROOT, root).encode())))


def test_the_loose_root_is_the_same_to_a_lenient_reader() -> None:
    assert base64.b64decode(LOOSE_ROOT, validate=True) == TREE.roots[42]


@pytest.mark.parametrize(
    "text", ["\n" + TEXT, TEXT + "\n", TEXT.replace("\n42", "\n\n42"), TEXT + "extension\n\nmore\n"]
)
def test_attack_empty_lines(text: str) -> None:
    with pytest.raises(FormatError, match="checkpoint"):
        check_checkpoint(POLICY, parse_note(colluding(text.encode())))


def test_attack_extension_lines_hide_no_second_checkpoint() -> None:
    """Lines below the root are carried and covered by the signatures, and nothing is read from them."""
    text = TEXT + "example.com/log\n43\n" + ROOT + "\n"
    cosigned = check_checkpoint(POLICY, parse_note(colluding(text.encode())))
    assert cosigned.checkpoint.size == 42
    with pytest.raises(VerifyError):
        check_checkpoint(POLICY, parse_note(colluding(text.encode()).replace(b"\n43\n", b"\n44\n")))


@pytest.mark.parametrize("octet", [*range(0x0A), *range(0x0B, 0x20)])
def test_attack_control_characters(octet: int) -> None:
    control = bytes([octet])
    for data in (
        colluding(b"example.com/log" + control + TEXT.encode()[15:]),
        colluding(TEXT.encode() + control + b"\n"),
        NOTE.replace(b"example.com/log ", b"example.com/log" + control + b" "),
        NOTE + control,
    ):
        with pytest.raises(FormatError, match="control character"):
            parse_note(data)


@pytest.mark.parametrize("break_", ["\r\n", "\u0085", "\u2028", "\u2029", "\x0b"])
def test_attack_other_line_breaks(break_: str) -> None:
    """What str.splitlines would take for the end of a line is none."""
    with pytest.raises(FormatError):
        check_checkpoint(POLICY, parse_note(colluding(TEXT.replace("\n", break_).encode() + b"\n")))


def test_attack_text_that_is_not_utf8() -> None:
    for octets in (b"\xff", b"\xc0\x80", b"\xed\xa0\x80", b"\xf4\x90\x80\x80", b"\xc3"):
        with pytest.raises(FormatError, match="UTF-8"):
            parse_note(colluding(b"example.com/log" + octets + TEXT.encode()[15:]))


def signature_lines() -> list[tuple[str, bytes]]:
    head, _, tail = NOTE.partition(b"\n\n")
    first, second = tail.splitlines(keepends=True)
    blob = first.split(b" ")[2].rstrip(b"\n")
    loose = blob.rstrip(b"=")[:-1] + bytes([blob.rstrip(b"=")[-1] + 1]) + b"=" * blob.count(b"=")
    dash = "— ".encode()
    lines = {
        "no padding": first.replace(blob, blob.rstrip(b"=")),
        "loose bits": first.replace(blob, loose),
        "space in base64": first.replace(blob, blob[:9] + b" " + blob[9:]),
        "trailing word": first.replace(blob, blob + b" again"),
        "two spaces": first.replace(b" " + blob, b"  " + blob),
        "hyphen": first.replace(dash, b"- "),
        "indented": b" " + first,
        "no name": dash + blob + b"\n",
        "name with plus": first.replace(b"example.com/log", b"example.com+log"),
        "name with no-break space": first.replace(b"example.com/log", "example.com\u00a0log".encode()),
        "key id alone": dash + b"example.com/log " + base64.b64encode(LOG.key.key_id) + b"\n",
        "comment": b"# a comment\n" + first,
        "empty line between": first + b"\n",
    }
    return [(what, head + b"\n\n" + line + second) for what, line in lines.items()]


@pytest.mark.parametrize(("what", "data"), signature_lines(), ids=[what for what, _ in signature_lines()])
def test_attack_signature_lines(what: str, data: bytes) -> None:
    # An empty line between the signatures moves the first of them into the text, which the second did not sign.
    with pytest.raises(SignatureError if what == "empty line between" else FormatError):
        check_checkpoint(POLICY, parse_note(data))


def test_attack_oversize() -> None:
    head, _, tail = NOTE.partition(b"\n\n")
    flood = b"".join(f"— nobody{n}.example {encode_base64(bytes(68))}\n".encode() for n in range(MAX_SIGNATURES))
    with pytest.raises(FormatError, match="more than"):
        parse_note(head + b"\n\n" + flood + tail)
    with pytest.raises(FormatError, match="more than"):
        parse_note(colluding(b"example.com/log\n42\n" + ROOT.encode() + b"\n" + b"x" * MAX_NOTE + b"\n"))


def test_attack_key_in_another_spelling() -> None:
    text = format_vkey(LOG.key)
    name, key_id, key = text.split("+", 2)
    assert parse_vkey(text) == LOG.key
    for other in (
        f"{name}+{key_id.upper()}+{key}",
        f"{text}\n",
        f" {text}",
        f"{name}+{key_id}+{key.rstrip('=')} ",
        f"{name}+00000000+{key}",
    ):
        if other != text:
            with pytest.raises(FormatError, match="vkey"):
                parse_vkey(other)
