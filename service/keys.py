"""API keys on disk: named, scoped, and stored as hashes, in one file under CEPSTRA_STATE_DIR.

A key is `cepstra_` and 256 random bits. The file holds its SHA-256 and nothing that could be sent in its place. Slow
hashes (Argon2, scrypt) protect secrets that people choose, because those can be found by trying; 2**256 random ones
cannot be tried, so a fast hash is enough and costs no request anything.

`cepstra keys` writes the file and the server reads it (`service.key_ring`): atomically replaced, for its owner only.
"""

import hashlib
import hmac
import secrets
import time
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Final, Literal

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from service.errors import KeyFileError
from service.state import locked, newer_format, replace_file
from service.validation import reason_of

KeyScope = Literal["transcribe", "jobs", "metrics", "admin"]

PREFIX = "cepstra_"  # so that scanners for leaked secrets can tell what they found
SECRET_BYTES = 32
KEY_FILE = "keys.json"
FORMAT_VERSION: Final = 2  # since 2 keys have ids
LOCK_FILE = "keys.lock"
NAME_RULE = "letters, digits, '.', '_' and '-' are possible, at most 64, beginning with a letter or digit"

Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]


class Key(BaseModel):
    """One key, without its secret.

    Attributes:
        name: who holds it; letters, digits, `.`, `_` and `-`. May be given to another key once this one is revoked.
        id: of this key alone and the same after a rotation; None for one that an older Cepstra made.
        sha256: of the secret, hexadecimal.
        scopes: what it may be used for.
        created_at: unix seconds at which its secret was made.
        expires_at: unix seconds from which on it is refused; None is never.
        requests_per_minute: None leaves it to CEPSTRA_KEY_RATE.
        concurrency: requests that it may have at work at once; None leaves it to CEPSTRA_MAX_PER_KEY.
        old_sha256: of the secret before the last rotation, taken until `old_until`.
        old_until: unix seconds.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$")
    id: str | None = Field(default=None, pattern=r"^key_[0-9a-f]{32}$")
    sha256: Sha256
    scopes: tuple[KeyScope, ...] = Field(min_length=1)
    created_at: int
    expires_at: int | None = None
    requests_per_minute: int | None = Field(default=None, ge=1)
    concurrency: int | None = Field(default=None, ge=1)
    old_sha256: Sha256 | None = None
    old_until: int = 0

    @property
    def owner(self) -> str:
        """Whose jobs this key sees: nobody else's, whatever names are given again."""
        return self.id or self.name

    def admits(self, sha256: str, now_s: float) -> bool:
        """Whether a secret with this hash is the key's, at unix time `now_s`; takes as long for any hash."""
        current = hmac.compare_digest(self.sha256, sha256)
        old = hmac.compare_digest(self.old_sha256 or "", sha256)
        expired = self.expires_at is not None and now_s >= self.expires_at
        return (current or (old and now_s < self.old_until)) and not expired


class _Contents(BaseModel):
    model_config = ConfigDict(extra="forbid")

    format_version: Literal[1, 2]
    keys: tuple[Key, ...]


def hash_of(secret: str) -> str:
    """What the file holds of a key."""
    return hashlib.sha256(secret.encode(errors="surrogateescape")).hexdigest()


