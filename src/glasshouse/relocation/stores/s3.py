"""An S3 bucket as a store, through botocore, which is faithful to every legal key.

Listings are asked for with encoding-type=url, since XML cannot carry every character that a key may have, and read here
rather than by botocore: it sorts versions and delete markers into two lists, and so loses which came first.
"""

import base64
import contextlib
import datetime
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias
from urllib.parse import unquote_to_bytes
from xml.etree import ElementTree

import botocore.exceptions
import botocore.parsers
import botocore.session
from botocore.config import Config

from glasshouse.relocation.errors import Forbidden, InvalidInput, RelocationError, StoreLied, Unavailable
from glasshouse.relocation.stores import probe
from glasshouse.relocation.stores.addresses import Bucket, Credentials
from glasshouse.relocation.stores.blocking import BlockingReader
from glasshouse.relocation.stores.interface import MAX_KEY_BYTES, Capabilities, Locked, Upload, Version
from glasshouse.storage.errors import ObjectConflict, ObjectMissing

_ERASED_AT_ONCE = 1_000
_FENCE = "GlasshouseFence"
_WRITES = ["s3:PutObject", "s3:PutObjectAcl", "s3:PutObjectTagging", "s3:DeleteObjectTagging", "s3:RestoreObject"]
_DELETES = ["s3:DeleteObject", "s3:DeleteObjectVersion"]
_MISSING = {"NoSuchKey", "NoSuchVersion", "NoSuchUpload", "MethodNotAllowed", "404", "405"}
_CONFLICT = {"PreconditionFailed", "ConditionalRequestConflict", "412"}
_FORBIDDEN = {"AccessDenied", "AllAccessDisabled", "Forbidden", "InvalidAccessKeyId", "SignatureDoesNotMatch", "403"}
_SETTINGS = Config(
    signature_version="s3v4",
    s3={"addressing_style": "path"},
    connect_timeout=10,
    read_timeout=60,
    retries={"mode": "standard", "total_max_attempts": 4},
    max_pool_connections=32,
    request_checksum_calculation="when_required",
    response_checksum_validation="when_required",
    ignore_configured_endpoint_urls=True,
)


# A class with a method `list` cannot say list[…].
_Kept: TypeAlias = list[Locked]
_Entries: TypeAlias = "list[_Entry]"


