"""The supervisor's own way of listing a foreign store, so that one client's mistake is not everybody's.

The old site and the destinations list a bucket by botocore and ListObjectsV2; here it is Python's own HTTP client with
requests signed by hand, the first version of ListObjects, and expat; a directory is walked from below and sorted
afterwards. What both have to agree on is what `stores.interface` says of a listing: raw keys in order, every version,
oldest first, delete markers among them, an empty directory as an empty object.
"""

import contextlib
import http.client
import os
import ssl
import stat
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from itertools import groupby
from pathlib import Path
from urllib.parse import quote, unquote, unquote_to_bytes, urlsplit
from xml.parsers import expat

from botocore.auth import S3SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials as SigningCredentials

from glasshouse.relocation.errors import Forbidden, InvalidInput, StoreLied, Unavailable
from glasshouse.relocation.lists import sorted_lines
from glasshouse.relocation.stores.addresses import Bucket, Credentials, parse_bucket
from glasshouse.relocation.stores.interface import Source, Version
from glasshouse.storage.errors import ObjectMissing

TIMEOUT_SECONDS = 60.0
MAX_PAGE_BYTES = 16 << 20
_CHUNK_BYTES = 1 << 20
_MAX_ERROR_BYTES = 64 << 10
_ENTRIES = frozenset({"Contents", "Version", "DeleteMarker"})
_REFUSED = frozenset({401, 403})
_GONE = frozenset({404, 405})


def open_catalogue(url: str, credentials: Credentials | None, scratch: Path) -> Source:
    """The store at an address (see `stores.opening`), listed in this module's way; `scratch` is for sorting.

    Raises InvalidInput, and Unavailable for a directory that is not there.
    """
    if url.startswith("s3://"):
        if credentials is None:
            raise InvalidInput("store", f"{url} needs credentials", "Name a file with access_key and secret_key.")
        return BucketCatalogue(url, parse_bucket(url), credentials)
    parts = urlsplit(url)
    root = Path(unquote(parts.path))
    if parts.scheme != "file" or not root.is_absolute():
        raise InvalidInput("store", f"{url} is no address of a store", "Write s3://bucket?endpoint=… or file:///path.")
    if not root.is_dir():
        raise Unavailable(f"{root} is no directory that can be reached")
    return DirectoryCatalogue(root, scratch)


