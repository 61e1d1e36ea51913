"""The public Python package index as an origin: which file names it lists, with which SHA-256 (PEP 503, PEP 691)."""

from __future__ import annotations

import json
import os
import re
from dataclasses import dataclass
from html.parser import HTMLParser
from urllib.parse import urljoin, urlsplit

import httpx

from glasshouse.conveyor.errors import OriginUnavailable
from glasshouse.conveyor.store import get_bytes

DEFAULT_INDEX_URL = "https://pypi.org/simple"
MAX_PAGE_BYTES = 64 << 20
_JSON_TYPE = "application/vnd.pypi.simple.v1+json"
_ACCEPT = f"{_JSON_TYPE}, text/html;q=0.5"
_SHA256 = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True, kw_only=True)
class IndexedFile:
    """A file that the index lists: where it is, and its SHA-256 in lowercase hex."""

    filename: str
    url: str
    sha256: str


def default_index_url() -> str:
    """The index this machine is set to use, else the public one."""
    for name in ("UV_DEFAULT_INDEX", "UV_INDEX_URL", "PIP_INDEX_URL"):
        if value := os.environ.get(name):
            return value
    return DEFAULT_INDEX_URL


def list_files(name: str, client: httpx.Client, index_url: str | None = None) -> dict[str, IndexedFile]:
    """Every file of a project that carries a SHA-256, by file name. Raises `OriginUnavailable`."""
    project = re.sub(r"[-_.]+", "-", name).lower()
    url = f"{(index_url or default_index_url()).rstrip('/')}/{project}/"
    page, content_type = get_bytes(url, client, MAX_PAGE_BYTES, _ACCEPT)
    try:
        files = _from_json(page, url) if content_type.startswith(_JSON_TYPE) else _from_html(page, url)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise OriginUnavailable(f"{url} is not a package index page") from error
    return {file.filename: file for file in files}


def _from_json(page: bytes, url: str) -> list[IndexedFile]:
    return [
        IndexedFile(filename=file["filename"], url=urljoin(url, file["url"]), sha256=digest)
        for file in json.loads(page)["files"]
        if isinstance(digest := file["hashes"].get("sha256"), str) and _SHA256.fullmatch(digest)
    ]


def _from_html(page: bytes, url: str) -> list[IndexedFile]:
    anchors = _Anchors()
    anchors.feed(page.decode("utf-8"))
    files = []
    for href in anchors.hrefs:
        place, _, fragment = urljoin(url, href).partition("#")
        digest = fragment.removeprefix("sha256=")
        if _SHA256.fullmatch(digest):
            filename = urlsplit(place).path.rpartition("/")[2]
            files.append(IndexedFile(filename=filename, url=place, sha256=digest))
    return files


class _Anchors(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.hrefs: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Collect the target of each link."""
        if tag == "a":
            self.hrefs += [value for key, value in attrs if key == "href" and value]
