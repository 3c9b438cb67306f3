"""Whose work goes first where many share one processor.

A caller's thread takes a `Turn`; everything that can be contended for asks it. Work is divided into small units (one
window for the network, half a second of audio for the search), between which the more urgent goes first. What has had
much of the processor already is patient: so a short clip never waits behind a long file, and nobody has to say
beforehand how long a file is (Kleinrock, "Queueing Systems", volume 2, 1976: feedback scheduling by attained service).
While urgent work is there, patient work also rests between its units (`model.house`).
"""

import itertools
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, nullcontext
from contextvars import ContextVar
from dataclasses import dataclass, field
from enum import IntEnum

from model.cancellation import CancelToken, check
from model.house import HOUSE, WORK_S

PATIENT_AFTER_FRAMES = 3750  # feature frames that the network has computed: 30 s at 8 ms, one full window
OVERDUE_S = 0.1  # what waits longer than this counts as not patient: it is slowed down, not stopped
ASK_S = 0.05  # how often who may be cancelled looks up while it waits


class Rank(IntEnum):
    """How urgent work is by its kind."""

    LIVE = 0  # somebody is speaking
    INTERACTIVE = 1  # somebody waits for the answer
    BACKGROUND = 2  # nobody waits


@dataclass(eq=False)
class Turn:
    """One caller's claim on the processor.

    Attributes:
        rank: its kind.
        on_patient: called once, when it becomes patient, from the thread that computes.
        attained_frames: feature frames that the network has computed for it.
        owner: for whom; those of equal urgency are served in turn.
    """

    rank: Rank = Rank.INTERACTIVE
    on_patient: Callable[[], None] = lambda: None
    attained_frames: int = 0
    owner: str | None = None
    _at_work: bool = field(default=False, init=False)
    _works_until_s: float = field(default=0.0, init=False)  # before then it need not rest again

    @property
    def patient(self) -> bool:
        """Whether others go first."""
        return self.rank == Rank.BACKGROUND or self.attained_frames >= PATIENT_AFTER_FRAMES

    def attain(self, n_frames: int) -> None:
        """The network has computed `n_frames` more for it."""
        was_patient = self.patient
        self.attained_frames += n_frames
        if self.patient and not was_patient:
            if self._at_work:
                HOUSE.become_patient()
            self.on_patient()

    def must_rest(self) -> bool:
        """Whether it is in the way of urgent work."""
        return self.patient and HOUSE.is_crowded() and time.monotonic() >= self._works_until_s

    def rest(self, cancelled: CancelToken | None = None) -> None:
        """Called between two units of its work: where it must, it rests a while.

        Raises:
            WorkCancelledError: `cancelled` was cancelled.
        """
        if self.must_rest():
            HOUSE.rest(cancelled)
            self._works_until_s = time.monotonic() + WORK_S

    @contextmanager
    def at_work(self) -> Iterator[None]:
        """It counts as being in the house meanwhile."""
        HOUSE.enter(patient=self.patient)
        self._at_work = True
        try:
            yield
        finally:
            self._at_work = False
            HOUSE.leave(patient=self.patient)


_turn: ContextVar[Turn | None] = ContextVar("turn", default=None)


def current_turn() -> Turn:
    """The turn of this thread; a new one where it has taken none."""
    return _turn.get() or Turn()


@contextmanager
def taking(turn: Turn) -> Iterator[None]:
    """What this thread does meanwhile is done for `turn`."""
    token = _turn.set(turn)
    try:
        with turn.at_work():
            yield
    finally:
        _turn.reset(token)


_numbers = itertools.count()


@dataclass(eq=False)
class Claim:
    """A turn that waits somewhere.

    Attributes:
        turn: whose.
        since_s: monotonic seconds from when on.
        granted: set once it need not wait any more.
    """

    turn: Turn
    since_s: float = field(default_factory=time.monotonic)
    number: int = field(default_factory=lambda: next(_numbers))
    granted: threading.Event = field(default_factory=threading.Event)

    def order(self, now_s: float) -> tuple[int, bool, int]:
        """The least goes next: by urgency, then in order of arrival."""
        if now_s - self.since_s > OVERDUE_S:
            return min(self.turn.rank, Rank.INTERACTIVE), False, self.number
        return self.turn.rank, self.turn.patient, self.number

    def wait(self, cancelled: CancelToken | None) -> None:
        """Wait until granted.

        Raises:
            WorkCancelledError: `cancelled` was cancelled.
        """
        while not self.granted.wait(None if cancelled is None else ASK_S):
            check(cancelled)


class Rota:
    """Who of several owners is next where claims are equally urgent: the one who was served least recently."""

    def __init__(self) -> None:
        self._rounds = itertools.count(1)
        self._served: dict[str | None, int] = {}

    def order(self, claim: Claim, now_s: float) -> tuple[int, bool, int, int]:
        """The least goes next."""
        rank, patient, number = claim.order(now_s)
        return rank, patient, self._served.get(claim.turn.owner, 0), number

    def serve(self, claim: Claim, waiting: Iterable[Claim]) -> None:
        """It is served; of owners who no longer wait nothing is remembered."""
        owners = {other.turn.owner for other in waiting}
        self._served = {owner: served for owner, served in self._served.items() if owner in owners}
        self._served[claim.turn.owner] = next(self._rounds)


class Gate:
    """Lets so many threads through at a time, the most urgent first.

    Args:
        places: how many.
    """

    def __init__(self, places: int = 1) -> None:
        self._lock = threading.Lock()
        self._waiting: list[Claim] = []
        self._free = places

    @contextmanager
    def entered(self, cancelled: CancelToken | None = None) -> Iterator[Callable[[], None]]:
        """Take a place; gives a function to be called between steps, which lets somebody more urgent have it.

        Raises:
            WorkCancelledError: `cancelled` was cancelled; here, or in the function that it gives.
        """
        turn = current_turn()
        turn.rest(cancelled)
        self._enter(turn, cancelled)
        inside = True

        def give_way() -> None:
            nonlocal inside
            check(cancelled)
            if turn.must_rest():
                inside = False
                self._leave()
                turn.rest(cancelled)
                self._enter(turn, cancelled)
                inside = True
                return
            with self._lock:
                next_ = min(self._waiting, key=lambda other: other.order(time.monotonic()), default=None)
                if next_ is None or next_.order(time.monotonic())[:2] >= (turn.rank, turn.patient):
                    return
                again = Claim(turn)
                self._waiting.append(again)
                self._let_in(next_)
            inside = False
            self._wait(again, cancelled)
            inside = True

        try:
            with nullcontext() if turn.patient else HOUSE.compute():
                yield give_way
        finally:
            if inside:
                self._leave()

    def _enter(self, turn: Turn, cancelled: CancelToken | None) -> None:
        claim = Claim(turn)
        with self._lock:
            enters = self._free > 0
            if enters:
                self._free -= 1
            else:
                self._waiting.append(claim)
        if not enters:
            self._wait(claim, cancelled)

    def _wait(self, claim: Claim, cancelled: CancelToken | None) -> None:
        try:
            claim.wait(cancelled)
        except BaseException:
            with self._lock:
                waits = claim in self._waiting
                if waits:
                    self._waiting.remove(claim)
            if not waits:  # let in at the same moment
                self._leave()
            raise

    def _leave(self) -> None:
        with self._lock:
            if self._waiting:
                now_s = time.monotonic()
                self._let_in(min(self._waiting, key=lambda other: other.order(now_s)))
            else:
                self._free += 1

    def _let_in(self, claim: Claim) -> None:
        self._waiting.remove(claim)
        claim.granted.set()
