"""The state directory as it was at one moment, in one tar file, taken while servers and workers go on.

    backup.json        what is in the file: the first member
    keys.json …        everything of the state directory but locks and what this machine has measured of itself
    jobs/jobs.sqlite   a copy by SQLite's own means
    jobs/audio/…       the audio of that copy's jobs

The audio of a job is erased once it has ended. So names of audio files are linked while nobody can write to the
database: every unfinished job of the copy then has its audio, however long copying takes. Where jobs are in PostgreSQL
its own tools dump them, before this; docs/operations.md says how nothing gets lost in between.
"""

import io
import os
import shutil
import sqlite3
import tarfile
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path, PurePosixPath
from typing import BinaryIO, Literal

from pydantic import BaseModel, ConfigDict, ValidationError

from service.errors import BackupError
from service.jobs.database import BUSY_S, FILE_NAME, make_folder
from service.runtime_memory import FILE as RUNTIMES_FILE
from service.runtime_memory import LOCK_FILE as RUNTIMES_LOCK_FILE
from service.state import locked, newer_format

MANIFEST = "backup.json"
LOCK_FILE = "backup.lock"
STAGING = ".backup"  # in the state directory, since only there files can be linked
DATABASE = f"jobs/{FILE_NAME}"
AUDIO = "jobs/audio"
MEASURED = (RUNTIMES_FILE, RUNTIMES_LOCK_FILE)
LARGEST_MANIFEST = 64 * 1024 * 1024
COPY_BYTES = 1024 * 1024


class Manifest(BaseModel):
    """What a backup says of itself.

    Attributes:
        format_version: of the file; 1.
        created_at: Unix seconds.
        files: name → bytes, of all that follows.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    format_version: Literal[1] = 1
    created_at: int
    files: dict[str, int]

    @property
    def size(self) -> int:
        """Bytes of all files."""
        return sum(self.files.values())


def write_backup(state_dir: Path, out: BinaryIO, *, with_database: bool = True) -> Manifest:
    """Write all of a state directory to `out`, as a tar file.

    Args:
        state_dir: of servers and workers that may be running.
        out: needs not be seekable.
        with_database: False where jobs are in PostgreSQL; then all audio is taken that there is.

    Raises:
        BackupError: there is nothing, something cannot be read, the database is damaged, or `out` takes no more.
    """
    if not state_dir.is_dir():
        raise BackupError(f"there is no state directory at {state_dir}; CEPSTRA_STATE_DIR can name another")
    try:
        with locked(state_dir / LOCK_FILE), _staged(state_dir, with_database) as staged:
            manifest = Manifest(
                created_at=int(time.time()),
                files={name: path.stat().st_size for name, path in sorted(staged.items())},
            )
            _write_tar(out, manifest, staged)
    except OSError as error:
        raise BackupError(f"the backup of {state_dir} failed: {error}") from error
    except sqlite3.Error as error:
        raise BackupError(f"{state_dir / DATABASE} cannot be copied: {error}") from error
    return manifest


def read_backup(source: BinaryIO, state_dir: Path) -> Manifest:
    """Make a state directory of what `write_backup` wrote; all of it or nothing.

    Args:
        source: needs not be seekable.
        state_dir: missing or empty, so that no state is mixed with another.

    Raises:
        BackupError: the directory has something in it, or the file is no backup, damaged, or by a newer Cepstra.
    """
    try:
        if state_dir.is_dir() and _contents(state_dir):
            raise BackupError(f"{state_dir} is not empty; restore into a new directory, or move what is there away")
        make_folder(state_dir)
        try:
            return _read_tar(source, state_dir)
        except BaseException:
            for entry in _contents(state_dir):
                shutil.rmtree(entry) if entry.is_dir() else entry.unlink()
            raise
    except tarfile.TarError as error:
        raise BackupError(f"this is no backup, or a damaged one: {error}") from error
    except OSError as error:
        raise BackupError(f"nothing was restored to {state_dir}: {error}") from error


def _contents(state_dir: Path) -> list[Path]:
    """What is in it, but for what is there without anybody having kept something.

    That is the folder that a file system of its own comes with and that its user cannot open, and what a server
    measures at its first start.
    """
    return [entry for entry in state_dir.iterdir() if entry.name not in ("lost+found", *MEASURED)]


@contextmanager
def _staged(state_dir: Path, with_database: bool) -> Iterator[dict[str, Path]]:
    """Everything of one moment: name in the backup → where it lies, under a name that no server knows."""
    staging = state_dir / STAGING
    shutil.rmtree(staging, ignore_errors=True)  # of a backup that was killed
    staging.mkdir(mode=0o700)
    try:
        database = state_dir / DATABASE
        if with_database and database.is_file():
            staged = _database_and_audio(state_dir, staging)
        else:
            folder = state_dir / AUDIO
            names = [path.name for path in folder.iterdir()] if folder.is_dir() else []
            staged = _linked(state_dir, staging, [f"{AUDIO}/{name}" for name in names])
        yield staged | _linked(state_dir, staging, _others(state_dir))
    finally:
        shutil.rmtree(staging, ignore_errors=True)


def _database_and_audio(state_dir: Path, staging: Path) -> dict[str, Path]:
    """The database and the audio of its jobs, both of the same moment."""
    file, copy = state_dir / DATABASE, staging / FILE_NAME
    with (
        closing(sqlite3.connect(file, timeout=BUSY_S, isolation_level=None)) as reader,
        closing(sqlite3.connect(file, timeout=BUSY_S, isolation_level=None)) as lock,
        closing(sqlite3.connect(copy)) as target,
    ):
        lock.execute("BEGIN IMMEDIATE")  # nobody writes from here …
        reader.execute("BEGIN")  # … and what this connection sees stays as it is now
        made = reader.execute("SELECT 1 FROM sqlite_master WHERE name = 'jobs'").fetchone()
        ids = [row[0] for row in reader.execute("SELECT id FROM jobs")] if made else []
        staged = _linked(state_dir, staging, [f"{AUDIO}/{job_id}" for job_id in ids])
        lock.execute("ROLLBACK")  # … to here
        reader.backup(target)
        verdict = target.execute("PRAGMA integrity_check").fetchone()[0]
    if verdict != "ok":
        raise BackupError(f"{file} is damaged: {verdict}")
    copy.chmod(0o600)
    return staged | {DATABASE: copy}


def _others(state_dir: Path) -> list[str]:
    """Names of all files but the jobs' rows and audio, locks, what was measured, and what is being written."""
    names = []
    for folder, folders, files in os.walk(state_dir):
        folders[:] = [name for name in folders if not name.startswith(".") and Path(folder, name) != state_dir / AUDIO]
        for name in files:
            path = Path(folder, name)
            passing = name.startswith(".") or name.endswith(".lock") or name.startswith(FILE_NAME) or name in MEASURED
            if not passing and path.is_file() and not path.is_symlink():
                names.append(path.relative_to(state_dir).as_posix())
    return names


