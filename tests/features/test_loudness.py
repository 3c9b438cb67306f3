import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from features.loudness import QUIETEST_DB, LoudnessMeter

RATE_HZ = 16_000


@pytest.mark.parametrize("amplitude", [1.0, 0.1, 0.001])
def test_a_sine_is_as_loud_as_its_power_says(amplitude: float) -> None:
    meter = LoudnessMeter(RATE_HZ)
    meter.feed(amplitude * np.sin(2 * np.pi * 400 * np.arange(RATE_HZ) / RATE_HZ).astype(np.float32))
    expected_db = 10 * np.log10(amplitude**2 / 2)
    assert len(meter.levels_db()) == 100
    assert np.abs(meter.levels_db() - expected_db).max() <= 0.26


@settings(deadline=None)
@given(st.lists(st.integers(0, 700), max_size=8), st.integers(0, 99))
def test_pieces_are_as_loud_as_the_whole(lengths: list[int], seed: int) -> None:
    samples_N = np.random.default_rng(seed).standard_normal(sum(lengths)).astype(np.float32)
    whole, pieces = LoudnessMeter(RATE_HZ), LoudnessMeter(RATE_HZ)
    whole.feed(samples_N)
    for piece_N in np.split(samples_N, np.cumsum(lengths)):
        pieces.feed(piece_N)
    assert len(whole.levels_db()) == len(samples_N) // 160
    np.testing.assert_array_equal(pieces.levels_db(), whole.levels_db())


def test_what_is_kept_are_the_last_seconds() -> None:
    samples_N = np.random.default_rng(1).standard_normal(10 * RATE_HZ).astype(np.float32)
    samples_N *= np.repeat(np.geomspace(1e-4, 1, 100), RATE_HZ // 10).astype(np.float32)  # louder and louder
    whole, bounded = LoudnessMeter(RATE_HZ), LoudnessMeter(RATE_HZ, keep_s=1.5)
    whole.feed(samples_N)
    for piece_N in np.array_split(samples_N, 37):
        bounded.feed(piece_N)
        assert len(bounded.levels_db()) <= 300
    first = round(100 * bounded.first_s)
    assert 700 <= first <= 850
    np.testing.assert_array_equal(bounded.levels_db(), whole.levels_db()[first:])


def test_digital_silence_is_the_quietest_there_is() -> None:
    meter = LoudnessMeter(RATE_HZ)
    meter.feed(np.zeros(320, dtype=np.float32))
    assert meter.levels_db().tolist() == [QUIETEST_DB, QUIETEST_DB]
