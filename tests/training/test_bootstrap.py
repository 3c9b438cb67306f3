from itertools import product

import numpy as np
import pytest
from scipy.stats import bootstrap as scipy_bootstrap

import training.bootstrap
from training.bootstrap import RESAMPLES, rate_interval

ERRORS_G = np.array([3, 10, 4, 25, 7])
UNITS_G = np.array([40, 60, 90, 80, 30])


@pytest.mark.parametrize("confidence", [0.95, 0.8])
@pytest.mark.parametrize("seed", [0, 7])
def test_the_interval_is_scipys(confidence: float, seed: int) -> None:
    expected = scipy_bootstrap(
        (ERRORS_G, UNITS_G),
        lambda errors, units, axis: errors.sum(axis) / units.sum(axis),
        paired=True,
        vectorized=True,
        n_resamples=2000,
        confidence_level=confidence,
        method="percentile",
        rng=np.random.default_rng(seed),
    ).confidence_interval
    ours = rate_interval(ERRORS_G, UNITS_G, confidence=confidence, resamples=2000, seed=seed)
    assert (ours.low, ours.high) == pytest.approx((expected.low, expected.high), rel=1e-12)


def test_the_interval_is_that_of_all_resamples_there_are() -> None:
    """All 3125 are enumerated; the interval's ends cut off 2.5 % of them each, within the noise of drawing."""
    drawn = np.array(list(product(range(len(ERRORS_G)), repeat=len(ERRORS_G))))
    rates = ERRORS_G[drawn].sum(1) / UNITS_G[drawn].sum(1)
    ours = rate_interval(ERRORS_G, UNITS_G)
    noise = 4 * np.sqrt(0.025 * 0.975 / RESAMPLES)  # four standard deviations of a share among the resamples
    assert np.mean(rates < ours.low - 1e-9) <= 0.025 + noise
    assert np.mean(rates <= ours.low + 1e-9) >= 0.025 - noise
    assert np.mean(rates > ours.high + 1e-9) <= 0.025 + noise
    assert np.mean(rates >= ours.high - 1e-9) >= 0.025 - noise


def test_groups_that_agree_leave_no_doubt() -> None:
    interval = rate_interval(np.array([1, 2, 3]), np.array([10, 20, 30]))
    assert (interval.low, interval.high) == pytest.approx((0.1, 0.1))


def test_groups_without_units_are_no_division_by_zero() -> None:
    interval = rate_interval(np.array([0, 2]), np.array([0, 0]))
    assert interval.low == 0.0 and interval.high == 4.0


def test_bounding_the_memory_changes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    at_once = rate_interval(ERRORS_G, UNITS_G, resamples=1000)
    monkeypatch.setattr(training.bootstrap, "DRAWS_AT_ONCE", 7 * len(ERRORS_G))
    assert rate_interval(ERRORS_G, UNITS_G, resamples=1000) == at_once


@pytest.mark.parametrize(("errors", "units"), [([1], [2]), ([1, 2], [2, 3, 4]), ([[1, 2]], [[2, 3]])])
def test_what_cannot_be_resampled_is_refused(errors: list[int], units: list[int]) -> None:
    with pytest.raises(ValueError, match="two or more groups"):
        rate_interval(np.array(errors), np.array(units))
