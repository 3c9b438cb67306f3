"""Phones of hand-made transcripts, and what a dictionary must not be."""

from pathlib import Path

import pytest

from model.phones import N_PHONES, PHONE_BOUNDARY_ID, PHONE_UNITS
from model.tokenizer import CharacterTokenizer
from training.errors import RecipeError
from training.phones import PhoneTargets, read_pronunciations

DICTIONARY = """;;; an old comment
the DH AH0
the(2) DH AH1
the(3) DH IY0
CAT K AE1 T # an animal
sat S AE1 T
o'clock AH0 K L AA1 K

"""


@pytest.fixture
def dictionary(tmp_path: Path) -> Path:
    path = tmp_path / "small.dict"
    path.write_text(DICTIONARY)
    return path


def spell(text: str, dictionary: Path) -> str | None:
    tokenizer = CharacterTokenizer()
    phones = PhoneTargets(read_pronunciations(dictionary), tokenizer).of(tokenizer.encode(text))
    return None if phones is None else " ".join(PHONE_UNITS[phone - 1].replace(" ", "/") for phone in phones)


@pytest.mark.parametrize(
    ("text", "phones"),
    [
        ("the cat sat", "DH AH / K AE T / S AE T"),
        ("o'clock", "AH K L AA K"),
        ("the", "DH AH"),
        ("the dog sat", None),
    ],
)
def test_a_transcript_has_the_first_pronunciation_of_each_word(text: str, phones: str | None, dictionary: Path) -> None:
    assert spell(text, dictionary) == phones


def test_what_has_no_pronunciation_is_counted_and_said(dictionary: Path) -> None:
    tokenizer = CharacterTokenizer()
    targets = PhoneTargets(read_pronunciations(dictionary), tokenizer)
    texts = ["the cat", "dog dog", "a dog", "sat"]
    assert targets.coverage([tokenizer.encode(text) for text in texts]) == (
        "2 of 4 utterances have no phone loss; 2 words lack a pronunciation, most often dog, a"
    )
    assert targets.coverage([tokenizer.encode("the cat")]) == "all 1 utterances have a phone loss"
    with pytest.raises(RecipeError, match="none of the 1 utterances; it lacks dog"):
        targets.coverage([tokenizer.encode("the dog")])


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"cat K AE1 T\ndog D OO1 G\n", "line 2: 'OO1' is no phone"),
        (b"cat\n", "line 1: 'cat' has no phones"),
        (b"cat K \xc6 T\n", "cannot be read"),
    ],
)
def test_what_is_no_dictionary_is_refused(content: bytes, message: str, tmp_path: Path) -> None:
    (tmp_path / "bad.dict").write_bytes(content)
    with pytest.raises(RecipeError, match=message):
        read_pronunciations(tmp_path / "bad.dict")


def test_a_dictionary_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match=r"objective\.phone_dictionary '.*nowhere\.dict' cannot be read"):
        read_pronunciations(tmp_path / "nowhere.dict")


def test_cmudict_itself_is_read(speech_data: Path) -> None:
    cmudict = speech_data.parent / "lm" / "cmudict.dict"
    if not cmudict.is_file():
        pytest.skip(f"no {cmudict}")
    pronunciations = read_pronunciations(cmudict)
    assert len(pronunciations) > 120_000
    phones = {phone for ways in pronunciations.values() for way in ways for phone in way}
    assert phones == set(range(PHONE_BOUNDARY_ID + 1, N_PHONES))
    tomato = [PHONE_UNITS[phone - 1] for phone in pronunciations["tomato"][0]]
    assert tomato == ["T", "AH", "M", "EY", "T", "OW"]
