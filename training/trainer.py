"""Training: read top to bottom, from a recipe to a bundle.

Shape legend: B batch, T frames, F feature bins, S output frames, V vocabulary, U units.

One run owns one folder: `last.ckpt` (to resume from), `bundle/` (the averaged weights, to serve), TensorBoard's events
and `history.jsonl` (one line a pass). Everything random is a function of the recipe's seed and of the position in the
run, or is stored in the checkpoint, so that a run killed at any moment goes on as if nothing had happened.
"""

import json
import logging
import math
import os
import subprocess
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field, replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import torch
from lightning.fabric import Fabric
from lightning.fabric.loggers.tensorboard import TensorBoardLogger
from torch import Tensor, nn
from torch.utils.data import DataLoader

from features.front_end import FrontEnd
from features.normalization import GlobalCMVN
from model.acoustic_model import AcousticModel, subsampled_length
from model.checkpoint import Bundle, load_bundle, save_bundle
from model.decoder import decode_greedy
from model.errors import UnknownCharacterError
from model.tokenizer import CharacterTokenizer
from training.augment import spec_augment
from training.corpora import Utterance, measure, normalize_transcript, read_corpus, reject
from training.dataset import Batch, SpeechDataset
from training.errors import CorpusError, DivergedError, RecipeError, StorageError
from training.evaluate import evaluate
from training.metrics import ErrorCounts, word_errors
from training.progress import ProgressReport
from training.recipe import Recipe
from training.sampler import BatchPlan, plan_epoch

CHECKPOINT_FILE = "last.ckpt"
BUNDLE_DIR = "bundle"
CMVN_UTTERANCES = 500  # CMVN has converged long before
WER_EVERY = 20  # steps between looks at the running batch's WER

log = logging.getLogger(__name__)


@dataclass
class Position:
    """Where a run stands: `epoch` passes and `batch` batches of the next one are done."""

    epoch: int = 0
    batch: int = 0
    step: int = 0
    seconds: float = 0.0
    epoch_loss: float = 0.0
    epoch_units: int = 0
    unreadable: list[str] = field(default_factory=list)


