"""Witness policies (c2sp.org/tlog-policy): the format, the quorum, and the check of a checkpoint."""

from itertools import combinations

import pytest
from glasshouse_verify.errors import FormatError, QuorumError, SignatureError
from glasshouse_verify.note import COSIGNATURE_V1, Note, VerifierKey, format_vkey
from glasshouse_verify.policy import Group, Policy, check_checkpoint, witness_policy
from glasshouse_verify.policy_file import MAX_POLICY, format_policy, parse_policy
from notary import Notary, Tree, signed, witness

LOG = Notary("example.com/log")
LOG_LINE = f"log {format_vkey(LOG.key)}"
WITNESSES = {name: witness(f"{name}.example") for name in ("X1", "X2", "X3", "Y1", "Y2", "Y3")}
VKEYS = {name: format_vkey(notary.key) for name, notary in WITNESSES.items()}
TREE = Tree(8)
TEXT = TREE.checkpoint(7)

EXAMPLE = f"""{LOG_LINE}

witness X1 {VKEYS["X1"]}
witness X2 {VKEYS["X2"]}
witness X3 {VKEYS["X3"]}
group X-witnesses 2 X1 X2 X3

witness Y1 {VKEYS["Y1"]}
witness Y2 {VKEYS["Y2"]}
witness Y3 {VKEYS["Y3"]}
group Y-witnesses any Y1 Y2 Y3

group X-and-Y all X-witnesses Y-witnesses
quorum X-and-Y
"""


def policy(*lines: str) -> Policy:
    return parse_policy("".join(f"{line}\n" for line in lines).encode())


def line(name: str) -> str:
    return f"witness {name} {VKEYS[name]}"


def test_example_of_the_specification() -> None:
    example = parse_policy(EXAMPLE.encode())
    assert parse_policy(format_policy(example)) == example
    assert format_policy(parse_policy(format_policy(example))) == format_policy(example)
    for count in range(7):
        for names in combinations(WITNESSES, count):
            expected = sum(name[0] == "X" for name in names) >= 2 and any(name[0] == "Y" for name in names)
            assert example.satisfied_by(names) is expected
            note = signed(TEXT, LOG, *(WITNESSES[name] for name in names))
            if expected:
                cosigned = check_checkpoint(example, note)
                assert cosigned.checkpoint.size == 7
                assert cosigned.log == LOG.key
                assert cosigned.witnesses == dict.fromkeys(names, 1_700_000_000)
            else:
                with pytest.raises(QuorumError, match="X-and-Y"):
                    check_checkpoint(example, note)


def test_white_space_comments_and_urls() -> None:
    spaced = policy(
        "# a comment",
        "",
        " \t ",
        f"\tlog \t {format_vkey(LOG.key)}   https://example.com/log ",
        "  # another",
        f"{line('X1')}\thttps://w1.example",
        line("X2"),
        "group  g\tany  X1 X2",
        "quorum g",
        "#",
    )
    assert spaced.urls == {LOG.key: "https://example.com/log", WITNESSES["X1"].key: "https://w1.example"}
    assert parse_policy(format_policy(spaced)) == spaced
    assert b"https://w1.example\n" in format_policy(spaced)


def test_single_witness_none_and_empty() -> None:
    assert policy(LOG_LINE, line("X1"), "quorum X1").satisfied_by(["X1"])
    assert not policy(LOG_LINE, line("X1"), "quorum X1").satisfied_by([])
    assert policy("quorum none").satisfied_by([])
    assert check_checkpoint(policy(LOG_LINE, "quorum none"), signed(TEXT, LOG)).witnesses == {}
    with pytest.raises(SignatureError):
        check_checkpoint(policy("quorum none"), signed(TEXT, LOG))


def test_names_are_octets() -> None:
    kelvin, latin1, space = b"\xe2\x84\xaa", b"\xe9", b"\xc2\xa0"
    names = zip((b"K", kelvin, latin1, space), VKEYS.values(), strict=False)
    data = b"".join(b"witness %b %b\n" % (name, vkey.encode()) for name, vkey in names)
    data += b"group g 2 K %b %b\nquorum g\n" % (kelvin, latin1)
    parsed = parse_policy(data)
    assert len(parsed.witnesses) == 4
    assert parse_policy(format_policy(parsed)) == parsed
    assert latin1 in format_policy(parsed)


