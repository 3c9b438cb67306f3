"""A corpus through every runtime, and what is written about it into the bundle."""

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

import cli
from model.checkpoint import Bundle, load_bundle, save_bundle
from model.runtime import allowed_runtimes
from model.runtime_names import RUNTIMES
from model.transcriber import Transcriber
from tests.model.conftest import make_bundle, tiny_bundle
from training.corpora import read_corpus
from training.errors import StorageError
from training.evaluate import Evaluation, UtteranceResult
from training.metrics import ErrorCounts
from training.runtimes import evaluate_runtimes, record_runtimes

__all__ = ["make_bundle", "tiny_bundle"]  # fixtures of the model's tests, used here too


def test_every_runtime_hears_the_same_corpus(tiny_bundle: Bundle, clips_folder: Path) -> None:
    utterances = read_corpus(clips_folder / "clips.tsv")
    steps: list[tuple[int, int]] = []
    evaluations = evaluate_runtimes(
        Transcriber(tiny_bundle), utterances, limit=2, progress=lambda *step: steps.append(step)
    )
    assert tuple(evaluations) == RUNTIMES
    assert steps == [(done, 8) for done in range(1, 9)]
    for evaluation in evaluations.values():
        assert [result.utterance.id for result in evaluation.results] == ["train", "cups"]
    exact = [[result.hypothesis for result in evaluations[name].results] for name in ("torch", "onnx")]
    assert exact[0] == exact[1] != ["", ""]


def test_what_is_recorded_decides_what_auto_may_take(tiny_bundle: Bundle, clips_folder: Path, tmp_path: Path) -> None:
    save_bundle(tiny_bundle, tmp_path / "bundle")
    errors = {"torch": 300, "torch-bf16": 303, "onnx": 300, "onnx-int8": 304}
    evaluations = {name: evaluation(clips_folder, errors[name]) for name in RUNTIMES}
    record_runtimes(tmp_path / "bundle", evaluations, corpus="clips.tsv", greedy=True)
    training = load_bundle(tmp_path / "bundle").training
    assert training["runtimes"]["onnx-int8"]["wer"] == 0.304
    assert training["runtimes"]["torch"]["greedy"] is True
    assert training["runtimes"]["torch"]["corpus"] == "clips.tsv"
    assert {key: training[key] for key in tiny_bundle.training} == tiny_bundle.training
    assert allowed_runtimes(training) == ("torch", "torch-bf16", "onnx")
    assert sorted(path.name for path in (tmp_path / "bundle").iterdir()) == ["config.json", "model.safetensors"]


def test_a_bundle_that_cannot_be_rewritten_is_said_so(tiny_bundle: Bundle, clips_folder: Path, tmp_path: Path) -> None:
    with pytest.raises(StorageError, match=r"config\.json cannot be rewritten: No such file"):
        record_runtimes(tmp_path / "nothing", {"torch": evaluation(clips_folder, 1)}, corpus="", greedy=True)
    (tmp_path / "bundle").mkdir()
    (tmp_path / "bundle" / "config.json").mkdir()
    with pytest.raises(StorageError, match="Is a directory"):
        record_runtimes(tmp_path / "bundle", {"torch": evaluation(clips_folder, 1)}, corpus="", greedy=True)


def test_the_command_compares_and_records(tiny_bundle: Bundle, clips_folder: Path, tmp_path: Path) -> None:
    save_bundle(tiny_bundle, tmp_path / "bundle")
    options = ["--manifest", str(clips_folder / "clips.tsv"), "--bundle", str(tmp_path / "bundle"), "--limit", "1"]
    command = ["evaluate", *options, "--runtime", "all", "--record", "--json", str(tmp_path / "numbers.json")]
    result = CliRunner().invoke(cli.app, command)
    assert result.exit_code == 0, result.output
    assert [line.split()[0] for line in result.stdout.splitlines()] == ["runtime", *RUNTIMES]
    numbers = json.loads((tmp_path / "numbers.json").read_text())
    recorded = load_bundle(tmp_path / "bundle").training["runtimes"]
    assert {name: round(entry["wer"], 6) for name, entry in numbers.items()} == {
        name: entry["wer"] for name, entry in recorded.items()
    }
    assert recorded["onnx"]["corpus"] == "clips.tsv"


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        (["--record"], "the comparison of --runtime all"),
        (["--runtime=all", "--report=x"], "a report is of one runtime"),
    ],
)
def test_options_that_do_not_go_together(clips_folder: Path, options: list[str], complaint: str) -> None:
    command = ["evaluate", "--manifest", str(clips_folder / "clips.tsv"), *options]
    result = CliRunner().invoke(cli.app, command, env={"COLUMNS": "200"})
    assert result.exit_code == 2
    assert complaint in result.stderr


def evaluation(clips_folder: Path, substitutions: int) -> Evaluation:
    """One utterance of a thousand words."""
    counts = ErrorCounts(hits=1000 - substitutions, substitutions=substitutions)
    utterance = read_corpus(clips_folder / "clips.tsv")[0]
    return Evaluation((UtteranceResult(utterance, "", "", counts, counts, 1.0, ()),), 1.0, 0.1)
