"""Files that are there whole or not at all."""

import os
from pathlib import Path

from training.errors import StorageError


def replace_file(target: Path, content: bytes) -> None:
    """Write a file beside `target`, then let it take its place.

    Raises:
        OSError: it could not be written; what was there before is kept.
    """
    scratch = target.with_name(f".{target.name}.tmp")
    try:
        with scratch.open("wb") as stream:
            stream.write(content)
            stream.flush()
            os.fsync(stream.fileno())
        os.replace(scratch, target)
    finally:
        scratch.unlink(missing_ok=True)


def store_file(target: Path, content: bytes) -> None:
    """The same; raises StorageError, which names the file, where it could not be written."""
    try:
        replace_file(target, content)
    except OSError as error:
        raise StorageError(f"{target} could not be written: {error}; what was there before is kept") from error