class S3Bucket:
    """See Store. Memory is bounded by a page of a listing, and the versions of one key."""

    def __init__(self, url: str, bucket: Bucket, credentials: Credentials) -> None:
        self.url, self.bucket, self.credentials = url, bucket, credentials
        self._name = bucket.name
        self._client: Any = botocore.session.Session().create_client(
            "s3",
            region_name=bucket.region,
            endpoint_url=bucket.endpoint,
            aws_access_key_id=credentials.access_key,
            aws_secret_access_key=credentials.secret_key,
            aws_session_token=credentials.session_token,
            config=_SETTINGS,
        )
        for operation in ("ListObjectsV2", "ListObjectVersions", "ListMultipartUploads"):
            self._client.meta.events.register(f"before-parse.s3.{operation}", _keep_page)
        self._reader = BlockingReader(bucket, credentials)
        self._versioned: bool | None = None

    def list(self, after: bytes | None = None, upto: bytes | None = None) -> Iterator[Version]:
        """See Store."""
        pages = self._version_pages(after) if self.versioned else self._object_pages(after)
        last = after or b""
        held: _Entries = []
        for entry in (entry for page in pages for entry in page.entries):
            if held and entry.key != held[0].key:
                yield from _oldest_first(held)
                last = held[0].key
                held = []
            if entry.key <= last:
                raise StoreLied(f"{self.url} lists {entry.key!r} after {last!r}: its order is not that of the keys")
            if upto is not None and entry.key > upto:
                return
            held.append(entry)
        yield from _oldest_first(held)

    @property
    def versioned(self) -> bool:
        """Whether the bucket has, or once had, versions. Raises Forbidden where these credentials may not ask."""
        if self._versioned is None:
            self._versioned = "Status" in self._call("get_bucket_versioning", "asking for its versioning")
        return self._versioned

    def _object_pages(self, after: bytes | None) -> Iterator["_Page"]:
        query: dict[str, str] = {"StartAfter": _text(after)} if after else {}
        while True:
            page = self._page("list_objects_v2", **query)
            yield page
            if not page.truncated:
                return
            token = page.ends.get("NextContinuationToken")
            if not token or token == query.get("ContinuationToken"):
                raise StoreLied(f"{self.url} says that its list goes on, and not where")
            query = {"ContinuationToken": token}

    def _version_pages(self, after: bytes | None) -> Iterator["_Page"]:
        query: dict[str, str] = {"KeyMarker": _text(after)} if after else {}
        while True:
            page = self._page("list_object_versions", **query)
            yield page
            if not page.truncated:
                return
            place = {"KeyMarker": _text(page.decoded(page.ends.get("NextKeyMarker", "")))}
            if version := page.ends.get("NextVersionIdMarker"):
                place["VersionIdMarker"] = version
            if not place["KeyMarker"] or place == query:
                raise StoreLied(f"{self.url} says that its list goes on, and not where")
            query = place

    def _page(self, operation: str, **query: str) -> "_Page":
        page: _Page = self._call(operation, "listing", EncodingType="url", **query)[_PAGE]
        return page

    def read(self, version: Version) -> Iterator[bytes]:
        """See Store."""
        return self._reader.read(_text(version.key).encode(), version.version)

    def write(self, key: bytes, data: bytes, *, once: bool = False, checksum: bytes | None = None) -> None:
        """See Store."""
        terms: dict[str, object] = {"IfNoneMatch": "*"} if once else {}
        if checksum is not None:
            terms["ChecksumSHA256"] = base64.b64encode(checksum).decode()
        self._call("put_object", f"writing {key!r}", Key=_text(key), Body=data, **terms)

    def erase(self, versions: Sequence[Version]) -> Sequence[Locked]:
        """See Store."""
        locked: _Kept = []
        # A request that names many keys is XML, which cannot carry every key.
        plain = [version for version in versions if _text(version.key).isprintable()]
        for start in range(0, len(plain), _ERASED_AT_ONCE):
            locked += self._erase_many(plain[start : start + _ERASED_AT_ONCE])
        for version in versions:
            if not _text(version.key).isprintable():
                locked += self._erase_one(version)
        return locked

    def _erase_many(self, versions: Sequence[Version]) -> Sequence[Locked]:
        names = [_name(version) for version in versions]
        answer = self._call("delete_objects", "erasing", Delete={"Objects": names, "Quiet": True})
        failed = {(error["Key"], error.get("VersionId")): error["Code"] for error in answer.get("Errors", [])}
        kept = []
        for version, name in zip(versions, names, strict=True):
            code = failed.get((name["Key"], name.get("VersionId")), failed.get((name["Key"], "")))
            if code is not None and code not in _MISSING:
                kept.append(self._kept(version, code))
        return kept

    def _erase_one(self, version: Version) -> Sequence[Locked]:
        try:
            self._call("delete_object", f"erasing {version.key!r}", **_name(version))
        except ObjectMissing:
            return []
        except Forbidden:
            return [self._kept(version, "AccessDenied")]
        return []

    def _kept(self, version: Version, code: str) -> Locked:
        """Why a version was not erased. Raises Forbidden or Unavailable where no lock is the reason."""
        place, until, held = _name(version), None, False
        with contextlib.suppress(RelocationError, ObjectMissing):
            found = self._call("get_object_retention", "asking for a lock", **place).get("Retention", {})
            until = int(found["RetainUntilDate"].timestamp()) if "RetainUntilDate" in found else None
        with contextlib.suppress(RelocationError, ObjectMissing):
            answer = self._call("get_object_legal_hold", "asking for a hold", **place)
            held = answer.get("LegalHold", {}).get("Status") == "ON"
        if until is None and not held:
            error = Forbidden(self.url, f"erasing {version.key!r}")
            raise error if code in _FORBIDDEN else Unavailable(f"{self.url}: erasing {version.key!r}: {code}")
        return Locked(version=version, until=until, reason="a legal hold" if held else "a retention lock")

    def uploads(self) -> Iterator[Upload]:
        """See Store."""
        query: dict[str, str] = {}
        while True:
            page = self._page("list_multipart_uploads", **query)
            for entry in page.entries:
                yield Upload(key=entry.key, id=entry.upload, begun=entry.modified)
            if not page.truncated:
                return
            place = {"KeyMarker": _text(page.decoded(page.ends.get("NextKeyMarker", "")))}
            place["UploadIdMarker"] = page.ends.get("NextUploadIdMarker", "")
            if place == query:
                raise StoreLied(f"{self.url} says that its list of uploads goes on, and not where")
            query = place

    def abort(self, upload: Upload) -> None:
        """See Store."""
        with contextlib.suppress(ObjectMissing):
            doing = f"giving up an upload of {upload.key!r}"
            self._call("abort_multipart_upload", doing, Key=_text(upload.key), UploadId=upload.id)

    def refuse_writes(self, *, deletes: bool = True) -> str:
        """See Store. Other statements of the bucket's policy stay."""
        statement = {
            "Sid": _FENCE,
            "Effect": "Deny",
            "Principal": "*",
            "Action": [*_WRITES, *(_DELETES if deletes else [])],
            "Resource": f"arn:aws:s3:::{self._name}/*",
        }
        self._set_policy([*self._statements(), statement])
        return (
            "the bucket's policy denies writes to everybody; who may change the policy can take that back, some "
            "servers do not hold their own administrator to it, and links that were signed before may be honoured yet"
        )

    def accept_writes(self) -> None:
        """See Store."""
        self._set_policy(self._statements())

    def _statements(self) -> Sequence[Mapping[str, object]]:
        """Those of the bucket's policy that are not ours."""
        try:
            policy = json.loads(self._call("get_bucket_policy", "asking for its policy")["Policy"])
        except ObjectMissing:
            return []
        return [each for each in policy["Statement"] if each.get("Sid") != _FENCE]

    def _set_policy(self, statements: Sequence[Mapping[str, object]]) -> None:
        if statements:
            policy = json.dumps({"Version": "2012-10-17", "Statement": statements})
            self._call("put_bucket_policy", "setting its policy", Policy=policy)
        else:
            with contextlib.suppress(ObjectMissing):
                self._call("delete_bucket_policy", "removing its policy")

    def probe(self) -> Capabilities:
        """See Store."""
        versions = locks = None
        with contextlib.suppress(Forbidden):
            versions = self._call("get_bucket_versioning", "asking for its versioning").get("Status") == "Enabled"
        with contextlib.suppress(RelocationError, ObjectMissing):
            found = self._call("get_object_lock_configuration", "asking for locks").get("ObjectLockConfiguration", {})
            locks = found.get("ObjectLockEnabled") == "Enabled"
        return probe.probe(self, versions=versions, locks=locks)

    def _call(self, operation: str, doing: str, **terms: object) -> Any:
        with self._calling(doing):
            return getattr(self._client, operation)(Bucket=self._name, **terms)

    @contextlib.contextmanager
    def _calling(self, doing: str) -> Iterator[None]:
        try:
            yield
        except botocore.exceptions.ClientError as error:
            code = str(error.response.get("Error", {}).get("Code", ""))
            if code in _MISSING or code.startswith("NoSuchBucketPolicy"):
                raise ObjectMissing(doing) from None
            if code in _CONFLICT:
                raise ObjectConflict(doing) from None
            if code in _FORBIDDEN:
                raise Forbidden(self.url, doing) from None
            raise Unavailable(
                f"{self.url}: {doing}: {code} {error.response.get('Error', {}).get('Message', '')}"
            ) from None
        except botocore.parsers.ResponseParserError as error:
            raise StoreLied(f"{self.url}: {doing}: its answer is no XML: {str(error).splitlines()[0]}") from None
        except (botocore.exceptions.BotoCoreError, botocore.exceptions.HTTPClientError) as error:
            raise Unavailable(f"{self.url}: {doing}: {error}") from error


