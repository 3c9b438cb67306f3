"""Training: read top to bottom, from a recipe to a bundle.

Shape legend: B batch, S output frames, V vocabulary, U units.

One run owns one folder: `last.ckpt` (to resume from), `bundle/` (the averaged weights, to serve), TensorBoard's events
and `history.jsonl` (one line a pass). Everything random is a function of the recipe's seed and of the position in the
run, or is stored in the checkpoint, so that a run killed at any moment goes on as if nothing had happened.
"""

import math
import os
import time
from dataclasses import asdict, replace
from itertools import chain
from pathlib import Path
from typing import Any, cast

import torch
from lightning.fabric import Fabric
from lightning.fabric.loggers.tensorboard import TensorBoardLogger
from torch import Tensor, nn

from features.front_end import FrontEnd
from features.normalization import GlobalCMVN
from model.acoustic_model import AcousticModel
from model.checkpoint import Bundle, load_bundle, save_bundle
from model.decoder import decode_greedy
from model.tokenizer import WORD_BOUNDARY, Tokenizer
from training.commit import git_commit
from training.corpora import reject
from training.dataset import Batch, SpeechDataset
from training.denominator import PhoneDenominator, phone_trigram
from training.errors import DivergedError, RecipeError
from training.evaluate import evaluate
from training.loading import TrainingLoader, sample_features
from training.metrics import word_errors
from training.objectives import Losses, Objective, TrainedNetwork
from training.optimizer import build_optimizers, clip_gradients, set_rates
from training.phones import PhoneTargets, read_pronunciations
from training.progress import ProgressReport
from training.recipe import Recipe
from training.run_state import CHECKPOINT_FILE, Position, RunState, fingerprint_of, guard_storage
from training.sampler import plan_epoch
from training.selection import select_utterances
from training.units import tokenizer_of_run

BUNDLE_DIR = "bundle"
WER_EVERY = 20  # steps between looks at the running batch's WER


