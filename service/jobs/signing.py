"""Signatures of webhook messages, as https://www.standardwebhooks.com describes them.

A receiver recomputes HMAC-SHA256 over `id.timestamp.body` and refuses what is older than a few minutes.
"""

import base64
import binascii
import hashlib
import hmac
import logging
import os
import secrets
from pathlib import Path

from service.errors import JobsUnavailableError
from service.jobs.database import make_folder, sync_folder

logger = logging.getLogger("cepstra.jobs")

PREFIX = "whsec_"
SECRET_BYTES = 32


def signed_headers(keys: list[bytes], message_id: str, timestamp_s: int, body: bytes) -> dict[str, str]:
    """The three headers of a message.

    Args:
        keys: one signature is made with each, so that a key can be replaced without a message being refused.
        message_id: the same in every attempt, so that a receiver knows a message that came twice.
        timestamp_s: Unix seconds of this attempt.
        body: what is sent.
    """
    content = b".".join((message_id.encode(), str(timestamp_s).encode(), body))
    signatures = (base64.b64encode(hmac.digest(key, content, hashlib.sha256)).decode() for key in keys)
    return {
        "webhook-id": message_id,
        "webhook-timestamp": str(timestamp_s),
        "webhook-signature": " ".join(f"v1,{signature}" for signature in signatures),
    }


class SecretFile:
    """The file of signing secrets: a line each, `whsec_` and base64. Read for every message, so it may be changed.

    Args:
        path: the file.
        make: whether to make it, with one new secret, where it is missing.
        instead: what is used, and made, while the file is empty: Compose mounts an empty one where none is named.
    """

    def __init__(self, path: Path, *, make: bool, instead: Path | None = None) -> None:
        self._path = path
        self._make = make
        self._instead = None if instead is None else SecretFile(instead, make=True)
        self._was_empty = False

    def keys(self) -> list[bytes]:
        """The secrets.

        Raises:
            JobsUnavailableError: there is no file, or none that can be used.
        """
        if self._instead is not None and self._is_empty():
            return self._instead.keys()
        try:
            if self._make and not self._path.exists():
                self._write()
            lines = self._path.read_text().split()
            keys = [base64.b64decode(line.removeprefix(PREFIX), validate=True) for line in lines]
        except (OSError, binascii.Error, UnicodeDecodeError) as error:
            raise JobsUnavailableError(f"The webhooks' secret in {self._path} cannot be read: {error}.") from error
        if not keys or min(map(len, keys)) < 16:
            raise JobsUnavailableError(f"The webhooks' secret in {self._path} is shorter than 16 bytes.")
        return keys

    def _is_empty(self) -> bool:
        try:
            empty = self._path.stat().st_size == 0
        except OSError:  # told when it is read
            empty = False
        if empty and not self._was_empty and self._instead is not None:
            logger.warning("%s is empty: webhooks are signed with %s instead", self._path, self._instead._path)
        self._was_empty = empty
        return empty

    def _write(self) -> None:
        make_folder(self._path.parent)
        mine = self._path.with_name(f".{self._path.name}.{secrets.token_hex(8)}")
        secret = PREFIX + base64.b64encode(secrets.token_bytes(SECRET_BYTES)).decode()
        with open(os.open(mine, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600), "w") as file:
            file.write(secret + "\n")
            file.flush()
            os.fsync(file.fileno())
        try:
            os.link(mine, self._path)  # unlike a rename it leaves the secret of a process that was faster
        except FileExistsError:
            pass
        finally:
            mine.unlink()
        sync_folder(self._path.parent)
