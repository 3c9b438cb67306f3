"""Modified Kneser-Ney n-gram models, interpolated, estimated as KenLM's lmplz does.

Sources: Chen and Goodman, "An empirical study of smoothing techniques for language modeling", Harvard TR-10-98, 1998
(equations 20 to 27); Heafield et al., "Scalable modified Kneser-Ney language model estimation", ACL 2013, for pruning.

With c the counts, a the adjusted counts (c for n-grams of the highest order and those that begin with `<s>`, for all
others the number of different words to their left), D the discount for an adjusted count, and w' a word, h a context:

    P(w | h) = (a(hw) − D) / Σ a(hw')  +  backoff(h) · P(w | h without its first word)
    backoff(h) = (Σ D over n-grams hw' that are kept  +  Σ a over those pruned) / Σ a(hw')

and below the unigrams every word but `<s>` is equally likely. With this choice of backoff the probabilities of all
words after a context add up to 1, pruned or not.

Shape legend: N tokens, V words, G n-grams of one order (H of the order below), sorted by context and last word.
"""

import logging
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from model.errors import OptionError
from training.errors import CorpusError, DiscountError
from training.ngram_text import BEGIN, NgramText

MAX_ORDER = 6  # KenLM, as flashlight-text is built, reads no longer ones
FALLBACK_DISCOUNTS = (0.5, 1.0, 1.5)  # lmplz's
ZERO = 1e-99  # what ARPA files write for a probability of 0
_NONE = -1

log = logging.getLogger(__name__)

Ints = NDArray[np.int32]
Floats = NDArray[np.float64]


@dataclass(frozen=True)
class NgramConfig:
    """What kind of model to estimate.

    Attributes:
        order: words of the longest n-grams, 2 to 6.
        prune: for each order the count up to which n-grams are left out, from unigrams (which all stay: 0) on, none
            lower than the one before; the last one holds for all further orders.
        discount_fallback: take `FALLBACK_DISCOUNTS` for an order whose counts give no discounts.
    """

    order: int = 3
    prune: tuple[int, ...] = (0,)
    discount_fallback: bool = False

    def __post_init__(self) -> None:
        if not 2 <= self.order <= MAX_ORDER:
            raise OptionError(f"order is {self.order}; it must lie in 2..{MAX_ORDER}")
        if not 1 <= len(self.prune) <= self.order:
            raise OptionError(f"prune has {len(self.prune)} thresholds; there must be 1 to {self.order}, one an order")
        if self.prune[0] != 0:
            raise OptionError(f"prune begins with {self.prune[0]}; unigrams all stay (0), limit the vocabulary instead")
        if list(self.prune) != sorted(self.prune):
            raise OptionError(f"prune is {self.prune}; a threshold must not be lower than the one before")

    def threshold(self, order: int) -> int:
        """The count up to which n-grams of an order are left out."""
        return self.prune[min(order, len(self.prune)) - 1]


@dataclass(frozen=True)
class NgramOrder:
    """The n-grams of one order.

    Attributes:
        context_G: for each n-gram without its last word, where it is among those of the order below; 0 for unigrams.
        last_G: its last word.
        log10_prob_G: of the last word after the others; 0 for `<s>`, which is never predicted.
        log10_backoff_G: what the probability of a word that never followed is multiplied with; 0 in the highest order.
    """

    context_G: Ints
    last_G: Ints
    log10_prob_G: NDArray[np.float32]
    log10_backoff_G: NDArray[np.float32]


@dataclass(frozen=True)
class NgramModel:
    """A back-off model: the words, the special ones first; n-grams from unigrams up; D1, D2, D3+ of each order."""

    words: tuple[str, ...]
    orders: tuple[NgramOrder, ...]
    discounts: tuple[tuple[float, float, float], ...]


def estimate(text: NgramText, config: NgramConfig, *, progress: Callable[[int, int], None] | None = None) -> NgramModel:
    """Estimate a model of a text. `progress` is called with the steps done and the steps in all.

    Raises:
        CorpusError: no sentence is as long as the order, or pruning leaves no n-gram of the highest order.
        DiscountError: an order's counts give no discounts, and `discount_fallback` is not set.
    """
    n_steps = 2 * config.order - 1
    counted = [_count_words(text)]
    which_N = text.tokens_N  # n-gram of the current order ends there
    while len(counted) < config.order:
        longer, which_N = _count_longer(text, which_N, counted[-1], len(counted) + 1)
        counted.append(longer)
        if progress:
            progress(len(counted) - 1, n_steps)
    del which_N
    stays = [these.count_G > config.threshold(order) for order, these in enumerate(counted, 1)]
    stays[0][:] = True  # <unk> too, which may not occur
    if not stays[-1].any():
        threshold = config.threshold(config.order)
        raise CorpusError(f"no {config.order}-gram occurs more than {threshold} times: prune less, or lower the order")
    adjusted = [_adjusted_counts(these, longer) for these, longer in zip(counted, [*counted[1:], None], strict=True)]
    discounts = [_discounts(adjusted_G, order, config) for order, adjusted_G in enumerate(adjusted, 1)]

    log_probs, log_backoffs = [], []
    prob_H = np.full(1, 1 / (len(text.words) - 1))  # of every word but <s>, where nothing is known
    for these, adjusted_G, discount, stays_G in zip(counted, adjusted, discounts, stays, strict=True):
        share_G, backoff_H = _discounted_shares(these.context_G, adjusted_G, discount, stays_G, len(prob_H))
        prob_H = share_G + backoff_H[these.context_G] * prob_H[these.suffix_G]  # without meaning for pruned ones
        log_probs.append(_log10(prob_H))
        log_backoffs.append(_log10(backoff_H))
        if progress:
            progress(config.order - 1 + len(log_probs), n_steps)
    log_probs[0][BEGIN] = 0.0
    log_backoffs = [*log_backoffs[1:], np.zeros_like(log_probs[-1])]  # an order's contexts are the n-grams below it

    orders, place_H = [], np.zeros(1, np.int32)
    for these, stays_G, log_prob_G, log_backoff_G in zip(counted, stays, log_probs, log_backoffs, strict=True):
        context_G = place_H[these.context_G[stays_G]]
        orders.append(NgramOrder(context_G, these.last_G[stays_G], log_prob_G[stays_G], log_backoff_G[stays_G]))
        place_H = np.cumsum(stays_G, dtype=np.int32) - 1
    return NgramModel(text.words, tuple(orders), tuple(discounts))


