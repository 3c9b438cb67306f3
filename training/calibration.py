"""How sure a bundle's words are: the weights of `model.confidence`, fitted on words of known text.

Shape legend: W words, F features.

What is said of the result was measured on speakers that the weights had not seen: each speaker's words are judged by
weights fitted on all the others.
"""

from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import astuple, dataclass

import numpy as np
import torch
from torch import Tensor

from features.audio import Waveform
from model.alignment import build_segments
from model.checkpoint import Bundle
from model.confidence import ConfidenceConfig, ConfidenceWeights, word_features
from model.decoder import DecodedUnit
from model.errors import OptionError
from model.stream_events import Final
from model.tokenizer import WORD_BOUNDARY
from model.transcriber import Transcriber
from training.confusions import align_words
from training.corpora import Utterance, decode_named, normalize_transcript

BINS = 10
RIDGE = 1e-3  # on weights of features with mean 0 and deviation 1; keeps those finite that tell all words apart
LEAST_WORDS = 50
MOST_SPEAKER_FOLDS = 20  # more speakers than that share folds
LIVE_EVERY = 4  # utterances
CHANCE_DRAWS = 100

_Word = tuple[str, tuple[float, ...], int]  # text, features, number of the segment
_Row = tuple[tuple[float, ...], bool, int, int]  # features, whether it is right, fold, number of the segment


@dataclass(frozen=True)
class Reliability:
    """Whether confidences can be believed.

    Attributes:
        words: how many there were.
        right: the share that was right.
        before: expected calibration error of the letters' posteriors; of live words, by whole recordings' weights.
        word_error, segment_error: of calibrated words, and of segments, whose confidence is their words' mean and whose
            truth is the share of right ones; each segment counts as often as it has words.
        chance: expected calibration error that as many words would have if their confidences were exactly true.
        ranking: probability that a right word has a higher confidence than a wrong one (area under the ROC curve).
    """

    words: int
    right: float
    before: float
    word_error: float
    segment_error: float
    chance: float
    ranking: float


@dataclass(frozen=True)
class Calibration:
    """The weights, and how they did on speakers they were not fitted on; those of a search need a language model."""

    config: ConfidenceConfig
    search: Reliability | None
    greedy: Reliability
    live_search: Reliability | None
    live_greedy: Reliability


@dataclass(frozen=True)
class _Seen:
    """Words of a corpus: features, whether they are right, and the numbers of their speakers and segments."""

    features_WF: np.ndarray
    right_W: np.ndarray
    speaker_W: np.ndarray
    segment_W: np.ndarray


def calibrate(
    bundle: Bundle,
    utterances: Sequence[Utterance],
    *,
    live_every: int = LIVE_EVERY,
    progress: Callable[[int, int], None] | None = None,
) -> Calibration:
    """Recognise the utterances, with the search and greedily, whole and live, and fit what confidence comes of.

    Words that the transcriber would drop for being no speech are counted, but for live ones. Every utterance is a
    stream of its own, as `model.streaming.StreamingConfig` has it.

    Args:
        bundle: what recognises.
        utterances: a dev corpus; its speakers' names divide it for measuring, or its utterances where there are none.
        live_every: every so many of them are heard live too, which costs several times as much.
        progress: called with utterances done and utterances in all.

    Raises:
        OptionError: there are fewer than two speakers or utterances, or too few words, or all are right or all wrong.
    """
    ways = {"greedy": Transcriber(bundle, greedy=True)}
    if bundle.language_model is not None:
        ways["search"] = Transcriber(bundle)
    speakers = [utterance.speaker or utterance.id for utterance in utterances]
    if len(set(speakers)) < 2:
        speakers = [utterance.id for utterance in utterances]
    folds = {name: number % MOST_SPEAKER_FOLDS for number, name in enumerate(sorted(set(speakers)))}
    rows: defaultdict[str, list[_Row]] = defaultdict(list)
    for done, (utterance, speaker) in enumerate(zip(utterances, speakers, strict=True)):
        waveform = decode_named(utterance.path)
        log_probs_SV = ways["greedy"].log_probs(waveform)
        for name, transcriber in ways.items():
            heard = {name: _words(transcriber, transcriber.decode(log_probs_SV), log_probs_SV)}
            if done % live_every == 0:
                heard[f"live_{name}"] = _live_words(transcriber, waveform)
            for key, words in heard.items():
                rows[key] += _judged(words, utterance.transcript, folds[speaker], 1000 * done)
        if progress:
            progress(done + 1, len(utterances))
    weights: dict[str, ConfidenceWeights] = {}
    found: dict[str, Reliability] = {}
    for name in ways:
        for key, before in ((name, None), (f"live_{name}", name)):
            weights[key], found[key] = _fit_and_measure(_seen(rows[key], key), weights[before] if before else None)
    return Calibration(
        ConfidenceConfig(weights.get("search"), weights["greedy"], weights.get("live_search"), weights["live_greedy"]),
        found.get("search"),
        found["greedy"],
        found.get("live_search"),
        found["live_greedy"],
    )