def train(
    recipe: Recipe,
    out_dir: str | os.PathLike[str],
    *,
    warm_start: str | os.PathLike[str] | None = None,
    accelerator: str = "auto",
    report: ProgressReport | None = None,
) -> Path:
    """Run a recipe to its end, resuming where the run in `out_dir` stands.

    Args:
        recipe: what to do.
        out_dir: the run's folder, made where it is missing.
        warm_start: a bundle to begin from instead of random weights; it must have the recipe's sizes.
        accelerator: `cpu`, `cuda` or `auto`, as in Lightning Fabric.
        report: where progress is shown.

    Returns:
        The directory of the bundle.

    Raises:
        CorpusError: the corpus cannot be used.
        RecipeError: recipe and warm start, or recipe and checkpoint, do not fit.
        DivergedError: the loss is NaN or infinite.
        StorageError: a checkpoint could not be written.
    """
    out = Path(out_dir)
    out.mkdir(parents=True, exist_ok=True)
    report = report or ProgressReport()
    fabric = Fabric(
        accelerator=accelerator,
        devices=1,
        precision=recipe.optimizer.precision,  # type: ignore[arg-type]  # verified by OptimizerConfig
        loggers=TensorBoardLogger(str(out), name="tensorboard", version=""),
    )
    fabric.launch()
    torch.manual_seed(recipe.seed)

    tokenizer = CharacterTokenizer()
    utterances, targets = load_training_corpus(recipe, tokenizer)
    hours = sum(utterance.duration_s for utterance in utterances) / 3600
    report.say(f"{len(utterances)} utterances, {hours:.2f} h of audio")
    front_end = FrontEnd(recipe.front_end)
    cmvn, acoustic_model = GlobalCMVN(front_end.config.n_features), AcousticModel(recipe.acoustic_model)
    cache_dir = out / "cache" if recipe.data.cache else None
    resuming = (out / CHECKPOINT_FILE).exists()
    if warm_start is not None and not resuming:
        _warm_start(warm_start, front_end, cmvn, acoustic_model)
    elif not resuming:
        sample = plan_epoch(utterances, seed=recipe.seed, epoch=1, max_batch_s=recipe.data.max_batch_s)
        cmvn.estimate(_features(front_end, SpeechDataset(utterances, targets, sample, cache_dir=cache_dir)))

    averaged = AcousticModel(recipe.acoustic_model)
    averaged.load_state_dict(acoustic_model.state_dict())
    optimizer = torch.optim.AdamW(
        _parameter_groups(acoustic_model, recipe.optimizer.weight_decay), lr=0.0, betas=(0.9, 0.98)
    )
    network, optimizer = fabric.setup(acoustic_model, optimizer)
    for module in (front_end, cmvn, averaged):
        fabric.to_device(module)
    position = Position()
    if resuming:
        position = _load_checkpoint(fabric, out, recipe, acoustic_model, averaged, cmvn, optimizer)
        report.say(f"resuming after {position.epoch} passes and {position.batch} batches")

    def checkpoint() -> None:
        _save_checkpoint(fabric, out, recipe, acoustic_model, averaged, cmvn, optimizer, position)

    def write_bundle(**record: Any) -> Bundle:
        training = {
            "recipe": asdict(recipe),
            "hours": round(hours, 3),
            "utterances": len(utterances),
            "passes": position.epoch,
            "steps": position.step,
            "wall_s": round(position.seconds),
            "commit": _git_commit(),
            "torch": torch.__version__,
            **record,
        }
        bundle = Bundle(recipe.name, front_end, cmvn, averaged, tokenizer, training)
        _guard_storage(lambda: save_bundle(bundle, out / BUNDLE_DIR), out)
        return load_bundle(out / BUNDLE_DIR)

    last_saved = clock = time.monotonic()
    while position.epoch < recipe.optimizer.epochs:
        plans = plan_epoch(
            utterances,
            seed=recipe.seed,
            epoch=position.epoch,
            max_batch_s=recipe.data.max_batch_s,
            speeds=recipe.augment.speeds,
        )
        plans = [_slow_down_where_targets_do_not_fit(plan, utterances, targets, recipe) for plan in plans]
        report.start_epoch(position.epoch, recipe.optimizer.epochs, len(plans), position.batch)
        for batch in _load(fabric, recipe, utterances, targets, plans[position.batch :], cache_dir):
            _count_unreadable(batch, position, len(utterances))
            share = (position.epoch + position.batch / len(plans)) / recipe.optimizer.epochs
            for group in optimizer.param_groups:
                group["lr"] = learning_rate(share, recipe)
            if batch.ids:
                loss, log_probs_BSV, lengths_B = _loss(front_end, cmvn, network, batch, recipe, position.epoch)
                nats = float(loss.detach())
                if not math.isfinite(nats):
                    raise DivergedError(
                        f"the loss is {nats} in pass {position.epoch + 1}, batch {position.batch + 1} "
                        f"({', '.join(batch.ids)}); {out / CHECKPOINT_FILE} is from before it: lower optimizer.peak_lr"
                    )
                optimizer.zero_grad()
                fabric.backward(loss)
                norm = fabric.clip_gradients(network, optimizer, max_norm=recipe.optimizer.clip_norm)
                optimizer.step()
                _average(averaged, acoustic_model, recipe.optimizer.ema_decay, position.step)
                units = int(batch.target_lengths_B.sum())
                position.epoch_loss += nats * units
                position.epoch_units += units
                if position.step % WER_EVERY == 0:
                    counts = _batch_word_errors(log_probs_BSV, lengths_B, batch, tokenizer)
                    report.wer(counts.rate)
                    metrics = {"loss": nats, "wer": counts.rate, "gradient_norm": float(norm or 0.0)}
                    fabric.log_dict({"train/" + k: v for k, v in metrics.items()}, step=position.step)
                    fabric.log("train/learning_rate", learning_rate(share, recipe), step=position.step)
                report.step(nats, batch.audio_s)
            position.batch += 1
            position.step += 1
            now = time.monotonic()
            position.seconds, clock = position.seconds + now - clock, now
            if now - last_saved > recipe.checkpoint_minutes * 60:
                checkpoint()
                last_saved = time.monotonic()
        line = {"epoch": position.epoch + 1, "loss": position.epoch_loss / max(1, position.epoch_units)}
        position.epoch, position.batch, position.epoch_loss, position.epoch_units = (
            position.epoch + 1,
            0,
            0.0,
            0,
        )
        if recipe.data.dev and (
            position.epoch % recipe.evaluate_every == 0 or position.epoch == recipe.optimizer.epochs
        ):
            result = evaluate(
                write_bundle(loss=line["loss"]),
                recipe.data.dev,
                limit=recipe.data.dev_utterances,
                spread=True,
            )
            line |= {"dev_wer": result.wer, "dev_cer": result.cer}
            fabric.log_dict({"dev/wer": result.wer, "dev/cer": result.cer}, step=position.step)
        checkpoint()
        last_saved = time.monotonic()
        _append_history(out, {**line, "steps": position.step, "wall_s": round(position.seconds)})
        report.end_epoch(line)
    last_line = _last_history(out)
    write_bundle(**{key: last_line[key] for key in ("loss", "dev_wer", "dev_cer") if key in last_line})
    return out / BUNDLE_DIR


