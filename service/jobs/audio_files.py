"""The audio of jobs on disk: one file each, under the job's name, readable for this user alone."""

import errno
import hashlib
import os
import time
from pathlib import Path
from typing import BinaryIO

from service.errors import JobsUnavailableError
from service.jobs.database import make_folder, sync_folder
from service.jobs.job import is_job_id

COPY_BYTES = 1024 * 1024


class AudioFiles:
    """The folder of audio files.

    Args:
        folder: made when the first file comes.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def path(self, job_id: str) -> Path:
        """Where the audio of a job lies."""
        assert is_job_id(job_id), job_id  # nothing that a client wrote becomes a path
        return self._folder / job_id

    def keep(self, job_id: str, audio: BinaryIO) -> str:
        """Copy `audio` from its start to disk; when this returns a power cut does not take it any more.

        Returns:
            Its SHA-256, in hexadecimal digits.

        Raises:
            JobsUnavailableError: it cannot be written; nothing is left of it.
        """
        path = self.path(job_id)
        digest = hashlib.sha256()
        try:
            make_folder(self._folder)
            try:
                with open(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600), "wb") as file:
                    audio.seek(0)
                    while piece := audio.read(COPY_BYTES):
                        digest.update(piece)
                        file.write(piece)
                    file.flush()
                    os.fsync(file.fileno())
                sync_folder(self._folder)
            except BaseException:
                path.unlink(missing_ok=True)
                raise
        except OSError as error:
            if error.errno in (errno.ENOSPC, errno.EDQUOT):
                raise JobsUnavailableError("There is no room on disk for this file.", code="storage_full") from error
            raise JobsUnavailableError(
                f"The file cannot be kept: {error.strerror}. Jobs need a CEPSTRA_STATE_DIR that can be written."
            ) from error
        return digest.hexdigest()

    def erase(self, job_id: str) -> None:
        """Erase the audio of a job, where it is still there."""
        self.path(job_id).unlink(missing_ok=True)

    def older_than(self, seconds: float) -> set[str]:
        """Names of the jobs whose files were written more than `seconds` ago; a stray file is not among them."""
        if not self._folder.is_dir():
            return set()
        before_s = time.time() - seconds
        names = set()
        for entry in os.scandir(self._folder):
            try:
                if is_job_id(entry.name) and entry.stat().st_mtime <= before_s:
                    names.add(entry.name)
            except FileNotFoundError:
                continue  # erased meanwhile
        return names
