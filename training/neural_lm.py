"""Training of a neural language model: read top to bottom, from a text to a file that a bundle can carry.

Shape legend: B sentences, U words, N words of a batch.

A run owns one folder: `neural_lm.safetensors` (the model so far), `last.ckpt` (to resume from) and `history.jsonl` (one
line for each look at the held-back sentences). Batches are a function of seed and position, and the state of dropout's
random numbers is in the checkpoint, so that a run killed at any moment goes on as if nothing had happened.
"""

import hashlib
import io
import json
import math
import os
import time
from collections.abc import Callable, Collection
from dataclasses import asdict, dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from model.neural_language_model import (
    UNKNOWN,
    NeuralLanguageModel,
    NeuralLanguageModelConfig,
    dump,
)
from training.commit import git_commit
from training.errors import DivergedError, RecipeError
from training.neural_recipe import NeuralLMRecipe, fit_cutoffs, learning_rate
from training.neural_text import Sentences, split
from training.ngram_text import NgramText, limit_vocabulary
from training.run_state import guard_storage, read_checkpoint
from training.whole_files import replace_file

MODEL_FILE = "neural_lm.safetensors"
CHECKPOINT_FILE = "last.ckpt"
HISTORY_FILE = "history.jsonl"
SAY_EVERY_S = 10.0


def train_neural_lm(
    text: NgramText,
    out_dir: str | os.PathLike[str],
    recipe: NeuralLMRecipe,
    *,
    allowed: Collection[str] | None = None,
    vocab_size: int | None = None,
    record: dict[str, Any] | None = None,
    accelerator: str = "auto",
    say: Callable[[str], None] = lambda line: None,
) -> Path:
    """Train to the recipe's end, resuming where the run in `out_dir` stands.

    Args:
        text: the sentences; those of a dev or test corpus have no place in it.
        out_dir: the run's folder, made where it is missing.
        recipe: what to do.
        allowed: words that the vocabulary may have; None for all of the text.
        vocab_size: only the N most frequent of those; None for all.
        record: what the model's record says besides, of where the text comes from.
        accelerator: `cpu`, `cuda`, or `auto` for cuda where there is one.
        say: is given lines of progress.

    Returns:
        The model's file.

    Raises:
        CorpusError: the text has too few sentences or words.
        OptionError: sizes that cannot work.
        RecipeError: the folder holds a run with another recipe or text.
        DivergedError: the loss is not a number.
        StorageError: a checkpoint could not be written; the one before is kept.
    """
    out = Path(out_dir)
    out.mkdir(parents=True, exist_ok=True)
    limited = limit_vocabulary(text, allowed=allowed, most_frequent=vocab_size)
    words, sentences, held_back = split(limited, longest=recipe.longest, hold_back_every=recipe.hold_back_every)
    torch.manual_seed(recipe.seed)
    config = NeuralLanguageModelConfig(
        width=recipe.width,
        n_layers=recipe.layers,
        dropout=recipe.dropout,
        cutoffs=fit_cutoffs(len(words)),
        shrink=recipe.shrink,
        unknown_words=max(1, len(text.words) - len(limited.words)),
    )
    model = NeuralLanguageModel(words, config).to(_device(accelerator))
    unknown = held_back.count(UNKNOWN) / held_back.n_words
    n_weights = sum(weights.numel() for weights in model.parameters())
    say(
        f"{sentences.n_words} words and ends of {len(sentences.length_S)} sentences, {len(words)} different ones, "
        f"{unknown:.2%} unknown; {n_weights} weights"
    )
    run = _Run(recipe, model, sentences, held_back, out, record or {}, say)
    if (out / CHECKPOINT_FILE).exists():
        run.load()
    last_looked = time.monotonic()
    while run.share() < 1:
        for which in run.plan()[run.position.batch :]:
            run.step(which)
            if run.share() >= 1:
                break
            if time.monotonic() - last_looked >= 60 * recipe.checkpoint_minutes:
                run.look()
                last_looked = time.monotonic()
        run.end_pass()
    run.look()
    return out / MODEL_FILE


