"""The software bill of materials of a release, in CycloneDX 1.6 JSON, from its recipe, its source and its lock.

The product is the root component. Packages and wheels of the environment have the scope "excluded": they build the
product and are not shipped with it. The same inputs give the same bytes: the serial number is derived, and the time is
the commit's.
"""

from __future__ import annotations

import datetime
import uuid
from collections.abc import Sequence

from cyclonedx.model import ExternalReference, ExternalReferenceType, HashAlgorithm, HashType, Property, XsUri
from cyclonedx.model.bom import Bom, BomMetaData
from cyclonedx.model.component import Component, ComponentScope, ComponentType
from cyclonedx.output.json import JsonV1Dot6
from glasshouse_verify.statement import URI_BASE, Source
from packageurl import PackageURL

from glasshouse.conveyor.build import BuildResult, Output
from glasshouse.conveyor.debian import DEFAULT_MIRRORS
from glasshouse.conveyor.lock import Lock
from glasshouse.conveyor.recipe import DebianSource, GitSource, IndexSource, Recipe


def bill_of_materials(source: Source, recipe: Recipe, lock: Lock, result: BuildResult) -> bytes:
    """The SBOM of a release, from its source statement, its recipe, the lock of its environment and its outputs."""
    vendor, _, name = source.product.partition("/")
    product = Component(
        name=name,
        version=source.version,
        type=ComponentType.APPLICATION,
        bom_ref=source.product,
        publisher=vendor,
        external_references=_origin(recipe),
        properties=[
            Property(name="glasshouse:source:root", value=source.manifest.root),
            Property(name="glasshouse:lock:root", value=source.lock.root),
            Property(name="glasshouse:platform", value=recipe.platform),
        ],
    )
    parts = [*_files(result.outputs), *_debs(lock), *_wheels(lock)]
    identity = f"{source.product} {source.version} {source.manifest.root} {source.lock.root}"
    bom = Bom(
        components=parts,
        serial_number=uuid.uuid5(uuid.uuid5(uuid.NAMESPACE_URL, URI_BASE), identity),
        metadata=BomMetaData(
            component=product, timestamp=datetime.datetime.fromtimestamp(source.epoch, tz=datetime.UTC)
        ),
    )
    bom.register_dependency(product, parts)
    return JsonV1Dot6(bom).output_as_string(indent=1).encode() + b"\n"


def _origin(recipe: Recipe) -> list[ExternalReference]:
    """Where the maintainer took the source from; a local path means nothing elsewhere and is left out."""
    match recipe.source:
        case IndexSource(name=name, version=version, sha256=digest):
            url, hashes = str(PackageURL("pypi", None, name, version)), _sha256(digest)
            return [ExternalReference(type=ExternalReferenceType.SOURCE_DISTRIBUTION, url=XsUri(url), hashes=hashes)]
        case DebianSource(path=path, sha256=digest):
            url, hashes = f"{DEFAULT_MIRRORS['debian']}/{path}", _sha256(digest)
            return [ExternalReference(type=ExternalReferenceType.SOURCE_DISTRIBUTION, url=XsUri(url), hashes=hashes)]
        case GitSource(location=location) if "://" in location:
            return [ExternalReference(type=ExternalReferenceType.VCS, url=XsUri(location))]
        case _:
            return []


def _sha256(digest: str) -> list[HashType]:
    return [HashType(alg=HashAlgorithm.SHA_256, content=digest)]


def _files(outputs: Sequence[Output]) -> list[Component]:
    return [
        Component(
            name=output.name, type=ComponentType.FILE, bom_ref=f"file/{output.name}", hashes=_sha256(output.sha256)
        )
        for output in outputs
    ]


def _debs(lock: Lock) -> list[Component]:
    components = []
    for deb in lock.debs:
        qualifiers = {"arch": str(deb.architecture), "distro": str(lock.environment.suite)}
        purl = PackageURL("deb", "debian", deb.name, deb.version, qualifiers)
        components.append(_tool(deb.key, deb.name, deb.version, deb.sha256, purl))
    return components


def _wheels(lock: Lock) -> list[Component]:
    return [
        _tool(wheel.key, wheel.name, wheel.version, wheel.sha256, PackageURL("pypi", None, wheel.name, wheel.version))
        for wheel in lock.wheels
    ]


def _tool(reference: str, name: str, version: str, digest: str, purl: PackageURL) -> Component:
    return Component(
        name=name,
        version=version,
        type=ComponentType.LIBRARY,
        bom_ref=reference,
        scope=ComponentScope.EXCLUDED,
        purl=purl,
        hashes=_sha256(digest),
    )
