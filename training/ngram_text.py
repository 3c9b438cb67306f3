"""Text for n-gram models: files with a sentence a line become one array of word indices.

Shape legend: N tokens, begin and end of every sentence among them; V words of the vocabulary, the special ones first.
"""

import bz2
import gzip
import io
import logging
import lzma
import os
import sys
import zlib
from array import array
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import BinaryIO, cast

import numpy as np
from numpy.typing import NDArray

from model.errors import OptionError
from model.tokenizer import ENGLISH_CHARACTERS
from training.corpora import normalize_transcript
from training.errors import CorpusError

SPECIAL_WORDS = ("<unk>", "<s>", "</s>")  # what ARPA files call them
UNKNOWN, BEGIN, END = range(3)
STANDARD_INPUT = "-"
MAX_TOKENS = 2**31 - 1  # so that every index fits 32 bits
_UNSPELLABLE = -1
_UNREADABLE = (UnicodeDecodeError, EOFError, lzma.LZMAError, zlib.error, OSError)
_LINES_A_REPORT = 10_000
_ENCODING = "utf-8-sig"  # a byte order mark is no part of the first word
_UNPACK: dict[str, Callable[[BinaryIO], object]] = {".gz": gzip.open, ".bz2": bz2.open, ".xz": lzma.open}

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class NgramText:
    """Sentences as word indices.

    Attributes:
        words: the V words; `SPECIAL_WORDS` are the first three.
        tokens_N: their indices in the order of the text, every sentence between BEGIN and END.
    """

    words: tuple[str, ...]
    tokens_N: NDArray[np.int32]

    @property
    def n_words(self) -> int:
        """Running words, without begins and ends."""
        return len(self.tokens_N) - 2 * int(np.count_nonzero(self.tokens_N == BEGIN))

    def sentences(self) -> Iterator[list[str]]:
        """The words of one sentence after the other."""
        begins, ends = (np.flatnonzero(self.tokens_N == mark) for mark in (BEGIN, END))
        for begin, end in zip(begins.tolist(), ends.tolist(), strict=True):
            yield [self.words[index] for index in self.tokens_N[begin + 1 : end].tolist()]

    def by_frequency(self) -> list[str]:
        """The words without the special ones, most frequent first; equals in the order of their first occurrence."""
        counts = np.bincount(self.tokens_N, minlength=len(self.words))[len(SPECIAL_WORDS) :]
        return [self.words[index + len(SPECIAL_WORDS)] for index in np.argsort(-counts, kind="stable")]


def read_text(
    sources: Sequence[str | os.PathLike[str]],
    *,
    raw: bool = False,
    progress: Callable[[int, int], None] | None = None,
) -> NgramText:
    """Read files with a sentence a line, UTF-8, plain or packed as .gz, .bz2 or .xz; `-` is standard input.

    The words are those of `normalize_transcript`, and lines in which one has characters that the tokenizer has no unit
    for, such as digits, are left out and counted. Lines without words are no sentences.

    Args:
        sources: the files.
        raw: take what stands between white space as the words, as they are.
        progress: called with the bytes read and the bytes in all; not for standard input.

    Raises:
        CorpusError: no sentence is left, a file cannot be unpacked or is not UTF-8, or `<s>`, `</s>` or `<unk>` stands
            in the text; the message names the file and the line.
        OSError: a file cannot be opened.
    """
    lookup = _Lookup(raw=raw)
    indices_of, flatten = lookup.__getitem__, chain.from_iterable
    tokens = array("i")
    sizes = [0 if os.fspath(source) == STANDARD_INPUT else Path(source).stat().st_size for source in sources]
    for at, source in enumerate(sources):
        line_number = 0
        try:
            with _open(source) as (lines, packed):
                for line_number, line in enumerate(lines, 1):
                    tokens.append(BEGIN)
                    tokens.extend(flatten(map(indices_of, line.split())))
                    tokens.append(END)
                    if progress and sizes[at] and line_number % _LINES_A_REPORT == 0:
                        progress(sum(sizes[:at]) + packed.tell(), sum(sizes))
        except CorpusError as error:
            raise CorpusError(f"{_name(source)}, line {line_number}: {error}") from error
        except _UNREADABLE as error:
            if isinstance(error, OSError) and error.errno is not None:
                raise  # the system's own, which names the file
            raise CorpusError(f"{_name(source)} cannot be read after line {line_number}: {error}") from error
    return _sentences(np.frombuffer(tokens, dtype=np.int32), lookup, ", ".join(map(_name, sources)))


def read_word_list(source: str | os.PathLike[str], *, raw: bool = False) -> set[str]:
    """The first word of every line of a file, normalised as `read_text` does it; a word may become several.

    Raises:
        CorpusError: the file cannot be unpacked or is not UTF-8.
    """
    words = first_words(source)
    return set(words) if raw else {part for word in words for part in normalize_transcript(word).split()}


def first_words(source: str | os.PathLike[str]) -> tuple[str, ...]:
    """The first word of every line of a file as it stands there, in the order of the lines.

    Raises:
        CorpusError: the file cannot be unpacked or is not UTF-8.
    """
    try:
        with _open(source) as (lines, _):
            return tuple(line.split()[0] for line in lines if line.strip())
    except _UNREADABLE as error:
        if isinstance(error, OSError) and error.errno is not None:
            raise  # the system's own, which names the file
        raise CorpusError(f"{_name(source)} cannot be read: {error}") from error


