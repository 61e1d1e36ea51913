"""Signed notes (c2sp.org/signed-note): vectors, and every way to break one."""

import base64

import pytest
from glasshouse_verify.errors import FormatError, SignatureError, VerifyError
from glasshouse_verify.note import (
    COSIGNATURE_V1,
    ED25519,
    MAX_NOTE,
    MAX_SIGNATURES,
    Note,
    NoteSignature,
    VerifierKey,
    format_note,
    format_vkey,
    parse_note,
    parse_vkey,
    signature_value,
    signed_bytes,
    verify_note,
)
from notary import Notary, signed, witness

# c2sp.org/signed-note, "Example"
SPEC_VKEY = "example.com/foo+530d903a+AekyeRrm56hApGFkyQR4ZCbV54Id2LKaANYcrnKv3U2k"
SPEC_NOTE = """This is an example message.

— example.com/foo Uw2QOkn8srV1yJGh2VYRlL1Tnagv1YEq6TfXppzi2ONncAlTgK7Ztg1ERYNZXsYjOBH3mFXmRKuwHjG1Yu72IneyaQM=
""".encode()
# golang.org/x/mod/sumdb/note, package example
GO_VKEY = "PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW"
GO_NOTE = """If you think cryptography is the answer to your problem,
then you don't know what your problem is.

— PeterNeumann x08go/ZJkuBS9UG/SffcvIAQxVBtiFupLLr8pAcElZInNIuGUgYN1FFYC2pZSNXgKvqfqdngotpRZb6KE6RyyBwJnAM=
""".encode()

LOG = Notary("example.com/log")
OTHER = Notary("other.example/log")
WITNESS = witness("witness.example/w1")
TEXT = "example.com/log\n7\nabc=\n"


@pytest.mark.parametrize(("vkey", "data"), [(SPEC_VKEY, SPEC_NOTE), (GO_VKEY, GO_NOTE)])
def test_vectors(vkey: str, data: bytes) -> None:
    key, note = parse_vkey(vkey), parse_note(data)
    assert format_vkey(key) == vkey
    assert format_note(note) == data
    assert verify_note(note, [key]) == ((key, 0),)


def test_vkeys_of_both_algorithms() -> None:
    for notary in (LOG, WITNESS):
        assert parse_vkey(format_vkey(notary.key)) == notary.key
    assert LOG.key.key_id != VerifierKey(name=LOG.key.name, algorithm=COSIGNATURE_V1, public=LOG.key.public).key_id


def test_every_change_of_a_vkey_is_refused() -> None:
    for start in range(len(SPEC_VKEY)):
        for end in range(start, len(SPEC_VKEY) + 1):
            if end - start < len(SPEC_VKEY):
                with pytest.raises(FormatError):
                    parse_vkey(SPEC_VKEY[start:end])
    for place in range(len(SPEC_VKEY)):
        for char in "+A0 \n=é_\x00":
            if SPEC_VKEY[place] != char:
                with pytest.raises(FormatError):
                    parse_vkey(SPEC_VKEY[:place] + char + SPEC_VKEY[place + 1 :])
    for text in (SPEC_VKEY.upper(), SPEC_VKEY + "\n", SPEC_VKEY.replace("530d903a", "530D903A"), "", "++", "a+b"):
        with pytest.raises(FormatError):
            parse_vkey(text)


@pytest.mark.parametrize(
    "name", ["", "a b", "a+b", "a\u00a0b", "a\u2028b", "a\u3000b", "\u0085", "a\nb", "a\x01", "\ud800"]
)
def test_names_without_spaces_pluses_or_controls(name: str) -> None:
    with pytest.raises(FormatError, match="vkey name"):
        VerifierKey(name=name, algorithm=ED25519, public=LOG.key.public)


@pytest.mark.parametrize("name", ["a", "例え.example/ログ", "example.com/log-1", "\u200b", "—"])
def test_other_names_are_fine(name: str) -> None:
    notary = Notary(name)
    note = parse_note(format_note(signed(TEXT, notary)))
    assert verify_note(note, [parse_vkey(format_vkey(notary.key))]) == ((notary.key, 0),)


