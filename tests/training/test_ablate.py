"""Ablations of the tiny recipe: what is trained, what is skipped, and what the table says."""

import json
from dataclasses import asdict, replace
from pathlib import Path

import pytest
import yaml
from typer.testing import CliRunner

from model.checkpoint import load_bundle
from training.errors import RecipeError
from training.experiments.__main__ import HERE, app
from training.experiments.ablate import Result, as_table, load_ablation, run_ablation
from training.progress import ProgressReport
from training.recipe import Recipe, load_recipe
from training.trainer import train

QUIET = ProgressReport(quiet=True)
VARIANTS = {"plain": {}, "wider": {"acoustic_model": {"hidden_size": 28}}}


def write(folder: Path, recipe: Recipe, **values: object) -> Path:
    (folder / "tiny.yaml").write_text(json.dumps(asdict(recipe)))
    content = {
        "base": str(folder / "tiny.yaml"),
        "change": {"optimizer": {"epochs": 1}},
        "variants": VARIANTS,
        **values,
    }
    (folder / "sizes.yaml").write_text(yaml.safe_dump({**content, **values}))
    return folder / "sizes.yaml"


def test_every_variant_is_trained_once_and_stands_in_the_table(tiny_recipe: Recipe, tmp_path: Path) -> None:
    ablation = load_ablation(write(tmp_path, tiny_recipe))
    trained = []

    def here(recipe_file: Path, run: Path, begin_from: Path | None) -> bool:
        trained.append(run.name)
        if trained == ["plain", "wider"]:
            return False  # as if it had been killed
        train(load_recipe(recipe_file), run, accelerator="cpu", report=QUIET)
        return True

    first = run_ablation(ablation, tmp_path / "runs", here)
    assert first["wider"] is None
    assert "| wider | did not finish |" in as_table(ablation, first)
    results = run_ablation(ablation, tmp_path / "runs", here)
    assert trained == ["plain", "wider", "wider"]
    assert results["plain"] == first["plain"]
    plain, wider = results["plain"], results["wider"]
    assert plain and wider and wider.parameters > plain.parameters
    (line,) = [json.loads(line) for line in (tmp_path / "runs" / "plain" / "history.jsonl").read_text().splitlines()]
    assert (plain.passes, plain.loss, plain.dev_cer, plain.dev_wer) == (
        1,
        line["loss"],
        line["dev_cer"],
        line["dev_wer"],
    )
    assert not (tmp_path / "runs" / "plain" / "cache").exists()  # nobody needs what is finished once more
    assert (plain.steps, plain.seconds) == (line["steps"], line["wall_s"])
    changed = load_ablation(write(tmp_path, tiny_recipe, change={"optimizer": {"epochs": 2}}))
    with pytest.raises(RecipeError, match=r"result\.json is the result of another recipe"):
        run_ablation(changed, tmp_path / "runs", here)


def test_the_table_is_markdown(tiny_recipe: Recipe, tmp_path: Path) -> None:
    ablation = load_ablation(write(tmp_path, tiny_recipe))
    result = Result(8_190_000, 12, 960, 1.0649, 0.2998, 0.7382, 5340.2, "abc123")
    *_, heading, rule, plain, wider = as_table(ablation, {"plain": result, "wider": None}).splitlines()
    assert plain == "| plain | 8.19 M | 12 | 960 | 1.065 | 30.0% | 73.8% | 5340 |"
    assert {row.count("|") for row in (heading, rule, plain, wider)} == {9}
    assert "commit `abc123`" in as_table(ablation, {"plain": result})


