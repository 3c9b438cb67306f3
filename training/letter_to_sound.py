"""Training of the letter-to-sound model: read top to bottom, from a pronouncing dictionary to a file.

Shape legend: B words, L letters, T frames, C classes.

A word has the first of its pronunciations as target: where several are right, the network learns one way to choose, and
CTC's frames, which do not know of each other, are not asked for a mixture. What is held out is measured against all.
"""

import math
import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from model.errors import OptionError
from model.letter_to_sound import BLANK, LetterToSound, LetterToSoundConfig, classes, dump, parse
from model.phones import PHONE_UNITS, Pronunciation
from training.commit import git_commit
from training.dictionary import Dictionary
from training.errors import CorpusError, DivergedError, RecipeError
from training.letter_to_sound_recipe import LetterToSoundRecipe, learning_rate
from training.metrics import ErrorCounts, word_errors
from training.whole_files import store_file

SAY_EVERY_S = 30.0


def train_letter_to_sound(
    dictionary: Dictionary,
    out: str | os.PathLike[str],
    recipe: LetterToSoundRecipe,
    config: LetterToSoundConfig | None = None,
    *,
    warm_start: LetterToSound | None = None,
    record: Mapping[str, Any] | None = None,
    say: Callable[[str], None] = lambda line: None,
) -> LetterToSound:
    """Train to the recipe's end.

    Args:
        dictionary: words in lower case; those that the model cannot spell are left out, and said.
        out: the model's file, written at each look at the held-out words.
        recipe: what to do.
        config: sizes of the network.
        warm_start: a model whose weights, and sizes, this one begins with; it has held out the same words.
        record: what the model's record says besides, of where the dictionary comes from.
        say: is given lines of progress.

    Returns:
        The model as its file gives it; `record` has its error rates as fractions.

    Raises:
        CorpusError: the dictionary has too few words that the model can learn.
        RecipeError: `warm_start` was trained with another choice of held-out words.
        DivergedError: the loss is not a number.
        StorageError: the model could not be written; the one before is kept.
    """
    torch.manual_seed(recipe.seed)
    model = LetterToSound(warm_start.config if warm_start else config or LetterToSoundConfig())
    spelled = {word: ways for word, ways in dictionary.items() if _can_read(model, word)}
    learned, held_out = split(spelled, recipe.held_out, seed=recipe.seed)
    examples = [example for word, ways in learned.items() if (example := _example(model, word, ways[0])) is not None]
    if not examples or not held_out:
        raise CorpusError(f"the dictionary has {len(spelled)} words that can be read; too few to learn and to hold out")
    say(
        f"{len(examples)} words to learn, {len(held_out)} held out; left out are {len(dictionary) - len(spelled)} that "
        f"are not spelled with {model.config.characters} alone, and {len(learned) - len(examples)} with more phones "
        f"than frames; {sum(weights.numel() for weights in model.parameters())} weights"
    )
    if warm_start is not None:
        _check_same_choice(warm_start, recipe, len(examples), len(held_out))
        model.load_state_dict(warm_start.state_dict())
    run = _Run(model, examples, recipe)
    looked = said = time.monotonic()

    def look() -> None:
        model.record = {
            **(record or {}),
            **({"before": warm_start.record} if warm_start else {}),
            "recipe": asdict(recipe),
            "words": len(examples),
            "held_out_words": len(held_out),
            "epochs": round(run.passes, 2),
            "minutes": round(run.seconds / 60, 1),
            "commit": git_commit(),
            "torch": torch.__version__,
        }
        with torch.random.fork_rng(devices=[]):  # a network that is made draws weights, and dropout is not to notice
            errors = measure(parse(dump(model)), held_out)
        model.record |= {"phone_error_rate": errors.phones.rate, "word_error_rate": errors.word_error_rate}
        content = dump(model)
        store_file(Path(out), content)
        say(f"held-out phone error rate {errors.phones.rate:.2%}, word error rate {errors.word_error_rate:.2%}")

    while run.share() < 1:
        run.step()
        now = time.monotonic()
        if now - said >= SAY_EVERY_S:
            said = now
            say(f"pass {run.passes:.2f} of {recipe.epochs}  {run.share():.1%} of the run  loss {run.nats:.3f}")
        if now - looked >= 60 * recipe.checkpoint_minutes and run.share() < 1:
            look()
            looked = time.monotonic()
    look()
    return parse(dump(model))


@dataclass(frozen=True)
class PronunciationErrors:
    """How far a model is from a dictionary.

    Attributes:
        phones: errors of the phones, against the nearest of a word's pronunciations.
        wrong_words: words that have none of their pronunciations.
        n_words: of how many.
    """

    phones: ErrorCounts
    wrong_words: int
    n_words: int

    @property
    def word_error_rate(self) -> float:
        """Share of the words that are wrong, 0..1."""
        return self.wrong_words / self.n_words


def measure(model: LetterToSound, dictionary: Dictionary) -> PronunciationErrors:
    """Pronounce a dictionary's words, of which there is one at least, and compare.

    Raises:
        OptionError: a word that the model cannot read.
    """
    phones, wrong = ErrorCounts(0, 0, 0, 0), 0
    for ways, heard in zip(dictionary.values(), model.pronounce(list(dictionary)), strict=True):
        nearest = min((word_errors([_text(way)], [_text(heard)]) for way in ways), key=_n_errors)
        phones, wrong = phones + nearest, wrong + (_n_errors(nearest) > 0)
    return PronunciationErrors(phones, wrong, len(dictionary))


