"""Everything that a run has computed so far, on disk after a crash and back in memory."""

import copy
import hashlib
import json
import os
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from lightning.fabric import Fabric

from features.normalization import GlobalCMVN
from model.acoustic_model import AcousticModel
from training.corpora import Utterance
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
        corpus: fingerprint of what is trained on: the order of batches is a function of it.
    """

    acoustic_model: AcousticModel
    averaged: AcousticModel
    cmvn: GlobalCMVN
    optimizers: list[torch.optim.Optimizer]
    position: Position
    corpus: str

    def save(self, out: Path, recipe: Recipe, fabric: Fabric) -> None:
        """`write` what the state is now; all processes call this.

        Raises:
            StorageError: as in `write`.
        """
        self.write(self.snapshot(recipe, fabric), out)

    def snapshot(self, recipe: Recipe, fabric: Fabric) -> dict[str, Any]:
        """A copy of all of it, to be written later; all processes call this, and the first one gets it."""
        mine = (torch.get_rng_state(), _device_random(fabric))
        random = [mine] * fabric.world_size
        if fabric.world_size > 1:
            torch.distributed.all_gather_object(random, mine)
        if not fabric.is_global_zero:
            return {}
        state = {
            "recipe": json.dumps(asdict(recipe)),
            "corpus": self.corpus,
            "position": asdict(self.position),
            "acoustic_model": self.acoustic_model.state_dict(),
            "averaged": self.averaged.state_dict(),
            "cmvn": self.cmvn.state_dict(),
            "optimizers": [optimizer.state_dict() for optimizer in self.optimizers],
            "random": [of_processor for of_processor, _ in random],
            "random_cuda": [of_device for _, of_device in random if of_device is not None],
        }
        return copy.deepcopy(state)

    @staticmethod
    def write(snapshot: dict[str, Any], out: Path) -> None:
        """Write a snapshot as the checkpoint, atomically, and its history beside it; nothing where it is empty.

        Raises:
            StorageError: the disk is full or not writable; the checkpoint before is untouched.
        """
        if not snapshot:
            return

        def write() -> None:
            _replace_file(out / CHECKPOINT_FILE, lambda scratch: torch.save(snapshot, scratch))
            lines = "".join(json.dumps(line) + "\n" for line in snapshot["position"]["history"])
            _replace_file(out / HISTORY_FILE, lambda scratch: scratch.write_text(lines))

        guard_storage(write, out)

    def load(self, out: Path, recipe: Recipe, fabric: Fabric) -> None:
        """Take everything back from the checkpoint, for the same number of processes the random state included.

        Raises:
            RecipeError: the checkpoint is of another recipe (another number of passes is allowed), or its run had other
                utterances.
            StorageError: it cannot be read.
        """
        state = read_checkpoint(out / CHECKPOINT_FILE, fabric.device)
        # Compared as recipes, so that a checkpoint from before an option existed goes on with that option's default.
        values = json.loads(state["recipe"])
        values.get("objective", {}).pop("phone_layer", None)  # an option of earlier versions
        written = build_recipe(values, str(out / CHECKPOINT_FILE))
        if replace(written, optimizer=replace(written.optimizer, epochs=recipe.optimizer.epochs)) != recipe:
            raise RecipeError(
                f"{out} holds a run of another recipe; use another folder, or warm-start from its bundle. "
                f"Its recipe: {state['recipe']}"
            )
        if state.get("corpus", self.corpus) != self.corpus:
            raise RecipeError(
                f"{out} holds a run of other utterances: what data.train names has changed since; use another folder, "
                "or warm-start from its bundle"
            )
        self.acoustic_model.load_state_dict(state["acoustic_model"])
        self.averaged.load_state_dict(state["averaged"])
        self.cmvn.load_state_dict(state["cmvn"])
        stored = state["optimizers"] if "optimizers" in state else [state["optimizer"]]  # one, before there was Muon
        for optimizer, moments in zip(self.optimizers, stored, strict=True):
            optimizer.load_state_dict(moments)
        if len(state["random"]) == fabric.world_size:
            torch.set_rng_state(state["random"][fabric.global_rank].cpu().clone())
        if fabric.device.type == "cuda" and len(state["random_cuda"]) == fabric.world_size:
            torch.cuda.set_rng_state(state["random_cuda"][fabric.global_rank].cpu(), fabric.device)
        self.position = Position(**{**state["position"], "watch": Watch(**state["position"].get("watch", {}))})


def fingerprint_of(utterances: Sequence[Utterance], targets: Sequence[Sequence[int]]) -> str:
    """SHA-256 of what is trained on; where the audio lies does not matter."""
    digest = hashlib.sha256()
    for utterance, target in zip(utterances, targets, strict=True):
        digest.update(f"{utterance.id}\t{utterance.duration_s:.3f}\t{utterance.speaker}\t{target}\n".encode())
    return digest.hexdigest()


def _device_random(fabric: Fabric) -> torch.Tensor | None:
    """The random state of this process's GPU, if it has one."""
    return torch.cuda.get_rng_state(fabric.device) if fabric.device.type == "cuda" else None


def read_checkpoint(path: Path, device: torch.device | str = "cpu") -> dict[str, Any]:
    """What a run has written; tensors on `device`.

    Raises:
        StorageError: the file is damaged.
        OSError: it cannot be opened.
    """
    try:
        state: dict[str, Any] = torch.load(path, map_location=device, weights_only=True)
    except OSError:
        raise
    except Exception as error:  # whatever unpickling stumbles over
        said = str(error).split("\n")[0] or type(error).__name__
        raise StorageError(f"{path} is damaged: {said}; take it from a copy, or remove it to begin anew") from error
    return state


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
