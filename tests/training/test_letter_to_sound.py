"""Training on a small language whose spelling has rules, so that words never seen have one right pronunciation."""

import random
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from model.letter_to_sound import LetterToSound, LetterToSoundConfig, dump, load_letter_to_sound, parse
from model.phones import Pronunciation, parse_pronunciations
from training.errors import CorpusError, DivergedError, RecipeError, StorageError
from training.letter_to_sound import measure, split, train_letter_to_sound
from training.letter_to_sound_recipe import LetterToSoundRecipe, learning_rate

CONFIG = LetterToSoundConfig(embedding_size=12, hidden_size=24, n_layers=1, dropout=0.0)
RECIPE = LetterToSoundRecipe(epochs=8, batch_words=16, peak_lr=2e-2, held_out=0.1, precision="fp32")
SHORT = replace(RECIPE, epochs=2)
SOUNDS = {"a": "AE", "i": "IH", "s": "S", "sh": "SH", "x": "K S", "t": "T", "'": ""}  # two letters for one phone, too


def pronounced(word: str) -> Pronunciation:
    spelled = word.replace("sh", "#")
    phones = " ".join(SOUNDS["sh" if letter == "#" else letter] for letter in spelled)
    return parse_pronunciations(f"word {phones}")["word"][0]


@pytest.fixture(scope="module")
def dictionary() -> dict[str, tuple[Pronunciation, ...]]:
    chance = random.Random(1)
    consonants, vowels = ("s", "sh", "x", "t"), ("a", "i", "a'")
    words = (
        "".join(chance.choice(letters) for letters in (consonants, vowels) * chance.randint(1, 3)) for _ in range(900)
    )
    return {word: (pronounced(word),) for word in dict.fromkeys(words)}


def test_a_small_language_is_learned_also_of_words_never_seen(
    dictionary: dict[str, tuple[Pronunciation, ...]], tmp_path: Path
) -> None:
    said: list[str] = []
    out = tmp_path / "model.safetensors"
    model = train_letter_to_sound(dictionary, out, RECIPE, CONFIG, record={"dictionary": "small"}, say=said.append)
    assert model.record["word_error_rate"] < 0.05
    assert measure(model, dictionary).word_error_rate < 0.05
    assert model.pronounce(["shaxita'si"]) == [pronounced("shaxita'si")]  # longer than any that was learned
    assert (model.record["dictionary"], model.record["epochs"], model.record["recipe"]["seed"]) == ("small", 8, 1)
    assert model.record["words"] + model.record["held_out_words"] == len(dictionary)
    assert said[-1].startswith(f"held-out phone error rate {model.record['phone_error_rate']:.2%}")
    stored = load_letter_to_sound(out)
    assert stored.record == model.record
    assert stored.pronounce(list(dictionary)) == model.pronounce(list(dictionary))


def test_a_run_can_be_repeated(dictionary: dict[str, tuple[Pronunciation, ...]], tmp_path: Path) -> None:
    """Dropout included; and looks at the held-out words in between change nothing."""
    config, out = replace(CONFIG, dropout=0.3), tmp_path / "model.safetensors"
    said: list[str] = []
    once = train_letter_to_sound(dictionary, out, SHORT, config).state_dict()
    looking = replace(SHORT, checkpoint_minutes=0.0)
    again = train_letter_to_sound(dictionary, out, looking, config, say=said.append).state_dict()
    assert sum(line.startswith("held-out") for line in said) > 2
    assert all(torch.equal(again[key], weights) for key, weights in once.items())
    other = train_letter_to_sound(dictionary, out, replace(SHORT, seed=2), config).state_dict()
    assert not torch.equal(other["output.weight"], once["output.weight"])


def test_a_run_can_begin_with_a_model_that_has_held_out_the_same_words(
    dictionary: dict[str, tuple[Pronunciation, ...]], tmp_path: Path
) -> None:
    out = tmp_path / "model.safetensors"
    first = train_letter_to_sound(dictionary, out, SHORT, CONFIG)
    still = replace(SHORT, epochs=1, peak_lr=1e-9)
    second = train_letter_to_sound(dictionary, out, still, warm_start=first)
    assert second.config == CONFIG
    assert second.record["before"] == first.record
    for key, weights in first.state_dict().items():
        torch.testing.assert_close(second.state_dict()[key], weights, rtol=1e-3, atol=1e-6)
    for other, words in [(replace(still, seed=2), dictionary), (replace(still, held_out=0.2), dictionary)]:
        with pytest.raises(RecipeError, match="may have learned words that are held out now"):
            train_letter_to_sound(words, out, other, warm_start=first)
    with pytest.raises(RecipeError, match="give it the same dictionary"):
        train_letter_to_sound(dictionary | {"tst": (pronounced("t"),)}, out, still, warm_start=first)


def test_a_run_ends_by_the_clock(dictionary: dict[str, tuple[Pronunciation, ...]], tmp_path: Path) -> None:
    recipe = replace(SHORT, epochs=10_000, minutes=0.002)
    model = train_letter_to_sound(dictionary, tmp_path / "model.safetensors", recipe, CONFIG)
    assert 0 < model.record["epochs"] < 10_000


def test_it_trains_in_bfloat16_too(dictionary: dict[str, tuple[Pronunciation, ...]], tmp_path: Path) -> None:
    recipe = replace(RECIPE, precision="bf16", epochs=4)
    model = train_letter_to_sound(dictionary, tmp_path / "model.safetensors", recipe, CONFIG)
    assert model.record["phone_error_rate"] < 0.3