def train(
    recipe: Recipe,
    out_dir: str | os.PathLike[str],
    *,
    warm_start: str | os.PathLike[str] | None = None,
    accelerator: str = "auto",
    devices: int = 1,
    report: ProgressReport | None = None,
) -> Path:
    """Run a recipe to its end, resuming where the run in `out_dir` stands.

    Args:
        recipe: what to do.
        out_dir: the run's folder, made where it is missing.
        warm_start: a bundle to begin from instead of random weights; it must have the recipe's sizes and front end,
            of which only `hop_ms` may be another.
        accelerator: `cpu`, `cuda` or `auto`, as in Lightning Fabric.
        devices: processes on this machine, each with a share of every batch: the result is that of one process (but
            for dropout). Under `torchrun` its numbers of processes and machines hold instead.
        report: where progress is shown.

    Returns:
        The directory of the bundle.

    Raises:
        CorpusError: the corpus cannot be used.
        RecipeError: recipe and warm start, or recipe and checkpoint, do not fit, or there is no such accelerator.
        DivergedError: the loss is NaN or infinite.
        StorageError: a checkpoint could not be written.
    """
    if accelerator not in ("auto", "cpu", "cuda"):
        raise RecipeError(f"accelerator is {accelerator!r}; auto, cpu and cuda are known")
    if accelerator == "cuda" and not torch.cuda.is_available():
        raise RecipeError("accelerator is cuda, but torch finds no such device; use cpu")
    out = Path(out_dir)
    out.mkdir(parents=True, exist_ok=True)
    local = int(os.environ.get("LOCAL_WORLD_SIZE", devices))
    fabric = Fabric(
        accelerator=accelerator,
        devices=local,
        num_nodes=int(os.environ.get("WORLD_SIZE", local)) // local,
        precision=recipe.optimizer.precision,  # type: ignore[arg-type]  # verified by OptimizerConfig
        loggers=TensorBoardLogger(str(out), name="tensorboard", version=""),
    )
    fabric.launch()
    report = report if report and fabric.is_global_zero else ProgressReport(quiet=not fabric.is_global_zero)
    torch.manual_seed(recipe.seed)

    tokenizer = tokenizer_of_run(recipe, out, warm_start)
    utterances, targets = select_utterances(recipe, tokenizer)
    hours = sum(utterance.duration_s for utterance in utterances) / 3600
    report.say(f"{len(utterances)} utterances, {hours:.2f} h of audio")
    phones, denominator = None, None
    if recipe.objective.phone_weight:
        phones = PhoneTargets(read_pronunciations(recipe.objective.phone_dictionary), tokenizer)
        report.say(phones.coverage(targets))
    if phones and recipe.objective.phone_mmi:
        denominator = PhoneDenominator(phone_trigram(phones.of(target) or () for target in targets))
    cache_dir = out / "cache" if recipe.data.cache else None
    front_end = FrontEnd(recipe.front_end)
    cmvn, acoustic_model = GlobalCMVN(front_end.config.n_features), AcousticModel(recipe.acoustic_model)
    resuming = (out / CHECKPOINT_FILE).exists()
    if warm_start is not None and not resuming:
        _warm_start(warm_start, front_end, cmvn, acoustic_model)
    elif not resuming:
        sample = plan_epoch(utterances, seed=recipe.seed, epoch=1, max_batch_s=recipe.data.max_batch_s)
        cmvn.estimate(sample_features(front_end, SpeechDataset(utterances, targets, cache_dir=cache_dir), sample))
    averaged = AcousticModel(recipe.acoustic_model)
    averaged.load_state_dict(acoustic_model.state_dict())
    averaged.eval()
    trained = TrainedNetwork(acoustic_model, recipe.objective)
    network = fabric.setup_module(trained)
    optimizers = build_optimizers(trained, recipe.optimizer)
    stepping = [cast(torch.optim.Optimizer, fabric.setup_optimizers(optimizer)) for optimizer in optimizers]
    for module in (front_end, cmvn, averaged):
        fabric.to_device(module)
    objective = Objective(recipe.objective, recipe.augment, front_end, cmvn, phones, denominator)
    state = RunState(acoustic_model, averaged, cmvn, optimizers, Position(), fingerprint_of(utterances, targets))
    torch.manual_seed(recipe.seed + fabric.global_rank)  # every process drops out other units
    if resuming:
        state.load(out, recipe, fabric)
        report.say(f"resuming after {state.position.epoch} passes and {state.position.batch} batches")
    position = state.position

    def write_bundle(result: dict[str, Any]) -> Bundle:
        record = {
            "recipe": asdict(recipe),
            "warm_start": str(warm_start) if warm_start else None,
            "hours": round(hours, 3),
            "utterances": len(utterances),
            "passes": position.epoch,
            "steps": position.step,
            "wall_s": round(position.seconds),
            "commit": git_commit(),
            "torch": torch.__version__,
            **result,
        }
        bundle = Bundle(recipe.name, front_end, cmvn, averaged, tokenizer, record)
        guard_storage(lambda: save_bundle(bundle, out / BUNDLE_DIR), out)
        return load_bundle(out / BUNDLE_DIR)

    loader = TrainingLoader(recipe, utterances, targets, tokenizer.encode(WORD_BOUNDARY)[0], cache_dir)
    batches = loader.batches(fabric, position.epoch, position.batch)
    last_saved = clock = time.monotonic()
    unproven: dict[str, Any] | None = None  # a checkpoint that waits for the loss of the weights in it
    while position.epoch < recipe.optimizer.epochs:
        plans = loader.plans(position.epoch)
        report.start_epoch(position.epoch, recipe.optimizer.epochs, len(plans), position.batch)
        began = time.monotonic()
        for planned in plans[position.batch :]:
            waited_s, batch = next(batches)
            position.waiting_s += waited_s
            units = sum(len(targets[index]) for row, _ in planned.items for index in row)
            share = (position.epoch + position.batch / len(plans)) / recipe.optimizer.epochs
            set_rates(optimizers, recipe.optimizer, schedule(share, recipe.optimizer.warmup_share))
            losses = objective.losses(network, batch, position.epoch)
            due = fabric.is_global_zero and time.monotonic() - last_saved >= recipe.checkpoint_minutes * 60
            total, nats, saving, n_unreadable = _agree(fabric, losses, due, len(batch.unreadable))
            if n_unreadable:
                _count_unreadable(fabric, batch, position, len(utterances))
            nats /= units
            wrong = position.watch.loss(nats if math.isfinite(total) else total)
            if unproven is not None:
                if position.watch.is_safe and not wrong:
                    state.write(unproven, out)
                else:
                    last_saved = -math.inf  # the next good moment is not to be waited for
                unproven = None
            norm = 0.0
            if not wrong:
                for optimizer in stepping:
                    optimizer.zero_grad()
                fabric.backward(losses.total * (fabric.world_size / units))  # gradients are averaged over the processes
                norm = clip_gradients(fabric, network, stepping, recipe.optimizer)
                if not math.isfinite(norm):
                    wrong = f"the gradient's norm is {norm}, with a loss of {nats:.3g}"
            if wrong:
                names = ", ".join(utterances[index].id for row, _ in planned.items for index in row)
                checkpoint = out / CHECKPOINT_FILE
                kept = f"{checkpoint} is from before it" if checkpoint.exists() else "there is no checkpoint yet"
                raise DivergedError(
                    f"{wrong}; pass {position.epoch + 1}, batch {position.batch + 1} ({names}); {kept}: "
                    "begin anew with a lower optimizer.peak_lr"
                )
            for optimizer in stepping:
                optimizer.step()
            _average(averaged, acoustic_model, recipe.optimizer.ema_decay, position.step)
            position.epoch_loss += nats * units
            position.epoch_units += units
            if position.step % WER_EVERY == 0:
                references, hypotheses = _texts(losses, batch, tokenizer) if batch.ids else ([], [])
                if warning := position.watch.text(_any(fabric, any(hypotheses))):
                    report.say(warning)
            if position.step % WER_EVERY == 0 and batch.ids:
                wer = word_errors(references, hypotheses).rate
                report.wer(wer)
                metrics = {"loss": nats, "objective": total / units, "wer": wer, "gradient_norm": norm}
                metrics["learning_rate"] = optimizers[0].param_groups[0]["lr"]
                fabric.log_dict({f"train/{key}": value for key, value in metrics.items()}, step=position.step)
            played_s = (utterances[index].duration_s / speed for row, speed in planned.items for index in row)
            report.step(nats, sum(played_s))
            position.batch += 1
            position.step += 1
            now = time.monotonic()
            position.seconds += now - clock
            position.epoch_s += now - max(clock, began)
            clock = now
            if saving and position.watch.is_safe:
                unproven = state.snapshot(recipe, fabric)  # what this step has made of the weights, the next loss says
                last_saved = time.monotonic()
        unproven = None
        line: dict[str, Any] = {
            "epoch": position.epoch + 1,
            "steps": position.step,
            "wall_s": round(position.seconds),
            "loss": position.epoch_loss / max(1, position.epoch_units),
            "waiting": round(position.waiting_s / max(position.epoch_s, 1e-9), 4),
        }
        position.epoch, position.batch = position.epoch + 1, 0
        position.epoch_loss, position.epoch_units, position.epoch_s, position.waiting_s = 0.0, 0, 0.0, 0.0
        last_pass = position.epoch == recipe.optimizer.epochs
        evaluating = recipe.data.dev and (last_pass or position.epoch % recipe.evaluate_every == 0)
        if evaluating and fabric.is_global_zero:
            bundle = write_bundle({"loss": line["loss"]})
            result = evaluate(bundle, recipe.data.dev, limit=recipe.data.dev_utterances, spread=True)
            line |= {"dev_wer": result.wer, "dev_cer": result.cer}
            fabric.log_dict({"dev/wer": result.wer, "dev/cer": result.cer}, step=position.step)
        position.history.append(line)
        if last_pass or position.watch.is_safe:
            state.save(out, recipe, fabric)
            last_saved = time.monotonic()
        report.end_epoch(line)
    results = ("loss", "dev_wer", "dev_cer")
    if fabric.is_global_zero:
        write_bundle({key: value for key, value in position.history[-1].items() if key in results})
    return out / BUNDLE_DIR