@pytest.mark.parametrize(
    "lines",
    [
        [],
        [LOG_LINE],
        ["quorum X1"],
        ["quorum"],
        ["quorum none", "quorum none"],
        ["quorum none none"],
        ["quorum g", line("X1"), "group g any X1"],
        [line("X1"), "quorum X1", "quorum X1"],
        ["log"],
        [LOG_LINE + " https://a https://b", "quorum none"],
        [LOG_LINE, LOG_LINE, "quorum none"],
        [f"log {VKEYS['X1']}", "quorum none"],
        [f"witness w {format_vkey(LOG.key)}", "quorum none"],
        ["witness w", "quorum none"],
        ["witness w not+a+vkey", "quorum none"],
        [line("X1") + " https://a b", "quorum none"],
        [line("X1"), line("X1"), "quorum none"],
        [line("X1"), f"witness X1 {VKEYS['X2']}", "quorum none"],
        [line("X1"), f"witness other {VKEYS['X1']}", "quorum none"],
        [f"witness none {VKEYS['X1']}", "quorum none"],
        [line("X1"), "group X1 any X1", "quorum X1"],
        [line("X1"), "group none any X1", "quorum none"],
        [line("X1"), line("X2"), "group g any X1", "group g any X2", "quorum g"],
        [line("X1"), "group g any X1", f"witness g {VKEYS['X2']}", "quorum g"],
        ["group g any", "quorum g"],
        ["group g all", "quorum g"],
        ["group g 0", "quorum g"],
        ["group g any none", "quorum g"],
        ["group g any g", "quorum g"],
        [line("X1"), "group g X1", "quorum g"],
        [line("X1"), "group g any X1 X1", "quorum g"],
        [line("X1"), "group g any X1 X2", line("X2"), "quorum g"],
        [line("X1"), "group g any X1", "group h any X1", "quorum h"],
        [line("X1"), "group g any X1", "group h all g", "group i all g", "quorum i"],
        [line("X1"), "group g 0 X1", "quorum g"],
        [line("X1"), "group g 2 X1", "quorum g"],
        [line("X1"), "group g 01 X1", "quorum g"],
        [line("X1"), "group g +1 X1", "quorum g"],
        [line("X1"), "group g -1 X1", "quorum g"],
        [line("X1"), "group g ANY X1", "quorum g"],
        [line("X1"), "group g ١ X1", "quorum g"],
        ["LOG x", "quorum none"],
        ["unknown line", "quorum none"],
        ["quorum none # comment"],
    ],
)
def test_broken_policies_are_refused(lines: list[str]) -> None:
    with pytest.raises(FormatError, match="policy"):
        policy(*lines)


@pytest.mark.parametrize("octet", [0x00, 0x0B, 0x0C, 0x0D, 0x1B, 0x1F, 0x7F])
def test_control_characters_are_refused(octet: int) -> None:
    with pytest.raises(FormatError, match="control"):
        parse_policy(b"# a%cb\nquorum none\n" % octet)


def test_a_cut_or_oversize_policy_is_refused() -> None:
    with pytest.raises(FormatError, match="newline"):
        parse_policy(b"quorum none")
    with pytest.raises(FormatError, match="more than"):
        parse_policy(b"#" * MAX_POLICY + b"\nquorum none\n")


def test_two_names_of_one_key_count_as_one_key() -> None:
    """The same public key under another name and id would let one witness cosign twice."""
    twin = VerifierKey(name="twin.example", algorithm=COSIGNATURE_V1, public=WITNESSES["X1"].key.public)
    assert twin.key_id != WITNESSES["X1"].key.key_id
    with pytest.raises(FormatError, match="one public key"):
        policy(LOG_LINE, line("X1"), f"witness twin {format_vkey(twin)}", "group g all X1 twin", "quorum g")


def test_more_than_the_32_of_each_kind_that_the_specification_asks_for() -> None:
    logs = [f"log {format_vkey(Notary(f'log{n}').key)}" for n in range(40)]
    witnesses = [f"witness w{n} {format_vkey(witness(f'w{n}').key)}" for n in range(40)]
    groups = [f"group g{n} any w{n}" for n in range(40)]
    many = policy(*logs, *witnesses, *groups, "group q 40 " + " ".join(f"g{n}" for n in range(40)), "quorum q")
    assert many.satisfied_by(f"w{n}" for n in range(40))
    assert not many.satisfied_by(f"w{n}" for n in range(39))
    assert parse_policy(format_policy(many)) == many


def test_a_long_chain_of_groups() -> None:
    chain = ["group g0 any X1", *(f"group g{n} all g{n - 1}" for n in range(1, 2000))]
    assert policy(line("X1"), *chain, "quorum g1999").satisfied_by(["X1"])


def test_a_name_of_a_group_is_no_cosignature() -> None:
    two = policy(LOG_LINE, line("X1"), line("X2"), "group g all X1 X2", "quorum g")
    with pytest.raises(QuorumError):
        check_checkpoint(two, signed(TEXT, LOG, WITNESSES["X1"], Notary("g"), Notary("X2")))