@pytest.mark.parametrize("algorithm", [0, 2, 3, 5, 6, 0xFF])
def test_other_algorithms_are_refused(algorithm: int) -> None:
    with pytest.raises(FormatError, match="algorithm"):
        VerifierKey(name="a", algorithm=algorithm, public=LOG.key.public)


def test_weak_and_short_keys_are_refused() -> None:
    for public in (b"", LOG.key.public[:31], LOG.key.public + b"\x00", b"\x01" + bytes(31)):
        with pytest.raises(FormatError, match="public key"):
            VerifierKey(name="a", algorithm=ED25519, public=public)


def test_cosignature_message_of_the_specification() -> None:
    """c2sp.org/tlog-cosignature, "Ed25519 signed message"."""
    text = "example.com/behind-the-sofa\n20852163\nCsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I=\n"
    assert signed_bytes(COSIGNATURE_V1, text, 1679315147) == b"cosignature/v1\ntime 1679315147\n" + text.encode()
    assert signed_bytes(ED25519, text, 1679315147) == text.encode()
    assert signature_value(COSIGNATURE_V1, b"s", 1679315147) == bytes.fromhex("00000000641850cb") + b"s"
    assert signature_value(ED25519, b"s", 1679315147) == b"s"


def test_times() -> None:
    note = signed(TEXT, LOG, WITNESS, timestamp=1679315147)
    assert verify_note(note, [LOG.key, WITNESS.key]) == ((LOG.key, 0), (WITNESS.key, 1679315147))
    for timestamp in (0, 2**63 - 1):
        assert verify_note(signed(TEXT, WITNESS, timestamp=timestamp), [WITNESS.key]) == ((WITNESS.key, timestamp),)
    with pytest.raises(SignatureError, match="time"):
        verify_note(signed(TEXT, WITNESS, timestamp=2**63), [WITNESS.key])


def test_a_time_cannot_be_changed() -> None:
    value = WITNESS.sign(TEXT, 1679315147).value
    for other in ((1679315148).to_bytes(8, "big") + value[8:], value[8:], value[:8], value[:-1], value + b"\x00"):
        signature = NoteSignature(name=WITNESS.key.name, key_id=WITNESS.key.key_id, value=other)
        with pytest.raises(SignatureError):
            verify_note(Note(text=TEXT, signatures=(signature,)), [WITNESS.key])


def test_a_log_signature_is_no_cosignature() -> None:
    """One private key under both algorithms: neither signature passes as the other."""
    twin = Notary(LOG.key.name, COSIGNATURE_V1)
    assert twin.key.public == LOG.key.public
    plain, timed = LOG.sign(TEXT).value, twin.sign(TEXT, 5).value
    for key, value in ((LOG.key, timed), (LOG.key, timed[8:]), (twin.key, plain), (twin.key, bytes(8) + plain)):
        signature = NoteSignature(name=key.name, key_id=key.key_id, value=value)
        with pytest.raises(SignatureError):
            verify_note(Note(text=TEXT, signatures=(signature,)), [LOG.key, twin.key])


def test_unknown_signatures_are_ignored() -> None:
    note = signed(TEXT, OTHER, LOG, WITNESS)
    assert [key for key, _ in verify_note(note, [LOG.key])] == [LOG.key]
    for keys in ([], [witness("nobody.example").key], [Notary("example.com/log", salt="another").key]):
        with pytest.raises(SignatureError, match="no known key"):
            verify_note(note, keys)


def test_unknown_id_or_name_is_unknown() -> None:
    good = LOG.sign(TEXT)
    renamed = NoteSignature(name="example.com/lo", key_id=good.key_id, value=good.value)
    rekeyed = NoteSignature(name=good.name, key_id=bytes(4), value=good.value)
    for signature in (renamed, rekeyed):
        with pytest.raises(SignatureError, match="no known key"):
            verify_note(Note(text=TEXT, signatures=(signature,)), [LOG.key])
        assert verify_note(Note(text=TEXT, signatures=(signature, good)), [LOG.key]) == ((LOG.key, 0),)