def load_training_corpus(recipe: Recipe, tokenizer: CharacterTokenizer) -> tuple[list[Utterance], list[list[int]]]:
    """The recipe's utterances with their targets; those that cannot be used are named and left out.

    Raises:
        CorpusError: there is no corpus, or more than 1 % of it cannot be used.
    """
    if not recipe.data.train:
        raise CorpusError("the recipe names no training corpus: set data.train, or give --train")
    found = [utterance for source in recipe.data.train for utterance in read_corpus(source)]
    if any(utterance.duration_s <= 0 for utterance in found):
        found = measure(found)
    kept, targets = [], []
    no_unit, too_long, no_fit = [], [], []
    for utterance in found:
        try:
            target = tokenizer.encode(normalize_transcript(utterance.transcript))
        except UnknownCharacterError as error:
            no_unit.append(f"{utterance.id}: {error}")
            continue
        if utterance.duration_s > recipe.data.max_utterance_s:
            too_long.append(f"{utterance.id}: {utterance.duration_s:.1f} s")
        elif not target or not _target_fits(utterance.duration_s, target, recipe):
            no_fit.append(f"{utterance.id}: {len(target)} characters in {utterance.duration_s:.2f} s")
        else:
            kept.append(utterance)
            targets.append(target)
    for name in too_long:
        log.warning("left out, longer than data.max_utterance_s = %s: %s", recipe.data.max_utterance_s, name)
    reject("a transcript with characters that have no unit", no_unit, len(found))
    reject("a target longer than its frames (or empty)", no_fit, len(found))
    if not kept:
        raise CorpusError(
            f"none of the {len(found)} utterances can be used; longest allowed: {recipe.data.max_utterance_s} s"
        )
    return kept, targets


def learning_rate(share: float, recipe: Recipe) -> float:
    """Linear warm-up, then a cosine to 0, by the share of the run that is done, 0..1."""
    config = recipe.optimizer
    if share < config.warmup_share:
        return config.peak_lr * (share + 1e-3) / (config.warmup_share + 1e-3)
    return config.peak_lr * 0.5 * (1 + math.cos(math.pi * (share - config.warmup_share) / (1 - config.warmup_share)))


def _target_fits(duration_s: float, target: list[int], recipe: Recipe) -> bool:
    """CTC needs a frame for every unit and a blank between two that are the same."""
    n_samples = round(duration_s * recipe.front_end.sample_rate_hz)
    frames = subsampled_length(recipe.front_end.n_frames(n_samples))
    return len(target) + sum(a == b for a, b in pairwise(target)) <= frames


def _slow_down_where_targets_do_not_fit(
    plan: BatchPlan, utterances: list[Utterance], targets: list[list[int]], recipe: Recipe
) -> BatchPlan:
    items = tuple(
        (
            index,
            speed if _target_fits(utterances[index].duration_s / speed - 0.01, targets[index], recipe) else 1.0,
        )
        for index, speed in plan.items
    )
    return BatchPlan(items, plan.seed)


