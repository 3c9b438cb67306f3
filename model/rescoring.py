"""The search's N-best list, ordered anew with a neural language model beside the n-gram model.

Shape legend: S output frames, V vocabulary.

    score = log P(characters | audio) + lm_weight · Σ log10 [(1 − λ) · P_ngram(word) + λ · P_neural(word)]
            + word_bonus · number of words + boost of hot words

over the words and the end of the sentence, with the search's own `lm_weight` and `word_bonus`. The probabilities are
mixed, not their logarithms: a word that one of the models has never met is then not lost, and the sum stays a
probability (Jelinek and Mercer, "Interpolated estimation of Markov source parameters from sparse data", 1980).
"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import replace

from jaxtyping import Float
from torch import Tensor

from model.beam_search import BeamSearch
from model.cancellation import CancelToken
from model.decoder import DecodedUnit, append_stretch
from model.errors import OptionError
from model.hot_words import HotWords
from model.hypothesis import Hypothesis, NBest
from model.language_model import BeamSearchConfig, RescoringConfig
from model.neural_language_model import NeuralLanguageModel
from model.word_evidence import Reading, attach, hear, weigh


class Rescorer:
    """A search whose results a neural model puts in order; stands wherever a `BeamSearch` stands.

    Args:
        search: finds the hypotheses.
        neural_lm: judges them; in evaluation mode.
        config: how.
    """

    def __init__(self, search: BeamSearch, neural_lm: NeuralLanguageModel, config: RescoringConfig) -> None:
        self._search, self._neural_lm, self._config = search, neural_lm, config

    @property
    def boundary(self) -> int:
        """The unit between words."""
        return self._search.boundary

    def stopped_by(self, cancelled: CancelToken | None) -> "Rescorer":
        """The same, which raises `WorkCancelledError` soon after `cancelled` was cancelled."""
        return Rescorer(self._search.stopped_by(cancelled), self._neural_lm, self._config)

    def with_hot_words(self, hot_words: HotWords) -> "Rescorer":
        """The same with a search as `BeamSearch.with_hot_words` gives it."""
        return Rescorer(self._search.with_hot_words(hot_words), self._neural_lm, self._config)

    def decode(self, log_probs_SV: Float[Tensor, "S V"]) -> list[DecodedUnit]:
        """The best path's units, in order of time, as `BeamSearch.decode` gives them."""
        units: list[DecodedUnit] = []
        for stretch in self.n_best(log_probs_SV, self._config.n_best):
            append_stretch(units, self._weighed(stretch), self.boundary)
        return units

    def _weighed(self, stretch: NBest) -> list[DecodedUnit]:
        """The units of the first hypothesis, with what the others say of its words."""
        best = stretch.hypotheses[0]
        evidence = weigh([self._reading(hypothesis) for hypothesis in stretch.hypotheses], best.word_log10probs)
        return attach(best.units, self.boundary, hear(evidence, best.sounds))

    def _reading(self, hypothesis: Hypothesis) -> Reading:
        ends, reached = [], 0
        for unit in hypothesis.units:
            if unit.id == self.boundary and reached:
                ends.append(reached)
            reached = 0 if unit.id == self.boundary else unit.last_frame + 1
        return Reading(hypothesis.words, tuple([*ends, reached][: len(hypothesis.words)]), hypothesis.score)

    def n_best(self, log_probs_SV: Float[Tensor, "S V"], n: int) -> list[NBest]:
        """The n best word sequences of every stretch, as `BeamSearch.n_best` gives them, in the new order.

        Raises:
            OptionError: n is below 1.
        """
        if n < 1:
            raise OptionError(f"the {n} best hypotheses were asked for; 1 is the least")
        stretches = self._search.n_best(log_probs_SV, max(n, self._config.n_best))
        return [replace(stretch, hypotheses=self._rescore(stretch.hypotheses)[:n]) for stretch in stretches]

    def _rescore(self, hypotheses: tuple[Hypothesis, ...]) -> tuple[Hypothesis, ...]:
        judged = self._neural_lm.word_log10probs([hypothesis.words for hypothesis in hypotheses])
        return rescore(hypotheses, judged, self._search.config, self._config.neural_weight)


def rescore(
    hypotheses: Sequence[Hypothesis],
    neural_log10probs: Iterable[Sequence[float]],
    search: BeamSearchConfig,
    neural_weight: float,
) -> tuple[Hypothesis, ...]:
    """The hypotheses with their new scores, the best first; equals keep their order.

    Args:
        hypotheses: as the search found them.
        neural_log10probs: for each of them what `NeuralLanguageModel.word_log10probs` says.
        search: the weights that they were found with.
        neural_weight: λ, 0..1; with 0 nothing changes, scores included.
    """
    if neural_weight == 0:
        return tuple(hypotheses)
    rescored = []
    for hypothesis, neural in zip(hypotheses, neural_log10probs, strict=True):
        pairs = zip(hypothesis.word_log10probs, neural, strict=True)
        lm = sum(_mix(ngram, other, neural_weight) for ngram, other in pairs)
        score = hypothesis.acoustic_logprob + search.lm_weight * lm + search.word_bonus * len(hypothesis.words)
        score += hypothesis.boost
        rescored.append(replace(hypothesis, score=score))
    return tuple(sorted(rescored, key=lambda hypothesis: -hypothesis.score))


def _mix(ngram_log10prob: float, neural_log10prob: float, neural_weight: float) -> float:
    """log10 of the weighted mean of two probabilities; only their ratio is raised, which cannot vanish."""
    higher = max(ngram_log10prob, neural_log10prob)
    mean = (1 - neural_weight) * 10 ** (ngram_log10prob - higher) + neural_weight * 10 ** (neural_log10prob - higher)
    return neural_log10prob if neural_weight == 1 else higher + math.log10(mean)
