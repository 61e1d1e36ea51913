"""Turns the rule files of a source tree into a rule database: ordered sources, and the form that yara-x compiles.

    python3 compile_rules.py NAME TOP       reads TOP/**/*.yar[a], writes /build/out/NAME.rules.tar and NAME.yarc

A list of indicators beside them, iocs/hash-iocs.txt, goes along as it is: NAME.hash-iocs.txt.

The archive holds `rules.json` (compiler, externals, file names in order, digest of the compiled form), then the files
in that order, each with its `include` lines replaced by what they include. Files are ordered by the bytes of their
paths.
"""

import hashlib
import io
import json
import os
import re
import sys
import tarfile
from importlib.metadata import version
from pathlib import Path

import yara_x

# What scanners define for each file; "" is what a database is compiled with. The order reaches the compiled form.
EXTERNALS = {"extension": "", "filename": "", "filepath": "", "filetype": "", "owner": ""}
INCLUDE = re.compile(r'^[ \t]*include[ \t]+"([^"\n]+)"[^\n]*$', re.MULTILINE)
MAX_DEPTH = 8
INDICATORS = Path("iocs/hash-iocs.txt")


def flatten(path: Path, depth: int = 0) -> str:
    """The text of a rule file with its includes in place; they are looked for beside it."""
    if depth > MAX_DEPTH:
        sys.exit(f"{path}: includes are nested deeper than {MAX_DEPTH}")
    text = path.read_text(encoding="utf-8")
    return INCLUDE.sub(lambda match: flatten(path.parent / match[1], depth + 1), text)


def main() -> None:
    """Compile, then write both files."""
    name, top = sys.argv[1], Path(sys.argv[2])
    paths = [path for path in top.rglob("*") if path.suffix in (".yar", ".yara")]
    paths.sort(key=lambda path: str(path).encode())
    if not paths:
        sys.exit(f"{top}: holds no rule file")
    compiler = yara_x.Compiler(includes_enabled=False)
    for external, value in EXTERNALS.items():
        compiler.define_global(external, value)
    sources = {}
    for path in paths:
        sources[str(path)] = flatten(path)
        compiler.add_source(sources[str(path)], origin=str(path))
    compiled = io.BytesIO()
    compiler.build().serialize_into(compiled)
    out = Path("/build/out")
    (out / f"{name}.yarc").write_bytes(compiled.getvalue())
    description = {
        "schema": "glasshouse.rules/v1",
        "compiler": f"yara-x {version('yara-x')}",
        "externals": EXTERNALS,
        "sources": list(sources),
        "compiled": {"sha256": hashlib.sha256(compiled.getvalue()).hexdigest(), "size": len(compiled.getvalue())},
    }
    text = json.dumps(description, ensure_ascii=False, sort_keys=True, separators=(",", ":"))
    with tarfile.open(out / f"{name}.rules.tar", "w", format=tarfile.PAX_FORMAT) as archive:
        for member, content in {"rules.json": text, **sources}.items():
            data = content.encode()
            info = tarfile.TarInfo(member)
            info.size, info.mtime = len(data), int(os.environ["SOURCE_DATE_EPOCH"])
            archive.addfile(info, io.BytesIO(data))
    if INDICATORS.exists():
        (out / f"{name}.hash-iocs.txt").write_bytes(INDICATORS.read_bytes())
    print(f"{len(sources)} files, compiled by {description['compiler']}")


main()