def schedule(share: float, warmup_share: float) -> float:
    """The learning rate's share of its highest: a linear warm-up, then a cosine to 0, by the share of the run, 0..1."""
    if share < warmup_share:
        return (share + 1e-3) / (warmup_share + 1e-3)
    return 0.5 * (1 + math.cos(math.pi * (share - warmup_share) / (1 - warmup_share)))


def _agree(fabric: Fabric, losses: Losses, due: bool, n_unreadable: int) -> tuple[float, float, bool, int]:
    """What all processes have together: total and CTC loss, whether a checkpoint is due, files that cannot be read.

    The first one's clock counts.
    """
    mine = [losses.total.detach(), losses.ctc, losses.ctc.new_tensor(float(due)), losses.ctc.new_tensor(n_unreadable)]
    total, ctc, saving, unreadable = cast(Tensor, fabric.all_reduce(torch.stack(mine), reduce_op="sum")).tolist()
    return total, ctc, saving > 0, round(unreadable)


def _any(fabric: Fabric, mine: bool) -> bool:
    """Whether it holds in any process: what a run does next has to be the same in all of them."""
    return bool(cast(Tensor, fabric.all_reduce(torch.tensor(float(mine), device=fabric.device), reduce_op="sum")) > 0)


@torch.no_grad()
def _average(averaged: nn.Module, model: nn.Module, decay: float, step: int) -> None:
    """Exponential moving average of the weights; its memory grows with the run, so that the start is forgotten."""
    weight = 1 - min(decay, (1 + step) / (10 + step))
    torch._foreach_lerp_(list(averaged.parameters()), list(model.parameters()), weight)


