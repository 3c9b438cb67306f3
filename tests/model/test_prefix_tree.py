"""Sentences as a tree."""

from hypothesis import given
from hypothesis import strategies as st

from model.prefix_tree import grow_tree

SENTENCES = st.lists(st.lists(st.integers(0, 3), max_size=6), max_size=12)


@given(SENTENCES)
def test_every_beginning_is_one_node_that_can_be_read_back(sentences: list[list[int]]) -> None:
    tree = grow_tree(sentences)
    beginnings = {tuple(sentence[:length]) for sentence in sentences for length in range(1, len(sentence) + 1)}
    assert len(tree.parents) == len(tree.words) == len(beginnings)

    def read(node: int) -> list[int]:
        return [] if node == 0 else [*read(tree.parents[node - 1]), tree.words[node - 1]]

    for sentence, path in zip(sentences, tree.paths, strict=True):
        assert [read(node) for node in path] == [sentence[:length] for length in range(1, len(sentence) + 1)]


@given(SENTENCES)
def test_levels_hold_every_node_that_is_continued_after_its_parent(sentences: list[list[int]]) -> None:
    tree = grow_tree(sentences)
    assert tree.levels[0] == (0,)
    place = {node: length for length, level in enumerate(tree.levels) for node in level}
    assert sum(map(len, tree.levels)) == len(place)
    assert set(place) == {0, *tree.parents}
    for node in set(place) - {0}:
        assert place[tree.parents[node - 1]] == place[node] - 1
