"""Patient work rests while urgent work is in the house, and only where processors are too few for both."""

import threading

import pytest

from model import turns
from model.cancellation import CancelToken
from model.errors import WorkCancelledError
from model.house import ASK_S, LINGER_S, REST_S, House
from model.turns import PATIENT_AFTER_FRAMES, Gate, Rank, Turn, taking
from tests.waiting import wait_until


class Clock:
    """Goes on by itself a little each time it is read, so that whoever waits by it comes to an end."""

    def __init__(self, step_s: float = 0.0) -> None:
        self.now_s, self._step_s = 100.0, step_s

    def __call__(self) -> float:
        self.now_s += self._step_s
        return self.now_s


@pytest.fixture
def house(monkeypatch: pytest.MonkeyPatch) -> House:
    """A house of two processors, in which the turns of this test are."""
    made = House(2)
    monkeypatch.setattr(turns, "HOUSE", made)
    monkeypatch.setattr(turns, "WORK_S", 3600.0)  # however slow the machine is
    return made


def test_it_is_crowded_while_there_are_as_many_as_processors_and_one_of_them_is_urgent() -> None:
    clock = Clock()
    house = House(3, clock)
    for _ in range(4):
        house.enter(patient=True)
    assert not house.is_crowded(), "nobody is urgent"
    house.enter(patient=False)
    assert house.is_crowded()
    for _ in range(3):
        house.leave(patient=True)
    assert not house.is_crowded(), "a processor for each, and one more"
    house.enter(patient=False)
    assert house.is_crowded()
    house.become_patient()
    assert house.is_crowded(), "one urgent and two patient ones"


def test_urgent_work_counts_for_a_moment_after_it_has_left() -> None:
    clock = Clock()
    house = House(1, clock)
    house.enter(patient=True)
    house.enter(patient=False)
    house.leave(patient=False)
    assert house.is_crowded()
    clock.now_s += LINGER_S
    assert not house.is_crowded()


def test_a_rest_has_an_end() -> None:
    clock = Clock(step_s=0.01)
    house = House(1, clock)
    house.enter(patient=False)
    began_s = clock.now_s
    house.rest()
    assert began_s + REST_S <= clock.now_s < began_s + REST_S + ASK_S
    gone = CancelToken()
    gone.cancel()
    with pytest.raises(WorkCancelledError):
        house.rest(gone)


def test_a_turn_counts_while_it_is_taken_and_as_what_it_is(house: House) -> None:
    long, clip, job = Turn(), Turn(), Turn(Rank.BACKGROUND)
    with taking(long), taking(job):
        assert house.is_crowded() and job.must_rest()
        assert not long.must_rest()
        long.attain(PATIENT_AFTER_FRAMES)
        wait_until(lambda: not house.is_crowded())  # once the moment has passed
        with taking(clip):
            assert long.must_rest() and job.must_rest()
            assert not clip.must_rest()
            job.rest()
            assert not job.must_rest(), "it may work for a while now"
    wait_until(lambda: not house.is_crowded())
    assert house._urgent == house._patient == 0


def test_a_search_rests_between_its_pieces_and_leaves_its_place(house: House) -> None:
    gate, steps = Gate(1), list[str]()
    urgent_is_done = threading.Event()
    rests = threading.Event()

    def rest(cancelled: CancelToken | None = None) -> None:
        rests.set()
        assert urgent_is_done.wait(60)

    house.rest = rest  # type: ignore[method-assign]  # as long as this test wants
    may_step = threading.Event()

    def patient() -> None:
        with taking(Turn(Rank.BACKGROUND)), gate.entered() as give_way:
            steps.append("patient")
            assert may_step.wait(60)
            give_way()
            steps.append("patient")

    thread = threading.Thread(target=patient)
    thread.start()
    wait_until(lambda: steps == ["patient"])
    with taking(Turn()):  # at its network, say: not at the gate
        may_step.set()
        assert rests.wait(60)
        with gate.entered():
            assert house.computing == 1
            steps.append("urgent")
    assert house.computing == 0
    urgent_is_done.set()
    thread.join(60)
    assert steps == ["patient", "urgent", "patient"]
    assert gate._free == 1
