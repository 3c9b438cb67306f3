"""What is on disk before a 202: audio, its name, and the row."""

import errno
import io
import os
from collections.abc import Callable
from pathlib import Path

import pytest
from fastapi.testclient import TestClient
from sqlalchemy import insert, text
from sqlalchemy.exc import DBAPIError, IntegrityError, ProgrammingError

from service.app import create_app
from service.errors import JobsUnavailableError
from service.jobs import schema
from service.jobs.audio_files import AudioFiles
from service.jobs.database import FILE_NAME, Database
from service.jobs.job import Job, new_job_id
from service.jobs.jobs import Jobs
from service.jobs.store import NewJob
from service.settings import Settings
from tests.service.conftest import DECODERS
from tests.service.fakes import FakeTranscriber
from tests.service.jobs.conftest import on_sqlite
from tests.service.jobs.test_jobs import Ear, submit
from tests.waiting import wait_until


@pytest.fixture
def jobs(tmp_path: Path) -> Jobs:
    return Jobs(Settings(state_dir=tmp_path / "state"), Ear())


def test_audio_and_its_name_are_synced_before_the_row_is_written(
    jobs: Jobs, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    submit(jobs)  # folders and database are made
    happened: list[str] = []
    fsync, add = os.fsync, jobs._store.add

    def noted(handle: int) -> None:
        happened.append(Path(os.readlink(f"/proc/self/fd/{handle}")).name)
        fsync(handle)

    def noted_add(new: NewJob) -> Job:
        happened.append("row")
        return add(new)

    monkeypatch.setattr(os, "fsync", noted)
    monkeypatch.setattr(jobs._store, "add", noted_add)
    job = submit(jobs)
    assert happened == [job.id, "audio", "row"]


def test_folders_that_are_made_are_synced_into_those_above(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    synced: list[Path] = []
    fsync = os.fsync

    def noted(handle: int) -> None:
        synced.append(Path(os.readlink(f"/proc/self/fd/{handle}")))
        fsync(handle)

    monkeypatch.setattr(os, "fsync", noted)
    audio = AudioFiles(tmp_path / "a" / "b")
    job_id = new_job_id()
    audio.keep(job_id, io.BytesIO(b"audio"))
    assert synced == [tmp_path, tmp_path / "a", tmp_path / "a" / "b" / job_id, tmp_path / "a" / "b"]
    assert {path.stat().st_mode & 0o777 for path in (tmp_path / "a", tmp_path / "a" / "b")} == {0o700}


def test_every_commit_of_sqlite_reaches_the_disk(tmp_path: Path) -> None:
    database = Database(tmp_path)
    for transaction in (database.write, database.read):
        with transaction() as connection:
            assert connection.execute(text("PRAGMA synchronous")).scalar() == 2  # FULL
            assert connection.execute(text("PRAGMA journal_mode")).scalar() == "wal"
            assert connection.execute(text("PRAGMA foreign_keys")).scalar() == 1
    assert (tmp_path / "jobs.sqlite").stat().st_mode & 0o777 == 0o600
    database.close()


def test_nothing_stays_connected_after_closing(tmp_path: Path, postgresql: str) -> None:
    def pid(database: Database) -> int:
        with database.read() as connection:
            return int(connection.execute(text("SELECT pg_backend_pid()")).scalar_one())

    closed, other = Database(tmp_path, postgresql), Database(tmp_path, postgresql)
    assert pid(closed) == pid(closed)  # kept open, until
    before, during = pid(closed), pid(other)
    with closed.read() as connection:
        in_use = int(connection.execute(text("SELECT pg_backend_pid()")).scalar_one())
        closed.close()
    late = pid(closed)
    assert late != pid(closed)  # still usable, by a thread that had not ended

    def connected() -> set[int]:
        with other.read() as connection:
            return set(connection.execute(text("SELECT pid FROM pg_stat_activity")).scalars())

    assert during in connected()
    wait_until(lambda: not {before, in_use, late} & connected())
    other.close()


@pytest.mark.parametrize(
    ("error", "code"), [(errno.EIO, None), (errno.ENOSPC, "storage_full"), (errno.EDQUOT, "storage_full")]
)
def test_what_the_disk_does_not_take_is_no_job(
    error: int, code: str | None, jobs: Jobs, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(handle: int) -> None:
        raise OSError(error, os.strerror(error))

    kept = submit(jobs)
    monkeypatch.setattr(os, "fsync", refuse)
    with pytest.raises(JobsUnavailableError) as caught:
        submit(jobs)
    assert caught.value.code == code
    assert [job.id for job in jobs.page().jobs] == [kept.id]
    assert [path.name for path in (tmp_path / "state" / "jobs" / "audio").iterdir()] == [kept.id]


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("nonsense", "is no URL"),
        ("mysql://user:secret@host/name", "names 'mysql'"),
        ("sqlite:///jobs.db", "names 'sqlite'"),
    ],
)
def test_a_database_that_cannot_be_used(url: str, message: str, tmp_path: Path) -> None:
    with pytest.raises(JobsUnavailableError, match=message) as caught:
        Database(tmp_path, url)
    assert "secret" not in str(caught.value)


def test_a_database_that_is_away_is_told_from_a_mistake(tmp_path: Path) -> None:
    away = Database(tmp_path, f"postgresql://nobody@/nothing?host={tmp_path}")
    with pytest.raises(JobsUnavailableError, match="cannot be reached at the moment"), away.read():
        pytest.fail("there is no server")


def test_a_damaged_file_is_told_from_a_mistake(tmp_path: Path) -> None:
    """Numbers and transcriptions go on: what is said of jobs is that they cannot be had."""
    (tmp_path / "jobs").mkdir()
    (tmp_path / "jobs" / FILE_NAME).write_bytes(bytes(range(256)) * 64)
    with TestClient(create_app(Settings(state_dir=tmp_path), FakeTranscriber(), DECODERS)) as client:
        response = client.get("/v1/jobs")
        assert (response.status_code, response.json()["error"]["code"]) == (503, "jobs_unavailable")
        numbers = client.get("/metrics")
        assert (numbers.status_code, "cepstra_jobs_up 0.0" in numbers.text) == (200, True)


@on_sqlite
def test_a_file_of_which_nobody_can_tell_whether_it_is_there(make_jobs: Callable[..., Jobs], tmp_path: Path) -> None:
    """As in a folder that another user has made; a name that is too long stands in, since root may enter any folder."""
    jobs = make_jobs(Ear(), state_dir=tmp_path / ("x" * 300))
    for ask in (jobs.page, jobs.check_room, jobs.count_by_status, jobs.queue_age_s):
        with pytest.raises(JobsUnavailableError):
            ask()


@on_sqlite
def test_a_file_that_is_damaged_while_it_is_used(make_jobs: Callable[..., Jobs], tmp_path: Path) -> None:
    jobs = make_jobs(Ear())
    submit(jobs)
    jobs._database.scrub(erased=True)  # everything is in the file now
    jobs._database._engine.dispose()  # nothing of it is in memory
    file = tmp_path / "state" / "jobs" / FILE_NAME
    file.write_bytes(file.read_bytes()[:4096] + b"x" * (file.stat().st_size - 4096))
    with pytest.raises(JobsUnavailableError):
        jobs.page()


def test_an_empty_database_is_made_one_of_jobs_without_a_restart(make_jobs: Callable[..., Jobs]) -> None:
    jobs = make_jobs(Ear())
    submit(jobs)
    with jobs._database.write() as connection:
        schema.metadata.drop_all(connection)
        connection.execute(text("DROP TABLE jobs_version"))
    with pytest.raises(JobsUnavailableError):
        jobs.page()
    assert jobs.page().jobs == ()
    assert jobs.get(submit(jobs).id).status == "queued"


def test_what_a_database_refuses_is_a_mistake_and_its_message_holds_no_words(make_jobs: Callable[..., Jobs]) -> None:
    jobs = make_jobs(Ear())
    with pytest.raises(IntegrityError) as caught, jobs._database.write() as connection:
        connection.execute(insert(schema.results).values(job_id=new_job_id(), transcript="confidential"))
    assert "confidential" not in str(caught.value)


@pytest.mark.parametrize("statement", ["SELECT absent FROM jobs", "INSERT INTO jobs (absent) VALUES (1)"])
def test_a_column_that_is_missing_is_a_mistake(statement: str, make_jobs: Callable[..., Jobs]) -> None:
    """Nobody can wait for its end, so it is told with a traceback and not tried again."""
    jobs = make_jobs(Ear())
    submit(jobs)
    with pytest.raises(DBAPIError, match="absent"), jobs._database.write() as connection:
        connection.execute(text(statement))
    assert len(jobs.page().jobs) == 1


@on_sqlite
def test_what_the_driver_cannot_do_is_a_mistake(make_jobs: Callable[..., Jobs]) -> None:
    with pytest.raises(ProgrammingError, match="bindings"), make_jobs(Ear())._database.read() as connection:
        connection.exec_driver_sql("SELECT ?", ())