def test_one_bad_signature_of_a_known_key_rejects_the_note() -> None:
    good, bad = LOG.sign(TEXT), LOG.sign("another text\n")
    for signatures in ((good, bad), (bad, good), (bad,), (good, good, bad)):
        with pytest.raises(SignatureError, match="does not verify"):
            verify_note(Note(text=TEXT, signatures=(*signatures, WITNESS.sign(TEXT, 1))), [LOG.key, WITNESS.key])


def test_repeated_signatures_count_once_with_the_newest_time() -> None:
    signatures = tuple(WITNESS.sign(TEXT, timestamp) for timestamp in (5, 9, 7))
    assert verify_note(Note(text=TEXT, signatures=signatures), [WITNESS.key, WITNESS.key]) == ((WITNESS.key, 9),)


def test_keys_that_cannot_be_told_apart_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(VerifierKey, "key_id", b"same")
    with pytest.raises(SignatureError, match="share"):
        verify_note(signed(TEXT, LOG), [LOG.key, Notary("example.com/log", salt="2").key])


def broken_notes() -> list[tuple[str, bytes]]:
    line = SPEC_NOTE.split(b"\n\n")[1]
    blob = line.split(b" ")[2].rstrip(b"\n")
    short = base64.b64encode(base64.b64decode(blob)[:4])
    return [
        ("empty", b""),
        ("newline only", b"\n"),
        ("two newlines", b"\n\n"),
        ("text only", b"text\n"),
        ("no signatures", b"text\n\n"),
        ("only a blank line after", b"text\n\n\n"),
        ("no blank line", b"text\n" + line),
        ("no final newline", SPEC_NOTE[:-1]),
        ("second final newline", SPEC_NOTE + b"\n"),
        ("trailing text", SPEC_NOTE + b"text\n"),
        ("carriage returns", SPEC_NOTE.replace(b"\n", b"\r\n")),
        ("tab in text", SPEC_NOTE.replace(b"is an", b"is\tan")),
        ("NUL in text", SPEC_NOTE.replace(b"is an", b"is\x00an")),
        ("escape in text", SPEC_NOTE.replace(b"is an", b"is\x1ban")),
        ("not UTF-8", SPEC_NOTE.replace(b"is an", b"is\xffan")),
        ("surrogate", SPEC_NOTE.replace(b"is an", b"is\xed\xa0\x80an")),
        ("overlong", SPEC_NOTE.replace(b"is an", b"is\xc0\xafan")),
        ("hyphen for dash", SPEC_NOTE.replace("—".encode(), b"-")),
        ("en dash", SPEC_NOTE.replace("—".encode(), "–".encode())),
        ("no space after dash", SPEC_NOTE.replace("— ".encode(), "—".encode())),
        ("no-break space after dash", SPEC_NOTE.replace("— ".encode(), "—\u00a0".encode())),
        ("two spaces after dash", SPEC_NOTE.replace("— ".encode(), "—  ".encode())),
        ("space before dash", SPEC_NOTE.replace("—".encode(), " —".encode())),
        ("no name", SPEC_NOTE.replace(b" example.com/foo", b"")),
        ("plus in name", SPEC_NOTE.replace(b".com/foo", b".com+foo")),
        ("Unicode space in name", SPEC_NOTE.replace(b".com/foo", ".com\u3000foo".encode())),
        ("no signature", SPEC_NOTE.replace(b" " + blob, b"")),
        ("empty signature", SPEC_NOTE.replace(blob, b"")),
        ("key id only", SPEC_NOTE.replace(blob, short)),
        ("third word", SPEC_NOTE.replace(blob, blob + b" x")),
        ("trailing space", SPEC_NOTE.replace(blob, blob + b" ")),
        ("no padding", SPEC_NOTE.replace(blob, blob.rstrip(b"="))),
        ("trailing bits", SPEC_NOTE.replace(b"M=\n", b"N=\n")),
        ("URL alphabet", SPEC_NOTE.replace(b"Uw2Q", b"Uw-_")),
        ("too many", SPEC_NOTE + line * MAX_SIGNATURES),
        ("too large", b"x" * MAX_NOTE + SPEC_NOTE),
    ]


