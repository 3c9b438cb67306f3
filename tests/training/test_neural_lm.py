"""Runs on a small language in which the last word of a sentence is its first one: no n-gram can know that."""

import json
import math
import random
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from model.neural_language_model import NeuralLanguageModel, load_neural_lm
from training.errors import DivergedError, RecipeError, StorageError
from training.neural_lm import CHECKPOINT_FILE, HISTORY_FILE, MODEL_FILE, perplexity, train_neural_lm
from training.neural_recipe import CUTOFFS, NeuralLMRecipe, fit_cutoffs, learning_rate
from training.neural_text import split
from training.ngram_text import NgramText, read_text

ENDS = ("red", "blue", "green", "white")
MIDDLE = ("so", "very", "much")
RECIPE = NeuralLMRecipe(
    width=24,
    dropout=0.1,
    epochs=2,
    batch_words=300,
    hold_back_every=20,
    peak_lr=1e-2,
    precision="fp32",
    checkpoint_minutes=60.0,
)


@pytest.fixture(scope="module")
def text(tmp_path_factory: pytest.TempPathFactory) -> NgramText:
    chosen = random.Random(1)
    lines = []
    for _ in range(2000):
        end = chosen.choice(ENDS)
        lines.append(" ".join([end, *chosen.choices(MIDDLE, k=3), end]))
    path = tmp_path_factory.mktemp("text") / "text.txt"
    path.write_text("\n".join(lines))
    return read_text([path])


def weights(folder: Path) -> dict[str, torch.Tensor]:
    state: dict[str, torch.Tensor] = torch.load(folder / CHECKPOINT_FILE, weights_only=True)["model"]
    return state


def test_a_run_learns_what_no_ngram_can(text: NgramText, tmp_path: Path) -> None:
    said: list[str] = []
    path = train_neural_lm(
        text, tmp_path, replace(RECIPE, epochs=12, dropout=0.0, peak_lr=3e-2), record={"texts": ["a"]}, say=said.append
    )
    model = load_neural_lm(path)
    nats_a_sentence = math.log(4) + 3 * math.log(3)  # a free choice at the start, three in the middle, none at the end
    reached = model.record["perplexity"]
    assert math.exp(nats_a_sentence / 6) * 0.97 < reached < math.exp(nats_a_sentence / 6) * 1.06
    assert (model.record["texts"], model.record["words"], model.record["share_of_run"]) == (["a"], 1900 * 6, 1.0)
    right, wrong = model.word_log10probs([("red", "so", "so", "much", "red"), ("red", "so", "so", "much", "blue")])
    assert right[4] > math.log10(0.9)
    assert wrong[4] < math.log10(0.1)
    assert f"held-back perplexity {reached:.1f}" in said[-1]
    history = [json.loads(line) for line in (tmp_path / HISTORY_FILE).read_text().splitlines()]
    assert history[-1]["perplexity"] == reached


def test_the_perplexity_is_that_of_the_scores_of_rescoring(text: NgramText, tmp_path: Path) -> None:
    train_neural_lm(text, tmp_path, RECIPE, vocab_size=5)
    model = load_neural_lm(tmp_path / MODEL_FILE)
    assert model.config.unknown_words == 2
    names = np.array(text.words)
    ends = np.flatnonzero(text.tokens_N == 2)
    sentences = [names[text.tokens_N[end - 5 : end]].tolist() for end in ends[19::20]]
    assert any(word not in model.words for sentence in sentences for word in sentence)
    scores = [score for sentence in model.word_log10probs(sentences) for score in sentence]
    _, _, held_back = split(_limited(text, model), longest=60, hold_back_every=20)
    assert perplexity(model, held_back) == pytest.approx(10 ** -np.mean(scores), rel=1e-5)


def _limited(text: NgramText, model: NeuralLanguageModel) -> NgramText:
    from training.ngram_text import limit_vocabulary

    return limit_vocabulary(text, allowed=model.words)


class KilledError(Exception):
    """Stands for a kill at a place that a test chooses."""


@pytest.mark.parametrize("looks", [1, 3])
def test_a_run_that_was_killed_goes_on_to_the_same_weights(text: NgramText, tmp_path: Path, looks: int) -> None:
    """With a look after every batch; the run is killed in one of them, after its checkpoint was written."""
    recipe = replace(RECIPE, checkpoint_minutes=0.0, batch_words=3000)
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    train_neural_lm(text, whole, recipe)
    seen = 0

    def say(line: str) -> None:
        nonlocal seen
        seen += line.startswith("held-back")
        if seen == looks + 1:
            raise KilledError

    with pytest.raises(KilledError):
        train_neural_lm(text, killed, recipe, say=say)
    said: list[str] = []
    train_neural_lm(text, killed, recipe, say=said.append)
    assert said[1] == f"resuming after 0 passes and {looks} batches"
    expected, actual = weights(whole), weights(killed)
    assert all(torch.equal(actual[key], expected[key]) for key in expected)
    assert (killed / MODEL_FILE).is_file()
    histories = [
        [{**json.loads(line), "wall_s": 0} for line in (folder / HISTORY_FILE).read_text().splitlines()]
        for folder in (whole, killed)
    ]
    assert histories[0] == histories[1]


