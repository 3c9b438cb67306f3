"""Backup and restore as docs/operations.md says it for PostgreSQL: its own dump first, then the state directory."""

import io
import subprocess
from pathlib import Path

import pytest
from sqlalchemy import create_engine, text

from model.cancellation import CancelToken
from model.transcript import Transcript
from service.backup import read_backup, write_backup
from service.jobs.jobs import Jobs
from service.recogniser import Progress
from service.schemas import TranscriptionOptions
from service.settings import Settings
from tests.service.conftest import wait_until
from tests.service.fakes import transcript_of
from tests.service.jobs.conftest import program

OPTIONS = TranscriptionOptions(model="default")
KEEP_AUDIO_S = 3600.0  # longer than dump and backup take


def ear(audio: Path, options: TranscriptionOptions, progress: Progress, cancelled: CancelToken) -> Transcript:
    return transcript_of([audio.read_text()])


def opened(state: Path, url: str) -> Jobs:
    return Jobs(Settings(state_dir=state, database_url=url, keep_audio_s=KEEP_AUDIO_S, shutdown_s=0), ear)


def test_a_job_that_ends_between_dump_and_backup_is_not_lost(postgresql: str, tmp_path: Path) -> None:
    dump, restore = program("pg_dump"), program("pg_restore")
    if not dump or not restore:
        pytest.skip("pg_dump and pg_restore are not installed (Debian's package postgresql-client)")
    empty(postgresql)
    jobs = opened(tmp_path / "state", postgresql)
    submitted = {jobs.submit(io.BytesIO(word.encode()), OPTIONS).id: word for word in ("one", "two", "three")}
    dumped = subprocess.run([dump, "-Fc", postgresql], check=True, stdout=subprocess.PIPE).stdout
    jobs.start_working()
    wait_until(lambda: jobs.count_by_status().get("completed") == len(submitted))
    late = jobs.submit(io.BytesIO(b"after the dump"), OPTIONS)
    out = io.BytesIO()
    write_backup(tmp_path / "state", out, with_database=False)
    jobs.stop()

    empty(postgresql)
    subprocess.run([restore, "--clean", "--if-exists", "-d", postgresql], check=True, input=dumped)
    read_backup(io.BytesIO(out.getvalue()), tmp_path / "elsewhere")
    jobs = opened(tmp_path / "elsewhere", postgresql)
    assert {job.id: job.status for job in jobs.page().jobs} == dict.fromkeys(submitted, "queued")
    jobs.start_working()
    wait_until(lambda: jobs.count_by_status().get("completed") == len(submitted))
    assert {job_id: jobs.transcript(job_id)[1].text for job_id in submitted} == submitted
    assert late.id not in {job.id for job in jobs.page().jobs}  # it came after the dump
    jobs.stop()


def empty(url: str) -> None:
    """A database without tables."""
    engine = create_engine(url.replace("postgresql://", "postgresql+psycopg://"), isolation_level="AUTOCOMMIT")
    with engine.connect() as connection:
        connection.execute(text("DROP SCHEMA public CASCADE"))
        connection.execute(text("CREATE SCHEMA public"))
    engine.dispose()
