"""Loudness is written as a string, one character a block of 10 ms: `#` speech, `.` quiet."""

import csv
from copy import copy
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from features.audio import decode_audio
from features.loudness import LoudnessMeter
from model.alignment import SegmentConfig, build_segments
from model.cancellation import CancelToken
from model.checkpoint import Bundle
from model.errors import OptionError, WorkCancelledError
from model.forced_alignment import force_align
from model.transcriber import Transcriber
from model.transcript import Segment, Transcript, Word
from model.word_timing import SHORTEST_WORD_S, TimingConfig, percentile, place_words

CONFIG = TimingConfig()


@given(st.lists(st.floats(-120, 8, width=32), min_size=1, max_size=30), st.integers(0, 100))
@settings(deadline=None)
def test_percentiles_are_those_of_numpy(levels: list[float], percent: int) -> None:
    assert percentile(np.sort(np.array(levels)), percent) == pytest.approx(np.percentile(levels, percent))


def test_words_begin_and_end_with_the_pause_between_them() -> None:
    loudness = "." * 30 + "#" * 50 + "." * 30 + "#" * 60 + "." * 30
    placed = placed_words([(0.24, 0.72), (1.0, 1.6)], loudness)
    np.testing.assert_allclose(placed, [(0.3, 0.8), (1.1, 1.7)])


def test_without_a_pause_one_word_ends_where_the_other_begins() -> None:
    loudness = "." * 30 + "#" * 100 + "." * 30
    (_, first_end), (second_start, _) = placed_words([(0.32, 0.72), (0.8, 1.24)], loudness)
    assert first_end == second_start == pytest.approx(0.3 * 0.72 + 0.7 * 0.8)


def test_a_closure_is_no_pause() -> None:
    loudness = "." * 30 + "#" * 40 + "." * 6 + "#" * 50 + "." * 30
    (_, first_end), (second_start, _) = placed_words([(0.32, 0.68), (0.76, 1.24)], loudness)
    assert first_end == second_start


def test_where_loudness_says_nothing_words_grow_into_the_gap() -> None:
    ((start, end),) = placed_words([(1.0, 1.4)], "#" * 300)
    assert (start, end) == pytest.approx((1.0 - CONFIG.lead_s, 1.4 + CONFIG.lag_s))


def test_levels_may_begin_later_and_words_no_earlier_than_they_may() -> None:
    loudness = "." * 30 + "#" * 50 + "." * 30 + "#" * 60 + "." * 30
    words = [(0.24, 0.72), (1.0, 1.6)]
    whole = placed_words(words, loudness)
    hour = [(3600 + start_s, 3600 + end_s) for start_s, end_s in words]
    later = placed_words(hour, loudness, 3602.0, levels_from_s=3600.0)
    np.testing.assert_allclose(np.array(later) - 3600, whole)
    assert placed_words(words, loudness, earliest_s=0.5)[0][0] == 0.5


def test_words_that_may_not_begin_where_they_were_heard_stay_in_order() -> None:
    levels = placed_words([(0.88, 0.92), (0.96, 1.40)], "#" * 230, 2.298, earliest_s=1.18)
    times_s = [time_s for span in levels for time_s in span]
    assert times_s == sorted(times_s) and times_s[0] >= 1.18


@pytest.mark.parametrize(
    ("word", "loudness", "earliest_s"),
    [
        ((0.48, 0.6), "." * 66 + "#" * 60, 0.0),  # noticed early, and over before it is loud
        ((1.0, 1.2), "#" * 200, 1.25),  # an utterance was ended in between without a pause, a little late
        ((1.2, 1.25), "#" * 105 + "." * 20, 0.0),  # the audio ends with it
    ],
)
def test_no_word_is_of_no_length(word: tuple[float, float], loudness: str, earliest_s: float) -> None:
    ((start_s, end_s),) = placed_words([word], loudness, earliest_s=earliest_s)
    assert earliest_s <= start_s <= end_s - SHORTEST_WORD_S + 1e-9
    assert end_s <= len(loudness) / 100


def test_placing_many_words_can_be_cancelled() -> None:
    token = CancelToken()
    token.cancel()
    with pytest.raises(WorkCancelledError):
        placed_words([(0.2, 0.4)], "#" * 100, cancelled=token)


