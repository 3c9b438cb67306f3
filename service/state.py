"""Where the service keeps what outlives it, and how a file there is replaced; imports nothing heavy."""

import contextlib
import fcntl
import json
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

# Unlike Path.home(), expanduser does not raise for a user without a home; what cannot be written is told when written.
STATE_DIR = Path(os.path.expanduser("~/.local/state/cepstra"))


@contextlib.contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold a lock in a state directory, which is made where it is missing. Raises OSError.

    A lock file of its own, since the locked one must not be the one that is replaced.
    """
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)


def newer_format(text: bytes, known: int) -> int | None:
    """The `format_version` of a JSON object, where it is higher than `known`; None for anything else."""
    try:
        found = json.loads(text)["format_version"]
    except (ValueError, KeyError, TypeError, RecursionError):
        return None
    return found if isinstance(found, int) and found > known else None


def free_bytes(folder: Path) -> int | None:
    """Room on the disk on which `folder` lies or will be made, for this user; None where that cannot be told."""
    for place in (folder, *folder.absolute().parents):
        try:
            disk = os.statvfs(place)
        except (FileNotFoundError, NotADirectoryError):
            continue
        except OSError:
            return None
        return disk.f_bavail * disk.f_frsize
    return None


def replace_file(path: Path, data: bytes) -> None:
    """Put `data` at `path` in one step, mode 0600; after a power cut there is the old file or the new one."""
    handle, scratch = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")  # mkstemp's mode is 0600
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.replace(scratch, path)
    except BaseException:
        with contextlib.suppress(OSError):
            os.unlink(scratch)
        raise
    folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
