"""Training of a speller: read top to bottom, from a bundle and a text to a bundle that spells better.

Shape legend: B rows, S output frames, V characters, P phones, U units.

The acoustic model stays as it is. The speller learns from a text, for which the network's log-probs are imitated
(`training.imitation`), and from the corpus as the network heard it (`training.heard`), by CTC. What a step sees is a
function of seed and step, whatever the number of processes, so that a run that was killed goes on as it would have.
"""

import io
import json
import math
import os
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, cast

import torch
from lightning.fabric import Fabric
from torch import Tensor, nn

from model.acoustic_model import AcousticModel
from model.averaging import MEASURED
from model.checkpoint import Bundle, load_bundle, save_bundle
from model.speller import Speller
from model.tokenizer import WORD_BOUNDARY
from training.commit import git_commit
from training.errors import DivergedError, RecipeError
from training.evaluate import evaluate
from training.heard import hear, read_heard
from training.ngram_text import NgramText
from training.phones import read_pronunciations
from training.recipe import Recipe
from training.run_state import guard_storage, read_checkpoint
from training.speller_batches import SpelledText, SpellerBatch, SpellerBatches
from training.speller_recipe import SpellerRecipe
from training.trainer import BUNDLE_DIR, schedule
from training.whole_files import replace_file

HEARD_DIR, CHECKPOINT_FILE, HISTORY_FILE = "heard", "last.ckpt", "history.jsonl"
SAY_EVERY_S = 10.0


@dataclass
class _Position:
    step: int = 0
    seconds: float = 0.0
    nats: dict[str, float] = field(default_factory=dict)
    history: list[dict[str, Any]] = field(default_factory=list)


def train_speller(
    recipe: Recipe,
    bundle_dir: str | os.PathLike[str],
    text: NgramText,
    out_dir: str | os.PathLike[str],
    asked: SpellerRecipe,
    *,
    warm_start: str | os.PathLike[str] | None = None,
    record: Mapping[str, Any] | None = None,
    devices: int = 1,
    say: Callable[[str], None] = lambda line: None,
) -> Path:
    """Give a bundle a speller, resuming where the run in `out_dir` stands; on processors.

    Args:
        recipe: of the bundle's acoustic model: corpus, disturbances, masks and pronouncing dictionary.
        bundle_dir: the bundle; where it has a speller of the same sizes, that is where the new one begins.
        text: the running text that is spelled; that of a dev or test corpus has no place in it.
        out_dir: the run's folder, made where it is missing.
        asked: sizes and schedule.
        warm_start: a bundle whose speller is where the new one begins instead, such as that of the stage before.
        record: what the bundle's training record says besides, of where the text comes from.
        devices: processes that share every step.
        say: is given lines of progress.

    Returns:
        The directory of the new bundle, there from the first checkpoint on. How sure its words are, and its word error
        rates, are not in it: `cepstra calibrate` comes next.

    Raises:
        CorpusError: corpus or text cannot be used.
        RecipeError: bundle and recipe do not fit, the folder holds another run, or `warm_start` has no speller of these
            sizes.
        DivergedError: the loss is NaN or infinite.
        StorageError: a checkpoint could not be written.
    """
    out, bundle = Path(out_dir), load_bundle(bundle_dir)
    begun = load_bundle(warm_start) if warm_start else bundle
    if warm_start and not _fits(begun, asked):
        config = begun.acoustic_model.config
        raise RecipeError(
            f"{warm_start} has a speller of {config.spelling_layers} layers of {config.spelling_size}; "
            f"{asked.layers} of {asked.size} are asked for"
        )
    fabric = Fabric(accelerator="cpu", devices=devices, precision=recipe.optimizer.precision)  # type: ignore[arg-type]  # verified by OptimizerConfig
    fabric.launch()
    if not fabric.is_global_zero:
        say = _nothing
    if fabric.is_global_zero:
        hear(recipe, bundle, out / HEARD_DIR, hours=asked.hours, say=say)
    fabric.barrier()
    pronunciations = read_pronunciations(recipe.objective.phone_dictionary)
    spelled = SpelledText(text, pronunciations, bundle.tokenizer)
    say(f"{len(spelled.words_N)} words of text; {spelled.missing:.2%} of it have no pronunciation and are left out")
    boundary = bundle.tokenizer.encode(WORD_BOUNDARY)[0]
    batches = SpellerBatches(spelled, read_heard(out / HEARD_DIR), asked, boundary, bundle.frame_s)
    record = dict(record or {}) | ({"warm_start": Path(warm_start).name} if warm_start else {})
    run = _Run(fabric, recipe, bundle, asked, out, record, say, begun)
    run.load()
    last_saved = last_said = time.monotonic()
    while run.position.step < asked.steps:
        batch = batches.batch(run.position.step, fabric.global_rank, fabric.world_size)
        # The first process' clock counts.
        due = fabric.is_global_zero and time.monotonic() - last_saved >= 60 * asked.checkpoint_minutes
        saving = run.step(batch, due)
        now = time.monotonic()
        if now - last_said >= SAY_EVERY_S:
            run.tell()
            last_said = now
        if saving and run.position.step < asked.steps:
            run.save()
            last_saved = time.monotonic()
    run.save()
    return out / BUNDLE_DIR


