"""Ablations: a recipe and some changes of it, trained one after the other, side by side in a table.

A YAML file says what:

    base: mini                # a recipe's name or file
    change: {optimizer: {epochs: 20}, data: {dev_utterances: 200}}   # for all of them; optional
    variants:
      plain: {}
      consistency: {objective: {consistency_weight: 0.2}, augment: {time_masks: 12}}
      longer: {begin_from: plain}   # the weights of a variant further up, or of a bundle

Every variant is a run with a folder of its own, so that what was interrupted goes on where it was; ablations of one
base may share those folders, and a variant that several of them have is then trained once. All have the same seed, but
for a variant that changes nothing else: that one shows how much is chance.
"""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import yaml

from model.checkpoint import load_bundle
from training.errors import RecipeError
from training.history import HISTORY_FILE, read_history
from training.recipe import Recipe, build_recipe, load_recipe

RESULT_FILE = "result.json"
RECIPE_FILE = "recipe.yaml"
BUNDLE_DIR, CACHE_DIR, CHECKPOINT_FILE = "bundle", "cache", "last.ckpt"  # as `training.trainer` names them

Train = Callable[[Path, Path, Path | None], bool]
"""From a recipe's file, a run's folder and perhaps a bundle to begin from, to whether the run came to its end."""


@dataclass(frozen=True)
class Ablation:
    """What is compared.

    Attributes:
        name: of the file it was read from.
        base: the recipe that all of them change.
        variants: recipes by the variants' names, in the order of the file.
        begin_from: what some of them begin from: a variant's name, or a bundle's directory.
    """

    name: str
    base: str
    variants: dict[str, Recipe]
    begin_from: dict[str, str]


@dataclass(frozen=True)
class Result:
    """What a variant reached.

    Attributes:
        parameters: weights of the acoustic model, without what only training needs.
        passes: over the corpus.
        steps: of the optimizer.
        loss: mean CTC loss of the last layer in the last pass, nats a unit.
        dev_cer, dev_wer: on the dev corpus, greedily decoded, as fractions.
        seconds: spent training.
        commit: of this repository.
    """

    parameters: int
    passes: int
    steps: int
    loss: float
    dev_cer: float
    dev_wer: float
    seconds: float
    commit: str


def load_ablation(path: str | os.PathLike[str]) -> Ablation:
    """Read an ablation's file.

    Raises:
        RecipeError: there is none, it has other keys than the example above, a recipe cannot be made of it, a variant
            changes the seed and something else, or there is no dev corpus to compare on.
    """
    try:
        values = yaml.safe_load(Path(path).read_text(encoding="utf-8"))
    except (OSError, yaml.YAMLError) as error:
        raise RecipeError(f"no ablation at {path}: {error}") from error
    known = {"base", "change", "variants"}
    if not isinstance(values, dict) or not {"base", "variants"} <= set(values) <= known:
        raise RecipeError(f"{path} must have base and variants, and may have change; nothing else")
    if not isinstance(values["variants"], dict) or not values["variants"]:
        raise RecipeError(f"{path}: variants must be a group of at least one variant")
    common = _merge(asdict(load_recipe(values["base"])), values.get("change") or {}, f"{path}: change")
    variants: dict[str, Recipe] = {}
    begin_from: dict[str, str] = {}
    for name, change in values["variants"].items():
        where = f"{path}: {name}"
        changed = {**(change or {}), "name": str(name)}
        if "begin_from" in changed:
            begin_from[str(name)] = origin = str(changed.pop("begin_from"))
            if origin not in variants and not Path(origin).is_dir():
                raise RecipeError(f"{where}: begin_from is {origin!r}; it must be a variant further up, or a bundle")
        recipe = build_recipe(_merge(common, changed, where), where)
        if recipe.seed != common["seed"] and (change or {}).keys() != {"seed"}:
            raise RecipeError(
                f"{where}: seed is {recipe.seed}; a variant with another one than {common['seed']} changes nothing else"
            )
        if not recipe.data.dev:
            raise RecipeError(f"{where}: data.dev names no corpus to compare on")
        variants[str(name)] = recipe
    return Ablation(Path(path).stem, str(values["base"]), variants, begin_from)


