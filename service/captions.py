"""Words with times become captions: cues that a viewer has time to read.

A cue is at most two lines of 42 characters and stands 1 to 7 seconds. Cues begin and end at words, a pause of a
second always ends one, and where a cue is full it ends at the widest gap in its second half. Times are whole
milliseconds, in order and never overlapping; a cue may stand a little longer than its words so that it can be read.
"""

import html
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate, pairwise

from model.transcript import Word

MAX_LINE_CHARS = 42
MAX_LINES = 2
MIN_CUE_MS = 1000
MAX_CUE_MS = 7000
PAUSE_MS = 1000  # not below MIN_CUE_MS, so that a cue before a pause can always stand its minimum


@dataclass(frozen=True)
class Cue:
    """One caption.

    Attributes:
        start_ms, end_ms: when it stands, milliseconds.
        lines: one or two lines of at most 42 characters.
    """

    start_ms: int
    end_ms: int
    lines: tuple[str, ...]


def cues(words: Sequence[Word]) -> list[Cue]:
    """Cut `words` (in order of time) into cues; nothing gives none."""
    pieces = [piece for word in words for piece in _pieces(word)]
    result: list[Cue] = []
    first = 0
    while first < len(pieces):
        end = _end_of_cue(pieces, first)
        start_ms = max(pieces[first].start_ms, result[-1].end_ms if result else 0)
        end_ms = min(max(pieces[end - 1].end_ms, start_ms + MIN_CUE_MS), start_ms + MAX_CUE_MS)
        lines = _lines([piece.text for piece in pieces[first:end]])
        assert lines is not None, "_end_of_cue takes only as many words as can be laid out"
        result.append(Cue(start_ms, end_ms, lines))
        first = end
    return result


def to_srt(words: Sequence[Word]) -> str:
    """SubRip: numbered cues, comma before the milliseconds; no words give the empty text."""
    blocks = (
        f"{number}\n{_clock(cue.start_ms, ',')} --> {_clock(cue.end_ms, ',')}\n" + "\n".join(cue.lines) + "\n"
        for number, cue in enumerate(cues(words), start=1)
    )
    return "\n".join(blocks)


def to_vtt(words: Sequence[Word]) -> str:
    """WebVTT; no words give the header alone."""
    blocks = (
        f"{_clock(cue.start_ms, '.')} --> {_clock(cue.end_ms, '.')}\n"
        + html.escape("\n".join(cue.lines), quote=False)
        + "\n"
        for cue in cues(words)
    )
    return "\n".join(["WEBVTT\n", *blocks])


@dataclass(frozen=True)
class _Piece:
    """A word, or a part of one: of several words that were written as one ("$2 million"), or longer than a line."""

    text: str
    start_ms: int
    end_ms: int


def _pieces(word: Word) -> list[_Piece]:
    texts = [text[at : at + MAX_LINE_CHARS] for text in word.text.split() for at in range(0, len(text), MAX_LINE_CHARS)]
    start_ms, end_ms = round(1000 * word.start_s), round(1000 * word.end_s)
    cuts = list(accumulate(map(len, texts), initial=0))
    at_ms = [start_ms + (end_ms - start_ms) * cut // max(cuts[-1], 1) for cut in cuts]
    return [_Piece(text, a_ms, b_ms) for text, (a_ms, b_ms) in zip(texts, pairwise(at_ms), strict=True)]


def _end_of_cue(pieces: Sequence[_Piece], first: int) -> int:
    """Index after the last piece of the cue that begins at `first`."""
    end = first + 1
    while end < len(pieces) and _gap_ms(pieces, end) < PAUSE_MS:
        fits_time = pieces[end].end_ms - pieces[first].start_ms <= MAX_CUE_MS
        if not fits_time or _lines([piece.text for piece in pieces[first : end + 1]]) is None:
            # Full: of the cuts that leave at least half of the words here, take the widest gap, the later on a tie.
            candidates = range(max(first + 1, (first + end + 1) // 2), end + 1)
            return max(candidates, key=lambda cut: (_gap_ms(pieces, cut), cut))
        end += 1
    return end


def _gap_ms(pieces: Sequence[_Piece], index: int) -> int:
    return pieces[index].start_ms - pieces[index - 1].end_ms


def _lines(texts: Sequence[str]) -> tuple[str, ...] | None:
    """Lay the words out as evenly as they go on at most two lines; None where they do not fit."""
    whole = " ".join(texts)
    if len(whole) <= MAX_LINE_CHARS:
        return (whole,)
    if len(whole) > MAX_LINES * MAX_LINE_CHARS + 1:
        return None
    splits = ((" ".join(texts[:cut]), " ".join(texts[cut:])) for cut in range(1, len(texts)))
    return min(
        (split for split in splits if max(map(len, split)) <= MAX_LINE_CHARS),
        key=lambda split: max(map(len, split)),
        default=None,
    )


def _clock(time_ms: int, point: str) -> str:
    seconds, ms = divmod(time_ms, 1000)
    minutes, seconds = divmod(seconds, 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours:02d}:{minutes:02d}:{seconds:02d}{point}{ms:03d}"
