"""How far an error rate can be trusted: a percentile bootstrap over groups of utterances.

Utterances of one speaker rise and fall together, so that resampling utterances would make the interval too narrow.
What is drawn is speakers, with all they said (Bisani and Ney, "Bootstrap estimates for confidence intervals in ASR
performance evaluation", ICASSP 2004).

Letters in names: G groups, R resamples.
"""

from dataclasses import dataclass

import numpy as np

RESAMPLES = 10_000
CONFIDENCE = 0.95
SEED = 0
DRAWS_AT_ONCE = 1_000_000  # bounds the memory of a corpus with many groups: 8 MB


@dataclass(frozen=True)
class Interval:
    """A confidence interval of an error rate; both ends are fractions."""

    low: float
    high: float


def rate_interval(
    errors_G: np.ndarray,
    units_G: np.ndarray,
    *,
    confidence: float = CONFIDENCE,
    resamples: int = RESAMPLES,
    seed: int = SEED,
) -> Interval:
    """Confidence interval of the rate sum(errors) / sum(units), by resampling groups with replacement.

    Each resample draws as many groups as there are; the interval lies between the resamples' percentiles.

    Args:
        errors_G: errors of each group.
        units_G: reference units of each group.
        confidence: share of the resamples between the two ends, in (0, 1).
        resamples: how many to draw, at least 1.
        seed: of the generator, so that the same numbers give the same interval.

    Raises:
        ValueError: there are fewer than two groups, or the arrays differ in shape.
    """
    if errors_G.ndim != 1 or errors_G.shape != units_G.shape or len(errors_G) < 2:
        raise ValueError(f"errors {errors_G.shape} and units {units_G.shape}; wanted two or more groups in both")
    rng = np.random.default_rng(seed)
    rates = []
    groups, left = len(errors_G), resamples
    while left:
        now = min(left, max(1, DRAWS_AT_ONCE // groups))
        drawn_RG = rng.integers(0, groups, (now, groups))
        rates.append(errors_G[drawn_RG].sum(1) / np.maximum(1, units_G[drawn_RG].sum(1)))
        left -= now
    tail = 100 * (1 - confidence) / 2
    low, high = np.percentile(np.concatenate(rates), (tail, 100 - tail))
    return Interval(float(low), float(high))
