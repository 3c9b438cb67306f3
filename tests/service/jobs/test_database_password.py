"""The database's password comes from a file, and a new one needs no restart."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import create_engine, text

from service.errors import JobsUnavailableError
from service.jobs.database import Database

ROLE = "guarded"


@pytest.fixture
def change_password(postgresql: str) -> Iterator[object]:
    """Makes the role need a password; what it yields sets another one."""
    engine = create_engine(postgresql.replace("postgresql://", "postgresql+psycopg://"), isolation_level="AUTOCOMMIT")
    with engine.connect() as connection:
        rules = Path(str(connection.execute(text("SHOW hba_file")).scalar_one()))
        before = rules.read_text()
        rules.write_text(f"local all {ROLE} scram-sha-256\n{before}")
        connection.execute(text("SELECT pg_reload_conf()"))
        connection.execute(text(f"CREATE ROLE {ROLE} LOGIN SUPERUSER"))

        def change(password: str) -> None:
            connection.execute(text(f"ALTER ROLE {ROLE} PASSWORD '{password}'"))

        yield change
        rules.write_text(before)
        connection.execute(text("SELECT pg_reload_conf()"))
        connection.execute(text(f"DROP OWNED BY {ROLE} CASCADE"))
        connection.execute(text(f"DROP ROLE {ROLE}"))
    engine.dispose()


def test_the_password_is_read_for_every_new_connection(
    postgresql: str, change_password: object, tmp_path: Path
) -> None:
    assert callable(change_password)
    change_password("first")
    file = tmp_path / "password"
    file.write_text("first\n")
    database = Database(tmp_path, postgresql.replace("postgres@", f"{ROLE}@"), file)
    with database.read() as connection:
        assert connection.execute(text("SELECT current_user")).scalar_one() == ROLE

    change_password("second")
    database.close()
    with pytest.raises(JobsUnavailableError), database.read():
        pass
    file.write_text("second\n")
    with database.read() as connection:
        assert connection.execute(text("SELECT current_user")).scalar_one() == ROLE
    file.unlink()
    database.close()
    with pytest.raises(JobsUnavailableError, match="try again"), database.read():
        pass


def test_a_file_that_is_not_there_is_named_at_the_start(tmp_path: Path) -> None:
    with pytest.raises(JobsUnavailableError, match="CEPSTRA_DATABASE_PASSWORD_FILE"):
        Database(tmp_path, "postgresql://user@localhost/name", tmp_path / "missing")
