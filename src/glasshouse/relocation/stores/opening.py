"""Opening a store by its address: s3://bucket?endpoint=https://s3.example&region=eu-west-1 or file:///srv/archive."""

from pathlib import Path
from urllib.parse import unquote, urlsplit

from glasshouse.relocation.errors import InvalidInput, Unavailable
from glasshouse.relocation.stores.addresses import SCHEMES, Credentials, parse_bucket
from glasshouse.relocation.stores.directory import DirectoryTree
from glasshouse.relocation.stores.interface import Store


def open_store(url: str, credentials: Credentials | None = None) -> Store:
    """The store at an address. Raises InvalidInput, and Unavailable for a directory that is not there."""
    if url.startswith("s3://"):
        if credentials is None:
            raise InvalidInput("store", f"{url} needs credentials", "Name a file with access_key and secret_key.")
        from glasshouse.relocation.stores.s3 import S3Bucket

        return S3Bucket(url, parse_bucket(url), credentials)
    parts = urlsplit(url)
    if parts.scheme != "file" or parts.netloc or not parts.path.startswith("/") or parts.query:
        raise InvalidInput("store", f"{url} is no address of a store", SCHEMES)
    root = Path(unquote(parts.path))
    if not root.is_dir():
        raise Unavailable(f"{root} is no directory that can be reached")
    return DirectoryTree(root)
