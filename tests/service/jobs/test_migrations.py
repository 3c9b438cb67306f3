"""Versions of the database: the steps make the tables that the code uses, older ones come along, newer ones do not."""

from pathlib import Path

import pytest
from sqlalchemy import Engine, create_engine, inspect, text

from service.errors import JobsUnavailableError
from service.jobs.database import Database
from service.jobs.migrations import STEPS, migrate
from service.jobs.schema import metadata
from service.jobs.store import JobStore
from tests.service.fakes import TEXT

STORED = Path(__file__).with_name("jobs-v1.sql")


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


def test_a_newer_database_is_refused(engine: Engine) -> None:
    with engine.begin() as connection:
        migrate(connection)
        connection.execute(text("UPDATE jobs_version SET version = 99"))
        with pytest.raises(JobsUnavailableError, match=r"version 99.*made by a newer one"):
            migrate(connection)
    engine.dispose()


def test_a_database_of_the_first_version_is_still_read(tmp_path: Path) -> None:
    """`jobs-v1.sql` was written by that version and is never changed."""
    import sqlite3

    with sqlite3.connect(tmp_path / "jobs.sqlite") as stored:
        stored.executescript(STORED.read_text())
    stored.close()
    store = JobStore(Database(tmp_path), max_unfinished=10)
    page = store.page("ann", limit=10)
    assert [job.status for job in page.jobs] == ["queued", "completed"]
    done, transcript = store.transcript(page.jobs[1].id, "ann")
    assert (done.options.response_format, transcript.text) == ("srt", TEXT)
