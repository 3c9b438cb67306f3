"""From any older version of the database to this one, step by step, in one transaction.

A step that was released is never changed: a change of the schema is a new step at the end, and in `schema`.
"""

from collections.abc import Sequence

from sqlalchemy import Connection, text

from service.errors import NewerDatabaseError

# Each step is SQL that SQLite and PostgreSQL both understand.
STEPS: tuple[tuple[str, ...], ...] = (
    (
        """CREATE TABLE jobs (
            id TEXT NOT NULL PRIMARY KEY,
            owner TEXT NOT NULL,
            status TEXT NOT NULL,
            progress DOUBLE PRECISION NOT NULL,
            attempts BIGINT NOT NULL,
            created_at DOUBLE PRECISION NOT NULL,
            started_at DOUBLE PRECISION,
            finished_at DOUBLE PRECISION,
            not_before DOUBLE PRECISION NOT NULL,
            options TEXT NOT NULL,
            request_hash TEXT NOT NULL,
            idempotency_key TEXT,
            webhook_url TEXT,
            error TEXT,
            lease_token TEXT,
            lease_until DOUBLE PRECISION
        )""",
        "CREATE UNIQUE INDEX jobs_by_key ON jobs (owner, idempotency_key)",
        "CREATE INDEX jobs_by_owner ON jobs (owner, id)",
        "CREATE INDEX jobs_by_status ON jobs (status, id)",
        """CREATE TABLE results (
            job_id TEXT NOT NULL PRIMARY KEY REFERENCES jobs (id) ON DELETE CASCADE,
            transcript TEXT NOT NULL
        )""",
        """CREATE TABLE deliveries (
            id TEXT NOT NULL PRIMARY KEY,
            job_id TEXT NOT NULL REFERENCES jobs (id) ON DELETE CASCADE,
            type TEXT NOT NULL,
            url TEXT NOT NULL,
            body TEXT NOT NULL,
            status TEXT NOT NULL,
            tries BIGINT NOT NULL,
            created_at DOUBLE PRECISION NOT NULL,
            next_at DOUBLE PRECISION NOT NULL
        )""",
        "CREATE INDEX deliveries_by_job ON deliveries (job_id)",
        "CREATE INDEX deliveries_by_status ON deliveries (status, next_at)",
        """CREATE TABLE delivery_attempts (
            delivery_id TEXT NOT NULL REFERENCES deliveries (id) ON DELETE CASCADE,
            number BIGINT NOT NULL,
            at DOUBLE PRECISION NOT NULL,
            duration_s DOUBLE PRECISION,
            status_code BIGINT,
            error TEXT,
            PRIMARY KEY (delivery_id, number)
        )""",
    ),
)

_LOCK = 0x63657073  # any number, the same in every process


def migrate(connection: Connection, steps: Sequence[Sequence[str]] = STEPS) -> int:
    """Bring the database to the newest version, inside the caller's transaction.

    Returns:
        The version that it had before; 0 for an empty one.

    Raises:
        NewerDatabaseError: a newer Cepstra has made it.
    """
    if connection.dialect.name == "postgresql":
        # Several processes start at once; SQLite's transactions exclude each other anyway.
        connection.execute(text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": _LOCK})
    connection.execute(text("CREATE TABLE IF NOT EXISTS jobs_version (version BIGINT NOT NULL)"))
    found = connection.execute(text("SELECT version FROM jobs_version")).scalar()
    version = int(found or 0)
    if version > len(steps):
        raise NewerDatabaseError(
            f"The jobs' database has version {version}, and this Cepstra knows versions up to {len(steps)}: "
            "it was made by a newer one. Start that one again, or restore the backup from before the upgrade."
        )
    for step in steps[version:]:
        for statement in step:
            connection.execute(text(statement))
    if found is None:
        connection.execute(text("INSERT INTO jobs_version VALUES (:version)"), {"version": len(steps)})
    elif version < len(steps):
        connection.execute(text("UPDATE jobs_version SET version = :version"), {"version": len(steps)})
    return version
