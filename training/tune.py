"""The weights of a search, found by trying: those with the fewest word errors on a dev corpus.

Shape legend: S output frames, O outputs of the acoustic model.
"""

import itertools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

from torch import Tensor

from model.beam_search import BeamSearch
from model.checkpoint import Bundle
from model.errors import OptionError
from model.language_model import BeamSearchConfig
from model.searches import make_search
from model.transcriber import Transcriber
from training.corpora import Utterance, decode_named, normalize_transcript
from training.metrics import ErrorCounts, word_errors


@dataclass(frozen=True)
class Trial:
    """One set of weights, and the word errors that it gave."""

    search: BeamSearchConfig
    words: ErrorCounts


def tune(
    bundle: Bundle,
    utterances: Sequence[Utterance],
    *,
    lm_weights: Sequence[float],
    word_bonuses: Sequence[float],
    blank_penalties: Sequence[float] | None = None,
    letter_weights: Sequence[float] | None = None,
    boundary_penalties: Sequence[float] | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> list[Trial]:
    """Try every combination on the utterances; the best trial comes first.

    The acoustic model runs once. What is None is kept as the bundle has it. `progress` is called with the trials done
    and the trials in all.

    Raises:
        OptionError: the bundle has no language model, or there is nothing to try.
    """
    if bundle.language_model is None:
        raise OptionError(f"bundle {bundle.name!r} has no language model to tune; attach one first")
    own = bundle.language_model.search
    tried: dict[str, Sequence[float]] = {
        "lm_weight": lm_weights,
        "word_bonus": word_bonuses,
        "blank_penalty": [own.blank_penalty] if blank_penalties is None else blank_penalties,
        "boundary_penalty": [own.boundary_penalty] if boundary_penalties is None else boundary_penalties,
        "letter_weight": [own.letter_weight] if letter_weights is None else letter_weights,
    }
    combinations: list[dict[str, Any]] = [
        dict(zip(tried, values, strict=True)) for values in itertools.product(*tried.values())
    ]
    if not combinations or not utterances:
        raise OptionError(
            f"there are {len(combinations)} combinations of weights and {len(utterances)} utterances; 1 is the least"
        )
    transcriber = Transcriber(bundle, greedy=True)
    heard = [transcriber.log_probs(decode_named(utterance.path)) for utterance in utterances]
    references = [normalize_transcript(utterance.transcript) for utterance in utterances]
    search = make_search(bundle)
    assert search is not None
    trials = []
    for done, weights in enumerate(combinations, 1):
        config = replace(own, **weights)
        hypotheses = list(_texts(search.with_config(config), heard, bundle))
        trials.append(Trial(config, word_errors(references, hypotheses)))
        if progress:
            progress(done, len(combinations))
    return sorted(trials, key=lambda trial: trial.words.rate)


def _texts(search: BeamSearch, heard: Sequence[Tensor], bundle: Bundle) -> Iterator[str]:
    for log_probs_SO in heard:
        units = search.decode(log_probs_SO)
        yield " ".join(bundle.tokenizer.decode([unit.id for unit in units]).split())