def run_ablation(ablation: Ablation, out_dir: str | os.PathLike[str], train: Train) -> dict[str, Result | None]:
    """Train what has not been trained yet; the results by the variants' names, None for a run that failed.

    Args:
        ablation: what to compare.
        out_dir: gets a folder for every variant. Finished ones are not trained again.
        train: does it; see `training_command`. A variant whose origin is not finished is not begun.

    Raises:
        RecipeError: a folder has the result of another recipe.
    """
    results: dict[str, Result | None] = {}
    for name, recipe in ablation.variants.items():
        run = Path(out_dir) / name
        run.mkdir(parents=True, exist_ok=True)
        if (run / RESULT_FILE).exists():
            results[name] = _read_result(run / RESULT_FILE, recipe)
            continue
        bundle = None
        if (origin := ablation.begin_from.get(name)) is not None:
            if results.get(origin, "none yet") is None:
                results[name] = None
                continue
            bundle = Path(out_dir) / origin / BUNDLE_DIR if origin in results else Path(origin)
        (run / RECIPE_FILE).write_text(json.dumps(asdict(recipe), indent=2) + "\n", encoding="utf-8")  # JSON is YAML
        results[name] = _collect(run, recipe) if train(run / RECIPE_FILE, run, bundle) else None
    return results


def training_command(accelerator: str, devices: int) -> Train:
    """Training in a process of its own, by `cepstra train`: nothing of a run is left over for the next one."""

    def train(recipe_file: Path, run: Path, begin_from: Path | None) -> bool:
        options = ["--out", str(run), "--accelerator", accelerator, "--devices", str(devices)]
        if begin_from is not None:
            options += ["--warm-start", str(begin_from)]
        return subprocess.run([sys.executable, "-m", "cli", "train", str(recipe_file), *options]).returncode == 0

    return train


def as_table(ablation: Ablation, results: Mapping[str, Result | None]) -> str:
    """A Markdown table of the results, with a line above it that says what they have in common."""
    first = next(iter(ablation.variants.values()))
    done = [result for result in results.values() if result]
    commits = ", ".join(f"`{commit}`" for commit in sorted({result.commit for result in done}))
    lines = [
        f"Recipe `{ablation.base}`, seed {first.seed}, at most {first.data.dev_utterances} utterances of dev, greedy; "
        f"the loss is CTC of the last layer in the last pass, nats a unit; commit {commits or 'unknown'}.",
        "",
        "| variant | parameters | passes | steps | loss | dev CER | dev WER | seconds |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for name, result in results.items():
        if result is None:
            lines.append(f"| {name} | did not finish | | | | | | |")
            continue
        lines.append(
            f"| {name} | {result.parameters / 1e6:.2f} M | {result.passes} | {result.steps} | {result.loss:.3f} "
            f"| {result.dev_cer:.1%} | {result.dev_wer:.1%} | {result.seconds:.0f} |"
        )
    return "\n".join(lines) + "\n"


def _collect(run: Path, recipe: Recipe) -> Result:
    """The result of a run that has ended, also written into its folder, from which is removed what it alone needed."""
    bundle = load_bundle(run / BUNDLE_DIR)
    last = read_history(run / HISTORY_FILE)[-1]
    assert last.dev_cer is not None and last.dev_wer is not None
    result = Result(
        parameters=sum(weight.numel() for weight in bundle.acoustic_model.parameters()),
        passes=last.epoch,
        steps=bundle.training["steps"],
        loss=last.loss,
        dev_cer=last.dev_cer,
        dev_wer=last.dev_wer,
        seconds=bundle.training["wall_s"],
        commit=bundle.training["commit"],
    )
    scratch = run / f".{RESULT_FILE}.tmp"
    scratch.write_text(json.dumps({"recipe": asdict(recipe), "result": asdict(result)}, indent=2) + "\n")
    os.replace(scratch, run / RESULT_FILE)
    shutil.rmtree(run / CACHE_DIR, ignore_errors=True)
    (run / CHECKPOINT_FILE).unlink(missing_ok=True)
    return result


def _read_result(path: Path, recipe: Recipe) -> Result:
    values = json.loads(path.read_text())
    if build_recipe(values["recipe"], str(path)) != recipe:
        raise RecipeError(f"{path} is the result of another recipe; use another folder, or remove that one")
    return Result(**values["result"])


def _merge(values: Mapping[str, Any], change: Any, where: str) -> dict[str, Any]:
    """`values` with what `change` says in place of it, group by group."""
    if not isinstance(change, dict):
        raise RecipeError(f"{where} is {change!r}; it must be a group of options")
    merged = dict(values)
    for key, value in change.items():
        old = merged.get(key)
        merged[key] = _merge(old, value, f"{where}: {key}") if isinstance(old, dict) else value
    return merged