@pytest.mark.parametrize(("what", "data"), broken_notes(), ids=[what for what, _ in broken_notes()])
def test_broken_notes_are_refused(what: str, data: bytes) -> None:
    with pytest.raises(FormatError, match="note"):
        parse_note(data)


def test_limits_are_reached() -> None:
    line = SPEC_NOTE.split(b"\n\n")[1]
    most = parse_note(SPEC_NOTE + line * (MAX_SIGNATURES - 1))
    assert len(verify_note(most, [parse_vkey(SPEC_VKEY)])) == 1
    largest = b"x" * (MAX_NOTE - len(SPEC_NOTE)) + SPEC_NOTE
    assert format_note(parse_note(largest)) == largest


def test_the_last_empty_line_divides() -> None:
    text = "first\n\n— not a signature\n\nlast\n\n\n"
    note = parse_note(format_note(signed(text, LOG)))
    assert note.text == text
    assert verify_note(note, [LOG.key])


@pytest.mark.parametrize(
    "note",
    [
        Note(text="no newline", signatures=(LOG.sign("no newline"),)),
        Note(text="", signatures=(LOG.sign(""),)),
        Note(text="no signature\n", signatures=()),
        Note(text="tab\t\n", signatures=(LOG.sign("tab\t\n"),)),
        Note(text="surrogate \ud800\n", signatures=(LOG.sign(""),)),
        Note(text=TEXT, signatures=(NoteSignature(name="a b", key_id=bytes(4), value=b"x"),)),
        Note(text=TEXT, signatures=(NoteSignature(name="a", key_id=bytes(3), value=b"xy"),)),
        Note(text=TEXT, signatures=(NoteSignature(name="a", key_id=bytes(4), value=b""),)),
        Note(text=TEXT, signatures=(NoteSignature(name="a\n", key_id=bytes(4), value=b"x"),)),
    ],
)
def test_notes_that_would_not_be_read_back_are_not_written(note: Note) -> None:
    with pytest.raises(FormatError):
        format_note(note)


def test_no_truncation_of_a_signed_note_verifies() -> None:
    data = format_note(signed(TEXT, LOG, WITNESS))
    keys = [LOG.key, WITNESS.key]
    assert len(verify_note(parse_note(data), keys)) == 2
    for start in range(len(data)):
        for part in (data[start:], data[:start]):
            try:
                result = verify_note(parse_note(part), keys)
            except VerifyError:
                continue
            # Cutting off the last signature line leaves a note that is whole, signed by fewer.
            assert (part, len(result)) == (data if start == 0 else format_note(signed(TEXT, LOG)), 2 - (start > 0))


def test_no_bit_flip_of_a_signed_note_verifies() -> None:
    note = signed(TEXT, LOG)
    data = format_note(note)
    for place in range(len(data)):
        for bit in range(8):
            changed = data[:place] + bytes([data[place] ^ 1 << bit]) + data[place + 1 :]
            with pytest.raises(VerifyError):
                verify_note(parse_note(changed), [LOG.key])


def test_a_bit_flip_beside_the_known_signature_changes_nothing_that_was_signed() -> None:
    note = signed(TEXT, LOG, OTHER)
    data = format_note(note)
    ignored = 0
    for place in range(len(data)):
        for bit in range(8):
            changed = data[:place] + bytes([data[place] ^ 1 << bit]) + data[place + 1 :]
            try:
                parsed = parse_note(changed)
                assert verify_note(parsed, [LOG.key]) == ((LOG.key, 0),)
            except VerifyError:
                continue
            assert (parsed.text, parsed.signatures[0]) == (note.text, note.signatures[0])
            ignored += 1
    assert ignored > 0
