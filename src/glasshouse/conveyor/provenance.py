"""SLSA v1 provenance of a build: what was built from what, when, and on which machine.

The environment is named by the root of its lock, not listed: the lock itself is a file of the source manifest. See
docs/spec/provenance.md for an example.
"""

from __future__ import annotations

import datetime
from hashlib import sha256

from glasshouse_verify.encoding import JSON
from glasshouse_verify.statement import PROVENANCE_TYPE, URI_BASE, Source, build_parameters, format_statement

from glasshouse.conveyor.build import BuildResult

BUILD_TYPE = f"{URI_BASE}build/v1"
BUILDER_VERSION = "glasshouse.conveyor/v1"


def provenance(source: Source, result: BuildResult, party: str) -> bytes:
    """The payload of the provenance statement of a finished build; its subjects are the output files.

    `party` names the builder. Raises FormatError when the result has no output.
    """
    subjects = [(output.name, output.sha256) for output in result.outputs]
    return format_statement(PROVENANCE_TYPE, subjects, predicate(source, result, party))


def predicate(source: Source, result: BuildResult, party: str) -> dict[str, JSON]:
    """The predicate alone, as JSON of strings and integers, about 2 KB."""
    parameters: dict[str, JSON] = build_parameters(source)
    log = sha256(result.log.read_bytes()).hexdigest()
    return {
        "buildDefinition": {
            "buildType": BUILD_TYPE,
            "externalParameters": parameters,
            "internalParameters": {"SOURCE_DATE_EPOCH": source.epoch, "variations": dict(result.variations)},
            "resolvedDependencies": [
                _tree("source", source.manifest.root, source.manifest.size),
                _tree("environment", source.lock.root, source.lock.size),
            ],
        },
        "runDetails": {
            "builder": {"id": f"{URI_BASE}party/{party}", "version": {"format": BUILDER_VERSION}},
            "metadata": {"startedOn": _timestamp(result.started), "finishedOn": _timestamp(result.finished)},
            "byproducts": [{"name": result.log.name, "digest": {"sha256": log}}],
        },
    }


def _tree(name: str, root: str, size: int) -> JSON:
    """A resource descriptor of a manifest. Its root is no digest of a file, so it has a digest name of its own."""
    return {"name": name, "digest": {"manifestRootSha256": root}, "annotations": {"rows": size}}


def _timestamp(seconds: int) -> str:
    return datetime.datetime.fromtimestamp(seconds, tz=datetime.UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