class DirectoryCatalogue:
    """A directory, walked from below. See Source."""

    def __init__(self, root: Path, scratch: Path) -> None:
        self.url, self._root, self._scratch = root.as_uri(), os.fsencode(root), scratch

    def list(self, after: bytes | None = None, upto: bytes | None = None) -> Iterator[Version]:
        """See Source. Raises InvalidInput for what is neither a directory nor a regular file."""
        for line in sorted_lines(self._lines(), self._scratch):
            name, size, modified = line.split()
            key = bytes.fromhex(name.decode())
            if (after is None or key > after) and (upto is None or key <= upto):
                yield Version(key=key, ordinal=0, version=None, marker=False, size=int(size), modified=int(modified))

    def _lines(self) -> Iterator[bytes]:
        def stop(error: OSError) -> None:
            raise self._translated(error)

        for place, directories, names in os.walk(self._root, topdown=False, onerror=stop):
            prefix = place[len(self._root) + 1 :] + b"/" if place != self._root else b""
            links = [name for name in directories if stat.S_ISLNK(os.lstat(place + b"/" + name).st_mode)]
            for name in (*names, *links):
                yield self._line(prefix + name, place + b"/" + name)
            if prefix and not names and not directories:
                yield b"%s 0 0\n" % prefix.hex().encode()

    def _line(self, key: bytes, path: bytes) -> bytes:
        try:
            found = os.lstat(path)
        except OSError as error:
            raise self._translated(error) from error
        if not stat.S_ISREG(found.st_mode):
            fix = "Remove it, or put the file that it stands for in its place."
            raise InvalidInput(f"{self.url} {key!r}", "is no regular file", fix)
        return b"%s %d %d\n" % (key.hex().encode(), found.st_size, found.st_mtime_ns // 1_000_000)

    def _translated(self, error: OSError) -> Exception:
        if isinstance(error, PermissionError):
            return Forbidden(self.url, f"reading {error.filename!r}")
        return Unavailable(f"{self.url}: {error.strerror}: {error.filename!r}")

    def read(self, version: Version) -> Iterator[bytes]:
        """See Source."""
        if version.key.endswith(b"/"):
            return iter(())
        try:
            descriptor = os.open(self._root + b"/" + version.key, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
        except FileNotFoundError:
            raise ObjectMissing(repr(version.key)) from None
        except OSError as error:
            raise self._translated(error) from error
        return self._pieces(descriptor)

    def _pieces(self, descriptor: int) -> Iterator[bytes]:
        with os.fdopen(descriptor, "rb", buffering=0) as file:
            try:
                while piece := file.read(_CHUNK_BYTES):
                    yield piece
            except OSError as error:
                raise self._translated(error) from error


class BucketCatalogue:
    """An S3 bucket. See Source; memory is bounded by a page and the versions of one key."""

    def __init__(self, url: str, bucket: Bucket, credentials: Credentials) -> None:
        self.url = url
        endpoint = urlsplit(bucket.endpoint or f"https://s3.{bucket.region}.amazonaws.com")
        self._secure, self._host = endpoint.scheme == "https", endpoint.hostname or ""
        self._port = endpoint.port or (443 if self._secure else 80)
        self._base = f"{endpoint.scheme}://{endpoint.netloc}"
        self._root = f"{endpoint.path.rstrip('/')}/{quote(bucket.name, safe='')}"
        known = SigningCredentials(credentials.access_key, credentials.secret_key, credentials.session_token)
        self._signing = S3SigV4Auth(known, "s3", bucket.region)
        self._tls = ssl.create_default_context() if self._secure else None

    def list(self, after: bytes | None = None, upto: bytes | None = None) -> Iterator[Version]:
        """See Source."""
        last: bytes | None = None
        for key, found in groupby(self._entries(after), key=lambda entry: entry.key):
            if last is not None and key <= last:
                raise StoreLied(f"{self.url} lists {key!r} after {last!r}: its order is not that of the keys")
            last = key
            if upto is not None and key > upto:
                return
            if after is None or key > after:
                # A listing has the newest version first.
                for ordinal, entry in enumerate(reversed(list(found))):
                    yield entry.version(ordinal)

    def read(self, version: Version) -> Iterator[bytes]:
        """See Source."""
        path = f"{self._root}/{quote(version.key, safe='/~')}"
        query = {} if version.version is None else {"versionId": version.version}
        with contextlib.ExitStack() as stack:
            answer = stack.enter_context(self._asking(path, query, f"reading {version.key!r}"))
            return self._pieces(answer, stack.pop_all())

    def _pieces(self, answer: http.client.HTTPResponse, stack: contextlib.ExitStack) -> Iterator[bytes]:
        with stack:
            while piece := answer.read(_CHUNK_BYTES):
                yield piece

    def _entries(self, after: bytes | None) -> Iterator["_Entry"]:
        versioned = b"<Status>" in self._page({"versioning": ""}, "asking for its versioning")
        terms = {"encoding-type": "url", **({"versions": ""} if versioned else {})}
        query = terms if not after else {**terms, "key-marker" if versioned else "marker": _text(after)}
        while True:
            page = _Page(self.url)
            page.parse(self._page(query, "listing"))
            yield from page.entries
            if page.ends.get("IsTruncated", "false") != "true":
                return
            following = {**terms, **page.following(versioned=versioned)}
            if following in (terms, query):
                raise StoreLied(f"{self.url} says that its list goes on, and not where")
            query = following

    def _page(self, query: Mapping[str, str], doing: str) -> bytes:
        with self._asking(self._root, query, doing) as answer:
            body = answer.read(MAX_PAGE_BYTES + 1)
        if len(body) > MAX_PAGE_BYTES:
            raise StoreLied(f"{self.url}: {doing}: more than {MAX_PAGE_BYTES} bytes")
        return body

    @contextlib.contextmanager
    def _asking(self, path: str, query: Mapping[str, str], doing: str) -> Iterator[http.client.HTTPResponse]:
        """The answer to a signed GET, on a connection of its own. Raises ObjectMissing, Forbidden, Unavailable."""
        pairs = sorted((name, quote(value, safe="~", errors="surrogateescape")) for name, value in query.items())
        # http.client sends the path as it is: `a//b` and `../up` name what they name.
        target = path + ("?" if pairs else "") + "&".join(f"{name}={value}" for name, value in pairs)
        signed = AWSRequest("GET", f"{self._base}{target}")
        self._signing.add_auth(signed)
        with contextlib.closing(self._connection()) as connection:
            try:
                connection.request("GET", target, headers=dict(signed.headers.items()))
                answer = connection.getresponse()
                if answer.status != http.client.OK:
                    raise self._error(answer.status, answer.read(_MAX_ERROR_BYTES), doing)
                yield answer
            except (OSError, http.client.HTTPException) as error:
                reason = str(error) or type(error).__name__
                raise Unavailable(f"{self.url} does not answer: {doing}: {reason}") from error

    def _connection(self) -> http.client.HTTPConnection:
        if self._tls is not None:
            return http.client.HTTPSConnection(self._host, self._port, timeout=TIMEOUT_SECONDS, context=self._tls)
        return http.client.HTTPConnection(self._host, self._port, timeout=TIMEOUT_SECONDS)

    def _error(self, status: int, body: bytes, doing: str) -> Exception:
        if status in _GONE:
            return ObjectMissing(doing)
        if status in _REFUSED:
            return Forbidden(self.url, doing)
        return Unavailable(f"{self.url}: {doing}: {status} {body[:200].decode(errors='replace')}")


@dataclass(frozen=True, kw_only=True, slots=True)
class _Entry:
    key: bytes
    members: Mapping[str, str]
    marker: bool

    def version(self, ordinal: int) -> Version:
        try:
            return Version(
                key=self.key,
                ordinal=ordinal,
                version=self.members.get("VersionId"),
                marker=self.marker,
                size=int(self.members.get("Size", "0")),
                modified=int(datetime.fromisoformat(self.members["LastModified"]).timestamp() * 1000),
                tag=self.members.get("ETag", ""),
            )
        except (KeyError, ValueError) as error:
            raise StoreLied(f"a list with an entry that lacks or garbles {error}") from None


@dataclass
class _Page:
    """One page of a listing, read by expat as it comes; `ends` are the members that say how it goes on."""

    url: str
    ends: dict[str, str] = field(default_factory=dict)
    _listed: list[tuple[dict[str, str], bool]] = field(default_factory=list)
    _path: list[str] = field(default_factory=list)
    _members: dict[str, str] = field(default_factory=dict)
    _text: list[str] = field(default_factory=list)

    def parse(self, body: bytes) -> None:
        """Read it. Raises StoreLied where it is no list."""
        parser = expat.ParserCreate(namespace_separator="}")
        parser.StartElementHandler, parser.EndElementHandler = self._start, self._end
        parser.CharacterDataHandler = self._text.append
        parser.StartDoctypeDeclHandler = self._refuse
        try:
            parser.Parse(body, True)
        except expat.ExpatError as error:
            raise StoreLied(f"{self.url} answers a list that is no XML: {error}") from None

    @property
    def entries(self) -> list[_Entry]:
        """What it lists, in its order; keys as the page says that it has encoded them."""
        return [
            _Entry(key=self._decoded(members["Key"]), members=members, marker=marker)
            for members, marker in self._listed
        ]

    def following(self, *, versioned: bool) -> dict[str, str]:
        """What to ask for next; empty where the page does not say it."""
        if not versioned:
            last = self.ends.get("NextMarker")
            marker = self._decoded(last) if last else self.entries[-1].key if self.entries else b""
            return {"marker": _text(marker)} if marker else {}
        marker, version = self._decoded(self.ends.get("NextKeyMarker", "")), self.ends.get("NextVersionIdMarker")
        return {"key-marker": _text(marker), **({"version-id-marker": version} if version else {})} if marker else {}

    def _start(self, name: str, _: Mapping[str, str]) -> None:
        self._path.append(name.rpartition("}")[2])
        self._text.clear()

    def _end(self, _: str) -> None:
        name, text = self._path.pop(), "".join(self._text)
        self._text.clear()
        if len(self._path) == 2 and self._path[1] in _ENTRIES:
            self._members[name] = text
        elif len(self._path) == 1 and name in _ENTRIES:
            members, self._members = self._members, {}
            if "Key" not in members:
                raise StoreLied(f"{self.url} lists an entry without a key")
            self._listed.append((members, name == "DeleteMarker"))
        elif len(self._path) == 1:
            self.ends[name] = text

    def _decoded(self, text: str) -> bytes:
        if self.ends.get("EncodingType") != "url":
            return text.encode()
        return unquote_to_bytes(text.replace("+", " "))

    def _refuse(self, *_: object) -> None:
        raise StoreLied(f"{self.url} answers a list with a document type of its own")


def _text(key: bytes) -> str:
    return key.decode("utf-8", errors="surrogateescape")
