"""A customer's own directory: which country it is enrolled for, its pinned charter, its token and its key.

    country = "AU"
    charter = "charter.json"        # the first charter, as the customer pins it
    token_file = "token"            # what `glasshouse customer add` has shown; readable by its owner alone
    key_file = "customer.key"       # signs requests to erase; its public half lies beside it in customer.pub

Beside this file, customer.toml, lie `cache/` (the ledger, as this customer has verified it) and `receipts/`.
"""

import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from glasshouse_verify.charter import Chain
from glasshouse_verify.encoding import encode_base64
from pydantic import StringConstraints

from glasshouse.parties.errors import SettingsError
from glasshouse.parties.keys import generate_key, read_private
from glasshouse.parties.node import Settings, named_fields
from glasshouse.parties.signer import FileSigner, Signer
from glasshouse.storage import files

PROFILE_FILE = "customer.toml"


class ProfileSettings(Settings):
    """customer.toml; unknown members are refused."""

    country: Annotated[str, StringConstraints(pattern=r"^[A-Z]{2}$")]
    charter: str = "charter.json"
    token_file: str = "token"  # noqa: S105  a file name
    key_file: str | None = None
    ledger: str | None = None


@dataclass(frozen=True, kw_only=True)
class Profile:
    """An opened customer's directory."""

    directory: Path
    settings: ProfileSettings

    @property
    def pin(self) -> bytes:
        """The payload of the pinned first charter; raises SettingsError."""
        path = self.directory / self.settings.charter
        try:
            return path.read_bytes().rstrip(b"\n")
        except OSError as error:
            raise SettingsError("charter", f"{path}: {error.strerror}", "Put the first charter there.") from error

    @property
    def token(self) -> str:
        """The token; raises KeyUnavailable where there is none, or where others can read it."""
        return read_private(self.directory / self.settings.token_file).decode(errors="replace").strip()

    @property
    def key(self) -> Signer | None:
        """The key that signs requests to erase; None where the customer has none. Raises KeyUnavailable."""
        name = self.settings.key_file
        return None if name is None else FileSigner.load(self.directory / name)

    @property
    def cache(self) -> Path:
        """What can be fetched and verified again."""
        return self.directory / "cache"

    @property
    def receipts(self) -> Path:
        """The receipts, each under its handle."""
        return self.directory / "receipts"


def open_profile(directory: Path) -> Profile:
    """Open a customer's directory; raises SettingsError naming the member that is wrong."""
    path = directory / PROFILE_FILE
    try:
        document = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        fix = "Make one with: glasshouse customer profile."
        raise SettingsError(str(path), str(error.strerror), fix) from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise SettingsError(str(path), f"is not TOML: {error}", "Mend the line named.") from error
    with named_fields(str(path)):
        return Profile(directory=directory, settings=ProfileSettings.model_validate(document))


def create_profile(directory: Path, country: str, pin: bytes) -> bytes:
    """Make a customer's directory with a key of its own; returns the raw public key.

    The site's operator enrols that key. Raises SettingsError, FormatError for what is no first charter, ObjectConflict.
    """
    with named_fields("profile"):
        ProfileSettings(country=country)
    Chain(pin)
    files.make_directory(directory, mode=0o700)
    public = generate_key(directory / "customer.key")
    files.create(directory / "customer.pub", f"{encode_base64(public)}\n".encode())
    files.create(directory / "charter.json", pin)
    files.create(directory / PROFILE_FILE, f'country = "{country}"\nkey_file = "customer.key"\n'.encode())
    return public
