"""The gain of quiet recordings and streams: what it depends on, and where it ends."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from features.quiet import BLOCK_S, LEAST_DB, MOST_GAIN_DB, REMEMBERED_S, STEP_DB, LiveGain, QuietGain, loud_level_db

RATE_HZ = 16_000
BLOCK = round(BLOCK_S * RATE_HZ)


def tone(level_db: float, seconds: float = 2.0) -> np.ndarray:
    """A tone of 1 kHz whose power is `level_db` below that of full scale."""
    time_N = np.arange(round(seconds * RATE_HZ)) / RATE_HZ
    return (10 ** (level_db / 20) * math.sqrt(2) * np.sin(2000 * np.pi * time_N)).astype(np.float32)


@pytest.mark.parametrize("level_db", [-90.0, -60.0, -30.0, -3.1])
def test_a_tones_level_is_its_power(level_db: float) -> None:
    assert loud_level_db(tone(level_db), BLOCK) == pytest.approx(level_db, abs=0.01)


def test_one_block_in_ten_decides_and_one_in_fifty_does_not() -> None:
    words = np.concatenate([tone(-20, 0.2), tone(-70, 1.8)])
    click = np.concatenate([tone(-20, 0.02), tone(-70, 1.98)])
    assert loud_level_db(words, BLOCK) == pytest.approx(-20, abs=0.1)
    assert loud_level_db(click, BLOCK) == pytest.approx(-70, abs=0.1)


@pytest.mark.parametrize("samples_N", [np.zeros(0), np.zeros(1), np.zeros(RATE_HZ)], ids=len)
def test_silence_has_no_level_and_the_largest_gain(samples_N: np.ndarray) -> None:
    samples_N = samples_N.astype(np.float32)
    assert loud_level_db(samples_N, BLOCK) == -math.inf
    assert QuietGain(RATE_HZ).next(samples_N) == pytest.approx(10 ** (MOST_GAIN_DB / 20))


def test_less_than_a_block_has_the_level_of_all_of_it() -> None:
    assert loud_level_db(np.full(BLOCK - 1, 0.01, np.float32), BLOCK) == pytest.approx(-40, abs=0.01)


@pytest.mark.parametrize(("level_db", "gain_db"), [(-10, 0), (-29.9, 0), (-31, 1), (-60, 30), (-79, 49), (-95, 50)])
def test_what_is_quiet_is_raised_to_the_least_level(level_db: float, gain_db: float) -> None:
    gain = QuietGain(RATE_HZ).next(tone(level_db))
    assert 20 * math.log10(gain) == pytest.approx(gain_db, abs=0.02)
    assert (gain == 1) == (level_db > LEAST_DB)  # to the bit


def test_a_pause_after_speech_is_not_raised() -> None:
    quiet = QuietGain(RATE_HZ)
    assert quiet.next(tone(-70)) > 90
    assert quiet.next(tone(-20)) == 1
    assert quiet.next(tone(-70)) == 1


@given(st.lists(st.floats(-120, 10), min_size=1, max_size=6))
def test_gains_only_fall_and_stay_within_their_bounds(levels_db: list[float]) -> None:
    quiet = QuietGain(RATE_HZ)
    gains = [quiet.next(tone(level_db, 0.05)) for level_db in levels_db]
    assert gains == sorted(gains, reverse=True)
    assert all(1 <= gain <= 10 ** (MOST_GAIN_DB / 20) * 1.0001 for gain in gains)


@pytest.mark.parametrize(("level_db", "gain_db"), [(-10, 0), (-29.9, 0), (-34, 4), (-60, 30), (-79, 49)])
def test_a_quiet_stream_is_raised_from_its_first_piece_on(level_db: float, gain_db: float) -> None:
    live = LiveGain(RATE_HZ)
    assert live.gain == 1
    gains = [live.next(tone(level_db, 0.32)) for _ in range(5)]
    assert 20 * np.log10(gains) == pytest.approx([gain_db] * 5, abs=0.02)
    assert (gains[0] == 1) == (level_db > LEAST_DB)  # to the bit


def test_a_stream_forgets_what_was_loud_once() -> None:
    live = LiveGain(RATE_HZ)
    live.next(tone(-60, 4.0))
    assert live.next(tone(-10, 0.5)) == 1
    assert live.next(tone(-60, 0.9 * REMEMBERED_S)) > 1  # half a second is not one block in twenty of so much
    assert 20 * math.log10(live.next(tone(-60, 1.0))) == pytest.approx(30, abs=0.02)


@pytest.mark.parametrize("silence_db", [-math.inf, -90.0, -80.5])
def test_silence_says_nothing_of_a_streams_level(silence_db: float) -> None:
    live = LiveGain(RATE_HZ)
    assert live.next(tone(silence_db, 2 * REMEMBERED_S)) == 1
    assert live.next(tone(-10, 0.32)) == 1
    live = LiveGain(RATE_HZ)
    raised = [live.next(tone(-60, 0.32)), live.next(tone(silence_db, 2 * REMEMBERED_S)), live.next(tone(-60, 0.32))]
    assert 20 * np.log10(raised) == pytest.approx([30] * 3, abs=0.02)


def test_who_speaks_after_soft_noise_is_not_raised_like_it() -> None:
    live = LiveGain(RATE_HZ)
    assert live.next(tone(-60, REMEMBERED_S)) > 30
    assert live.next(tone(-20, 0.32)) == 1
    assert 20 * math.log10(live.next(tone(-40, 0.32))) == pytest.approx(10, abs=0.02)
    assert 20 * math.log10(live.next(tone(-60, 0.32))) == pytest.approx(30, abs=0.02)


def test_a_streams_gain_stays_where_it_is_for_little() -> None:
    live = LiveGain(RATE_HZ)
    first = live.next(tone(-50, REMEMBERED_S))
    assert live.next(tone(-50 - 0.9 * STEP_DB, REMEMBERED_S)) == first
    assert 20 * math.log10(live.next(tone(-50 - 1.1 * STEP_DB, REMEMBERED_S)) / first) == pytest.approx(1.1 * STEP_DB)


@given(st.lists(st.tuples(st.floats(-140, 150), st.integers(0, 3 * BLOCK)), max_size=6))
def test_a_streams_gains_stay_within_their_bounds(pieces: list[tuple[float, int]]) -> None:
    live = LiveGain(RATE_HZ)
    for level_db, n_samples in pieces:
        before, gain = live.gain, live.next(tone(level_db)[:n_samples])
        assert 1 <= gain <= 10 ** (MOST_GAIN_DB / 20) * 1.0001
        assert n_samples or gain == before
