"""Manifests: order, roots, rows proven in and keys proven out."""

from collections.abc import Iterator
from dataclasses import replace
from io import BytesIO

import pytest
from glasshouse_verify.codec import decode, encode
from glasshouse_verify.encoding import JSON, format_json
from glasshouse_verify.errors import FormatError, ProofError
from glasshouse_verify.manifest import (
    AbsenceProof,
    ManifestTree,
    format_rows,
    manifest_root,
    parse_row,
    parse_rows,
    verify_absence,
)
from glasshouse_verify.row import MAX_ROW, ManifestRoot, Row, RowProof, format_row, verify_row
from glasshouse_verify.tlog import leaf_hash, node_hash
from glasshouse_verify.tree import EMPTY_ROOT
from notary import corrupted


def rows(count: int) -> list[dict[str, JSON]]:
    """Keys "001", "003", "005" …: between, before and after every two there is room for an absent one."""
    return [{"key": f"{2 * number + 1:03d}", "mode": number} for number in range(count)]


def root_of(tree: ManifestTree) -> ManifestRoot:
    return ManifestRoot(root=tree.root, size=tree.size)


def test_root_by_hand() -> None:
    first, second = b'{"key":"a"}', b'{"key":"b","n":1}'
    expected = ManifestRoot(root=node_hash(leaf_hash(first), leaf_hash(second)), size=2)
    assert manifest_root(parse_rows(first + b"\n" + second + b"\n")) == expected
    assert manifest_root([]) == ManifestRoot(root=EMPTY_ROOT, size=0)


