"""A transcript in the shapes that clients ask for: shared by the HTTP routes and the command line.

Pure functions of a `Transcript`; the keys and their meaning are those of OpenAI's transcription API.
"""

import json
import math
import zlib
from collections.abc import Sequence
from typing import Any, Literal, get_args

from model.transcript import Segment, Transcript, Word
from service.captions import to_srt, to_vtt

ResponseFormat = Literal["json", "text", "srt", "verbose_json", "vtt"]
Granularity = Literal["word", "segment"]

RESPONSE_FORMATS: tuple[ResponseFormat, ...] = get_args(ResponseFormat)

CONTENT_TYPES: dict[ResponseFormat, str] = {
    "json": "application/json",
    "verbose_json": "application/json",
    "text": "text/plain; charset=utf-8",
    "srt": "application/x-subrip; charset=utf-8",
    "vtt": "text/vtt; charset=utf-8",
}

AUDIO_TOKENS_PER_S = 10
PART_OF_A_LIST = 1000  # of its entries: a millisecond or two of writing
SEEK_FRAMES_PER_S = 100  # OpenAI counts `seek` in frames of 10 ms


def render(
    transcript: Transcript,
    response_format: ResponseFormat,
    *,
    granularities: Sequence[Granularity] = ("segment", "word"),
    logprobs: bool = False,
) -> str:
    """The body of the answer in `response_format`, as text.

    Args:
        transcript: what was recognised.
        response_format: one of `RESPONSE_FORMATS`.
        granularities: what `verbose_json` shows: `segment`, `word` or both.
        logprobs: whether `json` lists the units with their log-probabilities.
    """
    match response_format:
        case "text":
            return to_text(transcript)
        case "srt":
            return to_srt(transcript.words)
        case "vtt":
            return to_vtt(transcript.words)
        case "json":
            return to_line(to_json(transcript, logprobs=logprobs))
        case "verbose_json":
            return to_line(to_verbose_json(transcript, granularities))


def to_text(transcript: Transcript) -> str:
    """The text and a line end; nothing at all where nothing was said."""
    return transcript.text + "\n" if transcript.text else ""


def to_json(transcript: Transcript, *, logprobs: bool = False) -> dict[str, Any]:
    """The `json` answer: `text`, `usage`, and `logprobs` where asked."""
    answer: dict[str, Any] = {"text": transcript.text, "usage": _usage(transcript)}
    if logprobs:
        answer["logprobs"] = to_logprobs(transcript.segments)
    return answer


def to_verbose_json(
    transcript: Transcript, granularities: Sequence[Granularity] = ("segment", "word")
) -> dict[str, Any]:
    """The `verbose_json` answer: `segments` and `words` each where `granularities` names it."""
    answer: dict[str, Any] = {
        "task": "transcribe",
        "language": transcript.language,
        "duration": _rounded(transcript.duration_s),
        "text": transcript.text,
    }
    if "segment" in granularities:
        answer["segments"] = [_segment(segment) for segment in transcript.segments]
    if "word" in granularities:
        answer["words"] = [_word(word) for word in transcript.words]
    answer["usage"] = _usage(transcript)
    return answer


def to_logprobs(segments: Sequence[Segment], *, goes_on: bool = False) -> list[dict[str, Any]]:
    """OpenAI's `logprobs`: text, UTF-8 bytes and natural logarithm of the probability of each unit.

    Joined, the units are the text as it was heard. No segment has the space before it among its units: it is certain,
    because segments are joined by one whatever was heard in the pause.

    Args:
        segments: in order of time.
        goes_on: whether there is text before them.
    """
    result: list[dict[str, Any]] = []
    for segment in segments:
        if segment.tokens and (result or goes_on):
            result.append(_unit(" ", 0.0))
        result += [_unit(token.text, token.logprob) for token in segment.tokens]
    return result


def to_line(answer: dict[str, Any]) -> str:
    """An answer as one line of JSON, without a line end.

    A long list is written in parts, because `json` lets no other thread work until it returns.
    """
    if not any(isinstance(value, list) and len(value) > PART_OF_A_LIST for value in answer.values()):
        return _dumped(answer)
    return "{" + ",".join(f"{_dumped(name)}:{_in_parts(value)}" for name, value in answer.items()) + "}"


def compression_ratio(text: str) -> float:
    """Bytes of `text` over its bytes when deflated: high where the text repeats itself; 0 for no text."""
    raw = text.encode()
    return len(raw) / len(zlib.compress(raw)) if raw else 0.0


def _unit(text: str, logprob: float) -> dict[str, Any]:
    return {"token": text, "bytes": list(text.encode()), "logprob": _rounded(logprob, 6)}


def _in_parts(value: Any) -> str:
    if not isinstance(value, list):
        return _dumped(value)
    parts = (value[first : first + PART_OF_A_LIST] for first in range(0, len(value), PART_OF_A_LIST))
    return "[" + ",".join(_dumped(part)[1:-1] for part in parts) + "]"


def _dumped(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":"))


def _segment(segment: Segment) -> dict[str, Any]:
    return {
        "id": segment.id,
        "seek": int(SEEK_FRAMES_PER_S * segment.start_s),
        "start": _rounded(segment.start_s),
        "end": _rounded(segment.end_s),
        "text": segment.text,
        "tokens": [token.id for token in segment.tokens],
        "temperature": 0.0,  # decoding is a search, not sampling
        "avg_logprob": _rounded(segment.avg_logprob, 6),
        "compression_ratio": _rounded(compression_ratio(segment.text), 6),
        "no_speech_prob": _rounded(segment.no_speech_prob, 6),
        "confidence": _rounded(segment.confidence, 4),
    }


def _word(word: Word) -> dict[str, Any]:
    answer: dict[str, Any] = {
        "word": word.text,
        "start": _rounded(word.start_s),
        "end": _rounded(word.end_s),
        "confidence": _rounded(word.confidence, 4),
    }
    if word.alternatives:
        answer["alternatives"] = [{"word": a.text, "share": _rounded(a.share, 4)} for a in word.alternatives]
    return answer


def _usage(transcript: Transcript) -> dict[str, Any]:
    return {"type": "duration", "seconds": _rounded(transcript.duration_s)}


def to_token_usage(transcript: Transcript) -> dict[str, Any]:
    """`usage` of a stream's last event, whose type in OpenAI's clients knows tokens alone.

    Tokens of audio are counted as OpenAI does, one for each tenth of a second begun; those of text are our units.
    """
    audio_tokens = math.ceil(_rounded(AUDIO_TOKENS_PER_S * transcript.duration_s))
    text_tokens = len(transcript.tokens)
    return {
        "type": "tokens",
        "input_tokens": audio_tokens,
        "input_token_details": {"audio_tokens": audio_tokens, "text_tokens": 0},
        "output_tokens": text_tokens,
        "total_tokens": audio_tokens + text_tokens,
    }


def _rounded(value: float, digits: int = 3) -> float:
    return round(float(value), digits)
