"""Versions of the database: the steps make the tables that the code uses, older ones come along, newer ones do not."""

import contextlib
import sqlite3
from pathlib import Path

import psycopg
import pytest
from sqlalchemy import Engine, create_engine, inspect, text

from service.errors import JobsUnavailableError
from service.jobs.database import Database
from service.jobs.leases import LeaseQueue
from service.jobs.migrations import STEPS, migrate
from service.jobs.outbox import Outbox
from service.jobs.schema import metadata
from service.jobs.store import JobStore
from tests.service.fakes import TEXT

STORED = Path(__file__).with_name("jobs-v1")


@pytest.fixture
def engine(tmp_path: Path, database_url: str | None) -> Engine:
    url = database_url.replace("postgresql://", "postgresql+psycopg://") if database_url else f"sqlite:///{tmp_path}/db"
    return create_engine(url)


def test_the_steps_make_the_tables_of_the_schema(engine: Engine) -> None:
    with engine.begin() as connection:
        assert migrate(connection) == 0
        assert migrate(connection) == len(STEPS)
    found = inspect(engine)
    for table in metadata.sorted_tables:
        columns = {column["name"]: column["nullable"] for column in found.get_columns(table.name)}
        assert columns == {column.name: bool(column.nullable) for column in table.columns}, table.name
        assert found.get_pk_constraint(table.name)["constrained_columns"] == [key.name for key in table.primary_key]
        if engine.dialect.name == "postgresql":  # of SQLite's tables SQLAlchemy does not read this
            cascades = [key["options"]["ondelete"] for key in found.get_foreign_keys(table.name)]
            assert cascades == ["CASCADE" for _ in table.foreign_keys]
    engine.dispose()


def test_a_step_is_done_once_and_all_or_nothing(engine: Engine) -> None:
    with engine.begin() as connection:
        migrate(connection)
    more = [*STEPS, ["ALTER TABLE jobs ADD COLUMN extra TEXT"], ["INSERT INTO nothing VALUES (1)"]]
    with pytest.raises(Exception, match="nothing"), engine.begin() as connection:
        migrate(connection, more)
    if engine.dialect.name == "postgresql":  # pysqlite commits before DDL unless set up as `Database` does
        assert "extra" not in [column["name"] for column in inspect(engine).get_columns("jobs")]
    engine.dispose()


def test_a_newer_database_is_refused_and_left_as_it_is(tmp_path: Path, database_url: str | None) -> None:
    stored(tmp_path, database_url)
    newer = [*STEPS, ["ALTER TABLE jobs ADD COLUMN colour TEXT", "UPDATE jobs SET colour = 'red'"]]
    database = Database(tmp_path, database_url)
    with database.write() as connection:  # as the version after this one does it
        assert migrate(connection, newer) == len(STEPS)
    database.close()
    older = Database(tmp_path, database_url)
    store = JobStore(older, max_unfinished=10)
    for _ in range(2):
        with pytest.raises(JobsUnavailableError, match=rf"has version {len(newer)}.* newer one.*restore the backup"):
            store.page("ann", limit=10)
    with database.read() as connection:
        assert connection.execute(text("SELECT version FROM jobs_version")).scalars().all() == [len(newer)]
        assert connection.execute(text("SELECT colour FROM jobs")).scalars().all() == ["red", "red"]
    for opened in (database, older):
        opened.close()


def test_jobs_of_the_first_version_go_on_in_this_one(tmp_path: Path, database_url: str | None) -> None:
    stored(tmp_path, database_url)
    database = Database(tmp_path, database_url)
    store = JobStore(database, max_unfinished=10)
    page = store.page("ann", limit=10)
    assert [job.status for job in page.jobs] == ["queued", "completed"]
    done, transcript = store.transcript(page.jobs[1].id, "ann")
    assert (done.options.response_format, transcript.text) == ("srt", TEXT)
    lease = LeaseQueue(database, lease_s=30, max_attempts=5).claim()
    assert lease is not None
    assert lease.job_id == page.jobs[0].id, "what was queued before the upgrade is worked on after it"
    (message,) = Outbox(database, max_tries=5, retry_s=1).of_job(done.id)
    assert (message["status"], message["type"]) == ("pending", "transcription.job.completed")
    database.close()


def stored(folder: Path, database_url: str | None) -> None:
    """Fill the database with what the first version wrote; those files are never changed."""
    if database_url is None:
        with contextlib.closing(sqlite3.connect(folder / "jobs.sqlite")) as file:
            file.executescript(STORED.with_suffix(".sql").read_text())
    else:
        with psycopg.connect(database_url) as connection:
            connection.execute(STORED.with_suffix(".postgresql.sql").read_bytes())
