"""What the profile `train` of docker-compose.yml starts: commands that there are, and one volume for them."""

import re
import tomllib
from pathlib import Path

import typer
import yaml

import cli
from training.recipe import load_recipe

ROOT = Path(__file__).resolve().parents[1]
COMPOSE = yaml.safe_load((ROOT / "docker-compose.yml").read_text())
TRAIN, TENSORBOARD = (COMPOSE["services"][name] for name in ("train", "tensorboard"))


def test_it_trains_a_recipe_that_comes_along_with_what_training_needs() -> None:
    program, command, recipe = TRAIN["command"]
    assert program == "cepstra"
    assert command in typer.main.get_command(cli.app).commands  # type: ignore[attr-defined]  # it is a group
    default = re.fullmatch(r"\$\{CEPSTRA_RECIPE:-(\w+)\}", recipe)
    assert default
    assert (ROOT / "training" / "recipes" / f"{default[1]}.yaml").is_file()
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    assert any("tensorboard" in requirement for requirement in extras[TRAIN["build"]["args"]["EXTRAS"]])
    assert TENSORBOARD["image"] == TRAIN["image"]


def test_tensorboard_sees_the_runs_on_this_machine_alone_and_changes_nothing() -> None:
    folder = TRAIN["working_dir"]
    (volume,) = [volume.split(":")[0] for volume in TRAIN["volumes"] if volume.endswith(f":{folder}")]
    assert volume in COMPOSE["volumes"]
    assert TENSORBOARD["volumes"] == [f"{volume}:{folder}:ro"]
    assert TENSORBOARD["command"][:3] == ["tensorboard", "--logdir", f"{folder}/runs"]
    assert all(re.match(r"\$\{CEPSTRA_\w+:-127\.0\.0\.1:", port) for port in TENSORBOARD["ports"])


def test_neither_may_do_more_than_it_needs() -> None:
    for service in (TRAIN, TENSORBOARD):
        assert service["profiles"] == ["train"]
        assert (service["read_only"], service["cap_drop"]) == (True, ["ALL"])
        assert service["mem_limit"]


def test_the_proof_trains_a_recipe_on_what_it_mounts(tmp_path: Path) -> None:
    """`make prove-train-container`, as far as it goes without Docker."""
    script = (ROOT / "scripts" / "prove-train-container").read_text()
    written = re.search(r"<<'Y'\n(.*?)\nY\n", script, flags=re.DOTALL)
    assert written
    (tmp_path / "recipe.yaml").write_text(written[1])
    recipe = load_recipe(str(tmp_path / "recipe.yaml"))
    mounted = TRAIN["volumes"][-1].split(":")[-2]
    assert [str(Path(path).parent) for path in (*recipe.data.train, str(recipe.data.dev))] == [mounted] * 2
    assert recipe.optimizer.epochs > 2  # it is killed after two passes
