"""Where the time goes: whoever wants to know is told when each stage of a transcription began and ended.

decode     file bytes → samples, as far as it is done in this process
features   samples → features, with CMVN
network    features → log-probs, with the wait for a batch
search     log-probs → words
"""

import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Literal, TypeVar

Stage = Literal["decode", "features", "network", "search"]
Observer = Callable[[Stage, int, int], None]  # stage, begin and end in nanoseconds since the epoch
Item = TypeVar("Item")

_observer: ContextVar[Observer | None] = ContextVar("observer", default=None)


@contextmanager
def observing(observer: Observer) -> Iterator[None]:
    """Tell `observer` of the stages that this thread goes through meanwhile."""
    token = _observer.set(observer)
    try:
        yield
    finally:
        _observer.reset(token)


@contextmanager
def stage(name: Stage) -> Iterator[None]:
    """What is done meanwhile belongs to that stage."""
    observer = _observer.get()
    if observer is None:
        yield
        return
    began_ns = time.time_ns()
    try:
        yield
    finally:
        observer(name, began_ns, time.time_ns())


def each(name: Stage, items: Iterable[Item]) -> Iterator[Item]:
    """The items; making each belongs to that stage."""
    iterator = iter(items)
    end = object()
    while True:
        with stage(name):
            item = next(iterator, end)
        if item is end:
            return
        yield item  # type: ignore[misc]  # it is not the end, so it is an item