def limit_vocabulary(
    text: NgramText, *, allowed: Collection[str] | None = None, most_frequent: int | None = None
) -> NgramText:
    """The same text in which all but some words are `<unk>`.

    Args:
        text: the text.
        allowed: words that stay; None for all.
        most_frequent: how many of those stay; None for all.

    Raises:
        CorpusError: no word stays.
        OptionError: `most_frequent` is below 1.
    """
    if most_frequent is not None and most_frequent < 1:
        raise OptionError(f"the vocabulary is limited to {most_frequent} words; 1 is the least")
    counts_V = np.bincount(text.tokens_N, minlength=len(text.words))
    stays_V = np.array([allowed is None or word in allowed for word in text.words])
    counts_V[~stays_V] = 0
    counts_V[: len(SPECIAL_WORDS)] = 0
    if most_frequent is not None:
        counts_V[np.argsort(-counts_V, kind="stable")[most_frequent:]] = 0
    if not counts_V.any():
        raise CorpusError(f"none of the {len(text.words) - len(SPECIAL_WORDS)} words of the text is in the vocabulary")
    return _renumber(text.tokens_N, text.words, counts_V > 0)


class _Lookup(dict[str, tuple[int, ...]]):
    """Token as it stands in the text → indices of its words; each is looked into once, for it is slow.

    Normalisation can be done token by token: none of its steps looks past white space.
    """

    def __init__(self, *, raw: bool) -> None:
        super().__init__()
        self.raw = raw
        self.indices = {word: index for index, word in enumerate(SPECIAL_WORDS)}
        self.unspellable = ""  # the first one
        self._spellable = frozenset(ENGLISH_CHARACTERS)

    def __missing__(self, token: str) -> tuple[int, ...]:
        if token in SPECIAL_WORDS:
            raise CorpusError(f"{token} stands in the text, but is a word of the model itself; take it out")
        words = [token] if self.raw else normalize_transcript(token).split()
        if self.raw or self._spellable.issuperset("".join(words)):
            found = tuple(self.indices.setdefault(word, len(self.indices)) for word in words)
        else:
            found = (_UNSPELLABLE,)
            self.unspellable = self.unspellable or token
        self[token] = found
        return found


def _sentences(tokens_N: NDArray[np.int32], lookup: _Lookup, sources: str) -> NgramText:
    """Leave out lines that cannot be spelled or have no words, and words that occur in none of the others."""
    if len(tokens_N) > MAX_TOKENS:
        raise CorpusError(f"{sources}: {len(tokens_N)} words and sentence ends; at most {MAX_TOKENS} can be counted")
    ends = np.flatnonzero(tokens_N == END)
    if not len(ends):
        raise CorpusError(f"{sources}: no text in it")
    lengths = np.diff(ends, prepend=-1)
    unspellable = np.logical_or.reduceat(tokens_N == _UNSPELLABLE, ends + 1 - lengths)
    if unspellable.any():
        log.warning(
            "%s: %d of %d lines left out, for words with characters that have no unit; the first is %r",
            sources,
            np.count_nonzero(unspellable),
            len(ends),
            lookup.unspellable,
        )
    is_sentence = (lengths > 2) & ~unspellable
    if not is_sentence.any():
        raise CorpusError(
            f"{sources}: none of its {len(ends)} lines is a sentence whose words have units for all characters"
        )
    kept_N = tokens_N[np.repeat(is_sentence, lengths)]
    words = tuple(lookup.indices)
    return _renumber(kept_N, words, np.bincount(kept_N, minlength=len(words)) > 0)


def _renumber(tokens_N: NDArray[np.int32], words: Sequence[str], stays_V: NDArray[np.bool_]) -> NgramText:
    """Only some of the words, besides the special ones; the others become unknown."""
    stays_V[: len(SPECIAL_WORDS)] = True
    index_V = np.where(stays_V, np.cumsum(stays_V, dtype=np.int32) - 1, np.int32(UNKNOWN))
    return NgramText(tuple(word for word, stays in zip(words, stays_V, strict=True) if stays), index_V[tokens_N])


def _name(source: str | os.PathLike[str]) -> str:
    return "standard input" if os.fspath(source) == STANDARD_INPUT else os.fspath(source)


@contextmanager
def _open(source: str | os.PathLike[str]) -> Iterator[tuple[Iterator[str], BinaryIO]]:
    """The lines of a file, and the file as it lies on the disk, whose position tells how much is read."""
    if os.fspath(source) == STANDARD_INPUT:
        lines = io.TextIOWrapper(sys.stdin.buffer, encoding=_ENCODING)
        yield lines, sys.stdin.buffer
        lines.detach()  # else it is closed with the wrapper
        return
    with Path(source).open("rb") as packed:
        suffix = Path(source).suffix
        unpacked = cast(BinaryIO, _UNPACK[suffix](packed)) if suffix in _UNPACK else packed
        yield io.TextIOWrapper(unpacked, encoding=_ENCODING), packed
