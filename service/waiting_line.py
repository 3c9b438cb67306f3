"""A waiting line that several owners share: each is served in turn, and each one's entries in their own order.

Who sends a hundred requests at once thus waits behind them himself; somebody who sends one waits for one of the
hundred at most (round robin between owners; Nagle, "On packet switches with infinite storage", RFC 970).
"""

from collections import OrderedDict, deque
from typing import Generic, TypeVar

T = TypeVar("T")


class WaitingLine(Generic[T]):
    """Entries by owner; the owner who was served last is the last to be served again. Not safe between threads."""

    def __init__(self) -> None:
        self._by_owner: OrderedDict[str | None, deque[T]] = OrderedDict()  # in the order of their turns

    def __len__(self) -> int:
        return sum(len(entries) for entries in self._by_owner.values())

    def add(self, entry: T, owner: str | None = None) -> None:
        """Behind the owner's others; an owner who had none comes after all those who have."""
        self._by_owner.setdefault(owner, deque()).append(entry)

    def pop(self) -> T:
        """The next one; raises KeyError where nobody waits."""
        owner, entries = next(iter(self._by_owner.items()), (None, None))
        if entries is None:
            raise KeyError("nobody waits")
        entry = entries.popleft()
        del self._by_owner[owner]
        if entries:
            self._by_owner[owner] = entries
        return entry

    def remove(self, entry: T) -> None:
        """Take `entry` out, wherever it stands; nothing happens where it is not there."""
        for owner, entries in self._by_owner.items():
            if entry in entries:
                entries.remove(entry)
                if not entries:
                    del self._by_owner[owner]
                return
