"""Checkpoints (c2sp.org/tlog-checkpoint)."""

import pytest
from glasshouse_verify.checkpoint import Checkpoint, format_checkpoint, parse_checkpoint
from glasshouse_verify.errors import FormatError

TEXT = "example.com/behind-the-sofa\n20852163\nCsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I=\n"
ROOT = "CsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I="


def test_example() -> None:
    checkpoint = parse_checkpoint(TEXT)
    assert (checkpoint.origin, checkpoint.size, len(checkpoint.root)) == ("example.com/behind-the-sofa", 20852163, 32)
    assert format_checkpoint(checkpoint) == TEXT


@pytest.mark.parametrize(
    "text", [TEXT + "extension\n", TEXT + "a\nb c\n", TEXT.replace("example.com/behind-the-sofa", "any + origin")]
)
def test_extensions_and_free_origins(text: str) -> None:
    assert format_checkpoint(parse_checkpoint(text)) == text


@pytest.mark.parametrize("size", ["0", "1", str(2**63 - 1)])
def test_sizes(size: str) -> None:
    assert parse_checkpoint(TEXT.replace("20852163", size)).size == int(size)


@pytest.mark.parametrize(
    "size", ["", "-1", "+42", " 42", "42 ", "042", "00", "1_000", "٤٢", "0x1", "1e3", str(2**63), "9" * 5000]
)
def test_other_sizes_are_refused(size: str) -> None:
    with pytest.raises(FormatError, match="checkpoint"):
        parse_checkpoint(TEXT.replace("20852163", size))


@pytest.mark.parametrize(
    "text",
    [
        "",
        "\n",
        "\n\n\n",
        "a\n1\n",
        TEXT[:-1],
        TEXT + "\n",
        TEXT + "extension",
        TEXT + "a\n\nb\n",
        "\n" + TEXT,
        TEXT.replace("\n", "\r\n"),
        TEXT.replace("\n", "\u2028"),
        "\n1\n" + ROOT + "\n",
        TEXT.replace(ROOT, ROOT[:-1]),
        TEXT.replace(ROOT, ROOT.replace("I=", "J=")),
        TEXT.replace(ROOT, ROOT + ROOT),
        TEXT.replace(ROOT, "AAAA"),
        TEXT.replace(ROOT, " " + ROOT),
        TEXT.replace(ROOT, ROOT + " "),
    ],
)
def test_other_texts_are_refused(text: str) -> None:
    with pytest.raises(FormatError, match="checkpoint"):
        parse_checkpoint(text)


@pytest.mark.parametrize(
    "checkpoint",
    [
        Checkpoint(origin="", size=1, root=bytes(32)),
        Checkpoint(origin="a\nb", size=1, root=bytes(32)),
        Checkpoint(origin="a", size=-1, root=bytes(32)),
        Checkpoint(origin="a", size=2**63, root=bytes(32)),
        Checkpoint(origin="a", size=1, root=bytes(31)),
        Checkpoint(origin="a", size=1, root=bytes(32), extensions=("",)),
        Checkpoint(origin="a", size=1, root=bytes(32), extensions=("a\nb",)),
    ],
)
def test_checkpoints_that_would_not_be_read_back_are_not_written(checkpoint: Checkpoint) -> None:
    with pytest.raises(FormatError, match="checkpoint"):
        format_checkpoint(checkpoint)