def _nothing(line: str) -> None:
    del line


def _of(bundle: Bundle, *, spelling: bool) -> dict[str, Tensor]:
    """The weights of its speller, or all others."""
    weights = bundle.acoustic_model.state_dict()
    return {name: weight for name, weight in weights.items() if name.startswith("speller.") == spelling}


def _fits(bundle: Bundle, asked: SpellerRecipe) -> bool:
    config = bundle.acoustic_model.config
    return (config.spelling_layers, config.spelling_size) == (asked.layers, asked.size)


class _Run:
    """The moving parts of a run, on disk after a crash and back in memory."""

    def __init__(
        self,
        fabric: Fabric,
        recipe: Recipe,
        bundle: Bundle,
        asked: SpellerRecipe,
        out: Path,
        record: Mapping[str, Any],
        say: Callable[[str], None],
        begun: Bundle,
    ) -> None:
        self.fabric, self.recipe, self.bundle, self.asked = fabric, recipe, bundle, asked
        self.out, self.record, self.say = out, record, say
        torch.manual_seed(asked.seed)
        config = replace(bundle.acoustic_model.config, spelling_layers=asked.layers, spelling_size=asked.size)
        self.averaged = AcousticModel(config).eval()
        weights = _of(bundle, spelling=False) | (_of(begun, spelling=True) if _fits(begun, asked) else {})
        self.averaged.load_state_dict(self.averaged.state_dict() | weights)
        self.averaged.requires_grad_(False)
        self.speller = Speller(config.vocabulary_size, config.n_phones, asked.size, asked.layers)
        self.speller.load_state_dict(self.averaged.speller.state_dict())
        self.network = fabric.setup_module(self.speller)
        matrices = [weight for weight in self.speller.parameters() if weight.dim() > 1]
        others = [weight for weight in self.speller.parameters() if weight.dim() <= 1]
        self.optimizer = torch.optim.AdamW(
            [{"params": matrices, "weight_decay": asked.weight_decay}, {"params": others, "weight_decay": 0.0}],
            lr=0.0,
            betas=(0.9, 0.98),
        )
        self._stepping = cast(torch.optim.Optimizer, fabric.setup_optimizers(self.optimizer))
        self.position = _Position()

    def step(self, batch: SpellerBatch, due: bool) -> bool:
        """Learn from a batch; returns whether any process says that a checkpoint is due."""
        began, position, asked = time.monotonic(), self.position, self.asked
        # What is dropped out is a function of seed, step and process.
        torch.manual_seed(hash((asked.seed, position.step, self.fabric.global_rank)))
        for group in self.optimizer.param_groups:
            group["lr"] = asked.peak_lr * schedule(position.step / asked.steps, 0.03)
        log_probs_BSV = self.network(batch.phones_BSP, batch.lengths_B, batch.letters_BSV)
        loss = nn.functional.ctc_loss(
            log_probs_BSV.transpose(0, 1),
            batch.targets_BU,
            batch.lengths_B,
            batch.target_lengths_B,
            reduction="sum",
            zero_infinity=True,
        )
        mine = torch.stack([loss.detach(), batch.target_lengths_B.sum().float(), torch.tensor(float(due))])
        nats, units, saving = cast(Tensor, self.fabric.all_reduce(mine, reduce_op="sum")).tolist()
        if not math.isfinite(nats):
            raise DivergedError(
                f"the loss is {nats} in step {position.step + 1}; {self.out / CHECKPOINT_FILE}, if it is there, is "
                f"from before it: lower peak_lr, which is {asked.peak_lr:g}"
            )
        self.optimizer.zero_grad()
        unused = 0.0 * self.speller.share.sum()  # every process waits for every weight's gradient
        self.fabric.backward((loss + unused) * (self.fabric.world_size / units))
        self.fabric.clip_gradients(self.network, self._stepping, max_norm=asked.clip_norm)
        self._stepping.step()
        weight = 1 - min(asked.ema_decay, (1 + position.step) / (10 + position.step))
        with torch.no_grad():
            torch._foreach_lerp_(list(self.averaged.speller.parameters()), list(self.speller.parameters()), weight)
        before = position.nats.get(batch.kind, nats / units)
        position.nats[batch.kind] = 0.95 * before + 0.05 * nats / units
        position.step += 1
        position.seconds += time.monotonic() - began
        return bool(saving > 0)

    def tell(self) -> None:
        """A line of progress."""
        losses = "  ".join(f"{kind} {nats:.3f}" for kind, nats in sorted(self.position.nats.items()))
        self.say(f"step {self.position.step} of {self.asked.steps}  {self.position.seconds / 60:.1f} min  {losses}")

    def save(self) -> None:
        """Write bundle, history and checkpoint, in this order; all processes call it, the first one writes."""
        if self.fabric.is_global_zero:
            guard_storage(self._save, self.out)
        self.fabric.barrier()

    def _save(self) -> None:
        position = self.position
        line: dict[str, Any] = {"steps": position.step, "wall_s": round(position.seconds)}
        line |= {f"nats_{kind}": round(nats, 4) for kind, nats in sorted(position.nats.items())}
        bundle = self._bundle(line)
        save_bundle(bundle, self.out / BUNDLE_DIR)
        if self.recipe.data.dev:
            plain = replace(bundle, language_model=None, neural_lm=None, letter_to_sound=None)
            result = evaluate(plain, self.recipe.data.dev, limit=self.recipe.data.dev_utterances, spread=True)
            line |= {"dev_wer": round(result.wer, 4), "dev_cer": round(result.cer, 4)}
            self.say(
                f"after {position.step} steps greedily {result.wer:.2%} of words, {result.cer:.2%} of characters wrong"
            )
        position.history.append(line)
        packed = io.BytesIO()
        torch.save(
            {
                "made_of": self._made_of(),
                "speller": self.speller.state_dict(),
                "averaged": self.averaged.speller.state_dict(),
                "optimizer": self.optimizer.state_dict(),
                "position": asdict(position),
            },
            packed,
        )
        history = "".join(json.dumps(entry) + "\n" for entry in position.history)
        replace_file(self.out / HISTORY_FILE, history.encode())
        replace_file(self.out / CHECKPOINT_FILE, packed.getvalue())

    def load(self) -> None:
        """Take everything back from the checkpoint, if there is one.

        Raises:
            RecipeError: it is of another run (another number of steps is allowed).
        """
        path = self.out / CHECKPOINT_FILE
        if not path.exists():
            return
        state = read_checkpoint(path)
        if state["made_of"] != self._made_of():
            raise RecipeError(f"{self.out} holds a run of other sizes or another schedule; use another folder")
        self.speller.load_state_dict(state["speller"])
        self.averaged.speller.load_state_dict(state["averaged"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.position = _Position(**state["position"])
        self.say(f"resuming after {self.position.step} steps")

    def _bundle(self, line: Mapping[str, Any]) -> Bundle:
        stays = ("runtimes",) if self.bundle.language_model else ()  # a search goes without the speller
        training = {k: v for k, v in self.bundle.training.items() if k in stays or k not in MEASURED}
        training["speller"] = {
            **self.record,
            "recipe": asdict(self.asked),
            **line,
            "commit": git_commit(),
            "torch": torch.__version__,
        }
        return replace(
            self.bundle,
            acoustic_model=self.averaged,
            training=training,
            confidence=None,
            created_at=int(time.time()),
        )

    def _made_of(self) -> str:
        asked = {k: v for k, v in asdict(self.asked).items() if k not in ("steps", "checkpoint_minutes")}
        return json.dumps([asked, self.bundle.created_at])