def _loss(
    front_end: FrontEnd, cmvn: GlobalCMVN, network: nn.Module, batch: Batch, recipe: Recipe, epoch: int
) -> tuple[Tensor, Tensor, Tensor]:
    """CTC loss in nats a unit, with the log-probs (B, S, V) and lengths it was computed from."""
    with torch.no_grad():
        features_BTF, lengths_B = front_end(batch.samples_BN, batch.lengths_B)
        features_BTF = cmvn(features_BTF, lengths_B)
        if epoch >= recipe.augment.spec_augment_from_epoch:
            generator = torch.Generator().manual_seed(batch.seed)
            features_BTF = spec_augment(features_BTF, lengths_B, recipe.augment, generator)
    log_probs_BSV, lengths_B = network(features_BTF, lengths_B)
    loss = nn.functional.ctc_loss(
        log_probs_BSV.float().transpose(0, 1),
        batch.targets_BU,
        lengths_B,
        batch.target_lengths_B,
        reduction="sum",
        zero_infinity=True,
    )
    return loss / batch.target_lengths_B.sum(), log_probs_BSV.detach(), lengths_B


def _load(
    fabric: Fabric,
    recipe: Recipe,
    utterances: list[Utterance],
    targets: list[list[int]],
    plans: list[BatchPlan],
    cache_dir: Path | None,
) -> Iterator[Batch]:
    dataset = SpeechDataset(utterances, targets, plans, gain_db=recipe.augment.gain_db, cache_dir=cache_dir)
    loader = DataLoader(
        dataset,
        batch_size=None,
        num_workers=recipe.data.workers,
        generator=torch.Generator(),  # its own, so that starting a loader does not advance the run's random state
    )
    for batch in loader:
        yield replace(
            batch,
            samples_BN=fabric.to_device(batch.samples_BN),
            lengths_B=fabric.to_device(batch.lengths_B),
            targets_BU=fabric.to_device(batch.targets_BU),
            target_lengths_B=fabric.to_device(batch.target_lengths_B),
        )


def _features(front_end: FrontEnd, dataset: SpeechDataset) -> Iterator[tuple[Tensor, Tensor]]:
    seen = 0
    for index in torch.randperm(len(dataset), generator=torch.Generator().manual_seed(0)).tolist():
        batch = dataset[index]
        if batch.ids:
            yield front_end(batch.samples_BN, batch.lengths_B)
        seen += len(batch.ids)
        if seen >= CMVN_UTTERANCES:
            return


def _parameter_groups(model: nn.Module, weight_decay: float) -> list[dict[str, Any]]:
    """Decay matrices, but neither biases nor normalisation."""
    parameters = list(model.parameters())
    return [
        {"params": [p for p in parameters if p.ndim > 1], "weight_decay": weight_decay},
        {"params": [p for p in parameters if p.ndim <= 1], "weight_decay": 0.0},
    ]


@torch.no_grad()
def _average(averaged: nn.Module, model: nn.Module, decay: float, step: int) -> None:
    """Exponential moving average of the weights; its memory grows with the run, so that the start is forgotten."""
    weight = 1 - min(decay, (1 + step) / (10 + step))
    torch._foreach_lerp_(list(averaged.parameters()), list(model.parameters()), weight)


def _batch_word_errors(
    log_probs_BSV: Tensor, lengths_B: Tensor, batch: Batch, tokenizer: CharacterTokenizer
) -> ErrorCounts:
    hypotheses = [
        tokenizer.decode([unit.id for unit in decode_greedy(row[:length])])
        for row, length in zip(log_probs_BSV.cpu(), lengths_B.tolist(), strict=True)
    ]
    references = [
        tokenizer.decode(row[:length])
        for row, length in zip(batch.targets_BU.tolist(), batch.target_lengths_B.tolist(), strict=True)
    ]
    return word_errors(references, hypotheses)


