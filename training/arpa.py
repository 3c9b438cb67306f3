"""Writing n-gram models as ARPA files, the text format that KenLM and every other toolkit reads.

Shape legend: G n-grams of one order.
"""

import gzip
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, cast

import numpy as np
from numpy.typing import NDArray

from training.errors import StorageError
from training.ngram import NgramModel, NgramOrder

_NGRAMS_AT_ONCE = 100_000


def write_arpa(
    model: NgramModel, target: str | os.PathLike[str], *, progress: Callable[[int, int], None] | None = None
) -> None:
    """Write a model atomically; with gzip where the name ends in .gz. `progress`: n-grams done, n-grams in all.

    Raises:
        StorageError: the disk is full or not writable; what was there before is kept.
    """
    words = np.array(model.words, dtype=object)
    sizes = [len(ngrams.last_G) for ngrams in model.orders]
    done = 0
    with _replacing(Path(target)) as stream:
        header = (f"ngram {order}={size}\n" for order, size in enumerate(sizes, 1))
        stream.write(f"\\data\\\n{''.join(header)}".encode())
        for order, size in enumerate(sizes, 1):
            stream.write(f"\n\\{order}-grams:\n".encode())
            for first in range(0, size, _NGRAMS_AT_ONCE):
                part = slice(first, min(first + _NGRAMS_AT_ONCE, size))
                stream.write(
                    "".join(_lines(words, model.orders[:order], part, has_backoff=order < len(sizes))).encode()
                )
                done += part.stop - part.start
                if progress:
                    progress(done, sum(sizes))
        stream.write(b"\n\\end\\\n")


def write_words(words: Iterable[str], target: str | os.PathLike[str]) -> None:
    """Write words atomically, one a line.

    Raises:
        StorageError: the disk is full or not writable; what was there before is kept.
    """
    with _replacing(Path(target)) as stream:
        stream.write("".join(f"{word}\n" for word in words).encode())


def _lines(
    words: NDArray[np.object_], orders: Sequence[NgramOrder], part: slice, *, has_backoff: bool
) -> Iterator[str]:
    """Some lines of the last of the orders; 7 digits are what single precision holds."""
    *shorter, ngrams = orders
    text, at = words[ngrams.last_G[part]], ngrams.context_G[part]
    for contexts in reversed(shorter):
        text, at = words[contexts.last_G[at]] + " " + text, contexts.context_G[at]
    columns = [ngrams.log10_prob_G[part].tolist(), text.tolist()]
    if has_backoff:
        columns.append(ngrams.log10_backoff_G[part].tolist())
    line = "%.7g\t%s\t%.7g\n" if has_backoff else "%.7g\t%s\n"
    return map(line.__mod__, zip(*columns, strict=True))


@contextmanager
def _replacing(target: Path) -> Iterator[BinaryIO]:
    """A file that takes the place of `target` once it is written to its end."""
    scratch = target.with_name(f".{target.name}.tmp")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with scratch.open("wb") as stream:
            if target.suffix == ".gz":
                with gzip.GzipFile(filename="", fileobj=stream, mode="wb", compresslevel=6, mtime=0) as packed:
                    yield cast(BinaryIO, packed)
            else:
                yield stream
            stream.flush()
            os.fsync(stream.fileno())
        os.replace(scratch, target)
    except OSError as error:
        raise StorageError(
            f"{target} cannot be written: {error.strerror or error}; what was there before is kept"
        ) from error
    finally:
        scratch.unlink(missing_ok=True)