@settings(deadline=None)
@given(
    frames=st.lists(st.integers(0, 12), max_size=20),
    loudness=st.text("#.", max_size=300),
    duration_s=st.floats(0.0, 4.0),
)
def test_words_stay_in_order_and_within_the_audio(frames: list[int], loudness: str, duration_s: float) -> None:
    edges_s = (0.04 * np.cumsum([0, *frames])).clip(max=duration_s).tolist()
    spans = [(start_s, end_s) for start_s, end_s in zip(edges_s[::2], edges_s[1::2], strict=False)]
    placed = placed_words(spans, loudness, duration_s)
    times_s = [time_s for span in placed for time_s in span]
    assert len(placed) == len(spans)
    assert times_s == sorted(times_s)
    assert all(0 <= time_s <= duration_s for time_s in times_s)


@pytest.mark.parametrize("options", [{"quiet_share": 1.1}, {"share_before": -0.1}, {"late_s": -1.0}], ids=str)
def test_an_option_out_of_range_is_refused(options: dict[str, float]) -> None:
    with pytest.raises(OptionError, match=r"outside 0\.\.1 or a time outside 0\.\.60 s"):
        TimingConfig(**options)


def test_words_of_a_known_text_are_where_they_were_put(shipped_bundle: Bundle, clips_folder: Path) -> None:
    """Synthetic words, joined with known gaps: median error at most 60 ms, 95 % within 150 ms."""
    transcriber = Transcriber(shipped_bundle, greedy=True)
    errors_s: list[float] = []
    for name, known in known_times(clips_folder / "words").items():
        waveform = decode_audio(clips_folder / "words" / f"{name}.flac")
        log_probs_SV = transcriber.log_probs(waveform)
        text = " ".join(word for word, _, _ in known)
        segments = build_segments(
            force_align(log_probs_SV, shipped_bundle.tokenizer.encode(text)),
            log_probs_SV,
            shipped_bundle.tokenizer,
            frame_s=transcriber.frame_s,
            duration_s=waveform.duration_s,
            config=SegmentConfig(pause_s=9.0),
        )
        meter = LoudnessMeter(waveform.sample_rate_hz)
        meter.feed(waveform.samples_N)
        placed = place_words(Transcript(text, segments, waveform.duration_s), meter.levels_db(), CONFIG)
        assert [word.text for word in placed.words] == [word for word, _, _ in known]
        for word, (_, start_s, end_s) in zip(placed.words, known, strict=True):
            errors_s += [abs(word.start_s - start_s), abs(word.end_s - end_s)]
    assert np.median(errors_s) <= 0.06
    assert np.percentile(errors_s, 95) <= 0.15


def test_a_transcript_has_the_times_that_loudness_gives(shipped_transcriber: Transcriber, clips_folder: Path) -> None:
    known = known_times(clips_folder / "words")["winter"]
    uncorrected = copy(shipped_transcriber)
    uncorrected.timing = None
    heard = shipped_transcriber.transcribe(clips_folder / "words" / "winter.flac").words
    raw = uncorrected.transcribe(clips_folder / "words" / "winter.flac").words
    assert [word.text for word in heard] == [word for word, _, _ in known]

    def mean_error_s(words: tuple[Word, ...]) -> float:
        pairs = zip(words, known, strict=True)
        return float(np.mean([abs(w.start_s - start) + abs(w.end_s - end) for w, (_, start, end) in pairs]) / 2)

    assert mean_error_s(heard) < 0.03 < mean_error_s(raw)


def known_times(folder: Path) -> dict[str, list[tuple[str, float, float]]]:
    """Words of each clip, with begin and end in seconds."""
    times: dict[str, list[tuple[str, float, float]]] = {}
    with open(folder / "times.tsv", newline="") as file:
        for row in csv.DictReader(file, delimiter="\t"):
            times.setdefault(row["id"], []).append((row["word"], float(row["start_s"]), float(row["end_s"])))
    return times


def placed_words(
    spans: list[tuple[float, float]], loudness: str, duration_s: float | None = None, **options: Any
) -> list[tuple[float, float]]:
    """Every word a segment of its own, for each to keep the times of its words; options are those of `place_words`."""
    segments = tuple(
        Segment(at, start, end, "a", (Word("a", start, end, 1.0),), (), 0.0, 0.0)
        for at, (start, end) in enumerate(spans)
    )
    duration_s = len(loudness) / 100 if duration_s is None else duration_s
    levels_db_L = np.array([-20.0 if block == "#" else -70.0 for block in loudness], dtype=np.float32)
    placed = place_words(Transcript("", segments, duration_s), levels_db_L, CONFIG, **options)
    assert all((s.start_s, s.end_s) == (s.words[0].start_s, s.words[-1].end_s) for s in placed.segments)
    times = [(word.start_s, word.end_s) for word in placed.words]
    assert all(one[1] <= other[0] for one, other in pairwise(times))
    return times
