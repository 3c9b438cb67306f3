"""`POST /v1/audio/transcriptions`, and the refusal of `/v1/audio/translations`."""

import logging
from functools import partial
from typing import Any

from fastapi import APIRouter, Request, Response

from model.text_format import format_transcript
from model.transcript import Transcript
from service.access import holder_of
from service.errors import InvalidRequestError
from service.event_stream import stream_response
from service.formats import CONTENT_TYPES, RESPONSE_FORMATS, render
from service.recogniser import ServedModel
from service.scheduled import Job
from service.scheduler import Scheduler
from service.schemas import form_schema, parse_options
from service.settings import Settings
from service.uploads import FormLimits, read_upload
from service.writing import written

logger = logging.getLogger("cepstra.service")

router = APIRouter()

# A stream whose work fails within this time is answered with a plain HTTP error: most bad uploads fail at once.
EARLY_FAILURE_S = 1.0


def _documented() -> dict[str, Any]:
    return {
        "requestBody": {
            "required": True,
            "content": {"multipart/form-data": {"schema": form_schema()}},
        }
    }


@router.post(
    "/v1/audio/transcriptions",
    summary="Turn speech into text",
    openapi_extra=_documented(),
    responses={
        200: {
            "description": "The transcript in the chosen format, or a stream of events.",
            "content": {
                **{
                    CONTENT_TYPES[name].partition(";")[0]: {"schema": {"type": "string"}}
                    for name in RESPONSE_FORMATS
                    if "json" not in name
                },
                "application/json": {"schema": {"type": "object"}},
                "text/event-stream": {"schema": {"type": "string"}},
            },
        }
    },
)
async def create_transcription(request: Request) -> Response:
    """Transcribe one audio file; the same call as OpenAI's."""
    settings: Settings = request.app.state.settings
    served: ServedModel = request.app.state.served
    scheduler: Scheduler = request.app.state.scheduler

    # What can be refused without the upload is refused before it.
    served.ready()
    key, max_of_key = holder_of(request)
    with scheduler.reserve(key, max_of_key) as place:
        upload = await read_upload(request, FormLimits.of(settings), place.hold)
        try:
            options = parse_options(upload.fields)
            model = served.named(options.model)
            hot_words = options.hot_words
        except Exception:
            upload.file.close()
            raise

        def work(running: Job[Transcript]) -> Transcript:
            transcript = served.transcribe(
                upload.file, running.report, running.cancelled, hot_words, model, alternatives=options.alternatives
            )
            if settings.log_transcripts:
                logger.info("%s heard %r", request.state.request_id, transcript.text)
            return format_transcript(transcript, hot_words) if options.formatting == "captions" else transcript

        job = scheduler.submit(work, key=key, max_of_key=max_of_key, place=place, release=upload.file.close)
    logprobs = "logprobs" in options.include
    if options.stream:
        if await job.finished_for(request, min(EARLY_FAILURE_S, settings.heartbeat_s)):
            await job.result_for(request)
        return stream_response(job, heartbeat_s=settings.heartbeat_s, logprobs=logprobs)
    transcript = await job.result_for(request)
    written_as = options.response_format
    write = partial(render, transcript, written_as, granularities=options.granularities, logprobs=logprobs)
    return Response(await written(transcript, write), media_type=CONTENT_TYPES[written_as])


@router.post("/v1/audio/translations", summary="Refused: the model does not translate")
async def create_translation() -> Response:
    """Always a 400: there is no translation here."""
    raise InvalidRequestError(
        "Translation is not supported: the model transcribes English. Use /v1/audio/transcriptions.",
        code="unsupported_endpoint",
    )
