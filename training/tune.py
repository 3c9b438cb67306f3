"""Weight and word bonus of a language model, found by trying: the pair with the fewest word errors on a dev corpus.

Shape legend: S output frames, V vocabulary.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

from torch import Tensor

from features.audio import decode_audio
from model.beam_search import BeamSearch
from model.checkpoint import Bundle
from model.errors import OptionError
from model.language_model import BeamSearchConfig
from model.transcriber import Transcriber
from training.corpora import Utterance, normalize_transcript
from training.metrics import ErrorCounts, word_errors


@dataclass(frozen=True)
class Trial:
    """One pair of weights, and the word errors that it gave."""

    search: BeamSearchConfig
    words: ErrorCounts


def tune(
    bundle: Bundle,
    utterances: Sequence[Utterance],
    *,
    lm_weights: Sequence[float],
    word_bonuses: Sequence[float],
    progress: Callable[[int, int], None] | None = None,
) -> list[Trial]:
    """Try every pair on the utterances; the best trial comes first.

    The acoustic model runs once. `progress` is called with the trials done and the trials in all.

    Raises:
        OptionError: the bundle has no language model, or there is nothing to try.
    """
    if bundle.language_model is None:
        raise OptionError(f"bundle {bundle.name!r} has no language model to tune; attach one first")
    pairs = [(weight, bonus) for weight in lm_weights for bonus in word_bonuses]
    if not pairs or not utterances:
        raise OptionError(f"there are {len(pairs)} pairs of weights and {len(utterances)} utterances; 1 is the least")
    transcriber = Transcriber(bundle, greedy=True)
    heard = [transcriber.log_probs(decode_audio(utterance.path)) for utterance in utterances]
    references = [normalize_transcript(utterance.transcript) for utterance in utterances]
    search = BeamSearch(bundle.tokenizer, bundle.language_model)
    trials = []
    for done, (weight, bonus) in enumerate(pairs, 1):
        config = replace(bundle.language_model.search, lm_weight=weight, word_bonus=bonus)
        hypotheses = list(_texts(search.with_config(config), heard, bundle))
        trials.append(Trial(config, word_errors(references, hypotheses)))
        if progress:
            progress(done, len(pairs))
    return sorted(trials, key=lambda trial: trial.words.rate)


def _texts(search: BeamSearch, heard: Sequence[Tensor], bundle: Bundle) -> Iterator[str]:
    for log_probs_SV in heard:
        units = search.decode(log_probs_SV)
        yield " ".join(bundle.tokenizer.decode([unit.id for unit in units]).split())
