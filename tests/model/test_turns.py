"""Who goes first, and that nobody is kept waiting for ever."""

import threading
from collections.abc import Callable

import pytest

from model import turns
from model.cancellation import CancelToken
from model.errors import WorkCancelledError
from model.house import House
from model.turns import PATIENT_AFTER_FRAMES, Claim, Gate, Rank, Rota, Turn, current_turn, taking
from tests.waiting import wait_until


class Visitor:
    """A thread that goes through a gate in steps; each step is told to `steps` and waits for `may_step`."""

    def __init__(self, name: str, gate: Gate, turn: Turn, steps: list[str], may_step: threading.Semaphore) -> None:
        self.cancelled = CancelToken()
        self.error: Exception | None = None
        self.thread = threading.Thread(target=self._visit, args=(name, gate, turn, steps, may_step))
        self.thread.start()

    def _visit(self, name: str, gate: Gate, turn: Turn, steps: list[str], may_step: threading.Semaphore) -> None:
        try:
            with taking(turn), gate.entered(self.cancelled) as give_way:
                for _ in range(2):
                    steps.append(name)
                    assert may_step.acquire(timeout=60)
                    give_way()
        except WorkCancelledError as error:
            self.error = error


@pytest.fixture
def visit() -> Callable[..., Visitor]:
    gate, steps, may_step = Gate(), list[str](), threading.Semaphore(0)

    def start(name: str, turn: Turn) -> Visitor:
        n_waiting = len(gate._waiting)
        visitor = Visitor(name, gate, turn, steps, may_step)
        wait_until(lambda: bool(len(gate._waiting) > n_waiting or (steps and steps[-1] == name)))
        return visitor

    start.gate, start.steps, start.may_step = gate, steps, may_step  # type: ignore[attr-defined]  # for the test
    return start


@pytest.fixture(autouse=True)
def nothing_but_order(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody is overdue, however slow the machine is, and nobody rests, however few its processors are."""
    monkeypatch.setattr(turns, "OVERDUE_S", 1e9)
    monkeypatch.setattr(turns, "HOUSE", House(1000))


def test_the_most_urgent_goes_first_and_between_steps(visit: Callable[..., Visitor]) -> None:
    long = Turn(attained_frames=PATIENT_AFTER_FRAMES)
    visitors = [
        visit("long", long),
        visit("background", Turn(Rank.BACKGROUND)),
        visit("first", Turn()),
        visit("second", Turn()),
        visit("live", Turn(Rank.LIVE)),
    ]
    for _ in range(20):
        visit.may_step.release()  # type: ignore[attr-defined]  # see the fixture
    for visitor in visitors:
        visitor.thread.join(60)
        assert visitor.error is None
    expected = ["long", "live", "live", "first", "first", "second", "second", "long", "background", "background"]
    assert visit.steps == expected  # type: ignore[attr-defined]  # see the fixture


def test_who_is_not_wanted_any_more_leaves_and_holds_nobody_up(visit: Callable[..., Visitor]) -> None:
    visitors = [visit("inside", Turn()), visit("waits", Turn()), visit("stays", Turn())]
    for visitor in visitors[:2]:
        visitor.cancelled.cancel()
    visitors[1].thread.join(60)  # although nobody has left the gate
    assert isinstance(visitors[1].error, WorkCancelledError)
    for _ in range(3):
        visit.may_step.release()  # type: ignore[attr-defined]  # see the fixture
    for visitor in visitors:
        visitor.thread.join(60)
    assert isinstance(visitors[0].error, WorkCancelledError)
    assert visitors[2].error is None
    assert visit.steps == ["inside", "stays", "stays"]  # type: ignore[attr-defined]  # see the fixture


def test_what_waits_long_is_not_patient_any_more(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(turns, "OVERDUE_S", 5.0)
    background, short = Claim(Turn(Rank.BACKGROUND), since_s=100.0), Claim(Turn(), since_s=103.0)
    live = Claim(Turn(Rank.LIVE), since_s=103.0)
    assert sorted([background, short, live], key=lambda claim: claim.order(104.0)) == [live, short, background]
    assert sorted([background, short, live], key=lambda claim: claim.order(106.0)) == [live, background, short]


def test_a_turn_becomes_patient_once() -> None:
    told: list[bool] = []
    turn = Turn(on_patient=lambda: told.append(True))
    turn.attain(PATIENT_AFTER_FRAMES - 1)
    assert (turn.patient, told) == (False, [])
    turn.attain(1)
    turn.attain(1)
    assert (turn.patient, told) == (True, [True])
    assert Turn(Rank.BACKGROUND).patient


def test_a_turn_belongs_to_its_thread() -> None:
    turn = Turn()
    with taking(turn):
        assert current_turn() is turn
        seen: list[Turn] = []
        thread = threading.Thread(target=lambda: seen.append(current_turn()))
        thread.start()
        thread.join()
        assert seen[0] is not turn
    assert current_turn() is not turn


def test_a_gate_of_two_places_lets_two_in_and_the_most_urgent_next() -> None:
    gate, steps, may_step = Gate(2), list[str](), threading.Semaphore(0)
    inside = [Visitor(name, gate, Turn(Rank.BACKGROUND), steps, may_step) for name in ("one", "two")]
    wait_until(lambda: sorted(steps) == ["one", "two"])
    patient = Visitor("patient", gate, Turn(Rank.BACKGROUND), steps, may_step)
    wait_until(lambda: len(gate._waiting) == 1)
    urgent = Visitor("urgent", gate, Turn(), steps, may_step)
    wait_until(lambda: len(gate._waiting) == 2)
    may_step.release()
    wait_until(lambda: len(steps) > 2)
    assert steps[2:] == ["urgent"]
    for _ in range(7):
        may_step.release()
    for visitor in (*inside, patient, urgent):
        visitor.thread.join(60)
        assert visitor.error is None
    assert gate._free == 2
    assert sorted(steps) == sorted(["one", "two", "patient", "urgent"] * 2)


def test_owners_of_equal_urgency_are_served_in_turn() -> None:
    rota = Rota()
    names = ["ann", "ann", "ann", "bob", "bob", None]
    waiting = [Claim(Turn(owner=name), since_s=0.0) for name in names]
    live = Claim(Turn(Rank.LIVE, owner="ann"), since_s=0.0)
    order: list[str | None] = []
    while waiting:
        if len(order) == 2:
            waiting.append(live)
        first = min(waiting, key=lambda claim: rota.order(claim, 0.0))
        rota.serve(first, waiting)
        waiting.remove(first)
        order.append("live" if first is live else first.turn.owner)
    assert order == ["ann", "bob", "live", None, "bob", "ann", "ann"]