def expected_calibration_error(confidence_W: np.ndarray, right_W: np.ndarray) -> float:
    """Mean over words of how far their bin's mean confidence lies from the share that is right; ten equal bins.

    Source: Naeini et al., "Obtaining well calibrated probabilities using Bayesian binning", AAAI 2015.

    Args:
        confidence_W: 0..1.
        right_W: 1 where the word is right, or any share of that.
    """
    if not len(confidence_W):
        return 0.0
    bin_W = np.minimum((confidence_W * BINS).astype(int), BINS - 1)
    gaps = np.bincount(bin_W, weights=confidence_W - right_W, minlength=BINS)
    return float(np.abs(gaps).sum() / len(confidence_W))


def chance_error(confidence_W: np.ndarray) -> float:
    """Expected calibration error of confidences that are exactly true, since whether a word is right is still chance.

    Args:
        confidence_W: 0..1; of fewer words chance makes more.
    """
    random = np.random.default_rng(0)
    draws = [random.random(len(confidence_W)) < confidence_W for _ in range(CHANCE_DRAWS)]
    return float(np.mean([expected_calibration_error(confidence_W, right_W.astype(float)) for right_W in draws]))


def fit(features_WF: np.ndarray, right_W: np.ndarray) -> ConfidenceWeights:
    """Logistic regression by Newton's method, with a small penalty on the weights.

    Args:
        features_WF: as `word_features` gives them; one that never changes gets weight 0.
        right_W: 1 where the word is right, otherwise 0.
    """
    mean_F, deviation_F = features_WF.mean(0), features_WF.std(0)
    useful_F = deviation_F > 1e-9
    scaled_WF = (features_WF - mean_F)[:, useful_F] / deviation_F[useful_F]
    design_WF = np.column_stack([np.ones(len(scaled_WF)), scaled_WF])
    penalty_F = RIDGE * len(right_W) * np.array([0.0] + [1.0] * scaled_WF.shape[1])
    weights_F = np.zeros(design_WF.shape[1])
    for _ in range(50):
        chance_W = _logistic(design_WF @ weights_F)
        slope_F = design_WF.T @ (chance_W - right_W) + penalty_F * weights_F
        curvature_FF = (design_WF * (chance_W * (1 - chance_W))[:, None]).T @ design_WF + np.diag(penalty_F + 1e-9)
        step_F = np.linalg.solve(curvature_FF, slope_F)
        weights_F -= step_F
        if np.abs(step_F).max() < 1e-9:
            break
    factors_F = np.zeros(len(mean_F))
    factors_F[useful_F] = weights_F[1:] / deviation_F[useful_F]
    return ConfidenceWeights(float(weights_F[0] - factors_F @ mean_F), *map(float, factors_F))


def _words(transcriber: Transcriber, units: list[DecodedUnit], log_probs_SV: Tensor) -> list[_Word]:
    """The words of a whole recording."""
    tokenizer = transcriber.bundle.tokenizer
    segments = build_segments(
        units, log_probs_SV, tokenizer, frame_s=transcriber.frame_s, duration_s=len(log_probs_SV) * transcriber.frame_s
    )
    numbers = iter([segment.id for segment in segments for _ in segment.words])
    spelled: list[list[DecodedUnit]] = [[]]
    for unit in units:
        if tokenizer.decode([unit.id]) == WORD_BOUNDARY:
            spelled.append([])
        else:
            spelled[-1].append(unit)
    return [
        (tokenizer.decode([unit.id for unit in word]), word_features(word), next(numbers)) for word in spelled if word
    ]


