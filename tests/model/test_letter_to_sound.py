"""The letter-to-sound model against torch's own LSTM, its reading of CTC by hand, and as a file."""

import json
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from model.errors import OptionError
from model.letter_to_sound import (
    BLANK,
    LONGEST_WORD,
    N_CLASSES,
    LetterToSound,
    LetterToSoundConfig,
    classes,
    dump,
    load_letter_to_sound,
    parse,
)
from model.lstm import BidirectionalLSTM
from model.phones import N_PHONES, PHONE_BOUNDARY_ID, parse_pronunciations

CONFIG = LetterToSoundConfig(embedding_size=7, hidden_size=6, n_layers=2, frames_a_letter=3, dropout=0.5)
WORDS = ("cepstra", "a", "o'brien", "xx", "antidisestablishmentarianism", "'", "zebra", "phthisis")


def random_model() -> LetterToSound:
    """As one comes from a file; its weights are so large that what it says differs from word to word."""
    torch.manual_seed(3)
    model = LetterToSound(CONFIG)
    with torch.no_grad():
        for weights in model.parameters():
            weights.mul_(3)
    return parse(dump(model))


MODEL = random_model()


def constant_model(*best: tuple[int, int], frames_a_letter: int = 2) -> LetterToSound:
    """Whatever the letters are, the first class of each frame of a letter is likeliest, and the second comes next."""
    model = LetterToSound(replace(CONFIG, frames_a_letter=frames_a_letter))
    bias_TC = torch.zeros(frames_a_letter, N_CLASSES)
    for frame, (first, second) in enumerate(best):
        bias_TC[frame, first], bias_TC[frame, second] = 5.0, 4.0 - frame
    with torch.no_grad():
        model.output.weight.zero_()
        model.output.bias.copy_(bias_TC.flatten())
    return parse(dump(model))


@torch.no_grad()
def test_log_probs_are_those_of_torchs_lstm_for_each_word_alone() -> None:
    lengths_B = torch.tensor([len(word) for word in WORDS])
    letters_BL = nn.utils.rnn.pad_sequence([torch.tensor(MODEL.encode(word)) for word in WORDS], batch_first=True)
    log_probs_BTC = MODEL(letters_BL, lengths_B)
    assert log_probs_BTC.shape == (len(WORDS), 3 * 28, N_CLASSES)
    for word, log_probs_TC in zip(WORDS, log_probs_BTC, strict=True):
        expected_TC = written_out(word)
        torch.testing.assert_close(log_probs_TC[: 3 * len(word)], expected_TC, rtol=0, atol=1e-12)
        assert float(expected_TC.exp().sum()) == pytest.approx(3 * len(word))


def written_out(word: str) -> Tensor:
    hidden_1LH = MODEL.embedding.weight[[CONFIG.characters.index(letter) for letter in word]].unsqueeze(0)
    for layer in MODEL.layers:
        assert isinstance(layer, BidirectionalLSTM)
        both = nn.LSTM(hidden_1LH.shape[2], CONFIG.hidden_size, batch_first=True, bidirectional=True).double()
        weights = dict(layer.forward_lstm.named_parameters())
        weights |= {f"{key}_reverse": weight for key, weight in layer.backward_lstm.named_parameters()}
        both.load_state_dict(weights)
        hidden_1LH, _ = both(hidden_1LH)
    frames = [MODEL.output(hidden_H).view(3, N_CLASSES).log_softmax(1) for hidden_H in hidden_1LH[0]]
    return torch.cat(frames)


@pytest.mark.parametrize(
    ("best", "word", "expected"),
    [
        (((3, 1), (4, 1)), "ab", [3, 4, 3, 4]),
        (((3, 1), (3, 1)), "abc", [3]),  # a phone that goes on is one
        (((3, 1), (BLANK, 1)), "ab", [3, 3]),  # with a blank between them they are two
        (((BLANK, 1), (39, 1)), "a", [39]),
        (((BLANK, 7), (BLANK, 9)), "ab", [7]),  # nothing but blanks: the best phone of all frames, here the first one's
    ],
)
def test_a_path_is_read_as_ctc_does(best: tuple[tuple[int, int], ...], word: str, expected: list[int]) -> None:
    (heard,) = constant_model(*best).pronounce([word])
    assert classes(heard) == expected


def test_classes_are_the_phones_of_dictionaries() -> None:
    ((pronunciation,),) = parse_pronunciations("test AA AE ZH").values()
    assert classes(pronunciation) == [1, 2, N_CLASSES - 1]
    (heard,) = constant_model((1, 5), (N_CLASSES - 1, 5)).pronounce(["a"])
    assert heard == (pronunciation[0], pronunciation[2])


def test_a_word_is_pronounced_alone_as_in_a_batch() -> None:
    many = [word[start:] + other for word in WORDS for start in range(len(word)) for other in WORDS]
    assert len(many) > 256  # more than go through the network at once
    together = MODEL.pronounce(many)
    assert together == [MODEL.pronounce([word])[0] for word in many]
    assert len(set(together)) > 100
    assert MODEL.pronounce([]) == []


