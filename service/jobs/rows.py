"""A row of the table `jobs` as a `Job`, and a transcript as text."""

import json
from typing import Any

from pydantic import TypeAdapter
from sqlalchemy import Row

from model.transcript import Transcript
from service.jobs.job import Job
from service.schemas import TranscriptionOptions

AnyRow = Row[*tuple[Any, ...]]

_TRANSCRIPT = TypeAdapter(Transcript)


def job_of(row: AnyRow) -> Job:
    """The job in a row of all columns of `schema.jobs`."""
    return Job(
        id=row.id,
        owner=row.owner,
        status=row.status,
        progress=row.progress,
        attempts=row.attempts,
        created_at_s=row.created_at,
        started_at_s=row.started_at,
        finished_at_s=row.finished_at,
        error=json.loads(row.error) if row.error else None,
        options=TranscriptionOptions.model_validate_json(row.options),
    )


def written_options(options: TranscriptionOptions) -> str:
    """What a client has set, as JSON in ASCII."""
    return json.dumps(options.model_dump(mode="json", exclude_unset=True))


def written_transcript(transcript: Transcript) -> str:
    """A transcript as JSON that `read_transcript` turns back into an equal one."""
    return _TRANSCRIPT.dump_json(transcript).decode()


def read_transcript(text: str) -> Transcript:
    """The transcript that `written_transcript` wrote."""
    return _TRANSCRIPT.validate_json(text)
