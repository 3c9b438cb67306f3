"""A lexicon with hot words on top: a second trie that shares all but a few nodes with the first.

flashlight adds nothing to a score for a single word. Here it does, by its acoustic scores: a hot word ends with a
boundary of its own, a further unit whose log-probability in every frame is that of the boundary plus the word's boost.
What the search looks ahead to in the trie holds the boost of one word too, so that a beginning is not dropped before
its end. It does not hold that of a whole term: the beginnings of terms that are not said would fill the beam.

Only the nodes along the hot words are new; below them hang the nodes of the lexicon itself, which nobody changes. That
makes a trie for one request in a millisecond for each word, while other threads search.

A term that is no word of the lexicon, also one of several words, has a label of its own, under which the search finds
again what the term is and what it adds (`HotTerm`). `model.beam_search`, which knows the language model and the
weights, works out how much that is.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from flashlight.lib.text.decoder import Trie, TrieNode

MOST_WAYS = 6  # to write a term of several words


@dataclass(frozen=True)
class HotEntry:
    """One hot word, or term of several words.

    Attributes:
        units: of its letters or sounds and the boundaries between its words, without the last.
        end_unit: the boundary that it ends with.
        label: index of the word that the language model is told.
        ahead: what is looked ahead to in each of its words, log10.
        boundary: the unit between its words.
    """

    units: Sequence[int]
    end_unit: int
    label: int
    ahead: Sequence[float]
    boundary: int


@dataclass(frozen=True)
class HotTerm:
    """A hot term that is no word of the lexicon: how many words it has and what its end adds to the score."""

    n_words: int
    extra: float  # so that its words count as they would one by one
    boost: float
    words: tuple[str, ...] = ()


@dataclass(frozen=True)
class HotLexicon:
    """Hot words in the search: their trie, what each unit behind the tokenizer's adds, and the terms by label."""

    trie: Trie | None = None
    added: tuple[float, ...] = ()
    terms: Mapping[int, HotTerm] = field(default_factory=dict)
    boost: float = 0.0  # of a single word


@dataclass
class _Branch:
    """Hot words with the same beginning."""

    ahead: float = -math.inf
    below: dict[int, "_Branch"] = field(default_factory=dict)
    ends: list[HotEntry] = field(default_factory=list)


def ways_of_term(
    words: Sequence[str], ways_of: Mapping[str, Sequence[Sequence[int]]], boundary: int
) -> list[list[int]]:
    """Every way to write the words of a term, boundaries between them; of many, the first `MOST_WAYS`."""
    ways: list[list[int]] = [[]]
    for word in words:
        ways = [[*way, boundary, *more] for way in ways for more in ways_of[word]][:MOST_WAYS]
    return [way[1:] for way in ways]


def hot_trie(lexicon: Trie, entries: Sequence[HotEntry], n_units: int, boundary: int) -> Trie:
    """The lexicon's words and the entries.

    Args:
        lexicon: smeared; it is not changed.
        entries: no two with the same units and label.
        n_units: units of the search, those of hot words' ends included.
        boundary: what ends the lexicon's words.
    """
    top = _Branch()
    for entry in entries:
        branch, word = top, 0
        for unit in entry.units:
            branch = branch.below.setdefault(unit, _Branch())
            word += unit == entry.boundary
            branch.ahead = max(branch.ahead, entry.ahead[word])
        branch.ends.append(entry)
    trie = Trie(n_units, boundary)
    # An empty search gives the root; `get_root` would hand out a pointer without its owner.
    trie.search([]).children = _children(lexicon.search([]).children, top)
    return trie


def _children(shared: Mapping[int, TrieNode], branch: _Branch) -> dict[int, TrieNode]:
    children = dict(shared)
    for unit, below in branch.below.items():
        children[unit] = _copy(children.get(unit), unit, below)
    for end_unit in dict.fromkeys(entry.end_unit for entry in branch.ends):
        alike = [entry for entry in branch.ends if entry.end_unit == end_unit]  # several that sound the same
        end = TrieNode(end_unit)
        end.labels, end.scores = [entry.label for entry in alike], [entry.ahead[-1] for entry in alike]
        end.max_score = max(end.scores)
        children[end_unit] = end
    return children


def _copy(shared: TrieNode | None, unit: int, branch: _Branch) -> TrieNode:
    """The node with the branch below it, and below that what the lexicon has there."""
    node = TrieNode(unit)
    children = _children(shared.children if shared else {}, branch)
    node.children = children
    node.max_score = branch.ahead
    if shared:
        node.labels, node.scores = shared.labels, shared.scores
        node.max_score = max(branch.ahead, shared.max_score)
    return node
