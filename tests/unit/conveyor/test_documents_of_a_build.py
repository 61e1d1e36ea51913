"""Provenance and SBOM: small, reproducible, accepted by the formats' own checkers. Rule databases: sources rule."""

import io
import json
import tarfile
from hashlib import sha256
from importlib.metadata import version
from pathlib import Path

import pytest
import yara_x
from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator
from glasshouse_verify.encoding import format_json
from glasshouse_verify.statement import Pack, Source, Tree, Use, build_parameters, parse_statement
from google.protobuf import json_format
from in_toto_attestation.predicates.provenance.v1 import provenance_pb2
from in_toto_attestation.v1 import statement_pb2
from workshop import RECIPES, environment

from glasshouse.conveyor.build import NOT_VARIED, BuildResult, Output
from glasshouse.conveyor.errors import InvalidInput, RulesMismatch, ToolUnavailable
from glasshouse.conveyor.provenance import BUILD_TYPE, provenance
from glasshouse.conveyor.recipe import parse_recipe
from glasshouse.conveyor.rules import check_compiled, compile_rules, read_rules
from glasshouse.conveyor.sbom import bill_of_materials

DIGEST = "ab" * 32


@pytest.fixture
def source() -> Source:
    lock = environment().lock
    return Source(
        party="acme",  # type: ignore[arg-type]
        product="acme/hello-c",  # type: ignore[arg-type]
        version="1.0",  # type: ignore[arg-type]
        manifest=Tree(root=DIGEST, size=3),  # type: ignore[arg-type]
        lock=Tree(root=lock.root.root.hex(), size=lock.root.size),  # type: ignore[arg-type]
        lock_file=sha256(lock.data).hexdigest(),  # type: ignore[arg-type]
        indexes=tuple(row.sha256 for row in lock.indexes),
        recipe="glasshouse/recipe.toml",  # type: ignore[arg-type]
        epoch=1_732_147_200,
        time=1_732_147_300,
        pack=Pack(sha256=DIGEST, size=1, recipients=()),  # type: ignore[arg-type]
    )


@pytest.fixture
def result(tmp_path: Path) -> BuildResult:
    (tmp_path / "build.log").write_text("log")
    (tmp_path / "hello").write_bytes(b"hello")
    output = Output(name="hello", path=tmp_path / "hello", sha256=sha256(b"hello").hexdigest(), size=5)
    return BuildResult(
        outputs=(output,),
        log=tmp_path / "build.log",
        started=1_800_000_000,
        finished=1_800_000_010,
        variations={"cpus": "0,1", "kernel": "6.1"},
        not_varied=NOT_VARIED,
        executor="bubblewrap 0.8.0",
    )


def test_provenance_says_what_went_in_and_nothing_else(source: Source, result: BuildResult) -> None:
    payload = provenance(source, result, "acme")
    assert len(payload) < 2500
    statement = parse_statement(payload)
    assert statement.use is Use.PROVENANCE
    assert statement.subject == (("hello", sha256(b"hello").hexdigest()),)
    definition = statement.predicate["buildDefinition"]
    assert definition["buildType"] == BUILD_TYPE
    assert definition["externalParameters"] == build_parameters(source)
    details = statement.predicate["runDetails"]
    assert details["builder"]["id"].endswith("/party/acme")
    assert details["metadata"] == {"startedOn": "2027-01-15T08:00:00Z", "finishedOn": "2027-01-15T08:00:10Z"}


def test_provenance_follows_the_slsa_and_in_toto_definitions(source: Source, result: BuildResult) -> None:
    """The peers' own message types take it; they refuse a member that they do not know."""
    document = json.loads(provenance(source, result, "acme"))
    json_format.ParseDict(document, statement_pb2.Statement())
    json_format.ParseDict(document["predicate"], provenance_pb2.Provenance())


def test_the_sbom_is_the_same_every_time_and_valid(source: Source, result: BuildResult) -> None:
    found = environment()
    document = bill_of_materials(source, found.recipe, found.lock, result)
    assert document == bill_of_materials(source, found.recipe, found.lock, result)
    bom = json.loads(document)
    assert bom["metadata"]["timestamp"] == "2024-11-21T00:00:00+00:00"
    assert bom["metadata"]["component"]["name"] == "hello-c"
    listed = {component["bom-ref"]: component for component in bom["components"]}
    assert len(listed) == len(found.lock.debs) + 1
    assert listed["file/hello"]["hashes"][0]["content"] == sha256(b"hello").hexdigest()
    assert all(component["scope"] == "excluded" for ref, component in listed.items() if ref.startswith("deb/"))
    assert listed["deb/tar"]["purl"].startswith("pkg:deb/debian/tar@")


