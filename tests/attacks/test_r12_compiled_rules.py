"""R12 Compiled rules differ from their sources.

Cheat: the vendor publishes harmless rule sources and ships a compiled database with another rule in it, one that looks
    for documents; it names the wrong digest in the sources, or the right one of the wrong database.
Noticed by: every rebuilder, whose sandbox compiles the sources; and every endpoint by itself, which compiles them with
    the same version of yara-x before it loads anything.
Seen: *differs* for the compiled file; at the endpoint, the two digests. Nothing is loaded, since a compiled form is
    hashed before it is read.
"""

import io
import json
import tarfile
from hashlib import sha256
from pathlib import Path

import pytest
import yara_x
from glasshouse_verify.encoding import format_json
from workshop import EPOCH, RECIPES, digests, environment, tree_of

from glasshouse.conveyor.build import BuildResult, build
from glasshouse.conveyor.errors import RulesMismatch
from glasshouse.conveyor.rules import check_compiled, compile_rules, read_rules

HONEST = 'rule worm { strings: $a = "WORM-MARKER" condition: $a }\n'
HUNTER = 'rule hunter { strings: $a = "top secret" nocase condition: $a }\n'
SOURCES, COMPILED = "guarddog-rules.rules.tar", "guarddog-rules.yarc"


def built(directory: Path, rules: str) -> BuildResult:
    """A database of one file, built by the recipe of a real one."""
    found = environment("guarddog-rules")
    script = (RECIPES / "signature-base/compile_rules.py").read_text()
    tree = tree_of(directory / "tree", {"glasshouse/compile_rules.py": script, "guarddog/rules.yar": rules})
    return build(tree, found.recipe, found.root, EPOCH, directory / "out")


def finds(compiled: Path, text: bytes) -> bool:
    with compiled.open("rb") as file:
        return bool(yara_x.Rules.deserialize_from(file).scan(text).matching_rules)


def relabelled(sources: Path, compiled: bytes) -> Path:
    """The archive of honest sources, with the digest of another compiled form in its description."""
    changed = sources.with_name("relabelled.tar")
    with tarfile.open(sources) as archive, tarfile.open(changed, "w") as out:
        for info in archive.getmembers():
            content = archive.extractfile(info)
            data = b"" if content is None else content.read()
            if info.name == "rules.json":
                named = {"sha256": sha256(compiled).hexdigest(), "size": len(compiled)}
                data = format_json({**json.loads(data), "compiled": named})
                info.size = len(data)
            out.addfile(info, io.BytesIO(data))
    return changed


def test_control_an_honest_database(tmp_path: Path) -> None:
    """Two builds agree, and the endpoint compiles the same bytes as the sandbox did."""
    vendor, rebuilder = built(tmp_path / "vendor", HONEST), built(tmp_path / "rebuilder", HONEST)
    assert digests(vendor) == digests(rebuilder)
    check_compiled(tmp_path / "vendor/out" / SOURCES, tmp_path / "vendor/out" / COMPILED)
    assert finds(tmp_path / "vendor/out" / COMPILED, b"WORM-MARKER")


def test_attack_another_database_beside_honest_sources(tmp_path: Path) -> None:
    """The shipped database hunts documents, the sources do not: rebuilders and endpoints both get other bytes."""
    honest, cheat = built(tmp_path / "honest", HONEST), built(tmp_path / "cheat", HONEST + HUNTER)
    shipped = tmp_path / "cheat/out" / COMPILED
    assert finds(shipped, b"this is Top Secret")
    assert digests(honest)[COMPILED] != digests(cheat)[COMPILED]
    with pytest.raises(RulesMismatch) as caught:
        check_compiled(tmp_path / "honest/out" / SOURCES, shipped)
    assert digests(cheat)[COMPILED] in str(caught.value)
    assert digests(honest)[COMPILED] in str(caught.value)


def test_attack_sources_that_name_the_other_database(tmp_path: Path) -> None:
    """The description is bent to fit, so only compiling tells; the endpoint does compile."""
    built(tmp_path / "honest", HONEST)
    built(tmp_path / "cheat", HONEST + HUNTER)
    shipped = tmp_path / "cheat/out" / COMPILED
    bent = relabelled(tmp_path / "honest/out" / SOURCES, shipped.read_bytes())
    with pytest.raises(RulesMismatch, match="its sources compile to"):
        check_compiled(bent, shipped)
    rules, texts = read_rules(bent)
    assert HUNTER not in texts.values()
    assert sha256(compile_rules(rules, texts)).hexdigest() != rules.compiled.sha256
