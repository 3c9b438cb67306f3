import pytest
from hypothesis import given
from hypothesis import strategies as st

from model.errors import OptionError, UnknownCharacterError
from model.tokenizer import BLANK_ID, ENGLISH_CHARACTERS, CharacterTokenizer


@given(st.text(alphabet=ENGLISH_CHARACTERS))
def test_decode_undoes_encode(text: str) -> None:
    tokenizer = CharacterTokenizer()
    assert tokenizer.decode(tokenizer.encode(text)) == text


@given(st.text(min_size=1).filter(lambda characters: len(set(characters)) == len(characters)))
def test_any_set_of_characters_can_be_units_and_none_is_the_blank(characters: str) -> None:
    tokenizer = CharacterTokenizer(characters)
    ids = tokenizer.encode(characters)
    assert BLANK_ID not in ids
    assert ids == list(range(1, tokenizer.vocabulary_size))
    assert tokenizer.decode(ids) == characters


def test_english_units_are_letters_apostrophe_and_space() -> None:
    tokenizer = CharacterTokenizer()
    assert tokenizer.vocabulary_size == 29
    assert tokenizer.encode("it's") == [11, 22, 2, 21]


@pytest.mark.parametrize(("text", "character", "position"), [("Hello", "H", 0), ("naïve", "ï", 2), ("one 2", "2", 4)])
def test_an_unknown_character_is_named_with_its_position(text: str, character: str, position: int) -> None:
    with pytest.raises(UnknownCharacterError, match=f"'{character}' at position {position}"):
        CharacterTokenizer().encode(text)


@pytest.mark.parametrize("index", [BLANK_ID, -1, 29])
def test_an_index_that_is_no_unit_is_refused(index: int) -> None:
    with pytest.raises(OptionError, match=f"unit index is {index}; it must lie in 1..28"):
        CharacterTokenizer().decode([1, index])


@pytest.mark.parametrize("characters", ["", "aba"])
def test_no_units_and_units_given_twice_are_refused(characters: str) -> None:
    with pytest.raises(OptionError, match=f"{characters!r}"):
        CharacterTokenizer(characters)
