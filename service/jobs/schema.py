"""The tables as this version uses them. `migrations` makes them; a test holds the two equal.

Times are Unix seconds. Texts that hold JSON say so. Types are those that SQLite and PostgreSQL both have.
"""

from sqlalchemy import BigInteger, Column, Double, ForeignKey, MetaData, Table, Text

metadata = MetaData()

jobs = Table(
    "jobs",
    metadata,
    Column("id", Text, primary_key=True),
    Column("owner", Text, nullable=False),
    Column("status", Text, nullable=False),
    Column("progress", Double, nullable=False),
    Column("attempts", BigInteger, nullable=False),
    Column("created_at", Double, nullable=False),
    Column("started_at", Double),
    Column("finished_at", Double),
    Column("not_before", Double, nullable=False),  # a queued one waits until then
    Column("options", Text, nullable=False),  # JSON of TranscriptionOptions
    Column("request_hash", Text, nullable=False),  # of audio, options and webhook
    Column("idempotency_key", Text),  # one job for each owner and key
    Column("webhook_url", Text),
    Column("error", Text),  # JSON
    Column("lease_token", Text),  # whoever knows it may write to the running job
    Column("lease_until", Double),  # after that anybody may take the job over
)

results = Table(
    "results",
    metadata,
    Column("job_id", Text, ForeignKey("jobs.id", ondelete="CASCADE"), primary_key=True),
    Column("transcript", Text, nullable=False),  # JSON
)

deliveries = Table(
    "deliveries",
    metadata,
    Column("id", Text, primary_key=True),  # the webhook-id, the same in every attempt
    Column("job_id", Text, ForeignKey("jobs.id", ondelete="CASCADE"), nullable=False),
    Column("type", Text, nullable=False),
    Column("url", Text, nullable=False),
    Column("body", Text, nullable=False),  # JSON, as it is sent
    Column("status", Text, nullable=False),  # pending, delivered, failed
    Column("tries", BigInteger, nullable=False),  # since it was made or replayed
    Column("created_at", Double, nullable=False),
    Column("next_at", Double, nullable=False),  # of a pending one: not before this
)

delivery_attempts = Table(
    "delivery_attempts",
    metadata,
    Column("delivery_id", Text, ForeignKey("deliveries.id", ondelete="CASCADE"), primary_key=True),
    Column("number", BigInteger, primary_key=True),  # 1, 2, 3 …
    Column("at", Double, nullable=False),
    Column("duration_s", Double),  # unset where the process died meanwhile
    Column("status_code", BigInteger),  # of the receiver's answer
    Column("error", Text),  # why there was none
)
