"""Which utterances can be trained on: those with a target that has units and fits its frames."""

from itertools import pairwise

from model.acoustic_model import subsampled_length
from model.errors import UnknownCharacterError
from model.tokenizer import CharacterTokenizer
from training.corpora import Utterance, measure, normalize_transcript, read_corpus, reject
from training.errors import CorpusError
from training.recipe import Recipe
from training.sampler import BatchPlan


def select_utterances(recipe: Recipe, tokenizer: CharacterTokenizer) -> tuple[list[Utterance], list[list[int]]]:
    """The recipe's utterances with known durations, and the target of each; what cannot be used is named.

    Raises:
        CorpusError: there is no corpus, or more than 1 % of it cannot be used.
    """
    if not recipe.data.train:
        raise CorpusError("the recipe names no training corpus: set data.train, or give --train")
    found = [utterance for source in recipe.data.train for utterance in read_corpus(source)]
    if any(utterance.duration_s <= 0 for utterance in found):
        found = measure(found)
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


def target_fits(target: list[int], duration_s: float, recipe: Recipe) -> bool:
    """Whether CTC can emit `target`: it needs a frame for every unit, and a blank between two that are the same."""
    n_samples = round(duration_s * recipe.front_end.sample_rate_hz)
    frames = subsampled_length(recipe.front_end.n_frames(n_samples))
    return len(target) + sum(a == b for a, b in pairwise(target)) <= frames


def fit_speeds(plan: BatchPlan, utterances: list[Utterance], targets: list[list[int]], recipe: Recipe) -> BatchPlan:
    """The plan with speed 1 wherever the target would no longer fit the faster audio."""
    rounding_s = 0.01  # resampling may give a sample or two less
    items = tuple(
        (
            index,
            speed if target_fits(targets[index], utterances[index].duration_s / speed - rounding_s, recipe) else 1.0,
        )
        for index, speed in plan.items
    )
    return BatchPlan(items, plan.seed)
