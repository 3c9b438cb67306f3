"""The database of the jobs: a file of SQLite's under the state directory, or PostgreSQL by URL.

A transaction that has returned is on disk: SQLite syncs its log at every commit, and so does PostgreSQL.
"""

import fcntl
import logging
import os
import sqlite3
import threading
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, Engine, create_engine, event, exc, func, make_url, select
from sqlalchemy.engine.interfaces import DBAPIConnection
from sqlalchemy.pool import ConnectionPoolEntry

from service.errors import JobsUnavailableError, NewerDatabaseError
from service.jobs.migrations import migrate

logger = logging.getLogger("cepstra.jobs")

FILE_NAME = "jobs.sqlite"
BUSY_S = 30  # how long one process waits for another's transaction
CONNECT_S = 5
SCRUB_S = 0.2  # that an erasure waits for those who read, a backup for instance

# What a database says that is away, damaged, empty again, or does not let us in.
_UNREACHABLE = (exc.DatabaseError, exc.InterfaceError, exc.TimeoutError, sqlite3.Error, OSError)
# What it says of what was to be written, which would be the same another time.
_REFUSED = (exc.IntegrityError, exc.DataError)
# What it says of a mistake of ours: 500 and a traceback, since nobody can wait for its end. PostgreSQL's are a column
# or a function that is not there, and what is no SQL. Others of the driver's class pass: behind a pooler, prepared
# statements can be lost.
_MISTAKEN = (exc.ProgrammingError, exc.NotSupportedError)
_MISTAKEN_STATES = ("42703", "42883", "42601", None)
_MISTAKES = ("no such column", "has no column named")  # SQLite's, of which the driver makes no such error
_UNDEFINED_TABLE = "42P01"  # PostgreSQL's
_READING = {"reading": True}


class Database:
    """Transactions. Nothing is opened, made or migrated before the first one.

    Args:
        folder: where SQLite's file lies; made when needed, for this user alone.
        url: `postgresql://…` instead of it.
        password_file: its first line is the password for `url`. Read for every new connection, so that a new password
            needs no restart; what runs on an old connection is not disturbed.

    Raises:
        JobsUnavailableError: the URL names another kind of database, or one whose driver is not installed, or the
            password's file cannot be read.

    Attributes:
        refusal: set once it was found to be a newer Cepstra's, which this one can do nothing with.
    """

    def __init__(self, folder: Path, url: str | None = None, password_file: Path | None = None) -> None:
        self._file = None if url else folder / FILE_NAME
        self._engine = _postgresql(url, password_file) if url else _sqlite(folder / FILE_NAME)
        self._closed = False
        event.listen(self._engine, "checkin", self._close_if_late)
        self._lock = threading.Lock()
        self.refusal: NewerDatabaseError | None = None
        self._opened = False
        self._away = False
        self._unscrubbed = False

    @property
    def exists(self) -> bool:
        """False where there is no file yet, and so no jobs: spares a service without jobs from making one.

        True where that cannot be told; whoever then opens it hears why.
        """
        if self._opened or self._file is None:
            return True
        try:
            self._file.stat()
        except (FileNotFoundError, NotADirectoryError):
            return False
        except OSError:
            pass
        return True

    @contextmanager
    def write(self) -> Iterator[Connection]:
        """A transaction that may change things; committed at the end, rolled back where something is raised.

        Raises:
            JobsUnavailableError: the database cannot be reached; whether a commit was done is then unknown.
        """
        with self._reachable():
            self._open()
            with self._engine.begin() as connection:
                yield connection

    @contextmanager
    def read(self) -> Iterator[Connection]:
        """A transaction that only looks; never waits for those that write."""
        with self._reachable():
            self._open()
            with self._engine.connect() as connection:
                yield connection.execution_options(**_READING)

    def now_s(self, connection: Connection) -> float:
        """Unix seconds by the clock that all who share the database have in common."""
        if self._file:
            return time.time()
        return float(connection.execute(select(func.extract("epoch", func.clock_timestamp()))).scalar_one())

    def scrub(self, *, erased: bool) -> None:
        """Empty SQLite's log, which may still hold what was erased; where somebody reads, a later call does it.

        PostgreSQL's own vacuum does as much, in its own time. Never raises.

        Args:
            erased: whether something was; without that it is only made up for.
        """
        if self._file is None or not self._opened or not (erased or self._unscrubbed):
            return
        self._unscrubbed = True
        try:
            with closing(self._engine.raw_connection()) as raw:
                cursor = raw.cursor()
                cursor.execute(f"PRAGMA busy_timeout = {round(1000 * SCRUB_S)}")
                try:
                    (busy, *_) = cursor.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
                finally:
                    cursor.execute(f"PRAGMA busy_timeout = {1000 * BUSY_S}")
            self._unscrubbed = bool(busy)
        except _UNREACHABLE as error:
            logger.info("the jobs' log was not emptied: %s", error)

    def close(self) -> None:
        """Close all connections, those in use as soon as they are not; a later transaction keeps none open."""
        self._closed = True
        self._engine.dispose()

    def _close_if_late(self, connection: DBAPIConnection | None, record: ConnectionPoolEntry) -> None:
        if connection is not None and self._closed:
            record.invalidate()  # nobody will close it any more

    @contextmanager
    def _reachable(self) -> Iterator[None]:
        try:
            yield
        except _REFUSED:
            raise
        except _UNREACHABLE as error:
            if _lacks_table(error):
                self._begin_again()
            elif _is_mistake(error):
                raise
            reason = str(getattr(error, "orig", None) or error).strip().splitlines()
            level = logging.DEBUG if self._away else logging.WARNING  # said once, not by every thread every second
            logger.log(level, "the jobs' database is away: %s", reason[0] if reason else type(error).__name__)
            self._away = True
            raise JobsUnavailableError("Jobs cannot be reached at the moment; try again.", retry_after_s=5) from error
        if self._away:
            self._away = False
            logger.info("the jobs' database is back")

    def _begin_again(self) -> None:
        """The database was replaced by an empty one: migrate it at the next transaction, on new connections."""
        with self._lock:
            self._opened = False
            self._engine.dispose()

    def _open(self) -> None:
        with self._lock:
            if self._opened:
                return
            if self._file:
                make_folder(self._file.parent)
                _begin_file(self._file, self._engine)
            try:
                with self._engine.begin() as connection:
                    before = migrate(connection)
            except NewerDatabaseError as error:
                self.refusal = error
                raise
            if self._file:
                sync_folder(self._file.parent)
            self._opened = True
            logger.info("jobs are kept in %s (schema was version %d)", self._engine.url, before)


