"""What a neural language model makes of a bundle's N-best lists: its best weight, found by trying, and its limit."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace

from model.checkpoint import Bundle
from model.errors import OptionError
from model.hypothesis import Hypothesis
from model.language_model import BeamSearchConfig, RescoringConfig
from model.rescoring import rescore
from model.transcriber import Transcriber
from training.corpora import Utterance, decode_named, normalize_transcript
from training.metrics import ErrorCounts, word_errors


@dataclass(frozen=True)
class RescoringTrial:
    """One weight, and the word errors that it gave."""

    config: RescoringConfig
    words: ErrorCounts


@dataclass(frozen=True)
class RescoringResult:
    """What was found on a dev corpus.

    Attributes:
        before: word errors of the search alone.
        trials: the best weight first; equals in the order of their weights.
        oracle: word errors if the best of each N-best list were always chosen: no weight can do better. Where audio is
            searched in several stretches, they are chosen one after the other, and a better choice may be possible.
    """

    before: ErrorCounts
    trials: tuple[RescoringTrial, ...]
    oracle: ErrorCounts


@dataclass(frozen=True)
class _Stretch:
    """An N-best list, and what the neural model says of each of its hypotheses."""

    hypotheses: tuple[Hypothesis, ...]
    neural_log10probs: tuple[tuple[float, ...], ...]

    def best(self, search: BeamSearchConfig, neural_weight: float) -> str:
        return rescore(self.hypotheses, self.neural_log10probs, search, neural_weight)[0].text


def tune_rescoring(
    bundle: Bundle,
    utterances: Sequence[Utterance],
    *,
    neural_weights: Sequence[float],
    n_best: int | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> RescoringResult:
    """Try every weight on the utterances, each of which is searched, and judged by the neural model, once.

    Words that the transcriber would drop for being no speech are counted.

    Args:
        bundle: with both language models.
        utterances: the dev corpus.
        neural_weights: what to try, each 0..1.
        n_best: hypotheses of a stretch that are looked at; None for as many as the bundle says.
        progress: called with utterances done and utterances in all.

    Raises:
        OptionError: the bundle has no neural model, there is nothing to try, or a weight is out of range.
    """
    if bundle.neural_lm is None or bundle.language_model is None:
        raise OptionError(f"bundle {bundle.name!r} has no neural language model to tune; attach one first")
    if not neural_weights or not utterances:
        raise OptionError(f"there are {len(neural_weights)} weights and {len(utterances)} utterances; 1 is the least")
    n_best = bundle.rescoring.n_best if n_best is None else n_best
    configs = [RescoringConfig(weight, n_best) for weight in sorted(neural_weights)]
    search, neural_lm = bundle.language_model.search, bundle.neural_lm
    transcriber = Transcriber(replace(bundle, neural_lm=None))
    heard: list[list[_Stretch]] = []
    for done, utterance in enumerate(utterances, 1):
        lists = [stretch.hypotheses for stretch in transcriber.n_best(decode_named(utterance.path), n_best)]
        judged = [neural_lm.word_log10probs([hypothesis.words for hypothesis in found]) for found in lists]
        heard.append([_Stretch(found, tuple(scores)) for found, scores in zip(lists, judged, strict=True)])
        if progress:
            progress(done, len(utterances))
    references = [normalize_transcript(utterance.transcript) for utterance in utterances]

    def errors(neural_weight: float) -> ErrorCounts:
        texts = [_joined(stretch.best(search, neural_weight) for stretch in stretches) for stretches in heard]
        return word_errors(references, texts)

    trials = sorted((RescoringTrial(c, errors(c.neural_weight)) for c in configs), key=lambda trial: trial.words.rate)
    oracle = sum((_oracle(*pair) for pair in zip(references, heard, strict=True)), ErrorCounts())
    return RescoringResult(errors(0.0), tuple(trials), oracle)


def _oracle(reference: str, stretches: Sequence[_Stretch]) -> ErrorCounts:
    chosen = [stretch.hypotheses[0].text for stretch in stretches]
    best = word_errors([reference], [_joined(chosen)])
    for at, stretch in enumerate(stretches):
        for hypothesis in stretch.hypotheses:
            tried = [*chosen[:at], hypothesis.text, *chosen[at + 1 :]]
            counts = word_errors([reference], [_joined(tried)])
            if counts.rate < best.rate:
                best, chosen = counts, tried
    return best


def _joined(texts: Iterable[str]) -> str:
    return " ".join(" ".join(texts).split())
