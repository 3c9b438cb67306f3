"""Paths are written as strings, one character an output frame: `hh_e  ` with `_` for the blank."""

import math
from itertools import groupby, pairwise

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from model.alignment import SegmentConfig, build_segments
from model.decoder import decode_greedy
from model.errors import OptionError
from model.rejection import RejectionConfig, no_speech_probability
from model.tokenizer import BLANK_ID, CharacterTokenizer
from model.transcript import Segment

TOKENIZER = CharacterTokenizer()
FRAME_S = 0.04
paths = st.text(alphabet="_ ab'", max_size=60)


def test_words_last_from_their_first_to_the_end_of_their_last_unit() -> None:
    (segment,) = segments_of("_hh_i_  __yoo_u_")
    assert segment.text == "hi you"
    assert [word.text for word in segment.words] == ["hi", "you"]
    assert [word.start_s for word in segment.words] == pytest.approx([1 * FRAME_S, 10 * FRAME_S])
    assert [word.end_s for word in segment.words] == pytest.approx([5 * FRAME_S, 15 * FRAME_S])
    assert (segment.start_s, segment.end_s) == (segment.words[0].start_s, segment.words[-1].end_s)
    assert [(token.text, round(token.start_s / FRAME_S)) for token in segment.tokens] == [
        ("h", 1),
        ("i", 4),
        (" ", 6),
        ("y", 10),
        ("o", 11),
        ("u", 14),
    ]


@settings(deadline=None)
@given(path=paths, pause_s=st.sampled_from([0.04, 0.12, 0.6]), longest_s=st.sampled_from([0.1, 0.5, 30.0]))
def test_times_are_in_order_and_the_text_is_what_was_decoded(path: str, pause_s: float, longest_s: float) -> None:
    duration_s = max(len(path) * FRAME_S - 0.03, 0.0)  # the last frame may reach beyond the audio
    segments = segments_of(path, duration_s=duration_s, config=SegmentConfig(pause_s, longest_s))
    words = [word for segment in segments for word in segment.words]
    assert [word.text for word in words] == spelled(path).split()
    assert [segment.id for segment in segments] == list(range(len(segments)))
    times_s = [time_s for word in words for time_s in (word.start_s, word.end_s)]
    assert times_s == sorted(times_s)
    assert all(0 <= time_s <= duration_s for time_s in times_s)
    assert all(0 <= word.confidence <= 1 for word in words)
    token_times_s = [token.start_s for segment in segments for token in segment.tokens]
    assert token_times_s == sorted(token_times_s)
    assert all(0 <= time_s <= duration_s for time_s in token_times_s)
    for segment in segments:
        assert segment.text == " ".join(word.text for word in segment.words)
        assert segment.text == "".join(token.text for token in segment.tokens)
        assert segment.text == TOKENIZER.decode([token.id for token in segment.tokens])
        assert (segment.start_s, segment.end_s) == (segment.words[0].start_s, segment.words[-1].end_s)
        assert segment.avg_logprob <= 0
        assert 0 <= segment.no_speech_prob <= 1


@settings(deadline=None)
@given(path=paths, pause_frames=st.integers(1, 6))
def test_segments_end_at_pauses_and_only_there(path: str, pause_frames: int) -> None:
    """Read off the path itself: a word is a run without spaces; between two of them lie blanks and spaces."""
    segments = segments_of(path, config=SegmentConfig(pause_s=pause_frames * FRAME_S, longest_s=1e9))
    spans = word_spans(path)
    gaps = [later[0] - earlier[1] - 1 for earlier, later in pairwise(spans)]
    assert len(segments) == (sum(gap >= pause_frames for gap in gaps) + 1 if spans else 0)
    for earlier, later in pairwise(segments):
        assert round((later.start_s - earlier.end_s) / FRAME_S) >= pause_frames
    for segment in segments:
        for one, next_one in pairwise(segment.words):
            assert round((next_one.start_s - one.end_s) / FRAME_S) < pause_frames