def split(dictionary: Dictionary, share: float, *, seed: int) -> tuple[Dictionary, Dictionary]:
    """What to learn and what to hold out: `share` of the words, drawn by chance.

    A word and its possessive are on the same side, because who has learned one knows the other.
    """
    families: dict[str, list[str]] = {}
    for word in sorted(dictionary):
        families.setdefault(word.removesuffix("'s").removesuffix("'"), []).append(word)
    names = list(families)
    chosen: set[str] = set()
    for family in np.random.default_rng(seed).permutation(len(names)).tolist():
        if len(chosen) >= share * len(dictionary):
            break
        chosen.update(families[names[family]])
    learned = {word: ways for word, ways in dictionary.items() if word not in chosen}
    return learned, {word: ways for word, ways in dictionary.items() if word in chosen}


class _Run:
    """The moving parts of a run: `passes` over the examples are done, in `seconds`."""

    def __init__(
        self, model: LetterToSound, examples: Sequence[tuple[list[int], list[int]]], recipe: LetterToSoundRecipe
    ) -> None:
        self.model, self.recipe = model, recipe
        self.passes, self.seconds, self.nats = 0.0, 0.0, 0.0
        self._letters = [torch.tensor(letters) for letters, _ in examples]
        self._targets = [torch.tensor(target) for _, target in examples]
        self._lengths_N = np.array([len(letters) for letters, _ in examples])
        self._batches = self._plan()
        self.optimizer = torch.optim.AdamW(
            model.parameters(), lr=recipe.peak_lr, betas=(0.9, 0.98), weight_decay=recipe.weight_decay
        )

    def share(self) -> float:
        """How much of the run is done; 1 and more is its end."""
        by_passes = self.passes / self.recipe.epochs
        return max(by_passes, self.seconds / (60 * self.recipe.minutes)) if self.recipe.minutes else by_passes

    def step(self) -> None:
        """Learn from a batch."""
        began = time.monotonic()
        which, passes = next(self._batches)
        recipe, done = self.recipe, self.share()
        for group in self.optimizer.param_groups:
            group["lr"] = learning_rate(done, recipe)
        self.model.train()
        loss = self._loss(which)
        nats = float(loss.detach())
        if not math.isfinite(nats):
            raise DivergedError(f"the loss is {nats} in pass {passes:.2f}: lower peak_lr, which is {recipe.peak_lr:g}")
        self.optimizer.zero_grad()
        torch.autograd.backward(loss)
        nn.utils.clip_grad_norm_(self.model.parameters(), recipe.clip_norm)
        self.optimizer.step()
        self.model.eval()
        self.nats = 0.98 * self.nats + 0.02 * nats if self.passes else nats
        self.passes = passes
        self.seconds += time.monotonic() - began

    def _loss(self, which: Sequence[int]) -> Tensor:
        """Nats a word."""
        letters_BL = nn.utils.rnn.pad_sequence([self._letters[word] for word in which], batch_first=True)
        lengths_B = torch.tensor([len(self._letters[word]) for word in which])
        targets = [self._targets[word] for word in which]
        with torch.autocast("cpu", torch.bfloat16, enabled=self.recipe.precision == "bf16"):
            log_probs_BTC = self.model(letters_BL, lengths_B)
        loss: Tensor = nn.functional.ctc_loss(
            log_probs_BTC.transpose(0, 1),
            torch.cat(targets),
            lengths_B * self.model.config.frames_a_letter,
            torch.tensor([len(target) for target in targets]),
            blank=BLANK,
            reduction="sum",
        )
        return loss / len(which)

    def _plan(self) -> Iterator[tuple[list[int], float]]:
        """Batches of words of about the same length, and the passes that are done with each; a function of the seed."""
        for epoch in range(self.recipe.epochs):
            chance = np.random.default_rng((self.recipe.seed, epoch))
            order_N: NDArray[np.int64] = np.lexsort((chance.random(len(self._lengths_N)), self._lengths_N))
            starts = list(range(0, len(order_N), self.recipe.batch_words))
            for done, start in enumerate(chance.permutation(starts).tolist(), 1):
                yield order_N[start : start + self.recipe.batch_words].tolist(), epoch + done / len(starts)


def _check_same_choice(before: LetterToSound, recipe: LetterToSoundRecipe, n_learned: int, n_held_out: int) -> None:
    chosen = before.record.get("recipe", {})
    was = (chosen.get("held_out"), chosen.get("seed"), before.record.get("words"), before.record.get("held_out_words"))
    if was != (now := (recipe.held_out, recipe.seed, n_learned, n_held_out)):
        raise RecipeError(
            f"the model to begin with may have learned words that are held out now: its share, seed, words learned and "
            f"held out are {was}, here they are {now}; give it the same dictionary, share and seed"
        )


def _can_read(model: LetterToSound, word: str) -> bool:
    try:
        model.encode(word)
    except OptionError:
        return False
    return True


def _example(model: LetterToSound, word: str, pronunciation: Pronunciation) -> tuple[list[int], list[int]] | None:
    """Letters and classes; None where CTC has too few frames, of which equal neighbours need one more."""
    target = classes(pronunciation)
    needed = len(target) + sum(one == next_one for one, next_one in pairwise(target))
    return (model.encode(word), target) if needed <= len(word) * model.config.frames_a_letter else None


def _text(pronunciation: Pronunciation) -> str:
    return " ".join(PHONE_UNITS[phone - 1] for phone in pronunciation)


def _n_errors(counts: ErrorCounts) -> int:
    return counts.substitutions + counts.deletions + counts.insertions