def test_a_finished_run_can_be_made_longer_but_not_another_one(text: NgramText, tmp_path: Path) -> None:
    train_neural_lm(text, tmp_path, replace(RECIPE, epochs=1))
    train_neural_lm(text, tmp_path, replace(RECIPE, epochs=2, minutes=30.0))
    assert load_neural_lm(tmp_path / MODEL_FILE).record["recipe"]["epochs"] == 2
    for other in (replace(RECIPE, width=16), replace(RECIPE, seed=2)):
        with pytest.raises(RecipeError, match="another recipe or text"):
            train_neural_lm(text, tmp_path, other)
    with pytest.raises(RecipeError, match="another recipe or text"):
        train_neural_lm(text, tmp_path, RECIPE, vocab_size=4)


def test_time_can_end_a_run_in_the_middle_of_a_pass(text: NgramText, tmp_path: Path) -> None:
    train_neural_lm(text, tmp_path, replace(RECIPE, minutes=1e-6))
    record = load_neural_lm(tmp_path / MODEL_FILE).record
    assert (record["steps"], record["share_of_run"]) == (1, 1.0)


def test_bf16_learns_too(text: NgramText, tmp_path: Path) -> None:
    path = train_neural_lm(text, tmp_path, replace(RECIPE, precision="bf16", epochs=4))
    assert load_neural_lm(path).record["perplexity"] < 5  # 8 if all words were equally likely


def test_a_loss_that_is_no_number_stops_the_run_and_keeps_the_checkpoint(
    text: NgramText, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe = replace(RECIPE, epochs=1, batch_words=1000, checkpoint_minutes=0.0)
    forward, seen = NeuralLanguageModel.forward, 0

    def broken_at_the_third_batch(model: NeuralLanguageModel, *batch: torch.Tensor) -> torch.Tensor:
        nonlocal seen
        seen += model.training
        return forward(model, *batch) * (math.nan if model.training and seen == 3 else 1)

    monkeypatch.setattr(NeuralLanguageModel, "forward", broken_at_the_third_batch)
    with pytest.raises(DivergedError, match=r"the loss is nan in pass 1, batch 3; .*last\.ckpt.*lower peak_lr"):
        train_neural_lm(text, tmp_path / "run", recipe)
    said: list[str] = []
    train_neural_lm(text, tmp_path / "run", recipe, say=said.append)
    assert said[1] == "resuming after 0 passes and 2 batches"
    assert all(torch.isfinite(weight).all() for weight in weights(tmp_path / "run").values())


def test_a_disk_that_cannot_be_written_is_said(text: NgramText, tmp_path: Path) -> None:
    (tmp_path / MODEL_FILE).mkdir()
    with pytest.raises(StorageError, match="could not write below"):
        train_neural_lm(text, tmp_path, replace(RECIPE, epochs=1))
    assert [path.name for path in tmp_path.iterdir()] == [MODEL_FILE]


def test_the_learning_rate_rises_then_falls_to_0() -> None:
    rates = [learning_rate(share, replace(RECIPE, warmup_share=0.1)) for share in np.linspace(0, 1.1, 45)]
    top = int(np.argmax(rates))
    assert rates[:top] == sorted(rates[:top])
    assert rates[top:] == sorted(rates[top:], reverse=True)
    assert max(rates) == pytest.approx(RECIPE.peak_lr)
    assert rates[-1] == rates[-2] == 0
    assert rates[0] > 0


@pytest.mark.parametrize(("n_words", "expected"), [(7, (4,)), (999, (1000,)), (998, (500,)), (30_000, CUTOFFS)])
def test_cutoffs_lie_within_the_vocabulary(n_words: int, expected: tuple[int, ...]) -> None:
    assert fit_cutoffs(n_words) == expected


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"epochs": 0}, "epochs is 0; 1 is the least"),
        ({"hold_back_every": 1}, "hold_back_every is 1; 2 is the least"),
        ({"minutes": 0.0}, "minutes is 0.0"),
        ({"checkpoint_minutes": -1.0}, "checkpoint_minutes -1.0"),
        ({"peak_lr": 0.0}, "peak_lr is 0.0"),
        ({"warmup_share": 1.0}, "warmup_share is 1.0"),
        ({"precision": "fp16"}, "precision is 'fp16'"),
    ],
)
def test_options_out_of_range_are_refused(options: dict[str, float | str], message: str) -> None:
    with pytest.raises(RecipeError, match=message):
        NeuralLMRecipe(**options)  # type: ignore[arg-type]  # tests choose


def test_a_device_that_is_not_there_is_refused(
    text: NgramText, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(RecipeError, match="torch finds no such device"):
        train_neural_lm(text, tmp_path, RECIPE, accelerator="cuda")
    with pytest.raises(RecipeError, match="accelerator is 'gpu'"):
        train_neural_lm(text, tmp_path, RECIPE, accelerator="gpu")
