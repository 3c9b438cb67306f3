"""Where words begin and end, to a few hundredths of a second: the frames of their letters, corrected by loudness.

Shape legend: L blocks of 10 ms, W words.

CTC says in which frame of 32 or 40 ms it noticed a letter. That frame lies in the word or a little beside it, and says
nothing of how long the letter lasts: after a pause the first letter can be noticed 0.1 s before it is spoken, and
before a pause the last one 0.1 s before it ends. But a pause can be heard. So between every two words a quiet stretch
is looked for. Where there is one, the words end and begin with it; where there is none, one ends where the other
begins, between their letters. `python -m benchmarks.word_times` measures what it gives; see docs/results.md.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import islice

import numpy as np
from jaxtyping import Float

from features.loudness import BLOCKS_PER_S
from model.cancellation import CancelToken, check
from model.errors import OptionError
from model.transcript import Segment, Transcript, Word

SHORTEST_WORD_S = 0.02
MOST_S = 60  # of any of the times below


@dataclass(frozen=True)
class TimingConfig:
    """How boundaries are found; times in seconds.

    Attributes:
        shortest_pause_s: quiet for less than this is a closure inside speech, not a pause.
        quiet_share: what counts as quiet: levels up to this share of the way from the background to the loudest speech
            nearby, in dB.
        least_range_db: where the loudest is not this far above the background, nothing can be told from loudness.
        context_s: how far around a boundary background and speech are measured.
        reach_s: how far beyond its letters a word may reach, into what lies between words.
        late_s: how far into the frames of a word its beginning may be moved; the first letter is noticed early.
        early_s: how far into the frames of a word its end may be moved.
        share_before: without a pause, where between the letters of two words the boundary lies: 0 at the later word.
        lead_s, lag_s: what is added before and after a word where neither a pause nor a word lies near.
    """

    shortest_pause_s: float = 0.1
    quiet_share: float = 0.25
    least_range_db: float = 12.0
    context_s: float = 2.5
    reach_s: float = 0.4
    late_s: float = 0.2
    early_s: float = 0.04
    share_before: float = 0.3
    lead_s: float = 0.04
    lag_s: float = 0.04

    def __post_init__(self) -> None:
        shares = (self.quiet_share, self.share_before)
        times_s = (
            self.shortest_pause_s,
            self.context_s,
            self.reach_s,
            self.late_s,
            self.early_s,
            self.lead_s,
            self.lag_s,
        )
        if not all(0 <= share <= 1 for share in shares) or not all(0 <= time_s <= MOST_S for time_s in times_s):
            raise OptionError(f"{self} has a share outside 0..1 or a time outside 0..{MOST_S} s")
        if not 0 <= self.least_range_db < math.inf:
            raise OptionError(f"the least range is {self.least_range_db} dB; it has to be 0 or more")


def place_words(
    transcript: Transcript,
    levels_db_L: Float[np.ndarray, " L"],
    config: TimingConfig,
    *,
    levels_from_s: float = 0.0,
    earliest_s: float = 0.0,
    cancelled: CancelToken | None = None,
) -> Transcript:
    """The transcript with the times of words and segments corrected by loudness.

    No word overlaps another, none reaches beyond the audio, and each lasts `SHORTEST_WORD_S` at least where there is as
    much audio after `earliest_s`.

    Args:
        transcript: its words last from the first frame of their letters to the end of the last.
        levels_db_L: loudness of every 10 ms, dB.
        config: how.
        levels_from_s: when the first of these begins, seconds from the audio's start.
        earliest_s: no word begins before it.
        cancelled: ends the work soon after it was cancelled; an hour of speech takes 0.2 s.

    Raises:
        WorkCancelledError: `cancelled` was cancelled.
    """
    words = transcript.words
    if not words:
        return transcript
    levels = _Levels(levels_db_L, levels_from_s, config)
    starts_s, ends_s = _boundaries(words, levels, earliest_s, transcript.duration_s, config, cancelled)
    placed = iter(
        replace(word, start_s=start_s, end_s=end_s)
        for word, start_s, end_s in zip(words, starts_s, ends_s, strict=True)
    )
    return replace(transcript, segments=tuple(_with_words(segment, placed) for segment in transcript.segments))


def percentile(ordered_L: Float[np.ndarray, " L"], percent: float) -> float:
    """`np.percentile` of values that are in order already: there are two for every word, and its own takes 0.1 ms.

    Args:
        ordered_L: the values, the least first, one at least.
        percent: 0..100.
    """
    at = percent / 100 * (len(ordered_L) - 1)
    below = int(at)
    low, high = float(ordered_L[below]), float(ordered_L[min(below + 1, len(ordered_L) - 1)])
    return low + (at - below) * (high - low)


def _with_words(segment: Segment, placed: Iterator[Word]) -> Segment:
    words = tuple(islice(placed, len(segment.words)))
    return replace(segment, words=words, start_s=words[0].start_s, end_s=words[-1].end_s)


def _boundaries(
    words: Sequence[Word],
    levels: "_Levels",
    earliest_s: float,
    duration_s: float,
    config: TimingConfig,
    cancelled: CancelToken | None,
) -> tuple[list[float], list[float]]:
    """Begin and end of each word: what lies before the first, between each two, and after the last, in turn."""
    starts_s: list[float] = []
    ends_s: list[float] = []
    for at in range(len(words) + 1):
        check(cancelled)
        # The end of the word before may not come before its beginning, which is settled; and the beginning of the word
        # after not behind the word that follows.
        first_s = (
            min(max(starts_s[-1] + SHORTEST_WORD_S, words[at - 1].end_s - config.early_s), duration_s)
            if at
            else earliest_s
        )
        last_s = duration_s
        if at < len(words):
            last_s = min(words[at].start_s + config.late_s, duration_s - SHORTEST_WORD_S)
        if at + 1 < len(words):
            last_s = min(last_s, words[at + 1].start_s)
        last_s = min(max(first_s, last_s), duration_s)
        end_s = words[at - 1].end_s if at else -math.inf
        start_s = words[at].start_s if at < len(words) else math.inf
        if start_s - end_s <= 2 * config.reach_s:
            pause = levels.pause(first_s, last_s, end_s, start_s)
            if pause is None:
                middle_s = config.share_before * end_s + (1 - config.share_before) * start_s
                middle_s = min(max(middle_s, first_s), last_s)
                pause = middle_s, middle_s
            ends_s.append(pause[0])
            starts_s.append(pause[1])
            continue
        if at:
            pause = levels.pause(first_s, min(end_s + config.reach_s, duration_s), end_s, math.inf)
            ends_s.append(min(max(pause[0] if pause else end_s + config.lag_s, first_s), duration_s))
        if at < len(words):
            free_s = ends_s[-1] if at else earliest_s
            pause = levels.pause(max(free_s, start_s - config.reach_s), last_s, -math.inf, start_s)
            starts_s.append(max(pause[1] if pause else start_s - config.lead_s, free_s))
    return starts_s, [max(start_s, end_s) for start_s, end_s in zip(starts_s, ends_s, strict=True)]


@dataclass(frozen=True)
class _Levels:
    """Loudness of every 10 ms from `first_s` on."""

    db_L: np.ndarray
    first_s: float
    config: TimingConfig

    def pause(self, first_s: float, last_s: float, end_s: float, start_s: float) -> tuple[float, float] | None:
        """The longest quiet stretch between `first_s` and `last_s`, if it lies between what is over and what begins."""
        config, db_L = self.config, self.db_L
        around_s = (max(first_s, end_s) + min(last_s, start_s)) / 2
        first, last = (self._block(around_s + way * config.context_s) for way in (-1, 1))
        nearby_L = db_L[first:last]
        if len(nearby_L) < max(1, BLOCKS_PER_S * 2 * config.shortest_pause_s):
            return None
        ordered_L = np.sort(nearby_L)
        background_db, loudest_db = percentile(ordered_L, 10), percentile(ordered_L, 95)
        if loudest_db - background_db < config.least_range_db:
            return None
        quiet_below_db = background_db + config.quiet_share * (loudest_db - background_db)
        first, last = self._block(first_s), self._block(last_s)
        quiet_L = np.concatenate([[False], db_L[first:last] < quiet_below_db, [False]])
        begins, ends = (np.flatnonzero(edge) for edge in (quiet_L[1:] & ~quiet_L[:-1], quiet_L[:-1] & ~quiet_L[1:]))
        if not len(begins) or (ends - begins).max() < round(config.shortest_pause_s * BLOCKS_PER_S):
            return None
        longest = int((ends - begins).argmax())
        pause = self._time_s(first + int(begins[longest])), self._time_s(first + int(ends[longest]))
        return pause if pause[0] <= start_s and pause[1] >= end_s else None

    def _block(self, time_s: float) -> int:
        return max(0, round((time_s - self.first_s) * BLOCKS_PER_S))

    def _time_s(self, block: int) -> float:
        return self.first_s + block / BLOCKS_PER_S
