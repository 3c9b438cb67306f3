from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from training.confusions import AlignedPair, Confusions, align_characters, align_words, count_confusions
from training.metrics import ErrorCounts, character_errors, word_errors

sentences = st.lists(st.sampled_from(["a", "bb", "ccc", "d"]), max_size=6).map(" ".join)


@given(sentences, sentences)
def test_an_alignment_is_both_sentences_and_has_the_errors_that_are_counted(reference: str, hypothesis: str) -> None:
    words, characters = align_words(reference, hypothesis), align_characters(reference, hypothesis)
    assert [pair.reference for pair in words if pair.reference] == reference.split()
    assert [pair.hypothesis for pair in words if pair.hypothesis] == hypothesis.split()
    assert "".join(pair.reference for pair in characters) == reference
    assert "".join(pair.hypothesis for pair in characters) == hypothesis
    assert counts_of(words) == word_errors([reference], [hypothesis])
    assert counts_of(characters) == character_errors([reference], [hypothesis])


def test_confusions_are_counted_and_ranked() -> None:
    spoken = [("the cat sat", "a cat sat on"), ("the dog", "a dog on"), ("in the sun", "the son"), ("", "on")]
    confusions = count_confusions(align_words(*pair) for pair in spoken)
    assert confusions.substitutions == ((("the", "a"), 2), (("sun", "son"), 1))
    assert confusions.deletions == (("in", 1),)
    assert confusions.insertions == (("on", 3),)


def test_nothing_wrong_is_no_confusion() -> None:
    confusions = count_confusions([align_words("one two", "one two"), align_words("", "")])
    assert confusions == Confusions((), (), ())


def counts_of(alignment: tuple[AlignedPair, ...]) -> ErrorCounts:
    kinds = Counter(pair.kind for pair in alignment)
    return ErrorCounts(kinds["hit"], kinds["substitution"], kinds["deletion"], kinds["insertion"])
