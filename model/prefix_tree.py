"""Sentences that begin alike as one tree, so that what they share is computed once.

The hypotheses of a search differ in a word here and there: in lists of 50, 23 084 words of a dev set were 6643
different ones behind different beginnings (docs/experiments.md).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby


@dataclass(frozen=True)
class PrefixTree:
    """Every different beginning of the sentences is a node; 0 is the empty one.

    Attributes:
        parents: of every node but 0, in order, the node that is one word shorter; it has a lower number.
        words: of every node but 0, in order, its last word.
        levels: the nodes that others continue, by their length: first (0,), then those of one word, ….
        paths: for each sentence its nodes, from its first word to its last.
    """

    parents: tuple[int, ...]
    words: tuple[int, ...]
    levels: tuple[tuple[int, ...], ...]
    paths: tuple[tuple[int, ...], ...]


def grow_tree(sentences: Sequence[Sequence[int]]) -> PrefixTree:
    """The tree of sentences that are given as word indices."""
    nodes: dict[tuple[int, int], int] = {}
    lengths = [0]
    paths = []
    for sentence in sentences:
        node, path = 0, []
        for word in sentence:
            length = lengths[node] + 1
            node = nodes.setdefault((node, word), len(lengths))
            if node == len(lengths):
                lengths.append(length)
            path.append(node)
        paths.append(tuple(path))
    parents, words = zip(*nodes, strict=True) if nodes else ((), ())
    continued = sorted({0, *parents}, key=lambda node: (lengths[node], node))
    levels = tuple(tuple(level) for _, level in groupby(continued, key=lengths.__getitem__))
    return PrefixTree(parents, words, levels, tuple(paths))