def test_threads_do_not_disturb_each_other() -> None:
    many = [word[start:] for word in WORDS for start in range(len(word))]
    alone = [MODEL.pronounce([word]) for word in many]
    with ThreadPoolExecutor(4) as threads:
        assert list(threads.map(lambda word: MODEL.pronounce([word]), many)) == alone


@settings(max_examples=40)
@given(st.lists(st.one_of(st.text(max_size=12), st.text("'abcxyz", min_size=1, max_size=12)), max_size=4))
def test_whatever_is_asked_is_refused_or_pronounced(words: list[str]) -> None:
    try:
        heard = MODEL.pronounce(words)
    except OptionError:
        assert any(not word or set(word) - set(CONFIG.characters) for word in words)
        return
    assert all(word and set(word) <= set(CONFIG.characters) for word in words)
    assert [1 <= len(way) <= 3 * len(word) for word, way in zip(words, heard, strict=True)] == [True] * len(words)
    assert all(PHONE_BOUNDARY_ID < phone < N_PHONES for way in heard for phone in way)


@pytest.mark.parametrize(
    ("word", "message"),
    [
        ("Anna", "'Anna' has the character 'A'; only 'abc"),
        ("zürich", "'ü'"),
        ("a b", "' '"),
        ("", "'' has 0 letters; 1 to 100"),
        ("a" * (LONGEST_WORD + 1), "has 101 letters"),
    ],
)
def test_a_word_that_cannot_be_read_is_named(word: str, message: str) -> None:
    with pytest.raises(OptionError, match=message):
        MODEL.pronounce(["fine", word])
    assert len(MODEL.pronounce(["a" * LONGEST_WORD])) == 1


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"characters": ""}, "characters are ''"),
        ({"characters": "aba"}, "none twice"),
        ({"embedding_size": 0}, "embedding_size is 0; 1 is the least"),
        ({"hidden_size": 0}, "hidden_size is 0"),
        ({"n_layers": 0}, "n_layers is 0"),
        ({"frames_a_letter": 0}, "frames_a_letter is 0"),
        ({"dropout": 1.0}, "dropout is 1.0"),
    ],
)
def test_sizes_that_cannot_work_are_named(wrong: dict[str, object], message: str) -> None:
    with pytest.raises(OptionError, match=message):
        replace(CONFIG, **wrong)  # type: ignore[arg-type]  # wrong on purpose


def test_a_model_comes_back_from_its_file_with_weights_of_half_precision(tmp_path: Path) -> None:
    torch.manual_seed(5)
    model = LetterToSound(CONFIG, {"word_error_rate": 0.25})
    path = tmp_path / "model.safetensors"
    path.write_bytes(dump(model))
    loaded = load_letter_to_sound(path)
    assert (loaded.config, loaded.record) == (CONFIG, {"word_error_rate": 0.25})
    assert not loaded.training
    assert all(
        torch.equal(loaded.state_dict()[key], weight.half().double()) for key, weight in model.state_dict().items()
    )
    assert dump(loaded) == path.read_bytes()


def test_the_file_of_the_default_sizes_has_less_than_a_megabyte() -> None:
    assert len(dump(LetterToSound(LetterToSoundConfig()))) < 1_000_000


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda record: record | {"format_version": 9}, "it has format 9"),
        (lambda record: record | {"config": {"hidden_size": 8}}, "size mismatch"),
        (lambda record: record | {"config": record["config"] | {"dropout": "none"}}, "no letter-to-sound model"),
        (lambda record: record | {"config": record["config"] | {"width": 1}}, "width"),
        (lambda record: record | {"config": record["config"] | {"n_layers": 0}}, "n_layers is 0"),
        (lambda record: {}, "format_version"),
    ],
)
def test_a_file_of_another_kind_says_what_it_is(tmp_path: Path, change: object, message: str) -> None:
    assert callable(change)
    content = dump(MODEL)
    length = int.from_bytes(content[:8], "little")
    header = json.loads(content[8 : 8 + length])
    header["__metadata__"]["letter_to_sound"] = json.dumps(
        change(json.loads(header["__metadata__"]["letter_to_sound"]))
    )
    changed = json.dumps(header).encode()
    path = tmp_path / "model.safetensors"
    path.write_bytes(len(changed).to_bytes(8, "little") + changed + content[8 + length :])
    with pytest.raises(OptionError, match=message) as raised:
        load_letter_to_sound(path)
    assert str(path) in str(raised.value)


@pytest.mark.parametrize("content", [b"", b"no model", dump(MODEL)[:-10], b"\xff" * 40])
def test_a_broken_file_is_refused(content: bytes) -> None:
    with pytest.raises(OptionError, match="no letter-to-sound model"):
        parse(content)