def test_variants_differ_from_the_base_in_what_they_say_alone(tiny_recipe: Recipe, tmp_path: Path) -> None:
    variants = load_ablation(write(tmp_path, tiny_recipe)).variants
    plain, wider = asdict(variants["plain"]), asdict(variants["wider"])
    assert (plain.pop("name"), wider.pop("name")) == ("plain", "wider")
    assert wider["acoustic_model"].pop("hidden_size") == 28
    assert plain["acoustic_model"].pop("hidden_size") == tiny_recipe.acoustic_model.hidden_size
    assert plain == wider
    assert plain["optimizer"]["epochs"] == 1


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"variants": {}}, "at least one variant"),
        (
            {"variants": {"seeds": {"seed": 2, "optimizer": {"epochs": 2}}}},
            "seed is 2; a variant with another one than 1 changes nothing else",
        ),
        ({"variants": {"later": {"begin_from": "plain"}, "plain": {}}}, "begin_from is 'plain'; it must be a variant"),
        ({"variants": {"odd": {"optimizer": {"rate": 2}}}}, "unknown option 'rate'"),
        ({"variants": {"odd": {"optimizer": 5}}}, "odd: optimizer is 5; it must be a group"),
        ({"variants": {"blind": {"data": {"dev": ""}}}}, "names no corpus to compare on"),
        ({"variant": {}}, "must have base and variants"),
    ],
)
def test_what_is_no_ablation_is_refused(
    values: dict[str, object], message: str, tiny_recipe: Recipe, tmp_path: Path
) -> None:
    with pytest.raises(RecipeError, match=message):
        load_ablation(write(tmp_path, tiny_recipe, **values))


def test_a_variant_begins_from_another_ones_bundle_and_not_without_it(tiny_recipe: Recipe, tmp_path: Path) -> None:
    variants = {"first": {}, "second": {"begin_from": "first"}, "third": {"begin_from": str(tmp_path)}}
    ablation = load_ablation(write(tmp_path, tiny_recipe, variants=variants))
    begun: list[tuple[str, Path | None]] = []

    def fails(recipe_file: Path, run: Path, begin_from: Path | None) -> bool:
        begun.append((run.name, begin_from))
        return False

    assert run_ablation(ablation, tmp_path / "runs", fails) == {"first": None, "second": None, "third": None}
    assert begun == [("first", None), ("third", tmp_path)]

    def works(recipe_file: Path, run: Path, begin_from: Path | None) -> bool:
        begun.append((run.name, begin_from))
        train(load_recipe(recipe_file), run, warm_start=begin_from, accelerator="cpu", report=QUIET)
        return True

    run_ablation(replace(ablation, variants=dict(list(ablation.variants.items())[:2])), tmp_path / "runs", works)
    bundle = tmp_path / "runs" / "first" / "bundle"
    assert begun[2:] == [("first", None), ("second", bundle)]
    assert load_bundle(bundle.parents[1] / "second" / "bundle").training["warm_start"] == str(bundle)


def test_another_seed_alone_is_a_variant(tiny_recipe: Recipe, tmp_path: Path) -> None:
    variants = load_ablation(write(tmp_path, tiny_recipe, variants={"plain": {}, "again": {"seed": 2}})).variants
    assert {name: recipe.seed for name, recipe in variants.items()} == {"plain": 1, "again": 2}


@pytest.mark.parametrize("path", sorted(HERE.glob("*.yaml")), ids=lambda path: path.stem)
def test_every_ablation_that_comes_along_loads(path: Path) -> None:
    assert len(load_ablation(path).variants) > 1


def test_variants_of_one_name_are_one_variant_in_all_that_come_along() -> None:
    """They share a folder of runs, where each is trained once."""
    known: dict[tuple[str, str], tuple[Recipe, str | None]] = {}
    for path in sorted(HERE.glob("*.yaml")):
        ablation = load_ablation(path)
        for name, recipe in ablation.variants.items():
            variant = (recipe, ablation.begin_from.get(name))
            assert known.setdefault((ablation.base, name), variant) == variant, f"{path.name}: {name}"


def test_the_command_trains_in_processes_of_their_own(tiny_recipe: Recipe, tmp_path: Path) -> None:
    path = write(tmp_path, tiny_recipe, variants={"plain": {}})
    command = [str(path), "--out", str(tmp_path / "runs"), "--accelerator", "cpu"]
    before = CliRunner().invoke(app, [*command, "--only-tables"])
    assert before.exit_code == 1
    assert "| plain | did not finish |" in before.output
    outcome = CliRunner().invoke(app, command)
    assert outcome.exit_code == 0, outcome.output
    table = (tmp_path / "runs" / "sizes.md").read_text()
    assert outcome.stdout == f"## sizes\n\n{table}\n"
    assert "| plain | 0.0" in table
    assert CliRunner().invoke(app, [*command, "--only-tables"]).stdout == outcome.stdout


def test_the_command_goes_by_name_or_file_and_says_what_is_wrong(tmp_path: Path) -> None:
    outcome = CliRunner().invoke(app, [str(tmp_path / "nothing.yaml")])
    assert outcome.exit_code == 1
    assert "no ablation at" in outcome.output
