"""`cepstra lm train-neural`, `attach-neural` and `tune-neural` as a person runs them."""

from dataclasses import replace
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

import cli
from model.checkpoint import Bundle, load_bundle, save_bundle
from model.language_model import BeamSearchConfig, LanguageModel, RescoringConfig
from model.neural_language_model import load_neural_lm
from tests.arpa import word_list_arpa

WORDS = ("A", "B", "C", "AB", "CAB", "BCA")


def cepstra(*arguments: object) -> Result:
    return CliRunner().invoke(cli.app, [str(argument) for argument in arguments])


@pytest.fixture
def led(tiny_bundle: Bundle, tmp_path: Path) -> Path:
    """A bundle with an n-gram model, on disk."""
    (tmp_path / "words.arpa").write_text(word_list_arpa(*WORDS))
    model = LanguageModel(tmp_path / "words.arpa", WORDS, BeamSearchConfig(beam_size=20))
    save_bundle(replace(tiny_bundle, language_model=model), tmp_path / "led")
    return tmp_path / "led"


def train(tmp_path: Path, *options: object) -> Result:
    (tmp_path / "text.txt").write_text("A CAB\nAB a b c\nbca gnu\n" * 40)
    sizes = ("--width", 16, "--epochs", 1, "--hold-back-every", 10, "--precision", "fp32", "--accelerator", "cpu")
    return cepstra("lm", "train-neural", tmp_path / "text.txt", "--out", tmp_path / "run", *sizes, *options)


def test_from_a_text_to_a_bundle_that_rescores(led: Path, tones_manifest: Path, tmp_path: Path) -> None:
    (tmp_path / "vocabulary.txt").write_text("AB 3\nCAB 2\nA 2\nB\nZEBRA\n")
    trained = train(tmp_path, "--limit-vocab", tmp_path / "vocabulary.txt", "--seed", 5)
    assert trained.exit_code == 0, trained.output
    assert trained.stdout.splitlines()[-1] == str(tmp_path / "run" / "neural_lm.safetensors")
    assert "held-back perplexity" in trained.stderr
    model = load_neural_lm(tmp_path / "run" / "neural_lm.safetensors")
    assert sorted(model.words) == ["a", "ab", "b", "cab"]
    assert model.config.unknown_words == 3  # c, bca, gnu
    assert (model.record["texts"], model.record["recipe"]["seed"]) == (["text.txt"], 5)

    attached = cepstra("lm", "attach-neural", led, tmp_path / "run", "--out", tmp_path / "both", "--n-best", 7)
    assert attached.exit_code == 0, attached.output
    assert f"4 words, perplexity {model.record['perplexity']}" in attached.stdout
    bundle = load_bundle(tmp_path / "both")
    assert bundle.neural_lm is not None
    assert (bundle.neural_lm.words, bundle.rescoring) == (model.words, RescoringConfig(0.5, 7))

    weights = ("--neural-weight", 0.25, "--neural-weight", 0.75)
    tuned = cepstra("lm", "tune-neural", tmp_path / "both", "--manifest", tones_manifest, "--every", 3, *weights)
    assert tuned.exit_code == 0, tuned.output
    first, *trials, last = tuned.stdout.splitlines()
    assert first.endswith("the search alone")
    assert sorted(line.split()[-1] for line in trials) == ["0.25", "0.75"]
    assert last.endswith("(oracle)")
    best = float(trials[0].split()[-1])
    assert load_bundle(tmp_path / "both").rescoring == RescoringConfig(best, 7)


def test_refusals_are_one_line_without_a_traceback(led: Path, tiny_bundle: Bundle, tmp_path: Path) -> None:
    save_bundle(tiny_bundle, tmp_path / "plain")
    (tmp_path / "none.safetensors").write_bytes(b"nothing")
    (tmp_path / "vocabulary.txt").write_text("ZEBRA\n")
    for result, message in (
        (train(tmp_path, "--peak-lr", -1), "peak_lr is -1.0"),
        (train(tmp_path, "--limit-vocab", tmp_path / "vocabulary.txt"), "is in the vocabulary"),
        (
            cepstra("lm", "attach-neural", led, tmp_path / "none.safetensors", "--out", tmp_path / "x"),
            "none.safetensors: no neural language model",
        ),
        (
            cepstra("lm", "attach-neural", led, tmp_path / "nowhere", "--out", tmp_path / "x"),
            "nowhere",
        ),
        (
            cepstra("lm", "tune-neural", led, "--manifest", tmp_path / "text.txt"),
            "cepstra: ",
        ),
    ):
        assert result.exit_code == 1
        assert message in result.stderr
        assert result.stderr.startswith("cepstra: ")
        assert "Traceback" not in result.output
    assert train(tmp_path).exit_code == 0
    refused = cepstra("lm", "attach-neural", tmp_path / "plain", tmp_path / "run", "--out", tmp_path / "x")
    assert refused.exit_code == 1
    assert "needs an n-gram model" in refused.stderr
