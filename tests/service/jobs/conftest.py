"""Databases to test jobs with: SQLite always, and a PostgreSQL of the tests' own where its programs are installed."""

import os
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from sqlalchemy import create_engine, text

from service.jobs.jobs import Jobs
from service.jobs.worker import Recognise
from service.settings import Settings

SUPERUSER = "postgres"

# For a test of what does not depend on where jobs are kept: once is enough.
on_sqlite = pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)


def program(name: str) -> str | None:
    """Debian keeps PostgreSQL's programs off PATH."""
    found = [str(path) for path in Path("/usr/lib/postgresql").glob(f"*/bin/{name}")]
    return shutil.which(name) or (max(found) if found else None)


@pytest.fixture(scope="session")
def postgresql() -> Iterator[str]:
    """URL of a PostgreSQL server that listens on a socket in a folder of its own."""
    initdb, server = program("initdb"), program("postgres")
    if not initdb or not server:
        pytest.skip("PostgreSQL is not installed (Debian's package postgresql); jobs are tested with SQLite alone")
    # The server refuses to run as root; Debian's package makes this user.
    user = SUPERUSER if os.geteuid() == 0 else None
    # Not pytest's folder: the name of a socket has at most 107 characters, and this user has to reach it.
    with tempfile.TemporaryDirectory(prefix="cepstra-pg-") as folder:
        if user:
            shutil.chown(folder, user)
        data = f"{folder}/data"
        subprocess.run(
            [initdb, "-D", data, "-U", SUPERUSER, "-A", "trust", "--no-sync", "-E", "UTF8"],
            check=True,
            capture_output=True,
            user=user,
        )
        process = subprocess.Popen(
            [server, "-D", data, "-k", folder, "-c", "listen_addresses=", "-F"],
            user=user,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        try:
            ready = program("pg_isready")
            assert ready
            while subprocess.run([ready, "-q", "-h", folder], check=False).returncode:
                assert process.poll() is None, "PostgreSQL did not start"
            yield f"postgresql://{SUPERUSER}@/postgres?host={folder}"
        finally:
            process.send_signal(signal.SIGINT)  # without waiting for its clients
            process.wait(60)


@pytest.fixture(params=["sqlite", "postgresql"])
def database_url(request: pytest.FixtureRequest) -> str | None:
    """None for SQLite, and an empty database of PostgreSQL's."""
    if request.param == "sqlite":
        return None
    url: str = request.getfixturevalue("postgresql")
    engine = create_engine(url.replace("postgresql://", "postgresql+psycopg://"), isolation_level="AUTOCOMMIT")
    with engine.connect() as connection:
        connection.execute(text("DROP SCHEMA public CASCADE"))
        connection.execute(text("CREATE SCHEMA public"))
    engine.dispose()
    return url


@pytest.fixture
def make_jobs(tmp_path: Path, database_url: str | None) -> Iterator[Callable[..., Jobs]]:
    """Makes one more process's view of the same jobs; all are stopped in the end."""
    with ExitStack() as stack:

        def make(recognise: Recognise, **settings: object) -> Jobs:
            wanted = {"state_dir": tmp_path / "state", "database_url": database_url, "shutdown_s": 0, **settings}
            jobs = Jobs(Settings.model_validate(wanted), recognise)
            stack.callback(jobs.stop)
            return jobs

        yield make
