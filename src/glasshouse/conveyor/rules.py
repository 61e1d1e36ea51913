"""Rule databases as products: ordered sources, and the compiled form that must follow from them.

A database ships as `NAME.rules.tar` (rules.json, then the rule files in order) and `NAME.yarc`. What counts are the
sources: `compile_rules` makes the compiled form again, on any machine with the same version of yara-x, and
`check_compiled` refuses a compiled form that does not follow from the sources beside it.
"""

import io
from collections.abc import Mapping
from dataclasses import dataclass
from hashlib import file_digest, sha256
from importlib.metadata import version
from pathlib import Path

import yara_x
from glasshouse_verify.codec import Digest, Text, decode
from glasshouse_verify.codec import Path as TreePath
from glasshouse_verify.encoding import parse_json
from glasshouse_verify.errors import FormatError

from glasshouse.conveyor.archive import ArchiveError, Limits, read_all, read_members
from glasshouse.conveyor.errors import InvalidInput, RulesMismatch, ToolUnavailable

SCHEMA = "glasshouse.rules/v1"
RULES_LIMITS = Limits(members=100_000, total_bytes=512 << 20)
_DESCRIPTION = "rules.json"
_MAX_DESCRIPTION_BYTES = 8 << 20


@dataclass(frozen=True, kw_only=True)
class Compiled:
    """Digest and size in bytes of a compiled form."""

    sha256: Digest
    size: int


@dataclass(frozen=True, kw_only=True)
class Rules:
    """What rules.json says: compiler and version, defined externals, the files in order, and the compiled form."""

    schema: str
    compiler: Text
    externals: Mapping[Text, str]
    sources: tuple[TreePath, ...]
    compiled: Compiled


def read_rules(path: Path) -> tuple[Rules, dict[str, str]]:
    """Read an archive of ordered sources: its description, and each file's text by name, in order.

    Raises `InvalidInput` unless the archive holds exactly the described files in the described order.
    """
    texts: dict[str, str] = {}
    description = b""
    try:
        with path.open("rb") as stream:
            for member, content in read_members(stream, RULES_LIMITS):
                data = b"" if content is None else read_all(content, RULES_LIMITS.total_bytes)
                if not description:
                    if member.path != _DESCRIPTION:
                        raise InvalidInput(path.name, f"does not begin with {_DESCRIPTION}")
                    description = data
                elif content is None or member.path in texts:
                    raise InvalidInput(member.path, "is not a file, or is there twice")
                else:
                    texts[member.path] = data.decode()
        rules: Rules = decode(Rules, parse_json(description, _DESCRIPTION, _MAX_DESCRIPTION_BYTES), _DESCRIPTION)
    except ArchiveError as error:
        raise InvalidInput(path.name, str(error)) from error
    except UnicodeDecodeError as error:
        raise InvalidInput(path.name, "holds a file that is not UTF-8") from error
    except FormatError as error:
        raise InvalidInput(error.field, error.reason) from error
    if rules.schema != SCHEMA or tuple(texts) != rules.sources:
        raise InvalidInput(_DESCRIPTION, "does not describe the files that follow it")
    return rules, texts


def compile_rules(rules: Rules, texts: Mapping[str, str]) -> bytes:
    """Compile ordered sources. Raises `ToolUnavailable` with another version of yara-x, `InvalidInput` on errors."""
    here = f"yara-x {version('yara-x')}"
    if rules.compiler != here:
        raise ToolUnavailable(f"the rules were compiled by {rules.compiler}, this machine has {here}")
    compiler = yara_x.Compiler(includes_enabled=False)
    for external, value in rules.externals.items():
        compiler.define_global(external, value)
    out = io.BytesIO()
    try:
        for name, text in texts.items():
            compiler.add_source(text, origin=name)
        compiler.build().serialize_into(out)
    except yara_x.CompileError as error:
        raise InvalidInput("rules", f"do not compile: {error}") from error
    return out.getvalue()


def check_compiled(sources: Path, compiled: Path) -> None:
    """Raise `RulesMismatch` unless a compiled form is what its sources compile to, and what they say it is."""
    rules, texts = read_rules(sources)
    with compiled.open("rb") as file:
        shipped = file_digest(file, "sha256").hexdigest()
    if shipped != rules.compiled.sha256:
        raise RulesMismatch(f"{compiled.name} has SHA-256 {shipped}; its sources name {rules.compiled.sha256}")
    made = sha256(compile_rules(rules, texts)).hexdigest()
    if made != shipped:
        raise RulesMismatch(f"{compiled.name} has SHA-256 {shipped}; its sources compile to {made}")
