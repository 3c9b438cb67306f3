import json
from dataclasses import asdict

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from model.errors import OptionError, UnknownCharacterError
from model.tokenizer import (
    BLANK_ID,
    ENGLISH_CHARACTERS,
    CharacterTokenizer,
    SubwordTokenizer,
    Tokenizer,
    parse_tokenizer,
)

# "the" is made in two steps, and "thee" is "the" + "e" because "th" + "e" was learned before "e" + "e".
SUBWORDS = SubwordTokenizer(
    (*ENGLISH_CHARACTERS, "th", "the", "ee", "in"), (("t", "h"), ("th", "e"), ("e", "e"), ("i", "n"))
)


@pytest.mark.parametrize("tokenizer", [CharacterTokenizer(), SUBWORDS], ids=["characters", "subwords"])
@settings(deadline=None)
@given(text=st.text(alphabet=ENGLISH_CHARACTERS))
def test_decode_undoes_encode(tokenizer: Tokenizer, text: str) -> None:
    assert tokenizer.decode(tokenizer.encode(text)) == text


@pytest.mark.parametrize("tokenizer", [CharacterTokenizer(), SUBWORDS], ids=["characters", "subwords"])
def test_a_tokenizer_comes_back_from_json(tokenizer: Tokenizer) -> None:
    assert parse_tokenizer(json.loads(json.dumps(asdict(tokenizer)))) == tokenizer


@pytest.mark.parametrize(
    ("text", "units"),
    [
        ("the thin", ["the", " ", "th", "in"]),
        ("thee", ["the", "e"]),
        ("eee i n", ["ee", "e", " ", "i", " ", "n"]),
        ("t he", ["t", " ", "h", "e"]),
        (" ", [" "]),
        ("", []),
    ],
)
def test_pieces_are_merged_in_the_order_in_which_they_were_learned_and_never_across_a_space(
    text: str, units: list[str]
) -> None:
    assert [SUBWORDS.decode([index]) for index in SUBWORDS.encode(text)] == units


def test_subwords_spell_what_their_single_characters_spell() -> None:
    assert SUBWORDS.characters == ENGLISH_CHARACTERS
    assert SUBWORDS.vocabulary_size == len(ENGLISH_CHARACTERS) + 4 + 1
    with pytest.raises(UnknownCharacterError, match="'2' at position 4"):
        SUBWORDS.encode("one 2")
    with pytest.raises(OptionError, match=r"unit index is 33; it must lie in 1\.\.32"):
        SUBWORDS.decode([1, 33])


@pytest.mark.parametrize(
    ("units", "merges"),
    [
        ("ab", []),
        (" aa", []),
        (["", " "], []),
        ([" ", "a", "b"], [("a", "b")]),
        ([" ", "a", "ab"], [("a", "b")]),
        ([" ", "a", " a"], [(" ", "a")]),
        ([" ", "a", "aa", "aaa"], [("a", "a", "a")]),
    ],
)
def test_units_and_merges_that_do_not_fit_are_refused(units: list[str], merges: list[tuple[str, str]]) -> None:
    with pytest.raises(OptionError, match="subword"):
        SubwordTokenizer(tuple(units), tuple(merges))


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
