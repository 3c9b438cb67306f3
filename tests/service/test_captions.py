"""Captions hold their promises for any words, and two independent libraries read them back."""

from collections.abc import Callable
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from model.transcript import Word
from service.captions import MAX_CUE_MS, MIN_CUE_MS, Cue, cues, to_srt, to_vtt
from tests.service.caption_readers import read_srt, read_vtt
from tests.service.fakes import SENTENCES, transcript_of


@st.composite
def spoken(draw: st.DrawFn) -> list[Word]:
    """Words in order of time: of any length, dense or with long pauses, some without any duration."""
    letters = st.text("abcdefghijklmnopqrstuvwxyz'<>&é", min_size=1, max_size=draw(st.sampled_from([3, 12, 100])))
    length_s = st.floats(0, draw(st.sampled_from([0.05, 0.6, 20])))
    gap_s = st.floats(0, draw(st.sampled_from([0, 0.3, 5])))
    words = []
    now_s = draw(st.floats(0, 3700))
    for text, length, gap in draw(st.lists(st.tuples(letters, length_s, gap_s), max_size=60)):
        words.append(Word(text, now_s, now_s + length, 0.5))
        now_s += length + gap
    return words


@given(spoken())
def test_cues_keep_their_limits(words: list[Word]) -> None:
    result = cues(words)
    for cue in result:
        assert MIN_CUE_MS <= cue.end_ms - cue.start_ms <= MAX_CUE_MS
        assert 1 <= len(cue.lines) <= 2
        assert all(0 < len(line) <= 42 for line in cue.lines)
    assert all(earlier.end_ms <= later.start_ms for earlier, later in pairwise(result))


@given(spoken())
def test_no_letter_is_lost_and_none_moves(words: list[Word]) -> None:
    shown = "".join("".join(cue.lines) for cue in cues(words)).replace(" ", "")
    assert shown == "".join(word.text for word in words)


@given(spoken())
def test_words_that_fit_a_line_are_never_cut(words: list[Word]) -> None:
    short = [word for word in words if len(word.text) <= 42]
    shown = [text for cue in cues(short) for line in cue.lines for text in line.split(" ")]
    assert shown == [word.text for word in short]


@given(spoken())
def test_captions_read_back(words: list[Word]) -> None:
    assert read_srt(to_srt(words)) == cues(words)
    assert read_vtt(to_vtt(words)) == cues(words)


def test_a_second_of_silence_ends_a_cue() -> None:
    words = [Word("one", 0.0, 0.4, 1), Word("two", 0.5, 0.9, 1), Word("three", 1.9, 2.3, 1)]
    assert cues(words) == [Cue(0, 1000, ("one two",)), Cue(1900, 2900, ("three",))]


def test_a_full_cue_ends_at_the_widest_gap_of_its_second_half() -> None:
    sentence = "a second sentence that goes on for longer than a caption of two lines can hold at once"
    words = [Word(text, 0.3 * i, 0.3 * i + 0.29, 1) for i, text in enumerate(sentence.split())]
    pause_before = 10
    words = [
        word if i < pause_before else Word(word.text, word.start_s + 0.4, word.end_s + 0.4, 1)
        for i, word in enumerate(words)
    ]
    first, second = cues(words)
    assert " ".join(first.lines).split() == sentence.split()[:pause_before]
    assert " ".join(second.lines).split() == sentence.split()[pause_before:]


def test_what_was_written_with_spaces_keeps_them() -> None:
    """As numbers are, where captions are formatted: one word of the transcript, several of the caption."""
    words = [Word("he", 0.0, 0.3, 1), Word("paid", 0.4, 0.6, 1), Word("$2.5 million", 0.8, 1.9, 1)]
    assert cues(words) == [Cue(0, 1900, ("he paid $2.5 million",))]


def test_lines_are_balanced() -> None:
    lines = cues(transcript_of(SENTENCES).words)[0].lines
    assert lines == (
        "he hoped there would be stew for dinner",
        "turnips and carrots and bruised potatoes",
    )


@pytest.mark.parametrize("write", [to_srt, to_vtt])
def test_hours(write: Callable[[list[Word]], str]) -> None:
    assert "01:01:01" in write([Word("late", 3661.5, 3662.0, 1)])


def test_silence_parses_too() -> None:
    assert read_srt(to_srt([])) == []
    assert read_vtt(to_vtt([])) == []