def test_the_sbom_follows_the_schema(source: Source, result: BuildResult) -> None:
    found = environment()
    recipe = parse_recipe((RECIPES / "yara-python/recipe.toml").read_bytes())
    for each in (found.recipe, recipe):
        document = bill_of_materials(source, each, found.lock, result)
        assert JsonStrictValidator(SchemaVersion.V1_6).validate_str(document.decode()) is None


# --- rule databases -------------------------------------------------------------------------------------------------

RULE = 'rule one { strings: $a = "one" condition: $a and filename == "" }\n'


def database(directory: Path, sources: dict[str, str], changes: dict[str, object] | None = None) -> tuple[Path, Path]:
    """Write sources and compiled form as the build step does; `changes` are what a cheat writes into rules.json."""
    compiler = yara_x.Compiler()
    compiler.define_global("filename", "")
    for name, text in sources.items():
        compiler.add_source(text, origin=name)
    compiled = io.BytesIO()
    compiler.build().serialize_into(compiled)
    data = compiled.getvalue()
    (directory / "x.yarc").write_bytes(data)
    description = {
        "schema": "glasshouse.rules/v1",
        "compiler": f"yara-x {version('yara-x')}",
        "externals": {"filename": ""},
        "sources": list(sources),
        "compiled": {"sha256": sha256(data).hexdigest(), "size": len(data)},
        **(changes or {}),
    }
    with tarfile.open(directory / "x.rules.tar", "w") as archive:
        for name, content in {"rules.json": format_json(description), **sources}.items():
            blob = content if isinstance(content, bytes) else content.encode()
            info = tarfile.TarInfo(name)
            info.size = len(blob)
            archive.addfile(info, io.BytesIO(blob))
    return directory / "x.rules.tar", directory / "x.yarc"


def test_the_compiled_form_follows_from_the_sources(tmp_path: Path) -> None:
    sources, compiled = database(tmp_path, {"b.yar": RULE, "a.yar": RULE.replace("one", "two")})
    rules, texts = read_rules(sources)
    assert rules.sources == ("b.yar", "a.yar")
    assert compile_rules(rules, texts) == compiled.read_bytes()
    check_compiled(sources, compiled)


def test_a_compiled_form_of_other_sources_is_refused(tmp_path: Path) -> None:
    (tmp_path / "other").mkdir()
    sources, compiled = database(tmp_path, {"a.yar": RULE})
    _, other = database(tmp_path / "other", {"a.yar": RULE.replace('"one"', '"secret"')})
    with pytest.raises(RulesMismatch, match="its sources name"):
        check_compiled(sources, other)
    digest = {"sha256": sha256(other.read_bytes()).hexdigest(), "size": other.stat().st_size}
    cheat, _ = database(tmp_path, {"a.yar": RULE}, {"compiled": digest})
    with pytest.raises(RulesMismatch, match="its sources compile to"):
        check_compiled(cheat, other)
    assert compiled.exists()


@pytest.mark.parametrize(
    ("sources", "changes", "error"),
    [
        ({"a.yar": RULE}, {"schema": "other"}, InvalidInput),
        ({"a.yar": RULE}, {"sources": ["a.yar", "b.yar"]}, InvalidInput),
        ({"a.yar": RULE}, {"sources": []}, InvalidInput),
        ({"a.yar": RULE, "b.yar": RULE.replace("one", "two")}, {"sources": ["b.yar", "a.yar"]}, InvalidInput),
        ({"a.yar": RULE}, {"extra": 1}, InvalidInput),
        ({"a.yar": RULE}, {"compiler": "yara-x 0.0.1"}, ToolUnavailable),
        ({"a.yar": RULE}, {"externals": {}}, InvalidInput),
    ],
)
def test_a_malformed_database_is_refused(
    sources: dict[str, str], changes: dict[str, object], error: type[Exception], tmp_path: Path
) -> None:
    places = database(tmp_path, sources, changes)
    with pytest.raises(error):
        check_compiled(*places)


def test_a_rule_file_cannot_include_a_file_of_the_host(tmp_path: Path) -> None:
    sources, compiled = database(tmp_path, {"a.yar": RULE})
    rules, _ = read_rules(sources)
    (tmp_path / "secret.yar").write_text("rule secret { condition: true }")
    with pytest.raises(InvalidInput, match="include"):
        compile_rules(rules, {"a.yar": f'include "{tmp_path}/secret.yar"\n{RULE}'})
    assert compiled.exists()