def test_what_cannot_be_learned_is_counted_and_left_out(
    dictionary: dict[str, tuple[Pronunciation, ...]], tmp_path: Path
) -> None:
    more = parse_pronunciations("i T IH T\nh2o T\nx-i T IH\nt T T\n")  # T T needs three frames, because of the blank
    said: list[str] = []
    recipe = replace(SHORT, held_out=0.001, epochs=1)
    train_letter_to_sound({**dictionary, **more}, tmp_path / "model.safetensors", recipe, CONFIG, say=said.append)
    assert "left out are 2 that are not spelled with 'abc" in said[0]
    assert "and 2 with more phones than frames" in said[0]


def test_held_out_words_are_not_learned_nor_are_their_possessives() -> None:
    words = [f"{letter}{other}{ending}" for letter in "abcdefgh" for other in "xyz" for ending in ("", "'s", "'")]
    dictionary = {word: (pronounced("sha"),) for word in words}
    learned, held_out = split(dictionary, 0.2, seed=4)
    assert set(learned) | set(held_out) == set(words)
    assert not {word[:2] for word in learned} & {word[:2] for word in held_out}
    assert 0.2 <= len(held_out) / len(words) < 0.25
    assert split(dictionary, 0.2, seed=4) == (learned, held_out)
    assert split(dictionary, 0.2, seed=5) != (learned, held_out)
    assert split(dict(reversed(dictionary.items())), 0.2, seed=4)[1].keys() == held_out.keys()


def test_errors_are_counted_against_the_nearest_pronunciation() -> None:
    model = LetterToSound(CONFIG)
    with torch.no_grad():
        for weights in model.output.parameters():
            weights.zero_()
        model.output.bias[1] = model.output.bias[40 + 2] = 1.0  # whatever the letters are: AA AE, AA AE …
    always = parse(dump(model))
    errors = measure(
        always, parse_pronunciations("ab ZH ZH ZH ZH\nab(2) AA AE AA AE\nc AA AE\nxy AA AE AA\nxy(2) T T T T\nz ZH\n")
    )
    assert (errors.wrong_words, errors.n_words, errors.word_error_rate) == (2, 4, 0.5)
    counts = errors.phones
    assert (counts.hits, counts.substitutions, counts.deletions, counts.insertions) == (4 + 2 + 3, 1, 0, 1 + 1)
    assert counts.rate == 3 / 10


def test_a_loss_that_is_no_number_ends_the_run(
    dictionary: dict[str, tuple[Pronunciation, ...]], tmp_path: Path
) -> None:
    with pytest.raises(DivergedError, match="lower peak_lr, which is 1e\\+38"):
        train_letter_to_sound(dictionary, tmp_path / "model.safetensors", replace(RECIPE, peak_lr=1e38), CONFIG)


@pytest.mark.parametrize("text", ["", "a1 AA\nb2 B\n", "only AA\nonly's AA\n", "w T AH T AH T\nx T AH T AH T\n"])
def test_a_dictionary_without_words_to_learn_and_to_hold_out_is_refused(text: str, tmp_path: Path) -> None:
    with pytest.raises(CorpusError, match="too few to learn and to hold out"):
        train_letter_to_sound(parse_pronunciations(text), tmp_path / "model.safetensors", RECIPE, CONFIG)


def test_a_model_that_cannot_be_written_is_said(
    dictionary: dict[str, tuple[Pronunciation, ...]], tmp_path: Path
) -> None:
    recipe = replace(SHORT, epochs=1, batch_words=1000)
    with pytest.raises(StorageError, match="could not be written"):
        train_letter_to_sound(dictionary, tmp_path / "missing" / "model.safetensors", recipe, CONFIG)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"epochs": 0}, "epochs is 0"),
        ({"batch_words": 0}, "batch_words 0"),
        ({"held_out": 0.0}, "held_out is 0.0"),
        ({"held_out": 1.0}, "held_out is 1.0"),
        ({"minutes": 0.0}, "minutes is 0.0"),
        ({"checkpoint_minutes": -1.0}, "checkpoint_minutes -1.0"),
        ({"peak_lr": 0.0}, "peak_lr is 0.0"),
        ({"clip_norm": 0.0}, "clip_norm 0.0"),
        ({"weight_decay": float("nan")}, "weight_decay nan"),
        ({"warmup_share": 0.0}, "warmup_share is 0.0"),
        ({"precision": "fp8"}, "precision is 'fp8'"),
    ],
)
def test_options_out_of_range_are_named(wrong: dict[str, object], message: str) -> None:
    with pytest.raises(RecipeError, match=message):
        LetterToSoundRecipe(**wrong)  # type: ignore[arg-type]  # wrong on purpose


def test_the_learning_rate_rises_then_falls_to_nothing() -> None:
    recipe = replace(RECIPE, peak_lr=1e-2, warmup_share=0.2)
    rates = [learning_rate(share / 10, recipe) for share in range(12)]
    assert 0 < rates[0] < rates[1] < rates[2]
    assert rates[2] == pytest.approx(1e-2)
    assert rates[6] == pytest.approx(0.5e-2)
    assert rates[2:11] == sorted(rates[2:11], reverse=True)
    assert rates[10] == rates[11] == 0
