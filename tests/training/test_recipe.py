import itertools
import re
from pathlib import Path

import pytest

from training.errors import RecipeError
from training.librispeech import RECIPES
from training.recipe import RECIPES_DIR, load_recipe


@pytest.mark.parametrize("path", sorted(RECIPES_DIR.glob("*.yaml")), ids=lambda path: path.stem)
def test_every_recipe_that_comes_along_loads_by_name(path: Path) -> None:
    recipe = load_recipe(path.stem)
    assert recipe.acoustic_model.n_features == recipe.front_end.n_features


@pytest.mark.parametrize("name", RECIPES)
def test_a_recipe_to_be_downloaded_for_says_what_it_asks_of_a_machine(name: str) -> None:
    """A number for each of three things, and whether it was measured or estimated."""
    lines = (RECIPES_DIR / f"{name}.yaml").read_text(encoding="utf-8").splitlines()
    header = "\n".join(itertools.takewhile(lambda line: line.startswith("#"), lines))
    entries = dict(re.findall(r"^# (\w+) +(\S.*(?:\n# {8,}.*)*)", header, flags=re.MULTILINE))
    recipe = load_recipe(name)
    assert f"× {recipe.optimizer.epochs} passes" in entries["hours"]
    for entry in ("memory", "time"):
        assert re.search(r"\d", entries[entry])
        assert "measured" in entries[entry] and "estimated" in entries[entry]
        assert "GPU" in entries[entry]
    assert f"cepstra train {name}" in header


def test_options_reach_the_recipe(tmp_path: Path) -> None:
    (tmp_path / "mine.yaml").write_text(
        "name: mine\ndata: {train: [a.tsv, b.tsv], max_batch_s: 60}\noptimizer: {peak_lr: 2e-3, epochs: 7}\n"
        "augment: {speeds: [1.0]}\nfront_end: {kind: mfcc, n_mfcc: 20}\nacoustic_model: {n_features: 20}\n"
    )
    recipe = load_recipe(tmp_path / "mine.yaml")
    assert recipe.data.train == ("a.tsv", "b.tsv")
    assert (recipe.data.max_batch_s, recipe.optimizer.peak_lr, recipe.optimizer.epochs) == (60.0, 0.002, 7)
    assert recipe.augment.speeds == (1.0,)
    assert recipe.front_end.n_features == 20


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("name: x\nepochs: 3\n", "unknown option 'epochs'"),
        ("name: x\noptimizer: {learning_rate: 1}\n", "unknown option 'learning_rate'"),
        ("name: x\noptimizer: {epochs: many}\n", "epochs is 'many'; it must be of type int"),
        ("name: x\noptimizer: {peak_lr: fast}\n", "peak_lr is 'fast'; it must be a number"),
        ("name: x\noptimizer: {epochs: 0}\n", "optimizer.epochs is 0"),
        ("name: x\noptimizer: {precision: fp8}\n", "precision is 'fp8'"),
        ("name: x\ndata: {max_utterance_s: 99, max_batch_s: 50}\n", "max_utterance_s is 99"),
        ("name: x\ndata: 5\n", "data is 5; it must be a group"),
        ("name: x\nfront_end: {f_max_hz: 9000}\n", "mel band is 20.0..9000.0 Hz"),
        ("name: x\nfront_end: {n_mels: 40}\n", "front end gives 40 features; acoustic_model.n_features is 80"),
        (
            "name: x\naugment: {frequency_warp: 0.1}\nfront_end: {kind: mfcc}\nacoustic_model: {n_features: 40}\n",
            "augment.frequency_warp is 0.1, but the front end's kind is 'mfcc'",
        ),
        ("name: a/b\n", "must be a plain name"),
        ("{}", "name"),
        ("name: [unclosed\n", "is not YAML"),
        ("name: x\ndata: {train: train.tsv}\n", "train is 'train.tsv'; it must be a list"),
        ("name: x\ndata: {train: [5]}\n", "train is 5; it must be of type str"),
        ("name: x\ndata: {dev: [dev.tsv]}\n", r"dev is \['dev.tsv'\]; it must be of type str"),
        ("name: x\naugment: {speeds: 1.0}\n", "speeds is 1.0; it must be a list"),
        ("name: x\naugment: {speeds: [fast]}\n", "speeds is 'fast'; it must be a number"),
        ("name: x\naugment: {gain_db: [1, 2]}\n", r"gain_db is \[1, 2\]; it must be of type float"),
        ("name: x\naugment: {gain_db: .nan}\n", "gain_db is nan; it must be a finite number"),
        ("name: x\noptimizer: {peak_lr: .inf}\n", "peak_lr is inf; it must be a finite number"),
        ("name: x\noptimizer: {weight_decay: -0.1}\n", "weight_decay is -0.1; it must not be negative"),
        ("name: x\nseed: 9223372036854775808\n", "seed is 9223372036854775808"),
        ("name: x\n1: 2\nepochs: 3\n", "unknown option 1"),
    ],
)
def test_what_cannot_be_meant_is_refused_by_name(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "bad.yaml").write_text(text)
    with pytest.raises(RecipeError, match=message) as refusal:
        load_recipe(tmp_path / "bad.yaml")
    assert "\n" not in str(refusal.value)


def test_a_recipe_that_is_not_there_lists_those_that_are() -> None:
    with pytest.raises(RecipeError, match=r"no recipe 'nothing'.*base"):
        load_recipe("nothing")


def test_a_recipe_that_is_not_utf8_is_named(tmp_path: Path) -> None:
    (tmp_path / "mine.yaml").write_bytes("name: café\n".encode("latin-1"))
    with pytest.raises(RecipeError, match=r"mine\.yaml is not UTF-8: it has a byte 0xe9"):
        load_recipe(tmp_path / "mine.yaml")
