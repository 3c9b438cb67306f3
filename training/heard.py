"""What a network hears of its corpus while it is trained: log-probs under masks and dropout, aligned to transcripts.

Shape legend: N frames of all utterances one after another, S frames of one, V characters, P phones.

A network that has seen its corpus for hours hears it better than anything else. With the dropout of its training, and
its masks in every second batch, it errs about as it does on other speakers (docs/experiments.md), which is what the
speller has to cope with (`training.speller`).
"""

import json
import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np
import torch
from lightning.fabric import Fabric
from numpy.typing import NDArray
from torch import Tensor

from model.checkpoint import Bundle
from model.errors import OptionError
from model.forced_alignment import force_align
from model.tokenizer import WORD_BOUNDARY
from training.dataset import Batch
from training.errors import CorpusError, RecipeError
from training.loading import TrainingLoader
from training.objectives import Objective
from training.phones import PhoneTargets, read_pronunciations
from training.recipe import Recipe
from training.run_state import guard_storage
from training.selection import select_utterances
from training.whole_files import replace_file

PHONES_FILE, LETTERS_FILE, INDEX_FILE = "phones.npy", "letters.npy", "index.json"
SAY_EVERY_HOURS = 1.0


@dataclass(frozen=True)
class HeardUtterance:
    """An utterance as it was heard.

    Attributes:
        units: of its transcript.
        phones: of its transcript.
        starts: the frame in which each phone begins, the utterance's first frame being 0.
        first_frame: of all N.
        n_frames: S.
    """

    units: tuple[int, ...]
    phones: tuple[int, ...]
    starts: tuple[int, ...]
    first_frame: int
    n_frames: int


@dataclass(frozen=True)
class Heard:
    """A corpus as it was heard; the arrays are mapped from their files.

    Attributes:
        phones_NP, letters_NV: natural-log posteriors in half precision.
        utterances: where each lies in them.
    """

    phones_NP: NDArray[np.float16]
    letters_NV: NDArray[np.float16]
    utterances: tuple[HeardUtterance, ...]


def hear(recipe: Recipe, bundle: Bundle, out: Path, *, hours: float, say: Callable[[str], None]) -> None:
    """Write what a bundle's network hears of a recipe's corpus in one of its passes, unless it is there already.

    Args:
        recipe: its corpus, disturbances, masks and pronouncing dictionary; the pass is one that training did not have.
        bundle: the network, with a head for phones.
        out: the folder to write to.
        hours: end after so much audio.
        say: is given lines of progress.

    Raises:
        CorpusError: nothing of the corpus can be used.
        RecipeError: the recipe has no pronouncing dictionary, or the folder has another corpus or bundle.
        StorageError: it could not be written.
    """
    made_of = _made_of(recipe, bundle, hours)
    if (out / INDEX_FILE).exists():
        if json.loads((out / INDEX_FILE).read_text())["made_of"] != made_of:
            raise RecipeError(f"{out} holds what another network heard, or of another corpus; use another folder")
        return
    if not (recipe.objective.phone_dictionary and bundle.acoustic_model.config.n_phones):
        raise RecipeError(
            "a speller needs objective.phone_dictionary in the recipe and a head for phones in the bundle"
        )
    phones, letters, utterances, n_frames = [], [], [], 0
    for heard_SO, target, spoken, starts in _heard(recipe, bundle, hours, say):
        vocabulary_size = bundle.acoustic_model.config.vocabulary_size
        letters.append(heard_SO[:, :vocabulary_size].half().numpy())
        phones.append(heard_SO[:, vocabulary_size:].half().numpy())
        utterances.append(HeardUtterance(target, spoken, starts, n_frames, len(heard_SO)))
        n_frames += len(heard_SO)
    if not utterances:
        raise CorpusError("none of the utterances that were heard has a pronunciation and frames enough for it")
    index = {"made_of": made_of, "utterances": [list(vars(utterance).values()) for utterance in utterances]}

    def write() -> None:
        out.mkdir(parents=True, exist_ok=True)
        np.save(out / PHONES_FILE, np.concatenate(phones))
        np.save(out / LETTERS_FILE, np.concatenate(letters))
        replace_file(out / INDEX_FILE, json.dumps(index).encode())

    guard_storage(write, out)


