"""Pronouncing dictionaries as files, completed by a model."""

from pathlib import Path

import pytest
import torch

from model.errors import PronunciationError
from model.letter_to_sound import LetterToSound, LetterToSoundConfig, dump, parse
from model.phones import parse_pronunciations
from training.dictionary import pronounce_words, read_dictionary, read_words, write_dictionary
from training.errors import CorpusError, StorageError

KNOWN = parse_pronunciations("read R IY D\nread(2) R EH D\na.m. EY EH M\nunused T\n")


@pytest.fixture
def model() -> LetterToSound:
    torch.manual_seed(1)
    return parse(dump(LetterToSound(LetterToSoundConfig(embedding_size=8, hidden_size=8, n_layers=1))))


def test_the_dictionary_is_believed_and_the_model_asked_for_the_rest(model: LetterToSound) -> None:
    pronounced = pronounce_words(["zebra", "read", "h2o", "a.m.", "zebra", "gnu"], KNOWN, model)
    assert list(pronounced.dictionary) == ["zebra", "read", "a.m.", "gnu"]
    assert (pronounced.n_looked_up, pronounced.n_by_model) == (2, 2)
    assert {word: pronounced.dictionary[word] for word in ("read", "a.m.")} == {w: KNOWN[w] for w in ("read", "a.m.")}
    assert [pronounced.dictionary[word] for word in ("zebra", "gnu")] == [
        (way,) for way in model.pronounce(["zebra", "gnu"])
    ]
    (problem,) = pronounced.left_out
    assert problem.startswith("'h2o' has the character '2'")
    assert pronounce_words([], KNOWN, model).dictionary == {}


def test_a_dictionary_comes_back_from_its_file(tmp_path: Path) -> None:
    write_dictionary(KNOWN, tmp_path / "words.dict")
    assert read_dictionary(tmp_path / "words.dict") == KNOWN
    assert (tmp_path / "words.dict").read_text().splitlines()[:2] == ["read R IY D", "read(2) R EH D"]
    assert [path.name for path in tmp_path.iterdir()] == ["words.dict"]


def test_the_words_of_a_list_are_the_first_of_each_line(tmp_path: Path) -> None:
    (tmp_path / "words").write_text("THE 5\n\n  Of\na\n")
    assert read_words(tmp_path / "words") == ["the", "of", "a"]


def test_files_that_cannot_be_read_or_written_are_named(tmp_path: Path) -> None:
    (tmp_path / "bad.dict").write_text("the DH AH\nof UH QQ\n")
    with pytest.raises(PronunciationError, match=r"bad\.dict, line 2: 'QQ' is no phone"):
        read_dictionary(tmp_path / "bad.dict")
    (tmp_path / "latin").write_bytes(b"caf\xe9 K\n")
    for read in (read_dictionary, read_words):
        with pytest.raises(CorpusError, match="latin is no UTF-8 text"):
            read(tmp_path / "latin")
        with pytest.raises(FileNotFoundError):
            read(tmp_path / "missing")
    with pytest.raises(StorageError, match="what was there before is kept"):
        write_dictionary(KNOWN, tmp_path / "missing" / "words.dict")
