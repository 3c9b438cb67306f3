"""Owners in turn, and each one's entries in order."""

import pytest

from service.waiting_line import WaitingLine


def drained(line: WaitingLine[str]) -> list[str]:
    return [line.pop() for _ in range(len(line))]


def filled(entries: str) -> WaitingLine[str]:
    line = WaitingLine[str]()
    for entry in entries.split():
        line.add(entry, entry[0])
    return line


def test_owners_are_served_in_turn() -> None:
    assert drained(filled("a1 a2 a3 b1 b2 c1")) == ["a1", "b1", "c1", "a2", "b2", "a3"]
    line = WaitingLine[str]()
    for entry in ("first", "second"):
        line.add(entry)
    assert drained(line) == ["first", "second"]


def test_who_was_just_served_comes_last_and_newcomers_before() -> None:
    line = filled("a1 a2 a3")
    assert line.pop() == "a1"
    line.add("b1", "b")
    line.add("b2", "b")
    assert drained(line) == ["a2", "b1", "a3", "b2"]


def test_entries_can_leave() -> None:
    line = filled("a1 b1 a2 c1")
    for entry in ("a1", "c1", "never there"):
        line.remove(entry)
    assert len(line) == 2
    assert drained(line) == ["a2", "b1"]
    with pytest.raises(KeyError):
        line.pop()