def test_only_a_log_for_its_own_origin_counts() -> None:
    other = Notary("other.example/log")
    both = policy(LOG_LINE, f"log {format_vkey(other.key)}", line("X1"), "quorum X1")
    assert check_checkpoint(both, signed(TEXT, LOG, other, WITNESSES["X1"])).log == LOG.key
    for note in (
        signed(TEXT, other, WITNESSES["X1"]),
        signed(TEXT, WITNESSES["X1"]),
        signed(TREE.checkpoint(7, "third.example/log"), LOG, other, WITNESSES["X1"]),
    ):
        with pytest.raises(SignatureError, match="origin"):
            check_checkpoint(both, note)
    with pytest.raises(SignatureError, match="no known key"):
        check_checkpoint(both, signed(TEXT, Notary("example.com/log", salt="stolen name")))


def test_a_bad_cosignature_rejects_although_the_quorum_is_there() -> None:
    one = policy(LOG_LINE, line("X1"), line("X2"), "group g any X1 X2", "quorum g")
    good = signed(TEXT, LOG, WITNESSES["X1"])
    bad = WITNESSES["X2"].sign(TREE.checkpoint(6), 5)
    with pytest.raises(SignatureError, match=r"X2\.example"):
        check_checkpoint(one, Note(text=TEXT, signatures=(*good.signatures, bad)))


def test_a_signed_text_that_is_no_checkpoint() -> None:
    with pytest.raises(FormatError, match="checkpoint"):
        check_checkpoint(policy(LOG_LINE, "quorum none"), signed("example.com/log\n+7\nx\n", LOG))


# --- the policy of a charter ----------------------------------------------------------------------------------------


def parties(*counts: int) -> dict[str, list[VerifierKey]]:
    return {f"p{n}": [witness(f"p{n}w{m}.example").key for m in range(count)] for n, count in enumerate(counts)}


@pytest.mark.parametrize(
    ("count", "faulty", "needed"),
    [
        (1, 0, 1),
        (2, 0, 2),
        (3, 0, 3),
        (4, 0, 3),
        (4, 1, 3),
        (5, 0, 3),
        (5, 1, 4),
        (6, 1, 4),
        (7, 0, 4),
        (7, 1, 5),
        (7, 2, 5),
        (10, 3, 7),
    ],
)
def test_quorum_of_parties(count: int, faulty: int, needed: int) -> None:
    made = witness_policy(LOG.key, parties(*[1] * count), faulty)
    assert made.groups[-1] == Group(name=made.quorum, threshold=needed, members=tuple(f"p{n}" for n in range(count)))
    assert parse_policy(format_policy(made)) == made
    names = [f"p{n}/1" for n in range(count)]
    assert made.satisfied_by(names[:needed])
    assert not made.satisfied_by(names[: needed - 1])
    if count > 3:
        assert 2 * needed - count > faulty, "two quorums share an honest party"
        assert needed <= count - faulty, "the honest parties suffice"


@pytest.mark.parametrize(("count", "faulty"), [(0, 0), (1, 1), (3, 1), (6, 2), (4, -1)])
def test_too_few_parties(count: int, faulty: int) -> None:
    with pytest.raises(FormatError, match="witnesses"):
        witness_policy(LOG.key, parties(*[1] * count), faulty)


def test_a_party_with_many_witnesses_counts_once() -> None:
    made = witness_policy(LOG.key, parties(5, 1), 0)
    assert not made.satisfied_by(f"p0/{n}" for n in range(1, 6))
    assert made.satisfied_by(["p0/4", "p1/1"])
    with pytest.raises(FormatError, match="one has no witness"):
        witness_policy(LOG.key, parties(1, 0), 0)


def test_one_witness_of_two_parties_is_refused() -> None:
    key = WITNESSES["X1"].key
    with pytest.raises(FormatError, match="one public key"):
        witness_policy(LOG.key, {"a": [key], "b": [key]}, 0)


def test_urls_are_octets() -> None:
    data = LOG_LINE.encode() + b" https://a\xc2\xa0\n" + line("X1").encode() + b" \xe2\x80\xa8\nquorum none\n"
    assert format_policy(parse_policy(data)) == data


def test_policies_that_would_not_be_read_back_are_not_written() -> None:
    for name in ("a b", "", "a\tb", "a\n"):
        odd = Policy(logs=(), witnesses={name: WITNESSES["X1"].key}, groups=(), quorum="none")
        with pytest.raises(FormatError):
            format_policy(odd)
    for urls in (
        {LOG.key: "a b"},
        {LOG.key: "a\u2028 "},
        {LOG.key: ""},
        {WITNESSES["X1"].key: "https://nobody.example"},
    ):
        odd = Policy(logs=(LOG.key,), witnesses={}, groups=(), quorum="none", urls=urls)
        with pytest.raises(FormatError):
            format_policy(odd)