def _texts(losses: Losses, batch: Batch, tokenizer: Tokenizer) -> tuple[list[str], list[str]]:
    """What the batch's utterances say, and what the network makes of them, greedily."""
    references = [
        tokenizer.decode(row_U[:length])
        for row_U, length in zip(batch.targets_BU.tolist(), batch.target_lengths_B.tolist(), strict=True)
    ]
    hypotheses = [
        tokenizer.decode([unit.id for unit in decode_greedy(row_SV[:length])])
        for row_SV, length in zip(losses.log_probs_BSV.cpu(), losses.lengths_B.tolist(), strict=True)
    ]
    return references, hypotheses


def _count_unreadable(fabric: Fabric, batch: Batch, position: Position, total: int) -> None:
    """Take note of what any process could not read, in all of them: together they go on, or none does."""
    named = [batch.unreadable] * fabric.world_size
    if fabric.world_size > 1:
        torch.distributed.all_gather_object(named, batch.unreadable)
    new = [name for name in dict.fromkeys(chain.from_iterable(named)) if name not in position.unreadable]
    if new:
        position.unreadable.extend(new)
        reject("audio that cannot be read", position.unreadable, total)


def _warm_start(
    path: str | os.PathLike[str], front_end: FrontEnd, cmvn: GlobalCMVN, acoustic_model: AcousticModel
) -> None:
    bundle = load_bundle(path)
    # A network learns another distance between frames within minutes; other bands are other features.
    if replace(bundle.front_end.config, hop_ms=front_end.config.hop_ms) != front_end.config:
        raise RecipeError(f"{path} has front end {bundle.front_end.config}; the recipe has {front_end.config}")
    cmvn.load_state_dict(bundle.cmvn.state_dict())
    weights = {k: v for k, v in bundle.acoustic_model.state_dict().items() if not k.startswith("speller.")}
    if not bundle.acoustic_model.config.n_phones:  # a head for phones begins at random
        weights = {
            key: value for key, value in acoustic_model.state_dict().items() if key.startswith("phone_")
        } | weights
    try:
        acoustic_model.load_state_dict(weights)
    except RuntimeError as error:
        raise RecipeError(
            f"{path} has acoustic model {bundle.acoustic_model.config}; the recipe has {acoustic_model.config}"
        ) from error