# --- pages of listings ---------------------------------------------------------------------------------------------

_PAGE = "GlasshousePage"
_ENTRIES = {"Contents", "Version", "DeleteMarker", "Upload"}


@dataclass(frozen=True, kw_only=True, slots=True)
class _Entry:
    key: bytes
    version: str | None
    marker: bool
    size: int
    modified: int
    tag: str
    upload: str


@dataclass(frozen=True, kw_only=True)
class _Page:
    """One answer: its entries in their order, and the members that say how it goes on."""

    entries: Sequence[_Entry]
    ends: Mapping[str, str]

    @property
    def truncated(self) -> bool:
        return self.ends.get("IsTruncated", "false").lower() == "true"

    def decoded(self, text: str) -> bytes:
        return _decoded(text, self.ends.get("EncodingType") == "url")


def _keep_page(response_dict: dict[str, Any], customized_response_dict: dict[str, Any], **_: object) -> None:
    """Read a list from the answer's own bytes, before botocore does."""
    if response_dict["status_code"] == 200:
        customized_response_dict[_PAGE] = parse_page(response_dict["body"])
        # botocore would read all of it once more, ten times as slowly.
        response_dict["body"] = b"<ListBucketResult/>"


def parse_page(body: bytes) -> _Page:
    """Read one page of a listing. Raises StoreLied where it is none."""
    try:
        root = ElementTree.fromstring(body)  # noqa: S314  expat refuses entities that grow, and reads no others
    except ElementTree.ParseError as error:
        reason = f"a list that is no XML ({error}): it does not honour encoding-type=url, and has a key that needs it"
        raise StoreLied(reason) from None
    ends = {_tag(child): child.text or "" for child in root if not len(child)}
    encoded = ends.get("EncodingType") == "url"
    entries = []
    for child in root:
        kind = _tag(child)
        if kind in _ENTRIES:
            members = {_tag(member): member.text or "" for member in child}
            entries.append(_entry(kind, members, encoded))
    return _Page(entries=entries, ends=ends)


