"""Words out of log-probs that are made up, frame by frame, so that every event is known."""

import math
from dataclasses import replace

import pytest
import torch
from torch import Tensor

from model.confidence import LEAST_SHARE, ConfidenceWeights
from model.decoder import DecodedUnit, Sound, WordEvidence, append_stretch, decode_greedy
from model.rejection import RejectionConfig
from model.stable_words import CommitConfig, StableWords
from model.stream_events import Final, Partial, StreamEvent
from model.stretches import plan_stretches
from model.tokenizer import BLANK_ID, CharacterTokenizer
from model.word_evidence import attach

FRAME_S = 0.04
TOKENIZER = CharacterTokenizer()
CONFIG = CommitConfig(agreement=2, pause_s=0.4, edge_s=0.08, longest_s=4.0)  # a pause is 10 frames, the edge 2


def test_a_word_is_committed_once_it_is_settled_ended_and_found_twice() -> None:
    words = new_words()
    assert shown(words.feed(rows("_t_o_"), rows(""), duration_s=0.2)) == ["|to"]
    assert shown(words.feed(rows("_"), rows(" _b"), duration_s=0.4)) == ["|to b"]  # its boundary is outlook
    assert shown(words.feed(rows(" _b"), rows("_e_ "), duration_s=0.5)) == ["to|be"]
    assert shown(words.feed(rows("_e_"), rows(" _"), duration_s=0.6)) == []
    assert shown(words.feed(rows(" _o"), rows("_r"), duration_s=0.7)) == ["to be|or"]
    assert shown(words.feed(rows("_r_ "), rows(""), duration_s=0.8)) == ["to be or|"]


def test_what_two_searches_do_not_agree_on_is_not_committed() -> None:
    words = new_words()
    words.feed(rows("_t_o_ "), rows("_b_y_"), duration_s=0.4)
    words.feed(rows("_b_y_ "), rows("_o"), duration_s=0.6)
    assert shown(words.feed(rows("_o_f"), rows(""), duration_s=0.8)) == ["to by|of"]
    fickle = new_words(decode=changing("_b_e_ ", "_b_y_ ", "_b_e_ ", "_b_y_ "))
    for path in ("_b_e_ ", "", "", ""):
        (event,) = fickle.feed(rows(path), rows(""), duration_s=1.0)
        assert isinstance(event, Partial)
        assert not event.words


def test_the_search_goes_on_from_the_committed_path() -> None:
    """Nothing else is possible in its frames, whatever the log-probs say; and a committed word is never made longer."""
    given: list[Tensor] = []

    def decode(log_probs_SV: Tensor) -> list[DecodedUnit]:
        given.append(log_probs_SV.clone())
        return decode_greedy(log_probs_SV)

    words = new_words(decode=decode)
    for _ in range(2):
        words.feed(rows("_f_o_r_ "), rows("_e"), duration_s=1.0)
    words.feed(rows("_e_s_t_ "), rows(""), duration_s=2.0)
    forced_SV = given[-1][:8]
    path = rows("_f_o_r_ ").argmax(-1)
    assert forced_SV.argmax(-1).tolist() == path.tolist()
    chosen_SV = path.unsqueeze(1)
    assert torch.equal(forced_SV.gather(1, chosen_SV), rows("_f_o_r_ ").gather(1, chosen_SV))  # pauses stay pauses
    assert forced_SV.sort(descending=True).values[:, 1].max() < -1000
    assert given[-1][8:].max() < 0  # what comes after is as it was


def test_what_was_committed_before_a_short_pause_is_not_searched_again() -> None:
    """The search begins anew at pauses; the boundary that it puts between has no frame of its own."""
    given: list[Tensor] = []

    def decode(log_probs_SV: Tensor) -> list[DecodedUnit]:
        given.append(log_probs_SV.clone())
        units: list[DecodedUnit] = []
        for first, end in plan_stretches(log_probs_SV[:, BLANK_ID]):
            found = [
                replace(unit, first_frame=first + unit.first_frame, last_frame=first + unit.last_frame)
                for unit in decode_greedy(log_probs_SV[first:end])
            ]
            append_stretch(units, found, TOKENIZER.encode(" ")[0])
        return units

    words = new_words(decode=decode)
    assert shown(words.feed(rows("_t_o________"), rows("b_"), duration_s=0.6)) == ["|to b"]
    assert shown(words.feed(rows("b_e "), rows(""), duration_s=0.7)) == ["to|be"]
    assert shown(words.feed(rows("_o_r"), rows(""), duration_s=0.8)) == ["to be|or"]
    assert path_of(given[-1]) == "_t_o________b_e _o_r"
    assert given[-1][3].sort(descending=True).values[1] < -1000  # the letter, not the boundary in its frame
    assert shown(words.feed(rows("_ "), rows(""), duration_s=0.9)) == ["to be or|"]
    assert path_of(given[-1]) == "____b_e _o_r_ "
    assert shown(words.close(rows(""), 1000, duration_s=0.9)) == ["TO BE OR"]