def _linked(state_dir: Path, staging: Path, names: list[str]) -> dict[str, Path]:
    """Give files a second name, under which they stay when the first is erased or replaced; those there are."""
    staged = {}
    for name in names:
        link = staging / name.replace("/", "%")
        try:
            os.link(state_dir / name, link)
        except FileNotFoundError:
            continue
        except OSError:  # a file system without links
            try:
                shutil.copyfile(state_dir / name, link)
            except FileNotFoundError:
                continue
        staged[name] = link
    return staged


def _write_tar(out: BinaryIO, manifest: Manifest, staged: dict[str, Path]) -> None:
    with tarfile.open(fileobj=out, mode="w|") as tar:

        def add(name: str, size: int) -> tarfile.TarInfo:
            entry = tarfile.TarInfo(name)
            entry.size, entry.mode, entry.mtime = size, 0o600, manifest.created_at
            return entry

        text = manifest.model_dump_json(indent=1).encode()
        tar.addfile(add(MANIFEST, len(text)), io.BytesIO(text))
        for name, size in manifest.files.items():
            with staged[name].open("rb") as file:
                tar.addfile(add(name, size), file)


def _read_tar(source: BinaryIO, state_dir: Path) -> Manifest:
    with tarfile.open(fileobj=source, mode="r|") as tar:
        first = tar.next()
        if first is None or first.name != MANIFEST or first.size > LARGEST_MANIFEST:
            raise BackupError(f"this is no backup of Cepstra's: it does not begin with {MANIFEST}")
        manifest = _manifest(_content(tar, first).read())
        missing = dict(manifest.files)
        while (entry := tar.next()) is not None:
            if not entry.isreg() or missing.pop(entry.name, None) != entry.size:
                raise BackupError(f"the backup holds {entry.name!r}, which {MANIFEST} does not promise like this")
            path = state_dir / entry.name
            make_folder(path.parent)
            with open(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600), "wb") as file:
                shutil.copyfileobj(_content(tar, entry), file, COPY_BYTES)
                file.flush()
                os.fsync(file.fileno())
    if missing:
        raise BackupError(f"the backup ends early: {len(missing)} files are missing, {min(missing)} among them")
    return manifest


def _manifest(text: bytes) -> Manifest:
    try:
        if version := newer_format(text, known=1):
            raise BackupError(f"the backup has format {version}, and this Cepstra reads format 1: a newer one wrote it")
        manifest = Manifest.model_validate_json(text)
    except ValidationError as error:
        raise BackupError(f"{MANIFEST} in the backup is damaged: {error}") from error
    for name in manifest.files:
        path = PurePosixPath(name)
        if path.is_absolute() or ".." in path.parts or path.as_posix() != name:
            raise BackupError(f"the backup holds {name!r}, which is no name inside of a state directory")
    return manifest


def _content(tar: tarfile.TarFile, entry: tarfile.TarInfo) -> BinaryIO:
    file = tar.extractfile(entry)
    if file is None:
        raise BackupError(f"the backup holds {entry.name!r}, which is no file")
    return file  # type: ignore[return-value]  # it reads bytes, as BinaryIO does
