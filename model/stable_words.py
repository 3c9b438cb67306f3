"""Words out of log-probs that are still coming: which may be relied on, and where an utterance ends.

Shape legend: S output frames, O outputs of the acoustic model: characters, then phones if there are any. How it works
is said in `model.streaming`; how the search is held to what is committed, in `model.certain_path`.
"""

from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import torch
from jaxtyping import Float
from torch import Tensor

from model.alignment import build_segment
from model.certain_path import behind_path, heard_until, with_certain_path, with_next
from model.confidence import ConfidenceWeights
from model.decoder import DecodedUnit, WordEvidence
from model.errors import OptionError
from model.rejection import RejectionConfig
from model.spelled_words import SpelledWord, split_words
from model.stream_events import Final, Partial, StreamEvent
from model.stretches import StretchConfig, plan_stretches
from model.tokenizer import BLANK_ID, Tokenizer
from model.transcript import Segment


@dataclass(frozen=True)
class CommitConfig:
    """When words are committed, and when an utterance ends.

    Attributes:
        agreement: so many searches in a row have to begin with the same words.
        pause_s: a gap between words at least this long ends the utterance.
        edge_s: the last so many seconds of what is known are not trusted to be a pause, because letters show late.
        longest_s: an utterance that grows longer is ended at its last committed word.
    """

    agreement: int = 2
    pause_s: float = 0.6
    edge_s: float = 0.2
    longest_s: float = 20.0

    def __post_init__(self) -> None:
        if not (
            1 <= self.agreement <= 100
            and 0 < self.pause_s <= 60
            and 0 <= self.edge_s <= 60
            and 1 <= self.longest_s <= 25
        ):
            raise OptionError(
                f"agreement is {self.agreement}, pause {self.pause_s} s, edge {self.edge_s} s, longest utterance "
                f"{self.longest_s} s; 1 to 100, above 0 to 60, 0 to 60 and 1 to 25 are possible"
            )