@pytest.mark.parametrize("before", range(0, 60, 7))
def test_a_pause_of_just_the_limit_separates_wherever_it_lies(before: int) -> None:
    config = SegmentConfig(pause_s=0.6)
    assert len(segments_of("_" * before + "a " + "_" * 14 + "b", config=config)) == 2
    assert len(segments_of("_" * before + "a " + "_" * 13 + "b", config=config)) == 1


def test_a_segment_ends_before_the_word_that_would_make_it_too_long() -> None:
    segments = segments_of("aaaa bbbb aaaa bbbb", config=SegmentConfig(longest_s=10 * FRAME_S))
    assert [segment.text for segment in segments] == ["a b", "a b"]
    assert all(segment.end_s - segment.start_s <= 10 * FRAME_S for segment in segments)


def test_a_word_longer_than_a_segment_may_be_stands_alone() -> None:
    segments = segments_of("a bbbbbbbb a", config=SegmentConfig(longest_s=4 * FRAME_S))
    assert [segment.text for segment in segments] == ["a", "b", "a"]


def test_confidence_and_log_probabilities_are_those_of_the_frames() -> None:
    log_probs_SV = log_probs_along("ab a")
    units = decode_greedy(log_probs_SV)
    (segment,) = build_segments(units, log_probs_SV, TOKENIZER, frame_s=FRAME_S, duration_s=1.0)
    best = [float(log_probs_SV[frame].max()) for frame in range(4)]
    assert [token.logprob for token in segment.tokens] == pytest.approx(best)
    assert segment.avg_logprob == pytest.approx(sum(best) / 4)
    assert segment.words[0].confidence == pytest.approx(math.sqrt(math.exp(best[0]) * math.exp(best[1])))
    assert segment.words[1].confidence == pytest.approx(math.exp(best[3]))
    assert segment.no_speech_prob == no_speech_probability(log_probs_SV, FRAME_S, RejectionConfig())


@pytest.mark.parametrize("path", ["", "____", "   ", " _ "])
def test_nothing_said_gives_no_segment(path: str) -> None:
    assert segments_of(path) == ()


def test_units_without_a_space_are_one_word() -> None:
    tokenizer = CharacterTokenizer("ab")
    log_probs_SV = torch.eye(3)[[1, 0, 2, 2]].mul(9).log_softmax(-1)
    (segment,) = build_segments(decode_greedy(log_probs_SV), log_probs_SV, tokenizer, frame_s=FRAME_S, duration_s=1.0)
    assert segment.text == "ab"


@pytest.mark.parametrize("options", [{"pause_s": 0.0}, {"longest_s": -1.0}], ids=str)
def test_a_segment_option_out_of_range_is_refused(options: dict[str, float]) -> None:
    with pytest.raises(OptionError, match="must be above 0"):
        SegmentConfig(**options)


def segments_of(
    path: str, *, duration_s: float | None = None, config: SegmentConfig | None = None
) -> tuple[Segment, ...]:
    log_probs_SV = log_probs_along(path)
    return build_segments(
        decode_greedy(log_probs_SV),
        log_probs_SV,
        TOKENIZER,
        frame_s=FRAME_S,
        duration_s=len(path) * FRAME_S if duration_s is None else duration_s,
        config=config,
    )


def log_probs_along(path: str) -> Tensor:
    """Random posteriors in which `path` is the best."""
    ids = [BLANK_ID if character == "_" else TOKENIZER.encode(character)[0] for character in path]
    generator = torch.Generator().manual_seed(len(path))
    logits_SV = torch.rand(len(path), TOKENIZER.vocabulary_size, generator=generator)
    logits_SV[torch.arange(len(path)), torch.tensor(ids, dtype=torch.int64)] += 3
    return logits_SV.log_softmax(-1)


def spelled(path: str) -> str:
    return "".join(character for character, _ in groupby(path) if character != "_")


def word_spans(path: str) -> list[tuple[int, int]]:
    """First and last frame of each word."""
    spans: list[tuple[int, int]] = []
    in_word = False
    for frame, character in enumerate(path):
        if character == " ":
            in_word = False
        elif character != "_":
            spans.append((spans.pop()[0], frame) if in_word else (frame, frame))
            in_word = True
    return spans
