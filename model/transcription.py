"""A transcript that grows with the log-probs: stretch after stretch is searched, and forgotten.

Shape legend: S output frames, O outputs of the acoustic model, the characters first.
"""

from collections.abc import Callable
from dataclasses import replace

import torch
from jaxtyping import Float
from torch import Tensor

from model.alignment import build_segments
from model.confidence import ConfidenceWeights
from model.decoder import DecodedUnit, append_stretch
from model.rejection import RejectionConfig
from model.stages import stage
from model.stretches import StretchConfig, plan_stretches
from model.tokenizer import BLANK_ID, Tokenizer
from model.transcript import Segment, Transcript


class Transcription:
    """Turns log-probs that arrive in pieces into segments.

    Remembered are the frames of one stretch and of the segment that is not over yet, and the segments themselves.

    Args:
        decode: log-probs (S, O) → units of the best path.
        tokenizer: gives the units' text.
        frame_s: seconds from one output frame to the next.
        rejection: when words are taken to be heard where nobody speaks, and dropped; None keeps all.
        boundary: the unit between words, where `decode` ends each stretch with a whole word; None where one may go on
            in the next one.
        confidence: how words' confidence comes about; None for their letters' posteriors.
        alternatives: how many of what else the search would have written are given with each word, at most.
    """

    def __init__(
        self,
        decode: Callable[[Tensor], list[DecodedUnit]],
        tokenizer: Tokenizer,
        frame_s: float,
        rejection: RejectionConfig | None,
        boundary: int | None = None,
        *,
        confidence: ConfidenceWeights | None = None,
        alternatives: int = 0,
    ) -> None:
        self._decode = decode
        self._tokenizer = tokenizer
        self._frame_s = frame_s
        self._stretches = StretchConfig.of(frame_s)
        self._rejection = rejection
        self._boundary = boundary
        self._confidence, self._alternatives = confidence, alternatives
        self._kept_frames = round((rejection or RejectionConfig()).evidence_s / frame_s)
        self._segments: list[Segment] = []
        self._units: list[DecodedUnit] = []  # of the segment that is not over yet
        self._first_frame = 0  # number of the first of the remembered frames
        self._decoded = 0  # how many of them are searched
        self._rows_SO = torch.zeros(0, 0)

    def feed(self, first_frame: int, log_probs_SO: Float[Tensor, "S O"]) -> None:
        """Take the log-probs of the frames from `first_frame` on; what lies before them and was not fed is silence."""
        if first_frame != self._first_frame + len(self._rows_SO):
            self._close(float("inf"))
            self._first_frame, self._rows_SO = first_frame, self._rows_SO[:0]
        self._rows_SO = torch.cat([self._rows_SO, log_probs_SO]) if len(self._rows_SO) else log_probs_SO
        while len(waiting_SO := self._rows_SO[self._decoded :]) > self._stretches.longest:
            _, cut = next(plan_stretches(waiting_SO[:, BLANK_ID], self._stretches))
            self._search(cut)
            self._settle()

    def finish(self, duration_s: float) -> Transcript:
        """The audio is over.

        Args:
            duration_s: its length, seconds; no time is later.
        """
        self._close(duration_s)
        segments = tuple(replace(segment, id=index) for index, segment in enumerate(self._segments))
        return Transcript(" ".join(segment.text for segment in segments), segments, duration_s)

    def _search(self, n_frames: int) -> None:
        stretch_SO = self._rows_SO[self._decoded : self._decoded + n_frames]
        begin = self._first_frame + self._decoded
        with stage("search"):
            units = self._decode(stretch_SO)
        shifted = [
            replace(unit, first_frame=begin + unit.first_frame, last_frame=begin + unit.last_frame) for unit in units
        ]
        if self._boundary is None:
            self._units.extend(shifted)
        else:
            append_stretch(self._units, shifted, self._boundary)
        self._decoded += n_frames

    def _settle(self) -> None:
        """Keep the segments that nothing can be added to, and forget their frames."""
        segments = self._build(float("inf"))
        self._keep(segments[:-1])
        if not segments:
            self._units, needed = [], self._decoded
        else:
            begins_s = segments[-1].start_s
            self._units = [unit for unit in self._units if unit.first_frame * self._frame_s >= begins_s]
            needed = self._units[0].first_frame - self._first_frame
        forgotten = max(0, min(needed, self._decoded) - self._kept_frames)
        self._rows_SO = self._rows_SO[forgotten:].clone()
        self._first_frame += forgotten
        self._decoded -= forgotten

    def _close(self, duration_s: float) -> None:
        """Nothing more comes for what is remembered."""
        if len(self._rows_SO) > self._decoded:
            self._search(len(self._rows_SO) - self._decoded)
        self._keep(self._build(duration_s))
        self._units, self._first_frame = [], self._first_frame + len(self._rows_SO)
        self._rows_SO, self._decoded = self._rows_SO[:0], 0

    def _build(self, duration_s: float) -> tuple[Segment, ...]:
        return build_segments(
            self._units,
            self._rows_SO,
            self._tokenizer,
            frame_s=self._frame_s,
            duration_s=duration_s,
            rejection=self._rejection,
            first_frame=self._first_frame,
            confidence=self._confidence,
            alternatives=self._alternatives,
        )

    def _keep(self, segments: tuple[Segment, ...]) -> None:
        rejection = self._rejection
        self._segments += [s for s in segments if not rejection or s.no_speech_prob <= rejection.threshold]
