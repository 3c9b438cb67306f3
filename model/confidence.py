"""How probable it is that a word is right: what was seen of it, weighed by logistic regression.

The posteriors of a word's letters alone say it badly: a language model that insists on a word has its letters found in
any audio. So the probability of the word and of the next one by that model count as well, the share of the best
hypotheses that have the word in this place, and how long its letters last. The weights are fitted on words of known
text (`cepstra calibrate`) and lie in the bundle. Source: Platt, "Probabilistic outputs for support vector machines",
1999, with several features as in Wessel et al. (see `model.word_evidence`).
"""

import math
from collections.abc import Sequence
from dataclasses import astuple, dataclass
from functools import cached_property
from typing import Any

from model.decoder import DecodedUnit
from model.errors import OptionError

LEAST_SHARE = 0.01  # of hypotheses, so that all and none have finite odds


@dataclass(frozen=True)
class ConfidenceWeights:
    """What is added up to the log-odds of a word's being right.

    Attributes:
        bias: of every word.
        certainty: weight of the mean over its letters of their log-posterior.
        weakest: of the least of those.
        letters: of their number.
        frames_a_letter: of the output frames from the first letter to the last, for each.
        log10prob, next_log10prob: of the language model's log-probability of the word, and of what follows.
        agreement: of the log-odds of the share of hypotheses that have it. The last three are 0 for greedy decoding.
    """

    bias: float
    certainty: float
    weakest: float = 0.0
    letters: float = 0.0
    frames_a_letter: float = 0.0
    log10prob: float = 0.0
    next_log10prob: float = 0.0
    agreement: float = 0.0

    def __post_init__(self) -> None:
        if not all(math.isfinite(weight) for weight in (self.bias, *self.factors)):
            raise OptionError(f"{self} has a weight that is no finite number")

    @cached_property
    def factors(self) -> tuple[float, ...]:
        """The weights after `bias`, in their order."""
        return astuple(self)[1:]


@dataclass(frozen=True)
class ConfidenceConfig:
    """The weights for each way of decoding.

    What is heard live has weights of its own: how many hypotheses have a word is known of the search that committed it,
    which had heard little of what follows, and later ones have no other word there.

    Attributes:
        search: for the beam search; None where the bundle has no language model.
        greedy: for greedy decoding.
        live_search, live_greedy: the same for streams; None where they were not fitted.
    """

    search: ConfidenceWeights | None
    greedy: ConfidenceWeights
    live_search: ConfidenceWeights | None = None
    live_greedy: ConfidenceWeights | None = None

    @classmethod
    def from_json(cls, values: dict[str, Any]) -> "ConfidenceConfig":
        """From what `dataclasses.asdict` made of it; raises TypeError or KeyError where that is something else.

        Bundles of earlier versions lack the weights for streams.
        """
        search, live_search, live_greedy = (
            ConfidenceWeights(**weights) if weights is not None else None
            for weights in (values["search"], values.get("live_search"), values.get("live_greedy"))
        )
        return cls(search, ConfidenceWeights(**values["greedy"]), live_search, live_greedy)

    def weights(self, *, searched: bool, live: bool) -> ConfidenceWeights | None:
        """Those for one way of decoding; a stream takes those of whole recordings where it has none of its own."""
        whole, stream = (self.search, self.live_search) if searched else (self.greedy, self.live_greedy)
        return (stream or whole) if live else whole


def word_features(units: Sequence[DecodedUnit]) -> tuple[float, ...]:
    """What the weights after `bias` are multiplied with, in their order; 0 for what is not known.

    Args:
        units: of one word, one at least, the first with the search's evidence.
    """
    logprobs = [unit.logprob for unit in units]
    frames = units[-1].last_frame + 1 - units[0].first_frame
    letters = (sum(logprobs) / len(units), min(logprobs), float(len(units)), frames / len(units))
    evidence = units[0].evidence
    if evidence is None:
        return (*letters, 0.0, 0.0, 0.0)
    odds = (evidence.share + LEAST_SHARE) / (1 - evidence.share + LEAST_SHARE)
    return (*letters, evidence.log10prob, evidence.next_log10prob, math.log(odds))


def word_confidence(units: Sequence[DecodedUnit], weights: ConfidenceWeights | None) -> float:
    """Probability that the word is right, 0..1; without weights, the geometric mean of its letters' posteriors."""
    if weights is None:
        return math.exp(sum(unit.logprob for unit in units) / len(units))
    log_odds = weights.bias + sum(
        factor * value for factor, value in zip(weights.factors, word_features(units), strict=True)
    )
    return 1 / (1 + math.exp(-max(-50.0, min(50.0, log_odds))))