class StableWords:
    """Turns settled log-probs and an outlook on the next ones into events.

    Remembered are the rows of one utterance and of the seconds before it that it is judged with.

    Args:
        decode: log-probs (S, O) → units of the best path; what it is given may begin with a committed path, certain.
        tokenizer: gives the units' text.
        frame_s: seconds from one output frame to the next.
        rejection: when words are taken to be heard where nobody speaks; such are never committed. None keeps all.
        config: see there.
        confidence: how words' confidence comes about; None for their letters' posteriors.
    """

    def __init__(
        self,
        decode: Callable[[Tensor], list[DecodedUnit]],
        tokenizer: Tokenizer,
        frame_s: float,
        rejection: RejectionConfig | None,
        config: CommitConfig,
        confidence: ConfidenceWeights | None = None,
    ) -> None:
        self._decode = decode
        self._tokenizer = tokenizer
        self._frame_s = frame_s
        self._stretches = StretchConfig.of(frame_s)
        self._rejection, self._confidence = rejection, confidence
        self._pause_frames = max(1, round(config.pause_s / frame_s))
        self._edge_frames = round(config.edge_s / frame_s)
        self._longest_frames = round(config.longest_s / frame_s)
        self._kept_frames = round((rejection or RejectionConfig()).evidence_s / frame_s)
        self._earlier: deque[list[str]] = deque(maxlen=config.agreement - 1)  # what the searches before this one found
        self._agreement = config.agreement
        self._utterance = 0
        self._shown: Partial | None = None
        self.begin(0)

    def begin(self, first_frame: int) -> None:
        """Rows come from another place, which has nothing to do with those before; to be called after `close`."""
        self._rows_SO = torch.zeros(0, 0)
        self._first_row = first_frame  # number of the first of these
        self._settled = first_frame  # all before this frame stays as it is
        self._restart(first_frame)

    def restart_numbers(self) -> None:
        """The next utterance is number 0."""
        self._utterance, self._shown = 0, None

    def feed(
        self, settled_SO: Float[Tensor, "S O"], outlook_SO: Float[Tensor, "S2 O"], *, duration_s: float
    ) -> list[StreamEvent]:
        """Take the next settled rows, and a first look at those after, which takes the place of the look before.

        Args:
            settled_SO: natural-log posteriors; they go on where the settled ones before ended.
            outlook_SO: the same, not certain yet.
            duration_s: length of the audio so far, seconds; no time is later.
        """
        self._rows_SO = _joined(self._rows_SO[: self._settled - self._first_row], settled_SO, outlook_SO)
        self._settled += len(settled_SO)
        return self._advance(duration_s, over=False)

    def close(self, settled_SO: Float[Tensor, "S O"], end_frame: int, *, duration_s: float) -> list[StreamEvent]:
        """Take the last rows, after which nothing comes before `begin`.

        Args:
            settled_SO: as in `feed`.
            end_frame: what was heard in this frame and later is forgotten.
            duration_s: as in `feed`.
        """
        end_frame = max(end_frame, self._committed_until)
        self._rows_SO = _joined(self._rows_SO[: self._settled - self._first_row], settled_SO)
        self._rows_SO = self._rows_SO[: max(0, end_frame - self._first_row)]
        self._settled = self._known
        return self._advance(duration_s, over=True)

    @property
    def _known(self) -> int:
        """Frames before this number have a row."""
        return self._first_row + len(self._rows_SO)

    def _restart(self, begin: int) -> None:
        """The next utterance begins at this frame."""
        self._begin = self._committed_until = self._sounds_until = begin
        self._committed: list[DecodedUnit] = []
        self._earlier.clear()
        forgotten = max(0, min(begin - self._kept_frames, self._settled) - self._first_row)
        self._rows_SO = self._rows_SO[forgotten:].clone()
        self._first_row += forgotten

    def _advance(self, duration_s: float, *, over: bool) -> list[StreamEvent]:
        events: list[StreamEvent] = []
        while True:
            words = self._search()
            end = self._endpoint(words, over=over)
            if end is None:
                break
            n_words, begin = end
            segment = self._segment(words[:n_words], duration_s)
            if segment is not None and self._is_speech(segment):
                events.append(self._final(segment, words[:n_words]))
            elif self._committed:  # what was committed stays, whatever came after it
                committed = words[: self._n_committed(words)]
                kept = self._segment(committed, duration_s)
                assert kept is not None
                events.append(self._final(kept, committed))
            self._restart(begin)
        segment = self._segment(words, duration_s)
        speech = segment is not None and self._is_speech(segment)
        if speech:
            self._commit(words)
        self._earlier.append([word.text(self._tokenizer) for word in words])
        events += self._partial(segment if speech or self._committed else None, self._n_committed(words))
        return events

    def _search(self) -> list[SpelledWord]:
        """The words of the utterance, the committed ones first."""
        known_SO = self._rows_SO[max(0, self._begin - self._first_row) :]
        n_committed = self._committed_until - self._begin
        if len(known_SO) <= n_committed:
            return split_words(self._committed, self._tokenizer)
        # A stretch is searched as if nothing were before it, so those that are committed need not be searched again.
        cuts = (cut for cut, _ in plan_stretches(known_SO[:, BLANK_ID], self._stretches))
        first = max(cut for cut in cuts if cut <= n_committed)
        origin = self._begin + first
        certain_SO = with_certain_path(
            known_SO,
            self._committed,
            begin=self._begin,
            n_committed=n_committed,
            sounds_until=self._sounds_until,
            n_letters=self._tokenizer.vocabulary_size,
        )
        found = split_words(
            (
                replace(unit, first_frame=origin + unit.first_frame, last_frame=origin + unit.last_frame)
                for unit in self._decode(certain_SO[first:])
            ),
            self._tokenizer,
        )
        known: dict[int, WordEvidence] = {}  # of the committed words, by their first frames
        units: list[DecodedUnit] = []
        for word in found:
            if word.end_frame > self._committed_until or heard_until(word) > self._sounds_until:
                units += behind_path(word, self._committed_until)
            elif word.units[0].evidence is not None:
                known[word.first_frame] = word.units[0].evidence
        self._committed = [with_next(unit, known.get(unit.first_frame)) for unit in self._committed]
        return split_words([*self._committed, *units], self._tokenizer)

    def _endpoint(self, words: Sequence[SpelledWord], *, over: bool) -> tuple[int, int] | None:
        """Where the utterance ends: the number of its words, and the frame at which the next one begins."""
        if not words:
            if over:
                return None if self._begin == self._known else (0, self._known)
            # Of frames in which nothing is said only as many stay as a word may need.
            stay = min(self._pause_frames, self._kept_frames)
            return (0, self._settled - stay) if self._settled - self._begin > self._kept_frames else None
        for index, word in enumerate(words):
            is_last = index + 1 == len(words)
            next_first = self._known - (0 if over else self._edge_frames) if is_last else words[index + 1].first_frame
            known = is_last or over or next_first < self._settled
            if known and next_first - word.end_frame >= self._pause_frames:
                return index + 1, max(word.end_frame + self._pause_frames // 2, self._committed_until)
        if over:
            return len(words), self._known
        if self._settled - self._begin >= self._longest_frames:
            certain = self._n_committed(words)
            if not certain:  # nothing was stable in all that time
                certain = sum(word.end_frame < self._settled for word in words)
            begin = max(self._committed_until, words[certain - 1].end_frame) if certain else self._settled
            return certain, begin
        return None

    def _commit(self, words: Sequence[SpelledWord]) -> None:
        """Commit the words that are settled and that the searches before this one began with too."""
        if len(self._earlier) < self._agreement - 1:
            return
        agreed = 0
        for index, word in enumerate(words):
            boundary = word.after
            if boundary is None or boundary.first_frame >= self._settled:
                break
            if heard_until(word) > self._settled:
                break
            if any(len(texts) <= index or texts[index] != word.text(self._tokenizer) for texts in self._earlier):
                break
            agreed = index + 1
        if agreed <= self._n_committed(words):
            return
        last = words[agreed - 1].after
        assert last is not None
        # The boundary belongs to it: without one, letters that come could make a longer word of the last one.
        units = [unit for word in words[:agreed] for unit in (*word.units, word.after) if unit is not None]
        self._committed = [*units[:-1], replace(last, last_frame=last.first_frame)]
        self._committed_until = last.first_frame + 1
        # The path of the sounds ends a little before that of the letters, or after it.
        self._sounds_until = max(self._sounds_until, heard_until(words[agreed - 1]))

    def _n_committed(self, words: Sequence[SpelledWord]) -> int:
        return sum(word.end_frame <= self._committed_until for word in words) if self._committed else 0

    def _segment(self, words: Sequence[SpelledWord], duration_s: float) -> Segment | None:
        if not words:
            return None
        return build_segment(
            words,
            self._rows_SO,
            self._tokenizer,
            id=self._utterance,
            frame_s=self._frame_s,
            duration_s=duration_s,
            rejection=self._rejection,
            first_frame=self._first_row,
            confidence=self._confidence,
        )

    def _is_speech(self, segment: Segment) -> bool:
        return self._rejection is None or segment.no_speech_prob <= self._rejection.threshold

    def _final(self, segment: Segment, words: Sequence[SpelledWord]) -> Final:
        final = Final(self._utterance, segment, tuple(tuple(word.units) for word in words))
        self._utterance, self._shown = self._utterance + 1, None
        return final

    def _partial(self, segment: Segment | None, n_committed: int) -> list[StreamEvent]:
        """What is to be shown now, where that is something new."""
        words = segment.words if segment else ()
        partial = Partial(self._utterance, words[:n_committed], words[n_committed:])
        before = self._shown or Partial(self._utterance, (), ())
        if _texts(partial) == _texts(before):
            return []
        self._shown = partial
        return [partial]


def _joined(*parts: Tensor) -> Tensor:
    """Rows after one another; empty parts may have any width."""
    return torch.cat([part for part in parts if len(part)] or [parts[-1]])


def _texts(partial: Partial) -> tuple[list[str], list[str]]:
    return [word.text for word in partial.words], [word.text for word in partial.interim]
