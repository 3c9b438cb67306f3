"""A speller learns what its text writes, and a run that is killed goes on as if nothing had happened."""

import json
import random
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from typer.testing import CliRunner

import cli
import training.speller
from model.checkpoint import Bundle, load_bundle, save_bundle
from model.decoder import decode_greedy
from model.phones import N_PHONES, PHONE_BOUNDARY_ID
from model.tokenizer import CharacterTokenizer
from tests.training.conftest import TEXTS
from tests.training.spelled import DICTIONARY, spoken_bundle, spoken_recipe
from training.errors import CorpusError, RecipeError
from training.heard import INDEX_FILE, LETTERS_FILE, PHONES_FILE, hear, read_heard
from training.ngram_text import NgramText, read_text
from training.phones import read_pronunciations
from training.recipe import Recipe
from training.speller import CHECKPOINT_FILE, HISTORY_FILE, train_speller
from training.speller_batches import SpelledText, SpellerBatches
from training.speller_recipe import SpellerRecipe

ASKED = SpellerRecipe(
    layers=2, size=16, steps=6, batch_s=50.0, hours=1.0, peak_lr=1e-2, ema_decay=0.5, checkpoint_minutes=60.0
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("speller")


@pytest.fixture
def recipe(tiny_recipe: Recipe, folder: Path) -> Recipe:
    return spoken_recipe(tiny_recipe, folder)


@pytest.fixture
def bundle_dir(recipe: Recipe, tiny_bundle: Bundle, folder: Path) -> Path:
    if not (folder / "bundle").exists():
        bundle = replace(spoken_bundle(tiny_bundle, recipe), training={"hours": 1.0, "dev_wer": 0.5})
        save_bundle(bundle, folder / "bundle")
    return folder / "bundle"


@pytest.fixture(scope="module")
def text(folder: Path) -> NgramText:
    chosen = random.Random(1)
    (folder / "text.txt").write_text(
        "\n".join(" ".join(chosen.choices(TEXTS, k=4)) for _ in range(100)) + "\nzebra a\n"
    )
    return read_text([folder / "text.txt"])


@pytest.fixture
def batches(recipe: Recipe, bundle_dir: Path, text: NgramText, folder: Path) -> SpellerBatches:
    bundle = load_bundle(bundle_dir)
    hear(recipe, bundle, folder / "heard", hours=1.0, say=lambda line: None)
    spelled = SpelledText(text, read_pronunciations(recipe.objective.phone_dictionary), bundle.tokenizer)
    boundary = bundle.tokenizer.encode(" ")[0]
    return SpellerBatches(spelled, read_heard(folder / "heard"), ASKED, boundary, bundle.frame_s)


def test_a_text_is_its_words_that_have_a_pronunciation(recipe: Recipe, text: NgramText, bundle_dir: Path) -> None:
    spelled = SpelledText(text, read_pronunciations(recipe.objective.phone_dictionary), CharacterTokenizer())
    words = [text.words[word] for word in spelled.words_N]
    assert set(words) == {word for words in TEXTS for word in words.split()}
    assert spelled.missing == pytest.approx(1 / (len(words) + 1))
    tokenizer = CharacterTokenizer()
    for word in set(words):
        index = text.words.index(word)
        assert tokenizer.decode(spelled.units[index]) == word
        assert len(spelled.phones[index]) == len(word)
    excerpt = spelled.excerpt(5, random.Random(3))
    running = spelled.words_N.tolist()
    assert any(running[at : at + 5] == excerpt for at in range(len(running)))
    with pytest.raises(CorpusError, match="none of the text's words is in"):
        SpelledText(text, {"other": ((2,),)}, tokenizer)


@pytest.mark.parametrize("step", range(12))
def test_rows_are_as_full_of_whole_words_as_they_can_be(batches: SpellerBatches, step: int) -> None:
    batch = batches.batch(step)
    rows, n_frames, _ = batch.phones_BSP.shape
    assert n_frames in (192, 384)
    assert rows == int(50.0 / (n_frames * 0.04))
    assert (batch.lengths_B <= n_frames).all()
    tokenizer = CharacterTokenizer()
    for units_U, length in zip(batch.targets_BU.tolist(), batch.target_lengths_B.tolist(), strict=True):
        assert all(word in DICTIONARY for word in tokenizer.decode(units_U[:length]).split())
    if batch.letters_BSV is not None:
        assert batch.letters_BSV.shape == (rows, n_frames, tokenizer.vocabulary_size)


def test_there_are_texts_and_what_was_heard_with_characters_and_without(batches: SpellerBatches) -> None:
    found = [batches.batch(step) for step in range(60)]
    n_with_letters = sum(batch.letters_BSV is not None for batch in found)
    assert 3 <= n_with_letters <= 20  # 0.25 × 0.6 of 60 is 9
    # What was sung is short, so what was heard is much shorter than a text's rows.
    heard = [float(batch.lengths_B.max()) < 100 for batch in found]
    assert n_with_letters < sum(heard) <= 30
    expected = [
        "text" if not is_heard else "phones" if batch.letters_BSV is None else "heard"
        for batch, is_heard in zip(found, heard, strict=True)
    ]
    assert [batch.kind for batch in found] == expected


def test_the_processes_share_the_rows_of_one(batches: SpellerBatches) -> None:
    for step in range(8):
        whole, parts = batches.batch(step), [batches.batch(step, rank, 2) for rank in range(2)]
        for rank, part in enumerate(parts):
            assert torch.equal(part.phones_BSP, whole.phones_BSP[rank::2])
            assert torch.equal(part.target_lengths_B, whole.target_lengths_B[rank::2])
            assert (part.letters_BSV is None) == (whole.letters_BSV is None)


def hear_without_doubt(recipe: Recipe, bundle: Bundle, out: Path, **rest: Any) -> None:
    """In the place of `hear`: every phone for three frames, a tenth of each frame's probability elsewhere."""
    del rest
    tokenizer, phones = bundle.tokenizer, read_pronunciations(recipe.objective.phone_dictionary)
    rows, utterances, first_frame = [], list[list[Any]](), 0
    for text in TEXTS:
        spoken: list[int] = []
        for word in text.split():
            spoken += [*([PHONE_BOUNDARY_ID] if spoken else []), *phones[word][0]]
        row_SP = torch.full((3 * len(spoken), N_PHONES), 0.1 / (N_PHONES - 1))
        row_SP[torch.arange(len(row_SP)), torch.tensor(spoken).repeat_interleave(3)] = 0.9
        rows.append(row_SP.log().half().numpy())
        starts = list(range(0, len(row_SP), 3))
        utterances.append([tokenizer.encode(text), spoken, starts, first_frame, len(row_SP)])
        first_frame += len(row_SP)
    out.mkdir(parents=True, exist_ok=True)
    np.save(out / PHONES_FILE, np.concatenate(rows))
    np.save(out / LETTERS_FILE, np.full((first_frame, tokenizer.vocabulary_size), -3.4, np.float16))
    (out / INDEX_FILE).write_text(json.dumps({"made_of": "", "utterances": utterances}))


def test_a_speller_learns_to_spell(
    recipe: Recipe, bundle_dir: Path, text: NgramText, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(training.speller, "hear", hear_without_doubt)
    said: list[str] = []
    asked, undisturbed = replace(ASKED, steps=150), replace(recipe, data=replace(recipe.data, dev=""))
    path = train_speller(
        undisturbed, bundle_dir, text, tmp_path / "run", asked, record={"texts": ["a"]}, say=said.append
    )
    bundle, before = load_bundle(path), load_bundle(bundle_dir)
    heard = read_heard(tmp_path / "run" / "heard")
    for utterance, expected in zip(heard.utterances, TEXTS, strict=True):
        frames = slice(utterance.first_frame, utterance.first_frame + utterance.n_frames)
        phones_BSP = torch.from_numpy(heard.phones_NP[frames].astype(np.float32)).unsqueeze(0)
        spelled_BSV = bundle.acoustic_model.speller(phones_BSP, torch.tensor([utterance.n_frames]))
        assert bundle.tokenizer.decode([unit.id for unit in decode_greedy(spelled_BSV[0])]) == expected
    weights = bundle.acoustic_model.state_dict()
    for name, weight in before.acoustic_model.state_dict().items():
        assert torch.equal(weights[name], weight)  # the network below it is as it was
    record = bundle.training["speller"]
    assert (record["texts"], record["steps"], record["recipe"]) == (["a"], 150, asdict(asked))
    assert bundle.training["hours"] == 1.0 and "dev_wer" not in bundle.training
    assert record["nats_text"] < 0.1
    assert "0.14% of it have no pronunciation and are left out" in said[0]


class KilledError(Exception):
    """Stands for a kill at a place that a test chooses."""


def test_a_run_that_was_killed_goes_on_to_the_same_weights(
    recipe: Recipe, bundle_dir: Path, text: NgramText, tmp_path: Path
) -> None:
    train_speller(recipe, bundle_dir, text, tmp_path / "whole", ASKED)
    often = replace(ASKED, checkpoint_minutes=0.0)  # a checkpoint after every step
    seen = 0

    def say(line: str) -> None:
        nonlocal seen
        seen += line.startswith("after")
        if seen == 4:
            raise KilledError

    with pytest.raises(KilledError):
        train_speller(recipe, bundle_dir, text, tmp_path / "killed", often, say=say)
    said: list[str] = []
    train_speller(recipe, bundle_dir, text, tmp_path / "killed", often, say=said.append)
    assert "resuming after 3 steps" in said
    whole, killed = (torch.load(tmp_path / name / CHECKPOINT_FILE, weights_only=True) for name in ("whole", "killed"))
    for part in ("speller", "averaged"):
        for name, weight in whole[part].items():
            assert torch.equal(killed[part][name], weight)
    history = [json.loads(line) for line in (tmp_path / "killed" / HISTORY_FILE).read_text().splitlines()]
    assert [line["steps"] for line in history] == [1, 2, 3, 4, 5, 6]
    assert all(line["dev_cer"] >= 0 for line in history)
    with pytest.raises(RecipeError, match="holds a run of other sizes or another schedule"):
        train_speller(recipe, bundle_dir, text, tmp_path / "killed", replace(ASKED, seed=2))


def test_the_command_gives_a_bundle_its_speller_and_the_next_run_begins_with_it(
    recipe: Recipe, bundle_dir: Path, text: NgramText, folder: Path, tmp_path: Path
) -> None:
    del text  # written by its fixture
    (tmp_path / "recipe.yaml").write_text(json.dumps(asdict(recipe)))

    def run(bundle: Path, out: str, *options: object) -> Bundle:
        words = ["train-speller", tmp_path / "recipe.yaml", bundle, folder / "text.txt", "--out", tmp_path / out]
        sizes = ["--layers", 2, "--size", 16, "--batch-s", 50, *options]
        done = CliRunner().invoke(cli.app, list(map(str, [*words, *sizes])))
        assert done.exit_code == 0, done.output
        assert done.stdout.splitlines()[-1] == str(tmp_path / out / "bundle")
        return load_bundle(tmp_path / out / "bundle")

    first = run(bundle_dir, "first", "--steps", 3)
    second = run(tmp_path / "first" / "bundle", "second", "--steps", 1, "--peak-lr", 1e-12)
    name = "speller.head.weight"
    weight, again = (bundle.acoustic_model.state_dict()[name] for bundle in (first, second))
    torch.testing.assert_close(again, weight, rtol=0, atol=1e-3)  # it was stored in half precision
    third = run(bundle_dir, "third", "--steps", 1, "--peak-lr", 1e-12, "--warm-start", tmp_path / "first" / "bundle")
    torch.testing.assert_close(third.acoustic_model.state_dict()[name], weight, rtol=0, atol=1e-3)
    assert second.training["speller"]["texts"] == ["text.txt"]
    assert third.training["speller"]["warm_start"] == "bundle"
    words = ["train-speller", tmp_path / "recipe.yaml", bundle_dir, folder / "text.txt", "--out", tmp_path / "fourth"]
    begun = ["--layers", 3, "--size", 16, "--warm-start", tmp_path / "first" / "bundle"]
    refused = CliRunner().invoke(cli.app, list(map(str, [*words, *begun])))
    assert refused.exit_code == 1
    assert "has a speller of 2 layers of 16; 3 of 16 are asked for" in " ".join(refused.output.split())
    assert not (tmp_path / "fourth").exists()  # nothing was listened to for it
    refused = CliRunner().invoke(
        cli.app, ["train-speller", "x.yaml", str(bundle_dir), "t.txt", "--out", str(tmp_path / "r"), "--steps", "0"]
    )
    assert refused.exit_code == 1 and "speller steps is 0; it must be at least 1" in refused.output


@pytest.mark.parametrize(
    ("option", "value"),
    [("layers", 0), ("size", 0), ("hours", 0.0), ("peak_lr", -1.0), ("batch_s", 15.0), ("heard_share", 1.1)],
)
def test_what_cannot_be_asked_is_refused_by_name(option: str, value: float) -> None:
    with pytest.raises(RecipeError, match=f"speller {option} is {value}; it must"):
        SpellerRecipe(**{option: value})  # type: ignore[arg-type]  # wrong on purpose
