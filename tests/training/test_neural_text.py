"""Sentences, batches and what is held back."""

from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from model.neural_language_model import END, UNKNOWN
from training.errors import CorpusError
from training.neural_text import Sentences, split
from training.ngram_text import limit_vocabulary, read_text

LINES = ("the cat saw the dog", "a dog", "the end", "a cat and a cat and a cat and the gnu", "the cat", "no")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    (tmp_path / "text.txt").write_text("\n".join(LINES))
    return tmp_path / "text.txt"


def spelled(words: tuple[str, ...], sentences: Sentences) -> list[str]:
    names = ("</s>", "<unk>", *words)
    spans = zip(sentences.first_S.tolist(), sentences.length_S.tolist(), strict=True)
    return [" ".join(names[word] for word in sentences.words_N[first : first + n]) for first, n in spans]


def test_every_nth_sentence_is_held_back_and_words_are_numbered_by_frequency(path: Path) -> None:
    words, train, held_back = split(read_text([path]), longest=50, hold_back_every=3)
    assert spelled(words, train) == [f"{LINES[at]} </s>" for at in (0, 1, 3, 4)]
    assert spelled(words, held_back) == [f"{LINES[at]} </s>" for at in (2, 5)]
    counts = Counter(" ".join(LINES).split())
    assert [counts[word] for word in words] == sorted(counts.values(), reverse=True)
    assert (train.n_words, held_back.n_words) == (5 + 2 + 11 + 2 + 4, 2 + 1 + 2)


def test_words_outside_the_vocabulary_are_unknown(path: Path) -> None:
    limited = limit_vocabulary(read_text([path]), most_frequent=3)
    words, train, held_back = split(limited, longest=50, hold_back_every=3)
    assert set(words) == {"the", "cat", "a"}
    assert spelled(words, train)[0] == "the cat <unk> the <unk> </s>"
    assert (train.count(UNKNOWN), train.count(END), held_back.count(UNKNOWN)) == (2 + 1 + 4 + 0, 4, 2)


def test_long_sentences_are_cut_and_nothing_is_lost(path: Path) -> None:
    words, train, _ = split(read_text([path]), longest=4, hold_back_every=3)
    assert spelled(words, train)[:4] == ["the cat saw the", "dog </s>", "a dog </s>", "a cat and a"]
    assert " ".join(spelled(words, train)) == " ".join(f"{LINES[at]} </s>" for at in (0, 1, 3, 4))


def test_a_text_without_enough_sentences_is_refused(path: Path) -> None:
    with pytest.raises(CorpusError, match=r"6 sentences; every 7\. is to be held back"):
        split(read_text([path]), longest=4, hold_back_every=7)


@settings(deadline=None)
@given(st.lists(st.integers(1, 30), min_size=1, max_size=80), st.integers(1, 60), st.integers(0, 3), st.integers(0, 3))
def test_a_pass_has_every_sentence_once_in_batches_within_the_bound(
    lengths: list[int], batch_words: int, seed: int, epoch: int
) -> None:
    length_S = np.array(lengths)
    words_N = np.arange(length_S.sum(), dtype=np.int32) + 2
    sentences = Sentences(words_N, np.cumsum(length_S) - length_S, length_S)
    plan = list(sentences.plan(batch_words, seed=seed, epoch=epoch))
    assert sorted(np.concatenate(plan).tolist()) == list(range(len(lengths)))
    again = sentences.plan(batch_words, seed=seed, epoch=epoch)
    assert all(np.array_equal(one, other) for one, other in zip(plan, again, strict=True))
    for which in plan:
        targets_BU, lengths_B = sentences.batch(which)
        assert targets_BU.numel() <= batch_words or len(which) == 1
        for row_U, length, sentence in zip(targets_BU, lengths_B, which, strict=True):
            first = int(sentences.first_S[sentence])
            assert row_U[:length].tolist() == words_N[first : first + lengths[sentence]].tolist()
            assert set(row_U[length:].tolist()) <= {END}


def test_another_pass_has_another_order() -> None:
    length_S = np.full(50, 3)
    sentences = Sentences(np.zeros(150, np.int32), np.arange(50) * 3, length_S)
    orders = [np.concatenate(list(sentences.plan(9, seed=1, epoch=epoch))).tolist() for epoch in (0, 1)]
    assert orders[0] != orders[1]