def _count_unreadable(batch: Batch, position: Position, total: int) -> None:
    new = [name for name in batch.unreadable if name not in position.unreadable]
    position.unreadable.extend(new)
    if new:
        reject("audio that cannot be read", position.unreadable, total)


def _warm_start(
    path: str | os.PathLike[str], front_end: FrontEnd, cmvn: GlobalCMVN, acoustic_model: AcousticModel
) -> None:
    bundle = load_bundle(path)
    if bundle.front_end.config != front_end.config:
        raise RecipeError(f"{path} has front end {bundle.front_end.config}; the recipe has {front_end.config}")
    cmvn.load_state_dict(bundle.cmvn.state_dict())
    try:
        acoustic_model.load_state_dict(bundle.acoustic_model.state_dict())
    except RuntimeError as error:
        raise RecipeError(
            f"{path} has acoustic model {bundle.acoustic_model.config}; the recipe has {acoustic_model.config}"
        ) from error


def _save_checkpoint(
    fabric: Fabric,
    out: Path,
    recipe: Recipe,
    acoustic_model: AcousticModel,
    averaged: AcousticModel,
    cmvn: GlobalCMVN,
    optimizer: torch.optim.Optimizer,
    position: Position,
) -> None:
    state = {
        "recipe": _fingerprint(recipe),
        "position": asdict(position),
        "acoustic_model": acoustic_model.state_dict(),
        "averaged": averaged.state_dict(),
        "cmvn": cmvn.state_dict(),
        "optimizer": optimizer.state_dict(),
        "random": torch.get_rng_state(),
        "random_cuda": torch.cuda.get_rng_state_all() if fabric.device.type == "cuda" else [],
    }

    def write() -> None:
        scratch = out / f".{CHECKPOINT_FILE}.tmp"
        try:
            torch.save(state, scratch)
            with scratch.open("rb") as stream:
                os.fsync(stream.fileno())
            os.replace(scratch, out / CHECKPOINT_FILE)
        finally:
            scratch.unlink(missing_ok=True)

    _guard_storage(write, out)


def _load_checkpoint(
    fabric: Fabric,
    out: Path,
    recipe: Recipe,
    acoustic_model: AcousticModel,
    averaged: AcousticModel,
    cmvn: GlobalCMVN,
    optimizer: torch.optim.Optimizer,
) -> Position:
    state = torch.load(out / CHECKPOINT_FILE, map_location=fabric.device, weights_only=True)
    if state["recipe"] != _fingerprint(recipe):
        raise RecipeError(
            f"{out} holds a run of another recipe; use another folder, or warm-start from its bundle. "
            f"Its recipe: {state['recipe']}"
        )
    acoustic_model.load_state_dict(state["acoustic_model"])
    averaged.load_state_dict(state["averaged"])
    cmvn.load_state_dict(state["cmvn"])
    optimizer.load_state_dict(state["optimizer"])
    torch.set_rng_state(state["random"].cpu())
    if state["random_cuda"]:
        torch.cuda.set_rng_state_all([random.cpu() for random in state["random_cuda"]])
    return Position(**state["position"])


def _fingerprint(recipe: Recipe) -> str:
    """All of a recipe that may not change between a run and its resumption: the number of passes may."""
    values = asdict(recipe)
    del values["optimizer"]["epochs"]
    return json.dumps(values, sort_keys=True)


def _guard_storage(write: Any, out: Path) -> None:
    try:
        write()
    except (OSError, RuntimeError) as error:  # torch reports a full disk as RuntimeError
        raise StorageError(f"could not write a checkpoint below {out}: {error}; the one before it is kept") from error


def _append_history(out: Path, line: dict[str, Any]) -> None:
    with (out / "history.jsonl").open("a") as stream:
        stream.write(json.dumps(line) + "\n")


def _last_history(out: Path) -> dict[str, Any]:
    lines = (out / "history.jsonl").read_text().splitlines() if (out / "history.jsonl").exists() else []
    return dict(json.loads(lines[-1])) if lines else {}


def _git_commit() -> str:
    try:
        command = ["git", "-C", str(Path(__file__).parent), "describe", "--always", "--dirty", "--abbrev=12"]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
