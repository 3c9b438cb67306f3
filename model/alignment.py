"""From decoded units to words with times and confidence, and to segments.

A unit's time is that of the output frames in which CTC emits it. Those are peaks, not durations, so a word is taken to
last from its first unit's first frame to the end of its last unit's last frame.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from jaxtyping import Float
from torch import Tensor

from model.confidence import ConfidenceWeights, word_confidence
from model.decoder import DecodedUnit
from model.errors import OptionError
from model.rejection import RejectionConfig, no_speech_probability, surroundings
from model.spelled_words import SpelledWord, split_words
from model.tokenizer import Tokenizer
from model.transcript import Segment, Token, Word


@dataclass(frozen=True)
class SegmentConfig:
    """Where one segment ends and the next begins.

    Attributes:
        pause_s: a gap between words at least this long separates segments.
        longest_s: a segment that would grow longer is ended at the word before.
    """

    pause_s: float = 0.6
    longest_s: float = 30.0

    def __post_init__(self) -> None:
        if not (self.pause_s > 0 and self.longest_s > 0):
            raise OptionError(f"segment pause is {self.pause_s} s and longest {self.longest_s} s; both must be above 0")


def build_segments(
    units: Sequence[DecodedUnit],
    log_probs_SO: Float[Tensor, "S O"],
    tokenizer: Tokenizer,
    *,
    frame_s: float,
    duration_s: float,
    config: SegmentConfig | None = None,
    rejection: RejectionConfig | None = None,
    first_frame: int = 0,
    confidence: ConfidenceWeights | None = None,
    alternatives: int = 0,
) -> tuple[Segment, ...]:
    """Group units to words, and words to segments.

    Args:
        units: what the decoder found, in order of time.
        log_probs_SO: natural-log posteriors that it was found in, the characters' first.
        tokenizer: gives the units' text.
        frame_s: seconds from one output frame to the next.
        duration_s: length of the audio; no time is later.
        config: where segments end.
        rejection: how `no_speech_prob` comes about; no segment is dropped here.
        first_frame: number of the first frame of `log_probs_SO`; the units' frames count from the same beginning.
        confidence: how a word's confidence comes about.
        alternatives: how many of what else a search would have written are given with each word, at most.
    """
    config = config or SegmentConfig()
    groups: list[list[SpelledWord]] = []
    for word in split_words(units, tokenizer):
        if groups:
            pause_s = (word.first_frame - groups[-1][-1].end_frame) * frame_s
            length_s = (word.end_frame - groups[-1][0].first_frame) * frame_s
            if pause_s < config.pause_s and length_s <= config.longest_s:
                groups[-1].append(word)
                continue
        groups.append([word])
    return tuple(
        build_segment(
            group,
            log_probs_SO,
            tokenizer,
            id=index,
            frame_s=frame_s,
            duration_s=duration_s,
            rejection=rejection,
            first_frame=first_frame,
            confidence=confidence,
            alternatives=alternatives,
        )
        for index, group in enumerate(groups)
    )


def build_segment(
    group: Sequence[SpelledWord],
    log_probs_SO: Float[Tensor, "S O"],
    tokenizer: Tokenizer,
    *,
    id: int,
    frame_s: float,
    duration_s: float,
    rejection: RejectionConfig | None = None,
    first_frame: int = 0,
    confidence: ConfidenceWeights | None = None,
    alternatives: int = 0,
) -> Segment:
    """One segment of these words, one at least; the other arguments are those of `build_segments`."""

    def time_s(frame: int) -> float:
        return min(frame * frame_s, duration_s)

    words: list[Word] = []
    tokens: list[Token] = []
    for word in group:
        sureness = word_confidence(word.units, confidence)
        evidence = word.units[0].evidence
        others = evidence.alternatives[:alternatives] if evidence else ()
        words.append(Word(word.text(tokenizer), time_s(word.first_frame), time_s(word.end_frame), sureness, others))
        boundary = [word.before] if word.before and tokens else []
        for unit in (*boundary, *word.units):
            tokens.append(Token(tokenizer.decode([unit.id]), unit.id, time_s(unit.first_frame), unit.logprob))
    rejection = rejection or RejectionConfig()
    letters_SV = log_probs_SO[:, : tokenizer.vocabulary_size]
    begin, end = group[0].first_frame - first_frame, group[-1].end_frame - first_frame
    first, last = surroundings(len(log_probs_SO), begin, end, round(rejection.evidence_s / frame_s))
    return Segment(
        id=id,
        start_s=words[0].start_s,
        end_s=words[-1].end_s,
        text=" ".join(word.text for word in words),
        words=tuple(words),
        tokens=tuple(tokens),
        avg_logprob=sum(token.logprob for token in tokens) / len(tokens),
        no_speech_prob=no_speech_probability(letters_SV[first:last], frame_s, rejection),
    )
