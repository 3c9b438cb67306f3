"""Which utterances can be trained on: those with a target that has units and fits its frames."""

from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise

import soundfile

from features.audio import LIBSNDFILE_FRAMES_UNKNOWN
from model.acoustic_model import subsampled_length
from model.errors import UnknownCharacterError
from model.tokenizer import Tokenizer
from training.corpora import Utterance, measure, normalize_transcript, read_corpus, reject
from training.errors import CorpusError
from training.recipe import Recipe
from training.sampler import BatchPlan, Row, join_targets


def select_utterances(recipe: Recipe, tokenizer: Tokenizer) -> tuple[list[Utterance], list[list[int]]]:
    """The recipe's utterances with known durations, and the target of each; what cannot be used is named.

    Raises:
        CorpusError: there is no corpus, also none for dev where the recipe names one, or more than 1 % of it cannot be
            used.
    """
    if not recipe.data.train:
        raise CorpusError("the recipe names no training corpus: set data.train, or give --train")
    found = [utterance for source in recipe.data.train for utterance in read_corpus(source)]
    if recipe.data.dev:
        read_corpus(recipe.data.dev)  # if it is not there, that is said now and not after the first pass
    found = with_durations(found)
    kept: list[Utterance] = []
    targets: list[list[int]] = []
    no_unit, too_long, no_fit = [], [], []
    for utterance in found:
        try:
            target = tokenizer.encode(normalize_transcript(utterance.transcript))
        except UnknownCharacterError as error:
            no_unit.append(f"{utterance.id}: {error}")
            continue
        if utterance.duration_s > recipe.data.max_utterance_s:
            too_long.append(f"{utterance.id}: {utterance.duration_s:.1f} s")
        elif not target or not target_fits(target, utterance.duration_s, recipe):
            no_fit.append(f"{utterance.id}: {len(target)} units in {utterance.duration_s:.2f} s")
        else:
            kept.append(utterance)
            targets.append(target)
    reject("a transcript with characters that have no unit", no_unit, len(found))
    reject("a target longer than its frames, or empty", no_fit, len(found))
    reject(f"more than data.max_utterance_s = {recipe.data.max_utterance_s} s", too_long, len(found), most_share=1.0)
    if not kept:
        raise CorpusError(f"none of the {len(found)} utterances can be used")
    return kept, targets


def with_durations(utterances: Sequence[Utterance]) -> list[Utterance]:
    """The utterances with known durations.

    A FLAC file says in its header how long it is, so that a LibriSpeech tree of 1000 hours is looked through in a
    minute; any other audio whose duration is not known is decoded, and the whole corpus with it.

    Raises:
        CorpusError: more than 1 % of the audio cannot be read.
    """
    unknown = [utterance for utterance in utterances if utterance.duration_s <= 0]
    if any(utterance.path.suffix != ".flac" for utterance in unknown):
        return measure(utterances)
    found, bad = [], []
    for utterance in utterances:
        try:
            header = soundfile.info(utterance.path) if utterance.duration_s <= 0 else None
        except (soundfile.LibsndfileError, OSError) as error:
            bad.append(f"{utterance.path}: {error}")
            continue
        if header is not None and header.frames == LIBSNDFILE_FRAMES_UNKNOWN:  # the FLAC was written to a pipe
            return measure(utterances)
        found.append(utterance if header is None else replace(utterance, duration_s=header.duration))
    reject("audio that cannot be read", bad, len(utterances))
    return found


def target_fits(target: list[int], duration_s: float, recipe: Recipe) -> bool:
    """Whether CTC can emit `target`: it needs a frame for every unit, and a blank between two that are the same."""
    n_samples = round(duration_s * recipe.front_end.sample_rate_hz)
    frames = subsampled_length(recipe.front_end.n_frames(n_samples), recipe.acoustic_model.subsampling)
    return len(target) + sum(a == b for a, b in pairwise(target)) <= frames


def row_fits(
    row: Row,
    utterances: Sequence[Utterance],
    targets: Sequence[Sequence[int]],
    boundary: int,
    recipe: Recipe,
    speed: float = 1.0,
) -> bool:
    """Whether CTC can emit the target of a whole row, played at `speed`."""
    rounding_s = 0.01  # resampling may give a sample or two less
    duration_s = sum(utterances[index].duration_s for index in row) / speed - rounding_s
    return target_fits(join_targets([targets[index] for index in row], boundary), duration_s, recipe)


def fit_speeds(
    plan: BatchPlan,
    utterances: Sequence[Utterance],
    targets: Sequence[Sequence[int]],
    boundary: int,
    recipe: Recipe,
) -> BatchPlan:
    """The plan with speed 1 wherever the target would no longer fit the faster audio."""
    items = tuple(
        (row, speed if row_fits(row, utterances, targets, boundary, recipe, speed) else 1.0)
        for row, speed in plan.items
    )
    return BatchPlan(items, plan.seed)