def read_heard(path: str | os.PathLike[str]) -> Heard:
    """What `hear` has written."""
    directory = Path(path)
    rows = json.loads((directory / INDEX_FILE).read_text())["utterances"]
    utterances = tuple(
        HeardUtterance(tuple(units), tuple(phones), tuple(starts), first_frame, n_frames)
        for units, phones, starts, first_frame, n_frames in rows
    )
    phones_NP, letters_NV = (np.load(directory / name, mmap_mode="r") for name in (PHONES_FILE, LETTERS_FILE))
    return Heard(phones_NP, letters_NV, utterances)


_HeardRow = tuple[Tensor, tuple[int, ...], tuple[int, ...], tuple[int, ...]]


@torch.no_grad()
def _heard(recipe: Recipe, bundle: Bundle, hours: float, say: Callable[[str], None]) -> Iterator[_HeardRow]:
    """Of every utterance its log-probs, units, phones and where these begin."""
    recipe = replace(recipe, optimizer=replace(recipe.optimizer, epochs=recipe.optimizer.epochs + 1))
    utterances, targets = select_utterances(recipe, bundle.tokenizer)
    phones = PhoneTargets(read_pronunciations(recipe.objective.phone_dictionary), bundle.tokenizer)
    say(phones.coverage(targets))
    objective = Objective(recipe.objective, recipe.augment, bundle.front_end, bundle.cmvn)
    network, vocabulary_size = bundle.acoustic_model, bundle.acoustic_model.config.vocabulary_size
    boundary = bundle.tokenizer.encode(WORD_BOUNDARY)[0]
    loader = TrainingLoader(recipe, utterances, targets, boundary, None)
    fabric = Fabric(accelerator="cpu", devices=1)
    said_s = heard_s = 0.0
    network.train()
    torch.manual_seed(recipe.seed)
    for number, (_, batch) in enumerate(loader.batches(fabric, recipe.optimizer.epochs - 1, 0)):
        if not batch.ids:
            continue
        features_BTF, lengths_B = objective.features(batch, masked=number % 2 == 0, views=1)
        with torch.autocast("cpu", torch.bfloat16, enabled=recipe.optimizer.precision == "bf16-mixed"):
            outputs, lengths_B = network.encode(features_BTF, lengths_B)
            letters_BSV, phones_BSP = network.classify(outputs[-1]), network.classify_phones(outputs[-1])
        log_probs_BSO = torch.cat([letters_BSV, phones_BSP], -1)
        for row, target in enumerate(_targets(batch)):
            spoken, heard_SO = phones.of(target), log_probs_BSO[row, : int(lengths_B[row])]
            try:
                aligned = force_align(heard_SO[:, vocabulary_size:], spoken or ())
            except OptionError:  # a quick speaker: more phones than frames
                continue
            if spoken and aligned:
                yield heard_SO, tuple(target), spoken, tuple(unit.first_frame for unit in aligned)
        heard_s += batch.audio_s
        if heard_s - said_s >= 3600 * SAY_EVERY_HOURS:
            say(f"heard {heard_s / 3600:.1f} h")
            said_s = heard_s
        if heard_s >= 3600 * hours:
            break
    network.eval()


def _targets(batch: Batch) -> Sequence[list[int]]:
    lengths = batch.target_lengths_B.tolist()
    return [row_U[:length] for row_U, length in zip(batch.targets_BU.tolist(), lengths, strict=True)]


def _made_of(recipe: Recipe, bundle: Bundle, hours: float) -> str:
    """What may not change between what was heard and what is asked for."""
    corpus = asdict(recipe.data) | asdict(recipe.augment) | {"dictionary": recipe.objective.phone_dictionary}
    with torch.no_grad():
        weights = sum(float(weight.double().abs().sum()) for weight in bundle.acoustic_model.layers.parameters())
    return json.dumps([corpus, recipe.seed, hours, f"{weights:.6f}"])