class KeyFile:
    """`keys.json` in a state directory."""

    def __init__(self, state_dir: Path) -> None:
        self.path = state_dir / KEY_FILE

    def stamp(self) -> tuple[int, int, int] | None:
        """What changes whenever the file does; None where there is none.

        Raises:
            KeyFileError: whether there is one cannot be told.
        """
        try:
            status = self.path.stat()
        except (FileNotFoundError, NotADirectoryError):
            return None
        except OSError as error:
            raise self._unreadable(error) from error
        return status.st_ino, status.st_mtime_ns, status.st_size

    def read(self) -> tuple[Key, ...] | None:
        """All keys; None where there is no file.

        Raises:
            KeyFileError: it cannot be read, or is not what this version writes.
        """
        try:
            content = self.path.read_bytes()
            return _Contents.model_validate_json(content).keys
        except (FileNotFoundError, NotADirectoryError):
            return None
        except OSError as error:
            raise self._unreadable(error) from error
        except ValidationError as error:
            if version := newer_format(content, known=FORMAT_VERSION):
                raise KeyFileError(
                    f"{self.path} has format {version}, and this Cepstra reads formats up to {FORMAT_VERSION}: a newer "
                    "one wrote it"
                ) from None
            first = error.errors(include_url=False, include_input=False)[0]
            place = ".".join(str(part) for part in first["loc"])
            damage = f"{place}: {first['msg']}" if place else first["msg"]
            raise KeyFileError(f"{self.path} is damaged: {damage}") from None

    def create(
        self,
        name: str,
        scopes: tuple[str, ...] = ("transcribe",),
        *,
        expires_at: int | None = None,
        requests_per_minute: int | None = None,
        concurrency: int | None = None,
    ) -> str:
        """Add a key; returns its secret, which nothing can show again.

        Raises:
            KeyFileError: the name is taken, a value is out of range, or the file cannot be read or written.
        """
        secret = _new_secret()
        fields = {
            "name": name,
            "id": f"key_{secrets.token_hex(16)}",
            "sha256": hash_of(secret),
            "scopes": scopes,
            "created_at": int(time.time()),
            "expires_at": expires_at,
            "requests_per_minute": requests_per_minute,
            "concurrency": concurrency,
        }
        try:
            key = TypeAdapter(Key).validate_python(fields)
        except ValidationError as error:
            first = error.errors(include_url=False)[0]
            field = first["loc"][0]
            reason = NAME_RULE if field == "name" else reason_of(first)
            raise KeyFileError(f"{field} is {first['input']!r}: {reason}") from None

        def add(keys: tuple[Key, ...]) -> tuple[Key, ...]:
            if any(other.name == name for other in keys):
                raise KeyFileError(f"there is a key '{name}' already; rotate or revoke it, or take another name")
            return (*keys, key)

        self._change(add)
        return secret

    def revoke(self, name: str) -> None:
        """Remove a key; it is refused from the next request on. Raises KeyFileError where there is none."""

        def without(keys: tuple[Key, ...]) -> tuple[Key, ...]:
            revoked = _named(name, keys)
            return tuple(key for key in keys if key is not revoked)

        self._change(without)

    def rotate(self, name: str, *, grace_s: int) -> str:
        """Give a key a new secret, which is returned; the one before is taken for `grace_s` seconds more.

        Raises:
            KeyFileError: there is no such key, or the file cannot be read or written.
        """
        secret = _new_secret()
        now = int(time.time())

        def rotated(keys: tuple[Key, ...]) -> tuple[Key, ...]:
            old = _named(name, keys)
            new = {
                "sha256": hash_of(secret),
                "created_at": now,
                "old_sha256": old.sha256 if grace_s > 0 else None,
                "old_until": now + grace_s,
            }
            return tuple(key.model_copy(update=new) if key is old else key for key in keys)

        self._change(rotated)
        return secret

    def _change(self, change: Callable[[tuple[Key, ...]], tuple[Key, ...]]) -> None:
        """Replace the file by what `change` makes of its keys; one writer at a time."""
        try:
            with locked(self.path.with_name(LOCK_FILE)):
                contents = _Contents(format_version=FORMAT_VERSION, keys=change(self.read() or ()))
                replace_file(self.path, contents.model_dump_json(indent=2).encode() + b"\n")
        except OSError as error:
            raise KeyFileError(f"{self.path} cannot be written: {error.strerror}") from error

    def _unreadable(self, error: OSError) -> KeyFileError:
        return KeyFileError(
            f"{self.path} cannot be read: {error.strerror}; without it nobody can tell who may come in. "
            "CEPSTRA_STATE_DIR can name another folder."
        )


def _new_secret() -> str:
    return PREFIX + secrets.token_urlsafe(SECRET_BYTES)


def _named(name: str, keys: tuple[Key, ...]) -> Key:
    for key in keys:
        if key.name == name:
            return key
    raise KeyFileError(f"there is no key '{name}'; `cepstra keys list` shows those that there are")
