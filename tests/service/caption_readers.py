"""Captions as two independent libraries read them."""

import html
from datetime import timedelta
from typing import Any

import srt
import webvtt

from service.captions import Cue

srt_parse: Any = srt.parse  # without types


def read_srt(body: str) -> list[Cue]:
    """Parses strictly: what is not SubRip raises."""
    subtitles = list(srt_parse(body))
    assert [subtitle.index for subtitle in subtitles] == list(range(1, len(subtitles) + 1))
    return [
        Cue(milliseconds(subtitle.start), milliseconds(subtitle.end), tuple(subtitle.content.split("\n")))
        for subtitle in subtitles
    ]


def read_vtt(body: str) -> list[Cue]:
    """Parses strictly: what is not WebVTT raises."""
    return [
        Cue(clock_ms(caption.start), clock_ms(caption.end), tuple(html.unescape(line) for line in caption.lines))
        for caption in webvtt.from_string(body).captions
    ]


def text_of(cues: list[Cue]) -> str:
    return " ".join(line for cue in cues for line in cue.lines)


def milliseconds(time: timedelta) -> int:
    return round(time.total_seconds() * 1000)


def clock_ms(clock: str) -> int:
    hours, minutes, seconds = clock.split(":")
    return round((int(hours) * 3600 + int(minutes) * 60 + float(seconds)) * 1000)