def _entry(kind: str, members: Mapping[str, str], encoded: bool) -> _Entry:
    try:
        date = members["Initiated"] if kind == "Upload" else members["LastModified"]
        return _Entry(
            key=_decoded(members["Key"], encoded),
            version=members.get("VersionId"),
            marker=kind == "DeleteMarker",
            size=int(members.get("Size", "0")),
            modified=int(datetime.datetime.fromisoformat(date).timestamp() * 1000),
            tag=members.get("ETag", ""),
            upload=members.get("UploadId", ""),
        )
    except (KeyError, ValueError) as error:
        raise StoreLied(f"a list with an entry that lacks or garbles {error}") from None


def _tag(element: ElementTree.Element) -> str:
    return element.tag.rpartition("}")[2]


def _decoded(text: str, encoded: bool) -> bytes:
    return unquote_to_bytes(text.replace("+", " ")) if encoded else text.encode()


def _oldest_first(entries: Sequence[_Entry]) -> Iterator[Version]:
    """The versions of one key, which a list has newest first."""
    for ordinal, entry in enumerate(reversed(entries)):
        yield Version(
            key=entry.key,
            ordinal=ordinal,
            version=entry.version,
            marker=entry.marker,
            size=entry.size,
            modified=entry.modified,
            tag=entry.tag,
        )


def _name(version: Version) -> dict[str, str]:
    return {"Key": _text(version.key)} | ({} if version.version is None else {"VersionId": version.version})


def _text(key: bytes) -> str:
    """A key as S3 has it. Raises InvalidInput for what S3 cannot hold."""
    try:
        text = key.decode()
    except UnicodeDecodeError:
        raise InvalidInput(f"key {key[:40]!r}", "is no UTF-8", "A bucket cannot hold it; name it anew.") from None
    if len(key) > MAX_KEY_BYTES:
        raise InvalidInput(f"key {key[:40]!r}", f"has more than {MAX_KEY_BYTES} bytes", "Shorten it.")
    return text