def test_a_committed_word_learns_what_follows_it_and_nothing_else() -> None:
    """By what the search says of it once it is certain: that no other word is possible is known before."""
    boundary = TOKENIZER.encode(" ")[0]
    searches = iter(range(1, 9))

    def decode(log_probs_SV: Tensor) -> list[DecodedUnit]:
        nth = next(searches)
        evidence = (WordEvidence(-nth, -10 * nth, nth / 10, ()) for _ in range(9))
        return attach(decode_greedy(log_probs_SV), boundary, evidence)

    weights = ConfidenceWeights(0.0, 0.0, log10prob=0.3, next_log10prob=0.01, agreement=0.2)
    words = StableWords(decode, TOKENIZER, FRAME_S, None, CONFIG, weights)
    sure = []
    for path in ("_t_o_ _b", "_e_ _o", "_r_ _n"):
        (event,) = words.feed(rows(path), rows(""), duration_s=1.0)
        assert isinstance(event, Partial)
        sure.append((*event.words, *event.interim)[0].confidence)
    for found, (nth, next_nth) in zip(sure, ((1, 1), (2, 2), (2, 3)), strict=True):  # committed by the second search
        odds = math.log((nth / 10 + LEAST_SHARE) / (1 - nth / 10 + LEAST_SHARE))
        assert found == pytest.approx(1 / (1 + math.exp(0.3 * nth + 0.1 * next_nth - 0.2 * odds)))


def test_an_utterance_ends_at_a_pause() -> None:
    words = new_words()
    first = words.feed(rows("_t_o_ _b_e" + "_" * 11), rows(""), duration_s=1.0)
    assert shown(first) == ["|to be"]
    last = words.feed(rows("_"), rows(""), duration_s=1.1)  # 10 frames and the edge
    assert shown(last) == ["TO BE"]
    final = last[0]
    assert isinstance(final, Final)
    assert [(word.text, word.start_s) for word in final.segment.words] == [("to", FRAME_S), ("be", 7 * FRAME_S)]
    assert final.utterance == final.segment.id == 0
    again = words.feed(rows("_n_o_" + "_" * 12), rows(""), duration_s=2.0)
    assert shown(again) == ["NO"]
    assert again[0].utterance == 1


def test_a_pause_that_shows_only_behind_it_ends_the_utterance_too() -> None:
    words = new_words()
    events = words.feed(rows("_t_o_" + "_" * 12 + " b_e_ "), rows("_o"), duration_s=2.0)
    assert shown(events) == ["TO", "|be o"]


def test_the_outlook_may_end_an_utterance_but_not_begin_the_next() -> None:
    words = new_words()
    assert shown(words.feed(rows("_t_o_"), rows("_" * 11), duration_s=1.0)) == ["TO"]
    assert shown(words.feed(rows("_" * 11), rows("n_o"), duration_s=1.5)) == ["|no"]
    words = new_words()
    assert shown(words.feed(rows("_t_o_"), rows("_" * 11 + " n_o"), duration_s=1.0)) == ["|to no"]


def test_an_utterance_without_pauses_ends_at_its_last_committed_word() -> None:
    words = new_words()
    events: list[StreamEvent] = []
    for _ in range(30):
        events += words.feed(rows("_a_b_ "), rows(""), duration_s=9.0)
    said = [event for event in events if isinstance(event, Final)]
    assert len(said) == 1
    assert 15 <= len(said[0].segment.words) <= 17  # 4 s of words that take 0.24 s each
    assert all(len(event.words) + len(event.interim) <= 18 for event in events if isinstance(event, Partial))
    events += words.close(rows(""), 10_000, duration_s=9.0)
    assert sum(len(event.segment.words) for event in events if isinstance(event, Final)) == 30


def test_close_gives_the_rest_and_forgets_what_is_beyond() -> None:
    words = new_words()
    words.feed(rows("_t_o_ "), rows("_b"), duration_s=0.4)
    assert shown(words.close(rows("_b_e_ _o_r"), 11, duration_s=0.9)) == ["TO BE"]
    words.begin(100)
    events = words.close(rows("_n_o"), 200, duration_s=4.1)
    assert shown(events) == ["NO"]
    assert isinstance(events[0], Final)
    assert events[0].segment.words[0].start_s == 101 * FRAME_S
    assert events[0].segment.words[0].end_s == 4.1  # no later than the audio


def test_what_nobody_spoke_is_neither_shown_nor_committed() -> None:
    words = new_words(rejection=RejectionConfig(evidence_s=1.0))
    events: list[StreamEvent] = []
    for _ in range(20):
        events += words.feed(rows("_" * 10 + "a__ ", sureness=2.0), rows(""), duration_s=9.0)
    events += words.close(rows(""), 1000, duration_s=9.0)
    assert events == []