@pytest.mark.parametrize("count", range(0, 33))
def test_every_row_in_and_every_other_key_out(count: int) -> None:
    tree = ManifestTree(rows(count))
    root = root_of(tree)
    assert root == manifest_root(rows(count))
    for number in range(2 * count + 1):
        key = f"{number:03d}"
        proof = tree.prove(key)
        if number % 2:
            assert isinstance(proof, RowProof)
            assert verify_row(root, proof) == {"key": key, "mode": number // 2}
            assert decode(RowProof, encode(proof), "row proof") == proof
            with pytest.raises(ProofError):
                verify_row(root, replace(proof, index=proof.index + 1))
            with pytest.raises(ProofError):
                verify_row(root, replace(proof, row={"key": key, "mode": -1}))
            with pytest.raises(ProofError):
                verify_row(replace(root, root=corrupted(root.root)), proof)
        else:
            assert isinstance(proof, AbsenceProof)
            verify_absence(root, proof)
            assert decode(AbsenceProof, encode(proof), "absence proof") == proof


@pytest.mark.parametrize("count", range(1, 12))
def test_no_pair_of_rows_shows_a_present_key_absent(count: int) -> None:
    """Every choice of a left and a right row, or none, against every present key."""
    tree = ManifestTree(rows(count))
    root = root_of(tree)
    proofs = [proof for row in rows(count) if isinstance(proof := tree.prove(str(row["key"])), RowProof)]
    for row in rows(count):
        for left in (None, *proofs):
            for right in (None, *proofs):
                with pytest.raises(ProofError):
                    verify_absence(root, AbsenceProof(key=str(row["key"]), left=left, right=right))


@pytest.mark.parametrize("count", range(1, 9))
def test_an_absent_key_needs_its_own_neighbours(count: int) -> None:
    tree = ManifestTree(rows(count))
    root = root_of(tree)
    proofs = [proof for row in rows(count) if isinstance(proof := tree.prove(str(row["key"])), RowProof)]
    for number in range(0, 2 * count + 1, 2):
        for left in (None, *proofs):
            for right in (None, *proofs):
                claim = AbsenceProof(key=f"{number:03d}", left=left, right=right)
                if claim == tree.prove(f"{number:03d}"):
                    verify_absence(root, claim)
                else:
                    with pytest.raises(ProofError):
                        verify_absence(root, claim)


def test_an_empty_manifest_has_no_key() -> None:
    nothing = AbsenceProof(key="a", left=None, right=None)
    verify_absence(ManifestRoot(root=EMPTY_ROOT, size=0), nothing)
    for root in (ManifestRoot(root=bytes(32), size=0), ManifestRoot(root=EMPTY_ROOT, size=1)):
        with pytest.raises(ProofError):
            verify_absence(root, nothing)
    one = root_of(ManifestTree(rows(1)))
    with pytest.raises(ProofError):
        verify_absence(one, nothing)


def test_absence_proofs_are_bound_to_their_manifest() -> None:
    without, with_it = ManifestTree(rows(5)), ManifestTree([*rows(5), {"key": "secret"}])
    proof = without.prove("secret")
    assert isinstance(proof, AbsenceProof)
    verify_absence(root_of(without), proof)
    with pytest.raises(ProofError):
        verify_absence(root_of(with_it), proof)


def test_keys_ascend_by_their_utf8_bytes() -> None:
    """By code point and by UTF-8 a character beyond U+FFFF is last; by UTF-16 it would precede U+FB33."""
    keys = ["", "A", "a", "a/b", "aa", "\u00e9", "\u20ac", "\ufb33", "\U0001f600"]
    assert keys == sorted(keys, key=str.encode)
    tree = ManifestTree({"key": key} for key in keys)
    for key in keys:
        proof = tree.prove(key)
        assert isinstance(proof, RowProof)
        verify_row(root_of(tree), proof)
    with pytest.raises(FormatError, match="ascend"):
        manifest_root({"key": key} for key in ["\U0001f600", "\ufb33"])


@pytest.mark.parametrize("keys", [["b", "a"], ["a", "a"], ["a", "c", "b"], ["a", ""]])
def test_disorder_is_refused_everywhere(keys: list[str]) -> None:
    unordered: list[Row] = [{"key": key} for key in keys]
    data = b"".join(format_json(row) + b"\n" for row in unordered)
    for read in (manifest_root, ManifestTree, lambda given: list(format_rows(given))):
        with pytest.raises(FormatError, match=r"row\.key"):
            read(unordered)
    with pytest.raises(FormatError, match=r"row\.key"):
        list(parse_rows(data))


def test_rows_at_rest() -> None:
    data = b"".join(format_rows(rows(20)))
    assert list(parse_rows(data)) == list(parse_rows(BytesIO(data))) == rows(20)
    assert b"".join(format_rows(parse_rows(data))) == data
    assert list(parse_rows(b"")) == []


@pytest.mark.parametrize(
    "data",
    [
        b'{"key":"a"}',
        b'{"key":"a"}\r\n',
        b'{"key":"a"}\n\n',
        b"\n",
        b' {"key":"a"}\n',
        b'{"key": "a"}\n',
        b'{"b":1,"key":"a"}{"key":"b"}\n',
        b'{"a":1}\n',
        b'{"key":1}\n',
        b'{"key":null}\n',
        b'["key"]\n',
        b'"key"\n',
        b'{"key":"a","x":1.5}\n',
        b'{"key":"a","key":"a"}\n',
        b'{"key":"\\ud800"}\n',
        b'{"key":"\xff"}\n',
        b'{"key":"a","x":"' + b"x" * MAX_ROW + b'"}\n',
        b'{"key":"a"}\n{"key":"b"}',
    ],
)
def test_broken_rows_are_refused(data: bytes) -> None:
    with pytest.raises(FormatError, match="row"):
        list(parse_rows(data))


def test_the_largest_row() -> None:
    row: Row = {"key": "a", "x": "x" * (MAX_ROW - len(b'{"key":"a","x":""}'))}
    data = format_row(row)
    assert len(data) == MAX_ROW
    assert parse_row(data) == row
    assert list(parse_rows(data + b"\n")) == [row]
    for larger in ({**row, "y": 1}, {"key": "a" * MAX_ROW}):
        with pytest.raises(FormatError, match="more than"):
            format_row(larger)
        with pytest.raises(FormatError, match="row"):
            list(parse_rows(format_json(larger) + b"\n"))


@pytest.mark.parametrize(
    "row", [{}, {"key": 1}, {"key": None}, {"key": "\ud800"}, {"key": "a", "x": 0.5}, {"key": "a", "x": 2**53}]
)
def test_other_rows_are_not_written(row: dict[str, JSON]) -> None:
    with pytest.raises(FormatError):
        format_row(row)
    with pytest.raises(FormatError):
        manifest_root([row])
    with pytest.raises(FormatError):
        verify_row(ManifestRoot(root=bytes(32), size=1), RowProof(row=row, index=0, proof=()))


def test_one_row_at_a_time() -> None:
    """A root is computed while rows arrive: nothing but the frontier is kept."""
    alive = 0

    def stream() -> Iterator[Row]:
        nonlocal alive
        for number in range(5000):
            alive = number
            yield {"key": f"{number:06d}"}

    assert manifest_root(stream()).size == 5000
    assert alive == 4999
    endless = iter(lambda: b'{"key":"a"}\n', b"")
    reader = BytesIO(b"".join(next(endless) for _ in range(2)))
    first = parse_rows(reader)
    assert next(iter(first)) == {"key": "a"}
    with pytest.raises(FormatError):
        next(iter(first))


@pytest.mark.parametrize(
    "value",
    [
        None,
        [],
        {},
        {"index": 0, "proof": []},
        {"index": 0, "proof": [], "row": {"key": "a"}, "more": 1},
        {"index": "0", "proof": [], "row": {"key": "a"}},
        {"index": True, "proof": [], "row": {"key": "a"}},
        {"index": 0, "proof": {}, "row": {"key": "a"}},
        {"index": 0, "proof": [1], "row": {"key": "a"}},
        {"index": 0, "proof": ["AAAA"], "row": {"key": "a"}},
        {"index": 0, "proof": ["A" * 43 + "="], "row": "a"},
        {"index": 0, "proof": [], "row": {"key": 1}},
        {"index": 0, "proof": [], "row": {}},
    ],
)
def test_broken_row_proofs_are_refused(value: JSON) -> None:
    with pytest.raises(FormatError, match=r"evidence\.row|row\.key"):
        decode(RowProof, value, "evidence.row")
    for side in ("left", "right"):
        with pytest.raises(FormatError):
            decode(AbsenceProof, {"key": "a", side: value}, "absence proof")


@pytest.mark.parametrize("value", [None, {}, {"key": 1}, {"key": "a", "left": None}, {"key": "a", "other": 1}])
def test_broken_absence_proofs_are_refused(value: JSON) -> None:
    with pytest.raises(FormatError, match="absence proof"):
        decode(AbsenceProof, value, "absence proof")