def sync_folder(folder: Path) -> None:
    """Make the names in `folder` durable: without this a power cut can take a file that was synced itself."""
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def make_folder(folder: Path) -> None:
    """Make `folder` and those above it where they are missing: for this user alone, and durable."""
    if folder.is_dir():
        return
    make_folder(folder.parent)
    folder.mkdir(mode=0o700, exist_ok=True)
    sync_folder(folder.parent)


def _sqlite(file: Path) -> Engine:
    engine = create_engine(f"sqlite:///{file}", connect_args={"timeout": BUSY_S}, hide_parameters=True)

    @event.listens_for(engine, "connect")
    def connected(connection: Any, _: object) -> None:
        connection.isolation_level = None  # transactions are begun below, not by the driver's guess
        connection.execute("PRAGMA synchronous = FULL")
        connection.execute("PRAGMA foreign_keys = ON")
        connection.execute("PRAGMA secure_delete = ON")  # what is erased is overwritten, not only unlinked

    @event.listens_for(engine, "begin")
    def begun(connection: Connection) -> None:
        # A transaction that reads first and writes later fails where another wrote in between; so writers wait here.
        reading = connection.get_execution_options().get("reading")
        connection.exec_driver_sql("BEGIN" if reading else "BEGIN IMMEDIATE")

    return engine


def _begin_file(file: Path, engine: Engine) -> None:
    """Make the file and give it a write-ahead log, which stays with it; one process at a time."""
    handle = os.open(file.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        os.close(os.open(file, os.O_CREAT | os.O_RDWR, 0o600))
        raw = engine.raw_connection()
        try:
            raw.cursor().execute("PRAGMA journal_mode = WAL")
        finally:
            raw.close()
    finally:
        os.close(handle)


def _postgresql(url: str, password_file: Path | None) -> Engine:
    try:
        parsed = make_url(url)
    except exc.ArgumentError:
        raise JobsUnavailableError(
            "CEPSTRA_DATABASE_URL is no URL; it looks like postgresql://user@host/name."
        ) from None
    if parsed.get_backend_name() not in ("postgresql", "postgres"):
        raise JobsUnavailableError(
            f"CEPSTRA_DATABASE_URL names '{parsed.drivername}'; PostgreSQL is what can be named, "
            "and without it SQLite is used."
        )
    try:
        engine = create_engine(
            parsed.set(drivername="postgresql+psycopg"),
            hide_parameters=True,  # in messages, which are logged: there are transcripts among them
            pool_pre_ping=True,
            pool_timeout=CONNECT_S,
            connect_args={
                "connect_timeout": CONNECT_S,
                "options": f"-c synchronous_commit=on -c statement_timeout={1000 * BUSY_S}",
            },
        )
    except ModuleNotFoundError:
        raise JobsUnavailableError("PostgreSQL needs its driver: pip install 'cepstra[postgresql]'.") from None
    if password_file is not None:
        try:
            _password(password_file)
        except OSError as error:
            raise JobsUnavailableError(
                f"The database's password cannot be read from {password_file} (CEPSTRA_DATABASE_PASSWORD_FILE): "
                f"{error.strerror}."
            ) from error

        @event.listens_for(engine, "do_connect")
        def connecting(dialect: Any, record: Any, arguments: Any, options: dict[str, Any]) -> None:
            options["password"] = _password(password_file)

    return engine


def _lacks_table(error: Exception) -> bool:
    """Whether the tables are gone, as they are from a new volume."""
    said = getattr(error, "orig", None)
    return getattr(said, "sqlstate", None) == _UNDEFINED_TABLE or str(said).startswith("no such table")


def _is_mistake(error: Exception) -> bool:
    """Whether it would be the same another time; asked of those that lack no table."""
    said = getattr(error, "orig", None)
    if isinstance(error, _MISTAKEN):
        return getattr(said, "sqlstate", None) in _MISTAKEN_STATES
    return any(mistake in str(said) for mistake in _MISTAKES)


def _password(file: Path) -> str:
    return file.read_bytes().partition(b"\n")[0].decode(errors="replace").rstrip("\r")