@dataclass(frozen=True)
class _Counted:
    """All n-grams of one order: without last word, last word, without first word, whether `<s>` is first, how often."""

    context_G: Ints
    last_G: Ints
    suffix_G: Ints
    begins_G: NDArray[np.bool_]
    count_G: Ints


def _count_words(text: NgramText) -> _Counted:
    indices = np.arange(len(text.words), dtype=np.int32)
    empty = np.zeros_like(indices)  # the n-gram of no words
    counts = np.bincount(text.tokens_N, minlength=len(indices)).astype(np.int32)
    counts[BEGIN] = 0  # it is never predicted
    return _Counted(empty, indices, empty, indices == BEGIN, counts)


def _count_longer(text: NgramText, which_N: Ints, shorter: _Counted, order: int) -> tuple[_Counted, Ints]:
    """The n-grams one word longer, and which of them ends at each token: _NONE where its sentence has no such.

    Two of them are the same where the n-gram without the last word and the last word are. Numbering them in that order
    keeps every key below 2⁶³, however long the n-grams.
    """
    tokens_N, n_words = text.tokens_N, len(text.words)
    ends = np.flatnonzero((which_N[:-1] != _NONE) & (tokens_N[1:] != BEGIN)) + 1
    if not len(ends):
        raise CorpusError(f"no sentence has {order - 2} words, which {order}-grams need; lower the order")
    keys = which_N[ends - 1].astype(np.int64) * n_words + tokens_N[ends]
    by_key = np.argsort(keys)
    keys, ends = keys[by_key], ends[by_key]
    is_first = np.diff(keys, prepend=-1) != 0
    firsts = np.flatnonzero(is_first)
    keys, examples = keys[firsts], ends[firsts]
    context_G = (keys // n_words).astype(np.int32)
    longer = _Counted(
        context_G=context_G,
        last_G=(keys % n_words).astype(np.int32),
        suffix_G=which_N[examples],
        begins_G=shorter.begins_G[context_G],
        count_G=np.diff(firsts, append=len(ends)).astype(np.int32),
    )
    which_longer_N = np.full_like(which_N, _NONE)
    which_longer_N[ends] = np.cumsum(is_first, dtype=np.int32) - 1
    return longer, which_longer_N


def _adjusted_counts(these: _Counted, longer: _Counted | None) -> Ints:
    """How many words stand left of each n-gram; nothing does of `<s>`, and the highest order keeps its counts."""
    if longer is None:
        return these.count_G
    left_G = np.bincount(longer.suffix_G, minlength=len(these.count_G))
    return np.where(these.begins_G, these.count_G, left_G.astype(np.int32))


def _discounts(adjusted_G: Ints, order: int, config: NgramConfig) -> tuple[float, float, float]:
    """D1, D2 and D3+ of an order from how many of its n-grams have adjusted counts 1 to 4 (equation 26)."""
    n = [int(np.count_nonzero(adjusted_G == count)) for count in range(5)]
    if all(n[1:4]):
        y = n[1] / (n[1] + 2 * n[2])
        d1, d2, d3 = (count - (count + 1) * y * n[count + 1] / n[count] for count in (1, 2, 3))
        if min(d1, d2, d3) >= 0:
            return d1, d2, d3
        problem = f"the discounts of {order}-grams would be {d1:.3g}, {d2:.3g} and {d3:.3g}, one below 0"
    else:
        problem = f"no {order}-gram has adjusted count {n.index(0, 1)}"
    if config.discount_fallback:
        log.warning("%s; taken instead: %g, %g, %g", problem, *FALLBACK_DISCOUNTS)
        return FALLBACK_DISCOUNTS
    raise DiscountError(f"{problem}: too small or too regular a text; take more of it, or --discount-fallback")


def _discounted_shares(
    context_G: Ints, adjusted_G: Ints, discount: tuple[float, float, float], stays_G: NDArray[np.bool_], n_contexts: int
) -> tuple[Floats, Floats]:
    """What is left to each n-gram of the mass after its context, and what goes to the order below, by context."""
    discount_G = np.array([0.0, *discount])[np.minimum(adjusted_G, 3)]
    mass_H = np.bincount(context_G, weights=adjusted_G, minlength=n_contexts)
    freed_H = np.bincount(context_G, weights=np.where(stays_G, discount_G, adjusted_G), minlength=n_contexts)
    backoff_H = np.divide(freed_H, mass_H, out=np.ones_like(mass_H), where=mass_H > 0)
    return (adjusted_G - discount_G) / mass_H[context_G], backoff_H


def _log10(values: Floats) -> NDArray[np.float32]:
    return np.log10(np.maximum(values, ZERO)).astype(np.float32)
