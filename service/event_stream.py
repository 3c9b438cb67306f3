"""A transcript as server-sent events (`stream=true`): deltas that join to the text, then the whole, then `[DONE]`."""

from collections.abc import AsyncIterator
from functools import partial
from typing import Any

from fastapi.responses import StreamingResponse

from model.transcript import Transcript
from service.errors import error_object
from service.formats import to_line, to_logprobs, to_token_usage
from service.scheduled import Job
from service.writing import written


def stream_response(job: Job[Transcript], *, heartbeat_s: float, logprobs: bool) -> StreamingResponse:
    """Answer with the events of `job`; a client that hangs up abandons it."""
    return StreamingResponse(
        _lines(job, heartbeat_s, logprobs),
        media_type="text/event-stream",
        headers={"cache-control": "no-cache", "x-accel-buffering": "no"},
    )


def events(transcript: Transcript, *, logprobs: bool = False) -> list[dict[str, Any]]:
    """One `transcript.text.delta` for each segment that has text, and `transcript.text.done`."""
    result: list[dict[str, Any]] = []
    for segment in transcript.segments:
        if segment.text:
            goes_on = bool(result)
            delta = f" {segment.text}" if goes_on else segment.text
            result.append({"type": "transcript.text.delta", "delta": delta})
            if logprobs:
                result[-1]["logprobs"] = to_logprobs([segment], goes_on=goes_on)
    done: dict[str, Any] = {"type": "transcript.text.done", "text": transcript.text}
    done["usage"] = to_token_usage(transcript)
    if logprobs:
        done["logprobs"] = to_logprobs(transcript.segments)
    return [*result, done]


async def _lines(job: Job[Transcript], heartbeat_s: float, logprobs: bool) -> AsyncIterator[str]:
    try:
        while not await job.finished_within(heartbeat_s):
            yield f": progress {job.progress:.2f}\n\n"
        try:
            transcript = job.finished.result()
            answers = await written(transcript, partial(_written, transcript, logprobs))
        except Exception as error:  # the 200 is out: the error can only be told inside the stream
            answers = [to_line(error_object(error))]
        for answer in answers:
            yield f"data: {answer}\n\n"
        yield "data: [DONE]\n\n"
    finally:
        job.abandon()


def _written(transcript: Transcript, logprobs: bool) -> list[str]:
    return [to_line(event) for event in events(transcript, logprobs=logprobs)]
