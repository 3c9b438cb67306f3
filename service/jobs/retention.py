"""What is erased without being asked: audio once its job has ended, jobs some time after that, files nobody owns."""

import logging

from service.jobs.audio_files import AudioFiles
from service.jobs.store import JobStore

logger = logging.getLogger("cepstra.jobs")

# Audio is written before its row; a file without one is younger than this, or was left behind by a process that died.
ORPHAN_S = 3600.0


class Retention:
    """Erases.

    Args:
        store: the rows.
        audio: the files.
        keep_jobs_s: how long a job and its transcript stay after its end, seconds.
        keep_audio_s: the same for its audio.
    """

    def __init__(self, store: JobStore, audio: AudioFiles, *, keep_jobs_s: float, keep_audio_s: float) -> None:
        self._store = store
        self._audio = audio
        self._keep_jobs_s = keep_jobs_s
        self._keep_audio_s = keep_audio_s

    def ended(self, job_id: str) -> None:
        """Called when a job has ended: without a time to keep it, the audio goes at once."""
        if self._keep_audio_s == 0:
            self._audio.erase(job_id)

    def sweep(self) -> None:
        """Erase all whose time has come; also what a process that was killed did not come to erase."""
        # Each reason is found by one statement and lasts: a job that has ended stays so, an old file gets no row.
        expired = self._store.expire(self._keep_jobs_s)
        for job_id in expired:
            self._audio.erase(job_id)
        over = self._store.ended_before(self._audio.older_than(0), self._keep_audio_s)
        # Not what is unknown while it is young: its row may be written at this moment.
        old = self._audio.older_than(ORPHAN_S)
        orphans = old - self._store.known(old)
        for job_id in over | orphans:
            self._audio.erase(job_id)
        if expired or orphans:
            logger.info("erased %d jobs whose time was over and %d files of no job", len(expired), len(orphans))