def _live_words(transcriber: Transcriber, waveform: Waveform) -> list[_Word]:
    """The final words of a stream."""
    session = transcriber.stream()
    return [
        (word.text, word_features(units), event.utterance)
        for event in [*session.feed(waveform.samples_N), *session.flush()]
        if isinstance(event, Final)
        for word, units in zip(event.segment.words, event.units, strict=True)
    ]


def _judged(words: Sequence[_Word], transcript: str, fold: int, first_segment: int) -> list[_Row]:
    """The words, and whether each is right."""
    pairs = align_words(normalize_transcript(transcript), " ".join(text for text, _, _ in words))
    right = [pair.kind == "hit" for pair in pairs if pair.hypothesis]
    return [
        (features, hit, fold, first_segment + segment) for (_, features, segment), hit in zip(words, right, strict=True)
    ]


def _seen(rows: Sequence[_Row], way: str) -> _Seen:
    right = sum(hit for _, hit, _, _ in rows)
    if len(rows) < LEAST_WORDS or not 0 < right < len(rows):
        raise OptionError(
            f"{len(rows)} words were recognised ({way}), {right} of them rightly; {LEAST_WORDS} are the least, of both "
            "kinds: take more utterances"
        )
    features, hits, speakers, segments = zip(*rows, strict=True)
    return _Seen(np.array(features), np.array(hits, dtype=float), np.array(speakers), np.array(segments))


def _fit_and_measure(seen: _Seen, known: ConfidenceWeights | None) -> tuple[ConfidenceWeights, Reliability]:
    """The weights of these words; `known` are what their confidence would come of without them, if not of letters."""
    before_W = _confidence(seen.features_WF, known) if known else np.exp(seen.features_WF[:, 0])
    confidence_W = np.zeros(len(seen.right_W))
    for others_W in _folds(seen.speaker_W):
        weights = fit(seen.features_WF[others_W], seen.right_W[others_W])
        confidence_W[~others_W] = _confidence(seen.features_WF[~others_W], weights)
    _, place_W, words_G = np.unique(seen.segment_W, return_inverse=True, return_counts=True)
    segment_W, share_W = ((np.bincount(place_W, weights=w) / words_G)[place_W] for w in (confidence_W, seen.right_W))
    reliability = Reliability(
        words=len(seen.right_W),
        right=float(seen.right_W.mean()),
        before=expected_calibration_error(before_W, seen.right_W),
        word_error=expected_calibration_error(confidence_W, seen.right_W),
        segment_error=expected_calibration_error(segment_W, share_W),
        chance=chance_error(confidence_W),
        ranking=_ranking(confidence_W, seen.right_W),
    )
    return fit(seen.features_WF, seen.right_W), reliability


def _folds(speaker_W: np.ndarray) -> Iterator[np.ndarray]:
    for speaker in np.unique(speaker_W):
        yield speaker_W != speaker


def _confidence(features_WF: np.ndarray, weights: ConfidenceWeights) -> np.ndarray:
    _, *factors = astuple(weights)
    return _logistic(weights.bias + features_WF @ np.array(factors))


def _logistic(log_odds_W: np.ndarray) -> np.ndarray:
    chance_W: np.ndarray = torch.sigmoid(torch.from_numpy(log_odds_W)).numpy()
    return chance_W


def _ranking(confidence_W: np.ndarray, right_W: np.ndarray) -> float:
    """Share of the pairs of a right and a wrong word that are in order; pairs of equals count half."""
    wrong, right = np.sort(confidence_W[right_W == 0]), confidence_W[right_W == 1]
    below = np.searchsorted(wrong, right, "left").sum() + np.searchsorted(wrong, right, "right").sum()
    return float(below / (2 * len(wrong) * len(right)))
