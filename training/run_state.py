"""Everything that a run has computed so far, on disk after a crash and back in memory."""

import json
import os
from collections.abc import Callable
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from lightning.fabric import Fabric

from features.normalization import GlobalCMVN
from model.acoustic_model import AcousticModel
from training.errors import RecipeError, StorageError
from training.recipe import Recipe, build_recipe
from training.watch import Watch

CHECKPOINT_FILE = "last.ckpt"
HISTORY_FILE = "history.jsonl"


@dataclass
class Position:
    """Where a run stands: `epoch` passes, and `batch` batches of the next one, are done.

    Attributes:
        epoch, batch, step: passes, batches of the running pass, and batches in all.
        seconds: spent training, over all the run's lives.
        epoch_loss, epoch_units: loss of the running pass in nats, and the units it is spread over.
        epoch_s, waiting_s: seconds spent in the running pass, and of those waiting for audio.
        watch: what has been seen of the loss and of the network's output.
        unreadable: audio that could not be read, each named once.
        history: one entry a pass.
    """

    epoch: int = 0
    batch: int = 0
    step: int = 0
    seconds: float = 0.0
    epoch_loss: float = 0.0
    epoch_units: int = 0
    epoch_s: float = 0.0
    waiting_s: float = 0.0
    watch: Watch = field(default_factory=Watch)
    unreadable: list[str] = field(default_factory=list)
    history: list[dict[str, Any]] = field(default_factory=list)


@dataclass
class RunState:
    """The moving parts of a run.

    Attributes:
        acoustic_model: the weights that the optimizer moves.
        averaged: the acoustic model's exponential moving average, which is what is evaluated and shipped.
        cmvn: normalisation, fixed after the start.
        optimizers: with their moments.
        position: where the run stands.
    """

    acoustic_model: AcousticModel
    averaged: AcousticModel
    cmvn: GlobalCMVN
    optimizers: list[torch.optim.Optimizer]
    position: Position

    def save(self, out: Path, recipe: Recipe, fabric: Fabric) -> None:
        """Write the checkpoint atomically, and the history beside it; all processes call this, the first one writes.

        Raises:
            StorageError: the disk is full or not writable; the checkpoint before is untouched.
        """
        random: list[torch.Tensor] = [torch.get_rng_state()] * fabric.world_size
        if fabric.world_size > 1:
            torch.distributed.all_gather_object(random, torch.get_rng_state())
        if not fabric.is_global_zero:
            return
        state = {
            "recipe": json.dumps(asdict(recipe)),
            "position": asdict(self.position),
            "acoustic_model": self.acoustic_model.state_dict(),
            "averaged": self.averaged.state_dict(),
            "cmvn": self.cmvn.state_dict(),
            "optimizers": [optimizer.state_dict() for optimizer in self.optimizers],
            "random": random,
            "random_cuda": torch.cuda.get_rng_state_all() if torch.cuda.is_available() else [],
        }

        def write() -> None:
            _replace_file(out / CHECKPOINT_FILE, lambda scratch: torch.save(state, scratch))
            lines = "".join(json.dumps(line) + "\n" for line in self.position.history)
            _replace_file(out / HISTORY_FILE, lambda scratch: scratch.write_text(lines))

        guard_storage(write, out)

    def load(self, out: Path, recipe: Recipe, fabric: Fabric) -> None:
        """Take everything back from the checkpoint, for the same number of processes the random state included.

        Raises:
            RecipeError: the checkpoint is of another recipe (another number of passes is allowed).
        """
        state = torch.load(out / CHECKPOINT_FILE, map_location=fabric.device, weights_only=True)
        # Compared as recipes, so that a checkpoint from before an option existed goes on with that option's default.
        values = json.loads(state["recipe"])
        values.get("objective", {}).pop("phone_layer", None)  # an option of earlier versions
        written = build_recipe(values, str(out / CHECKPOINT_FILE))
        if replace(written, optimizer=replace(written.optimizer, epochs=recipe.optimizer.epochs)) != recipe:
            raise RecipeError(
                f"{out} holds a run of another recipe; use another folder, or warm-start from its bundle. "
                f"Its recipe: {state['recipe']}"
            )
        self.acoustic_model.load_state_dict(state["acoustic_model"])
        self.averaged.load_state_dict(state["averaged"])
        self.cmvn.load_state_dict(state["cmvn"])
        stored = state["optimizers"] if "optimizers" in state else [state["optimizer"]]  # one, before there was Muon
        for optimizer, moments in zip(self.optimizers, stored, strict=True):
            optimizer.load_state_dict(moments)
        if len(state["random"]) == fabric.world_size:
            torch.set_rng_state(state["random"][fabric.global_rank].cpu().clone())
        if state["random_cuda"] and torch.cuda.is_available():
            torch.cuda.set_rng_state_all([random.cpu() for random in state["random_cuda"]])
        self.position = Position(**{**state["position"], "watch": Watch(**state["position"].get("watch", {}))})


def guard_storage(write: Callable[[], None], out: Path) -> None:
    """Call `write`; what the system says of a full or broken disk becomes a StorageError."""
    try:
        write()
    except (OSError, RuntimeError) as error:  # torch reports a full disk as RuntimeError
        raise StorageError(f"could not write below {out}: {error}; what was there before is kept") from error


def _replace_file(target: Path, write: Callable[[Path], object]) -> None:
    scratch = target.with_name(f".{target.name}.tmp")
    try:
        write(scratch)
        with scratch.open("rb") as stream:
            os.fsync(stream.fileno())
        os.replace(scratch, target)
    finally:
        scratch.unlink(missing_ok=True)
