"""How a bundle tells speech from other sounds (`model.rejection`), fitted to what its network says about both.

Positive examples are the segments of dev utterances, negative ones those that the network hears in sounds made by
chance (`training.other_sounds`) and in recorded noise. Weights come of logistic regression with both kinds counting the
same; the threshold is the least at which no more than a given share of the utterances' words would be dropped.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path

import numpy as np
from torch import Tensor

from features.audio import Waveform
from model.alignment import build_segments
from model.checkpoint import Bundle
from model.decoder import decode_greedy
from model.errors import OptionError
from model.rejection import Evidence, RejectionConfig, evidence, surroundings
from model.runtime import make_runtime
from model.transcriber import Transcriber
from training.corpora import Utterance, decode_named
from training.other_sounds import other_sound

SHORT_S, LONG_S = 1.0, 4.0  # of the sounds made by chance, in turn
RIDGE = 1e-3  # of the regression, relative to the mean of its examples
LEAST_THRESHOLD = 0.5
ROUNDING = 1e-4  # a runtime that sums in another order drops no segment for that
FEATURES = tuple(field.name for field in fields(Evidence))


@dataclass(frozen=True)
class Heard:
    """A segment that the network heard.

    Attributes:
        evidence: of its frames and those around it.
        n_words: its words.
        speech: whether somebody spoke.
        source: which file or sound it is from.
    """

    evidence: Evidence
    n_words: int
    speech: bool
    source: str


@dataclass(frozen=True)
class Fit:
    """What was found.

    Attributes:
        config: weights and threshold.
        words, words_lost: of the utterances.
        sounds: other sounds and recorded noise, in all.
        sounds_with_words: those in which words are heard with nothing dropped.
        sounds_left: those in which words are heard nevertheless, by name.
    """

    config: RejectionConfig
    words: int
    words_lost: int
    sounds: int
    sounds_with_words: int
    sounds_left: tuple[str, ...]


def tune_rejection(
    bundle: Bundle,
    utterances: Sequence[Utterance],
    noises: Sequence[Path],
    *,
    n_sounds: int,
    most_words_lost: float,
    progress: Callable[[int, int], None] | None = None,
) -> Fit:
    """Fit the weights to this bundle.

    Args:
        bundle: its present `rejection` gives the times; its weights are not used.
        utterances: in which somebody speaks.
        noises: recordings in which nobody does.
        n_sounds: sounds made by chance.
        most_words_lost: share of the utterances' words that may be dropped, 0..1.
        progress: called with the recordings done and the recordings in all.

    Raises:
        OptionError: there are no utterances or no sounds, or the network hears words in none of either kind.
    """
    if not utterances or not n_sounds + len(noises):
        raise OptionError(f"there are {len(utterances)} utterances and {n_sounds + len(noises)} sounds; 1 is the least")
    runtime = make_runtime(bundle.acoustic_model, training=bundle.training)
    transcriber = Transcriber(bundle, greedy=True, runtime=runtime)
    config = bundle.rejection or RejectionConfig()
    n_all, heard = len(utterances) + len(noises) + n_sounds, list[Heard]()
    for done, (name, waveform, speech) in enumerate(_recordings(utterances, noises, n_sounds), 1):
        heard += segments_of(transcriber, transcriber.log_probs(waveform), config, speech, name)
        if progress:
            progress(done, n_all)
    return fit(heard, config, most_words_lost=most_words_lost, sounds=len(noises) + n_sounds)


def _recordings(
    utterances: Sequence[Utterance], noises: Sequence[Path], n_sounds: int
) -> Iterable[tuple[str, Waveform, bool]]:
    for utterance in utterances:
        yield utterance.id, decode_named(utterance.path), True
    for path in noises:
        yield path.stem, decode_named(path), False
    for number in range(n_sounds):
        yield f"sound {number}", Waveform(other_sound(number, (SHORT_S, LONG_S)[number // 8 % 2])), False


def segments_of(
    transcriber: Transcriber, log_probs_SO: Tensor, config: RejectionConfig, speech: bool, source: str
) -> list[Heard]:
    """The segments of a recording, as they are judged in transcribing; log-probs of the whole."""
    tokenizer = transcriber.bundle.tokenizer
    log_probs_SV = log_probs_SO[:, : tokenizer.vocabulary_size]
    frame_s, duration_s = transcriber.frame_s, len(log_probs_SV) * transcriber.frame_s
    found = build_segments(
        decode_greedy(log_probs_SV),
        log_probs_SV,
        tokenizer,
        frame_s=frame_s,
        duration_s=duration_s,
    )
    heard = []
    for segment in found:
        begin, end = round(segment.start_s / frame_s), round(segment.end_s / frame_s)
        first, last = surroundings(len(log_probs_SV), begin, end, round(config.evidence_s / frame_s))
        told = evidence(log_probs_SV[first:last], frame_s, config.shortest_s)
        if told is not None:
            heard.append(Heard(told, len(segment.words), speech, source))
    return heard


def fit(heard: Sequence[Heard], config: RejectionConfig, *, most_words_lost: float, sounds: int) -> Fit:
    """Weights and threshold for segments; `config` gives the times, `sounds` how many recordings had no speech."""
    speech_H = np.array([one.speech for one in heard])
    if speech_H.all() or not speech_H.any():
        raise OptionError(
            f"of {len(heard)} segments with words {int(speech_H.sum())} are speech; both kinds are needed"
        )
    features_HF = np.array([[getattr(one.evidence, name) for name in FEATURES] for one in heard])
    weights_F, bias = _logistic_regression(features_HF, speech_H)
    no_speech_H = 1 / (1 + np.exp(np.clip(features_HF @ weights_F + bias, -700, 700)))

    words_H = np.array([one.n_words for one in heard]) * speech_H
    order = np.argsort(-no_speech_H)
    allowed = int(most_words_lost * words_H.sum())
    # The first segment, from the least like speech on, with which too many words would be dropped, has to be kept.
    first = int(np.searchsorted(np.cumsum(words_H[order]), allowed, side="right"))
    least = float(no_speech_H[order[first]]) if first < len(order) else 0.0  # all words may be dropped
    threshold = min(1.0, max(LEAST_THRESHOLD, least) + ROUNDING)
    weights = dict(zip(FEATURES, weights_F.tolist(), strict=True))
    left = {one.source for one, p in zip(heard, no_speech_H, strict=True) if not one.speech and p <= threshold}
    return Fit(
        replace(config, **weights, bias=bias, threshold=threshold),
        words=int(words_H.sum()),
        words_lost=int(words_H[no_speech_H > threshold].sum()),
        sounds=sounds,
        sounds_with_words=len({one.source for one in heard if not one.speech}),
        sounds_left=tuple(sorted(left)),
    )


def _logistic_regression(features_HF: np.ndarray, positive_H: np.ndarray) -> tuple[np.ndarray, float]:
    """Weights (F,) and bias by Newton's method, both kinds with the same weight in all, and a little ridge."""
    mean_F, std_F = features_HF.mean(0), features_HF.std(0) + 1e-9
    design_HG = np.column_stack([(features_HF - mean_F) / std_F, np.ones(len(features_HF))])
    share_H = np.where(positive_H, 0.5 / positive_H.sum(), 0.5 / (~positive_H).sum())
    ridge_G = np.array([RIDGE] * features_HF.shape[1] + [0.0])
    weights_G = np.zeros(design_HG.shape[1])
    for _ in range(100):
        probability_H = 1 / (1 + np.exp(-np.clip(design_HG @ weights_G, -700, 700)))
        slope_G = design_HG.T @ (share_H * (positive_H - probability_H)) - ridge_G * weights_G
        curvature_H = share_H * probability_H * (1 - probability_H)
        step_G = np.linalg.solve((design_HG.T * curvature_H) @ design_HG + np.diag(ridge_G + 1e-12), slope_G)
        weights_G += step_G
        if float(np.abs(step_G).max()) < 1e-8:
            break
    weights_F = weights_G[:-1] / std_F
    return weights_F, float(weights_G[-1] - weights_F @ mean_F)