@dataclass
class _Position:
    """Where a run stands: `epoch` passes, and `batch` of the `batches` of the next one, are done.

    `nats` is the running mean of the loss, `seconds` what all of the run's lives spent training.
    """

    epoch: int = 0
    batch: int = 0
    batches: int = 1
    step: int = 0
    seconds: float = 0.0
    nats: float = 0.0
    history: list[dict[str, Any]] = field(default_factory=list)


class _Run:
    """The moving parts of a run, on disk after a crash and back in memory."""

    def __init__(
        self,
        recipe: NeuralLMRecipe,
        model: NeuralLanguageModel,
        sentences: Sentences,
        held_back: Sentences,
        out: Path,
        record: dict[str, Any],
        say: Callable[[str], None],
    ) -> None:
        self.recipe, self.model, self.sentences, self.held_back = recipe, model, sentences, held_back
        self.out, self.record, self.say = out, record, say
        self.position = _Position()
        self.optimizer = torch.optim.AdamW(
            model.parameters(), lr=0.0, betas=(0.9, 0.99), weight_decay=recipe.weight_decay
        )
        self.device = next(model.parameters()).device
        self._said, self._words, self._seconds = time.monotonic(), 0, 0.0

    def share(self) -> float:
        """How much of the run is done; 1 and more is its end."""
        position, recipe = self.position, self.recipe
        by_passes = (position.epoch + position.batch / position.batches) / recipe.epochs
        return max(by_passes, position.seconds / (60 * recipe.minutes)) if recipe.minutes else by_passes

    def plan(self) -> list[NDArray[np.int64]]:
        """The batches of the running pass."""
        plan = list(self.sentences.plan(self.recipe.batch_words, seed=self.recipe.seed, epoch=self.position.epoch))
        self.position.batches = len(plan)
        return plan

    def end_pass(self) -> None:
        """Go on to the next pass, if this one is done."""
        if self.position.batch == self.position.batches:
            self.position.epoch, self.position.batch = self.position.epoch + 1, 0

    def step(self, which: NDArray[np.int64]) -> None:
        """Learn from some sentences."""
        began = time.monotonic()
        position, recipe = self.position, self.recipe
        targets_BU, lengths_B = (tensor.to(self.device) for tensor in self.sentences.batch(which))
        for group in self.optimizer.param_groups:
            group["lr"] = learning_rate(self.share(), recipe)
        self.model.train()
        with torch.autocast(self.device.type, torch.bfloat16, enabled=recipe.precision == "bf16"):
            loss = -self.model(targets_BU, lengths_B).mean()
        nats = float(loss.detach())
        if not math.isfinite(nats):
            checkpoint = self.out / CHECKPOINT_FILE
            kept = f"{checkpoint} is from before it" if checkpoint.exists() else "there is no checkpoint yet"
            raise DivergedError(
                f"the loss is {nats} in pass {position.epoch + 1}, batch {position.batch + 1}; {kept}: lower peak_lr, "
                f"which is {recipe.peak_lr:g}"
            )
        self.optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(self.model.parameters(), recipe.clip_norm)
        self.optimizer.step()
        position.nats = 0.98 * position.nats + 0.02 * nats if position.step else nats
        position.batch += 1
        position.step += 1
        now = time.monotonic()
        position.seconds += now - began
        self._words, self._seconds = self._words + int(lengths_B.sum()), self._seconds + now - began
        if now - self._said >= SAY_EVERY_S:
            self._tell(now)

    def look(self) -> None:
        """Measure the perplexity of the held-back sentences, and write everything to disk."""
        position = self.position
        line = {
            "steps": position.step,
            "share_of_run": round(min(1.0, self.share()), 4),
            "wall_s": round(position.seconds),
            "nats": round(position.nats, 4),
            "perplexity": round(perplexity(self.model, self.held_back), 2),
        }
        self.model.record = {
            **self.record,
            "recipe": asdict(self.recipe),
            "words": self.sentences.n_words,
            **line,
            "commit": git_commit(),
            "torch": torch.__version__,
        }
        position.history.append(line)
        self.say(f"held-back perplexity {line['perplexity']:.1f} after {position.seconds / 60:.1f} minutes of training")
        guard_storage(self._save, self.out)

    def load(self) -> None:
        """Take everything back from the checkpoint.

        Raises:
            RecipeError: it is of another recipe or text (other numbers of passes and minutes are allowed).
        """
        state = read_checkpoint(self.out / CHECKPOINT_FILE, self.device)
        if state["made_of"] != self._made_of():
            raise RecipeError(f"{self.out} holds a run of another recipe or text; use another folder")
        self.model.load_state_dict(state["model"])
        self.optimizer.load_state_dict(state["optimizer"])
        torch.set_rng_state(state["random"].cpu().clone())
        if self.device.type == "cuda" and state["random_cuda"] is not None:
            torch.cuda.set_rng_state(state["random_cuda"].cpu(), self.device)
        self.position = _Position(**state["position"])
        self.say(f"resuming after {self.position.epoch} passes and {self.position.batch} batches")

    def _save(self) -> None:
        state = {
            "made_of": self._made_of(),
            "model": self.model.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "random": torch.get_rng_state(),
            "random_cuda": torch.cuda.get_rng_state(self.device) if self.device.type == "cuda" else None,
            "position": asdict(self.position),
        }
        packed = io.BytesIO()
        torch.save(state, packed)
        replace_file(self.out / MODEL_FILE, dump(self.model))
        history = "".join(json.dumps(line) + "\n" for line in self.position.history)
        replace_file(self.out / HISTORY_FILE, history.encode())
        replace_file(self.out / CHECKPOINT_FILE, packed.getvalue())

    def _made_of(self) -> str:
        """What may not change between a run and its resumption, in short."""
        recipe = {k: v for k, v in asdict(self.recipe).items() if k not in ("epochs", "minutes", "checkpoint_minutes")}
        content = hashlib.sha256(json.dumps([recipe, self.model.words]).encode())
        content.update(self.sentences.words_N.tobytes())
        return content.hexdigest()

    def _tell(self, now: float) -> None:
        position, done = self.position, self.share()
        left_s = position.seconds * max(0.0, 1 - done) / done
        self.say(
            f"pass {position.epoch + 1}/{self.recipe.epochs}  {done:.1%} of the run  loss {position.nats:.3f}  "
            f"perplexity {math.exp(min(position.nats, 50.0)):.0f}  {self._words / self._seconds:.0f} words/s  "
            f"{timedelta(seconds=round(left_s))} left"
        )
        self._said, self._words, self._seconds = now, 0, 0.0


def perplexity(model: NeuralLanguageModel, sentences: Sentences, *, batch_words: int = 6000) -> float:
    """Of words and ends of sentences; an unknown word has its share of `<unk>`, as in rescoring."""
    was_training = model.training
    model.eval()
    device = next(model.parameters()).device
    logprob = 0.0
    with torch.inference_mode():
        for which in sentences.plan(batch_words, seed=0, epoch=0):
            targets_BU, lengths_B = sentences.batch(which)
            logprob += float(model(targets_BU.to(device), lengths_B.to(device)).double().sum())
            logprob -= int((targets_BU == UNKNOWN).sum()) * math.log(model.config.unknown_words)
    model.train(was_training)
    return math.exp(min(-logprob / sentences.n_words, 700.0))


def _device(accelerator: str) -> torch.device:
    if accelerator not in ("auto", "cpu", "cuda"):
        raise RecipeError(f"accelerator is {accelerator!r}; auto, cpu and cuda are known")
    there = torch.cuda.is_available()
    if accelerator == "cuda" and not there:
        raise RecipeError("accelerator is cuda, but torch finds no such device; use cpu")
    return torch.device("cuda" if there and accelerator != "cpu" else "cpu")
