"""Where a store is, and what it knows its caller by.

    s3://bucket?endpoint=https://s3.example&region=eu-west-1    an S3 bucket; `endpoint` is left out for Amazon's own

Credentials are a TOML file that only its owner may read: access_key, secret_key and, where there is one, session_token.
"""

import stat
import tomllib
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

from glasshouse.relocation.errors import InvalidInput

_MEMBERS = {"access_key", "secret_key", "session_token"}
SCHEMES = "Write s3://bucket?endpoint=https://… or file:///path."


@dataclass(frozen=True, kw_only=True)
class Credentials:
    """What a store knows its caller by."""

    access_key: str
    secret_key: str = field(repr=False)
    session_token: str | None = field(default=None, repr=False)


@dataclass(frozen=True, kw_only=True)
class Bucket:
    """An S3 bucket by name, region, and the address of its server where it is not Amazon's."""

    name: str
    endpoint: str | None
    region: str


def read_credentials(path: Path) -> Credentials:
    """The credentials in a file. Raises InvalidInput for another form, or where others may read it."""
    try:
        if path.stat().st_mode & (stat.S_IRWXG | stat.S_IRWXO):
            raise InvalidInput(str(path), "others than its owner may read it", f"chmod 600 {path}")
        members = tomllib.loads(path.read_text())
    except OSError as error:
        raise InvalidInput(str(path), error.strerror or "cannot be read", "Name a file of credentials.") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise InvalidInput(str(path), f"is no TOML: {error}", "Write access_key and secret_key.") from error
    wrong = set(members) - _MEMBERS | {name for name, value in members.items() if not isinstance(value, str)}
    if wrong or not {"access_key", "secret_key"} <= set(members):
        raise InvalidInput(
            str(path), f"has {', '.join(sorted(members)) or 'nothing'}", "Write access_key and secret_key."
        )
    return Credentials(**members)


def parse_bucket(url: str) -> Bucket:
    """Read the address of a bucket. Raises InvalidInput."""
    parts = urlsplit(url)
    query = parse_qs(parts.query, keep_blank_values=True)
    if parts.scheme != "s3" or not parts.netloc or parts.path.strip("/") or set(query) - {"endpoint", "region"}:
        raise InvalidInput("store", f"{url} is no address of a whole bucket", SCHEMES)
    endpoint = query.get("endpoint", [None])[0]
    if endpoint is not None and urlsplit(endpoint).scheme not in ("http", "https"):
        raise InvalidInput("store.endpoint", f"{endpoint} is no address", "Write https://host or https://host:port.")
    return Bucket(name=parts.netloc, endpoint=endpoint, region=query.get("region", ["us-east-1"])[0])