def test_silence_is_forgotten() -> None:
    words = new_words()
    for _ in range(50):
        assert words.feed(rows("_" * 50), rows("_" * 10), duration_s=1.0) == []
        assert len(words._rows_SO) < 300


@pytest.mark.parametrize("pause_s", [0.4, 5.0, 30.0])
def test_no_pause_is_too_long_where_nothing_is_said(pause_s: float) -> None:
    """Once a pause was longer than what a word is judged with, the end of an utterance was looked for without end."""
    words = new_words(config=replace(CONFIG, pause_s=pause_s, longest_s=20.0))
    for _ in range(40):
        assert words.feed(rows("_" * 50), rows("_" * 10), duration_s=1.0) == []
        assert len(words._rows_SO) < 300
    assert shown(words.feed(rows("_t_o_ "), rows("_b"), duration_s=100.0)) == ["|to b"]


def test_a_word_whose_letters_are_aligned_to_committed_frames_stays_whole() -> None:
    """In quick speech a word that was found by its sounds may have fewer frames than letters."""

    def decode(log_probs_SV: Tensor) -> list[DecodedUnit]:
        units = decode_greedy(log_probs_SV)
        if len(log_probs_SV) < 10:
            return units
        committed = [unit for unit in units if unit.last_frame <= 5]
        letters = [
            DecodedUnit(TOKENIZER.encode(letter)[0], at, at, -0.1)
            for letter, at in (("c", 4), ("o", 5), ("l", 7), ("d", 8), (" ", 9))
        ]
        return [*committed, replace(letters[0], evidence=heard), *letters[1:]]

    heard = WordEvidence(-1.0, -1.0, 1.0, (), (Sound(5, 2, 3), Sound(6, 4, 4)))
    words = new_words(decode=decode)
    words.feed(rows("_t_o_"), rows(" "), duration_s=0.4)
    assert shown(words.feed(rows(" "), rows("_"), duration_s=0.4)) == ["to|"]
    until = words._committed_until
    assert shown(words.feed(rows("cold"), rows(" _"), duration_s=0.8)) == ["to|cold"]
    (word,) = words._search()[1:]
    assert word.first_frame == until and [unit.last_frame for unit in word.units] == sorted(
        unit.last_frame for unit in word.units
    )
    evidence = word.units[0].evidence
    assert evidence and [word.first_frame + sound.first for sound in evidence.sounds] == [6, 8]  # where they were


def test_a_committed_word_that_is_found_as_two_is_not_followed_by_its_second_half() -> None:
    """The search by sounds may read the certain path otherwise than when it was committed."""

    def decode(log_probs_SV: Tensor) -> list[DecodedUnit]:
        units = decode_greedy(log_probs_SV)
        if len(log_probs_SV) < 12:
            return units
        halved = [unit for unit in units if unit.last_frame <= 6]
        boundary = replace(halved[1], id=TOKENIZER.encode(" ")[0], first_frame=2, last_frame=2)
        return [halved[0], boundary, *halved[1:], *(unit for unit in units if unit.last_frame > 6)]

    words = new_words(decode=decode)
    words.feed(rows("_f_o_r"), rows(" "), duration_s=0.4)
    assert shown(words.feed(rows(" "), rows("_"), duration_s=0.4)) == ["for|"]
    assert shown(words.feed(rows("_b_e_"), rows(" _"), duration_s=0.8)) == ["for|be"]


def new_words(
    decode: object = decode_greedy, rejection: RejectionConfig | None = None, config: CommitConfig = CONFIG
) -> StableWords:
    return StableWords(decode, TOKENIZER, FRAME_S, rejection, config)  # type: ignore[arg-type]  # a decoder each


def changing(*paths: str) -> object:
    """A decoder that finds another text every time."""
    found = iter(paths)
    return lambda log_probs_SV: decode_greedy(rows(next(found)))


def shown(events: list[StreamEvent]) -> list[str]:
    """Partials as `committed|interim`, finals in upper case."""
    return [
        event.segment.text.upper()
        if isinstance(event, Final)
        else " ".join(word.text for word in event.words) + "|" + " ".join(word.text for word in event.interim)
        for event in events
    ]


def path_of(log_probs_SV: Tensor) -> str:
    """The best unit of each frame, `_` for the blank."""
    return "".join("_" if unit == BLANK_ID else TOKENIZER.decode([unit]) for unit in log_probs_SV.argmax(-1).tolist())


def rows(path: str, sureness: float = 9.0) -> Tensor:
    """Log-probs of a path; `_` is the blank."""
    ids = [BLANK_ID if character == "_" else TOKENIZER.encode(character)[0] for character in path]
    return (torch.eye(TOKENIZER.vocabulary_size)[ids] * sureness).log_softmax(-1)
