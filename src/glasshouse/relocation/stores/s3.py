"""An S3 bucket as a store: every legal key, every version.

What is asked of very many objects, listings and contents, goes by our own requests (blocking.py): botocore spends a
millisecond on each, and sorts versions and delete markers into two lists, so that it is lost which came first. What
changes a bucket goes through botocore, which loads in half a second, when it is first needed.
"""

import base64
import contextlib
import functools
import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, TypeAlias

import botocore.exceptions
import botocore.parsers

from glasshouse.relocation.errors import Forbidden, InvalidInput, RelocationError, StoreLied, Unavailable
from glasshouse.relocation.stores import probe
from glasshouse.relocation.stores.addresses import Bucket, Credentials
from glasshouse.relocation.stores.blocking import BlockingReader
from glasshouse.relocation.stores.interface import MAX_KEY_BYTES, Capabilities, Locked, Upload, Version
from glasshouse.relocation.stores.pages import Entry, Page, parse_page
from glasshouse.storage.errors import ObjectConflict, ObjectMissing

_ERASED_AT_ONCE = 1_000
_FENCE = "GlasshouseFence"
_WRITES = ["s3:PutObject", "s3:PutObjectAcl", "s3:PutObjectTagging", "s3:DeleteObjectTagging", "s3:RestoreObject"]
_DELETES = ["s3:DeleteObject", "s3:DeleteObjectVersion"]
_MISSING = {"NoSuchKey", "NoSuchVersion", "NoSuchUpload", "MethodNotAllowed", "404", "405"}
_CONFLICT = {"PreconditionFailed", "ConditionalRequestConflict", "412"}
_FORBIDDEN = {"AccessDenied", "AllAccessDisabled", "Forbidden", "InvalidAccessKeyId", "SignatureDoesNotMatch", "403"}
_SETTINGS: Mapping[str, Any] = {
    "signature_version": "s3v4",
    "s3": {"addressing_style": "path"},
    "connect_timeout": 10,
    "read_timeout": 60,
    "retries": {"mode": "standard", "total_max_attempts": 4},
    "request_checksum_calculation": "when_required",
    "response_checksum_validation": "when_required",
    "ignore_configured_endpoint_urls": True,
}

# A class with a method `list` cannot say list[…].
_Kept: TypeAlias = list[Locked]
_Entries: TypeAlias = list[Entry]


class S3Bucket:
    """See Store. Memory is bounded by a page of a listing, and the versions of one key."""

    def __init__(self, url: str, bucket: Bucket, credentials: Credentials) -> None:
        self.url, self.bucket, self.credentials = url, bucket, credentials
        self._name = bucket.name
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
            if entry.key <= last or (held and not self.versioned):
                raise StoreLied(f"{self.url} lists {entry.key!r} after {last!r}: its order is not that of the keys")
            if upto is not None and entry.key > upto:
                return
            held.append(entry)
        yield from _oldest_first(held)

    @property
    def versioned(self) -> bool:
        """Whether the bucket has, or once had, versions. Raises Forbidden where these credentials may not ask."""
        if self._versioned is None:
            self._versioned = "Status" in self._page({"versioning": ""}).ends
        return self._versioned

    @functools.cached_property
    def _client(self) -> Any:
        import botocore.session
        from botocore.config import Config

        return botocore.session.Session().create_client(
            "s3",
            region_name=self.bucket.region,
            endpoint_url=self.bucket.endpoint,
            aws_access_key_id=self.credentials.access_key,
            aws_secret_access_key=self.credentials.secret_key,
            aws_session_token=self.credentials.session_token,
            config=Config(**_SETTINGS),
        )

    def _object_pages(self, after: bytes | None) -> Iterator[Page]:
        query: dict[str, str] = {"start-after": _text(after)} if after else {}
        while True:
            page = self._page({"list-type": "2", "encoding-type": "url", **query})
            yield page
            if not page.truncated:
                return
            token = page.ends.get("NextContinuationToken")
            if not token or token == query.get("continuation-token"):
                raise StoreLied(f"{self.url} says that its list goes on, and not where")
            query = {"continuation-token": token}

    def _version_pages(self, after: bytes | None) -> Iterator[Page]:
        query: dict[str, str] = {"key-marker": _text(after)} if after else {}
        while True:
            page = self._page({"versions": "", "encoding-type": "url", **query})
            yield page
            if not page.truncated:
                return
            place = {"key-marker": _text(page.decoded(page.ends.get("NextKeyMarker", "")))}
            if version := page.ends.get("NextVersionIdMarker"):
                place["version-id-marker"] = version
            if not place["key-marker"] or place == query:
                raise StoreLied(f"{self.url} says that its list goes on, and not where")
            query = place

    def _page(self, query: Mapping[str, str]) -> Page:
        try:
            return parse_page(self._reader.ask(query))
        except ObjectMissing:
            raise Unavailable(f"{self.url}: there is no such bucket") from None
        except StoreLied as error:
            raise StoreLied(f"{self.url} answers with {error}") from None

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
            page = self._page({"uploads": "", "encoding-type": "url", **query})
            for entry in page.entries:
                yield Upload(key=entry.key, id=entry.upload, begun=entry.modified)
            if not page.truncated:
                return
            place = {"key-marker": _text(page.decoded(page.ends.get("NextKeyMarker", "")))}
            place["upload-id-marker"] = page.ends.get("NextUploadIdMarker", "")
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
            versions = self._page({"versioning": ""}).ends.get("Status") == "Enabled"
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


def _oldest_first(entries: Sequence[Entry]) -> Iterator[Version]:
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
