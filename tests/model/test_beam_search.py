"""Beam search against a search over every path, on lexicons small enough for that."""

import itertools
import math
import threading
from collections import defaultdict
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from model.beam_search import PIECE_FRAMES, BeamSearch
from model.decoder import DecodedUnit, append_stretch, decode_greedy
from model.errors import OptionError
from model.language_model import BeamSearchConfig, LanguageModel
from model.stretches import StretchConfig, plan_stretches
from model.tokenizer import CharacterTokenizer
from model.transcription import Transcription
from model.turns import Rank, Turn, taking
from tests.arpa import arpa

TOKENIZER = CharacterTokenizer(" ab")
BOUNDARY = TOKENIZER.encode(" ")[0]
WORDS = ("A", "AB", "BB", "BA")
# log10 probabilities of a bigram model with back-off, as an ARPA file has them
UNIGRAMS = {"<s>": -99.0, "</s>": -1.0, "<unk>": -2.0, "A": -0.9, "AB": -0.5, "BB": -0.7, "BA": -1.1}
BACKOFFS = {"<s>": -0.2, "A": -0.3, "AB": -0.1, "BB": -0.4, "BA": -0.25, "<unk>": 0.0}
BIGRAMS = {("<s>", "A"): -0.3, ("A", "AB"): -0.2, ("AB", "</s>"): -0.4, ("BB", "A"): -0.6, ("AB", "AB"): -1.5}


@pytest.fixture(scope="session")
def bigrams(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The model above, as a file."""
    path = tmp_path_factory.mktemp("lm") / "bigram.arpa"
    path.write_text(arpa(UNIGRAMS, BIGRAMS, BACKOFFS))
    return path


def language_model(
    bigrams: Path, lm_weight: float, word_bonus: float, blank_penalty: float = 0.0, boundary_penalty: float = 0.0
) -> LanguageModel:
    search = BeamSearchConfig(
        lm_weight,
        word_bonus,
        blank_penalty,
        beam_size=2000,
        beam_units=4,
        beam_threshold=1e6,
        boundary_penalty=boundary_penalty,
    )
    return LanguageModel(bigrams, WORDS, search)


def log10_probability(words: list[str]) -> float:
    """Of a sentence, by the back-off rule."""
    total = 0.0
    for before, word in itertools.pairwise(["<s>", *words, "</s>"]):
        total += BIGRAMS.get((before, word), BACKOFFS.get(before, 0.0) + UNIGRAMS[word])
    return total


def best_by_brute_force(
    log_probs_SV: Tensor,
    lm_weight: float,
    word_bonus: float,
    blank_penalty: float = 0.0,
    boundary_penalty: float = 0.0,
) -> dict[str, float]:
    """Score of every text that any path spells: its best path, language model and words."""
    scores: dict[str, float] = defaultdict(lambda: -math.inf)
    for path in itertools.product(range(4), repeat=len(log_probs_SV)):
        text = TOKENIZER.decode([unit for unit, _ in itertools.groupby(path) if unit])
        words = text.upper().split()
        if not set(words) <= set(WORDS):
            continue
        acoustic = sum(float(log_probs_SV[frame, unit]) for frame, unit in enumerate(path))
        acoustic -= blank_penalty * path.count(0) + boundary_penalty * path.count(BOUNDARY)
        score = acoustic + lm_weight * log10_probability(words) + word_bonus * len(words)
        scores[" ".join(text.split())] = max(scores[" ".join(text.split())], score)
    return scores


@settings(max_examples=15, deadline=None)
@given(st.integers(0, 10_000), st.integers(3, 6), st.just(0.0) | st.floats(1e-6, 3.0), st.floats(-1.0, 2.0))
def test_the_search_finds_the_best_of_all_paths(
    bigrams: Path, seed: int, n_frames: int, lm_weight: float, word_bonus: float
) -> None:
    generator = torch.Generator().manual_seed(seed)
    log_probs_SV = (3 * torch.randn(n_frames, 4, generator=generator)).log_softmax(-1)
    scores = best_by_brute_force(log_probs_SV, lm_weight, word_bonus)
    units = BeamSearch(TOKENIZER, language_model(bigrams, lm_weight, word_bonus)).decode(log_probs_SV)
    found = " ".join(TOKENIZER.decode([unit.id for unit in units]).split())
    assert scores[found] == pytest.approx(max(scores.values()), abs=1e-3)


@settings(max_examples=15, deadline=None)
@given(
    st.integers(0, 10_000),
    st.integers(3, 5),
    st.just(0.0) | st.floats(1e-6, 3.0),
    st.floats(-1.0, 2.0),
    st.tuples(st.floats(0.0, 2.0), st.floats(-1.0, 2.0)),
    st.integers(2, 30),
)
def test_the_n_best_are_the_best_of_all_texts_and_say_what_speaks_for_each(
    bigrams: Path, seed: int, n_frames: int, lm_weight: float, word_bonus: float, penalties: tuple[float, float], n: int
) -> None:
    generator = torch.Generator().manual_seed(seed)
    log_probs_SV = (3 * torch.randn(n_frames, 4, generator=generator)).log_softmax(-1)
    scores = best_by_brute_force(log_probs_SV, lm_weight, word_bonus, *penalties)
    search = BeamSearch(TOKENIZER, language_model(bigrams, lm_weight, word_bonus, *penalties))
    (found,) = search.n_best(log_probs_SV, n)
    assert (found.first_frame, found.end_frame) == (0, n_frames)
    assert len({hypothesis.text for hypothesis in found.hypotheses}) == min(n, len(scores))
    best = sorted(scores.values(), reverse=True)[:n]
    assert [hypothesis.score for hypothesis in found.hypotheses] == pytest.approx(best, abs=1e-3)
    for hypothesis in found.hypotheses:
        words = [word.upper() for word in hypothesis.words]
        assert hypothesis.score == pytest.approx(scores[hypothesis.text], abs=1e-3)
        assert hypothesis.lm_log10prob == pytest.approx(log10_probability(words), abs=1e-4)
        assert len(hypothesis.word_log10probs) == len(words) + 1
        rest = lm_weight * log10_probability(words) + word_bonus * len(words)
        assert hypothesis.acoustic_logprob == pytest.approx(scores[hypothesis.text] - rest, abs=1e-3)
        assert TOKENIZER.decode([unit.id for unit in hypothesis.units]).split() == list(hypothesis.words)
    assert list(found.hypotheses[0].units) == search.decode(log_probs_SV)


def test_n_best_of_a_long_audio_are_those_of_its_stretches(bigrams: Path) -> None:
    log_probs_SV = (2 * torch.randn(1600, 4, generator=torch.Generator().manual_seed(1))).log_softmax(-1)
    search = BeamSearch(TOKENIZER, language_model(bigrams, 0.5, 0.0)).with_config(BeamSearchConfig(beam_size=20))
    stretches = search.n_best(log_probs_SV, 3)
    assert [(s.first_frame, s.end_frame) for s in stretches] == list(plan_stretches(log_probs_SV[:, 0]))
    assert len(stretches) > 1
    joined: list[DecodedUnit] = []
    for stretch in stretches:
        append_stretch(joined, stretch.hypotheses[0].units, search.boundary)
    assert joined == search.decode(log_probs_SV)
    for stretch in stretches:
        (alone,) = search.n_best(log_probs_SV[stretch.first_frame : stretch.end_frame], 3)
        assert [h.score for h in alone.hypotheses] == [h.score for h in stretch.hypotheses]
        assert [h.text for h in alone.hypotheses] == [h.text for h in stretch.hypotheses]


def test_n_best_of_nothing_is_nothing_and_of_silence_says_so(bigrams: Path) -> None:
    search = BeamSearch(TOKENIZER, language_model(bigrams, 1.0, 0.0))
    assert search.n_best(torch.zeros(0, 4), 5) == []
    (silence,) = search.n_best(spelled("______"), 5)
    assert silence.hypotheses[0].words == ()
    assert silence.hypotheses[0].units == ()


def test_words_that_differ_only_in_case_are_one(bigrams: Path) -> None:
    model = replace(language_model(bigrams, 0.5, 0.0), words=("A", "a", "BB"))  # the model knows no "a"
    (found,) = BeamSearch(TOKENIZER, model).n_best(spelled("_a_ b_b"), 50)
    assert found.hypotheses[0].text == "a bb"
    assert found.hypotheses[0].lm_log10prob == pytest.approx(log10_probability(["A", "BB"]), abs=1e-4)
    texts = [hypothesis.text for hypothesis in found.hypotheses]
    assert len(texts) == len(set(texts))


def spelled(path: str) -> Tensor:
    """Log-probs in which the characters of `path` are nearly certain, `_` being the blank."""
    ids = torch.tensor(["_ ab".index(character) for character in path])
    return (torch.nn.functional.one_hot(ids, 4).float() * 12).log_softmax(-1)


def test_what_is_certain_is_found_with_its_frames_and_log_probabilities(bigrams: Path) -> None:
    log_probs_SV = spelled("_a_ _ab_ b_b_")
    units = BeamSearch(TOKENIZER, language_model(bigrams, 0.5, 0.0)).decode(log_probs_SV)
    assert TOKENIZER.decode([unit.id for unit in units]).split() == ["a", "ab", "bb"]
    assert [(unit.first_frame, unit.last_frame) for unit in units[:3]] == [(1, 1), (3, 3), (5, 5)]
    assert units == decode_greedy(log_probs_SV)


def test_only_words_of_the_lexicon_come_out(bigrams: Path) -> None:
    log_probs_SV = spelled("b_a_b")
    assert TOKENIZER.decode([unit.id for unit in decode_greedy(log_probs_SV)]) == "bab"
    units = BeamSearch(TOKENIZER, language_model(bigrams, 0.5, 0.0)).decode(log_probs_SV)
    words = TOKENIZER.decode([unit.id for unit in units]).upper().split()
    assert words
    assert set(words) <= set(WORDS)


@pytest.mark.parametrize("path", ["", "_", "______", "   "])
def test_nothing_said_gives_nothing(bigrams: Path, path: str) -> None:
    search = BeamSearch(TOKENIZER, language_model(bigrams, 1.0, 0.0))
    units = search.decode(spelled(path) if path else torch.zeros(0, 4))
    assert TOKENIZER.decode([unit.id for unit in units]).split() == []


def test_searches_that_give_way_to_each_other_give_what_they_give_alone(bigrams: Path) -> None:
    """The patient ones are interrupted between steps by whatever else comes."""
    search = BeamSearch(TOKENIZER, language_model(bigrams, 1.0, 0.0)).with_config(BeamSearchConfig(beam_size=20))
    generator = torch.Generator().manual_seed(3)
    inputs = [torch.randn(20 * PIECE_FRAMES, 4, generator=generator).log_softmax(-1) for _ in range(6)]
    alone = [search.decode(log_probs_SV) for log_probs_SV in inputs]

    def decode(index: int) -> list[DecodedUnit]:
        with taking(Turn(Rank.BACKGROUND if index % 2 == 0 else Rank.LIVE)):
            return search.decode(inputs[index])

    with ThreadPoolExecutor(6) as pool:
        assert list(pool.map(decode, range(6))) == alone


def test_threads_give_what_one_gives(bigrams: Path) -> None:
    search = BeamSearch(TOKENIZER, language_model(bigrams, 1.0, 0.0))
    inputs = [torch.randn(40, 4, generator=torch.Generator().manual_seed(i)).log_softmax(-1) for i in range(8)]
    alone = [search.decode(log_probs_SV) for log_probs_SV in inputs]
    together: dict[int, object] = {}
    threads = [threading.Thread(target=lambda i=i: together.update({i: search.decode(inputs[i])})) for i in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [together[i] for i in range(8)] == alone


@given(st.lists(st.floats(-20, 0), max_size=200), st.integers(2, 50))
def test_stretches_cover_every_frame_once_within_the_bound(blanks: list[float], longest: int) -> None:
    stretches = list(plan_stretches(torch.tensor(blanks), StretchConfig(longest)))
    assert [frame for first, end in stretches for frame in range(first, end)] == list(range(len(blanks)))
    assert all(0 < end - first <= longest for first, end in stretches)


def test_stretches_are_cut_in_every_pause() -> None:
    blank_S = torch.full((100,), -5.0)
    for pause in (slice(0, 10), slice(20, 26), slice(41, 48), slice(60, 65), slice(90, 100)):
        blank_S[pause] = 0.0
    assert list(plan_stretches(blank_S)) == [(0, 23), (23, 44), (44, 100)]


def test_without_a_pause_stretches_are_cut_where_the_blank_is_surest() -> None:
    blank_S = torch.full((100,), -5.0)
    blank_S[35:37] = 0.0
    blank_S[41:46] = 0.0
    assert next(plan_stretches(blank_S, StretchConfig(60))) == (0, 43)
    blank_S[30:] = -5.0
    blank_S[50] = -4.0
    assert next(plan_stretches(blank_S, StretchConfig(60))) == (0, 50)


@given(st.lists(st.sampled_from([0.0, -5.0]), min_size=60, max_size=300), st.integers(20, 60))
def test_a_stretch_does_not_depend_on_what_comes_later(blanks: list[float], longest: int) -> None:
    blank_S = torch.tensor(blanks)
    at, piecewise = 0, []
    while len(blanks) - at > longest:
        _, end = next(plan_stretches(blank_S[at : at + longest + 1], StretchConfig(longest)))
        piecewise.append((at, at + end))
        at += end
    assert list(plan_stretches(blank_S, StretchConfig(longest)))[: len(piecewise)] == piecewise


def test_a_long_text_is_found_across_stretches(bigrams: Path) -> None:
    text = "a_ _ab_ b_b_ ___" * 60
    units = BeamSearch(TOKENIZER, language_model(bigrams, 0.5, 0.0)).decode(spelled(text))
    assert TOKENIZER.decode([unit.id for unit in units]).split() == ["a", "ab", "bb"] * 60
    assert units[-1].last_frame < len(text)
    assert all(a.last_frame < b.first_frame for a, b in itertools.pairwise(units))


def test_lexicons_and_options_that_cannot_work_are_refused(bigrams: Path) -> None:
    model = language_model(bigrams, 1.0, 0.0)
    with pytest.raises(OptionError, match="none of the lexicon's 1 words"):
        BeamSearch(TOKENIZER, replace(model, words=("XYZ",)))
    with pytest.raises(OptionError, match="no word boundary"):
        BeamSearch(CharacterTokenizer("ab"), model)
    with pytest.raises(OptionError, match="beam_size is 0"):
        BeamSearchConfig(beam_size=0)
    with pytest.raises(OptionError, match="lm_weight is 1e-07; it must be 0, or 1e-06"):
        BeamSearchConfig(lm_weight=1e-7)
    with pytest.raises(OptionError, match="the 0 best"):
        BeamSearch(TOKENIZER, model).n_best(spelled("a"), 0)


def test_words_on_both_sides_of_a_cut_stay_two(bigrams: Path) -> None:
    """Between them only blanks, in which the network is sure of no boundary."""
    search = BeamSearch(TOKENIZER, language_model(bigrams, 0.5, 0.0)).with_config(BeamSearchConfig(beam_size=20))
    log_probs_SV = spelled("_" * 400 + "b_b" + "_" * 400 + "ab" + "_" * 400)
    assert len(list(plan_stretches(log_probs_SV[:, 0]))) == 2
    units = search.decode(log_probs_SV)
    assert TOKENIZER.decode([unit.id for unit in units]).split() == ["bb", "ab"]
    frames = [frame for unit in units for frame in (unit.first_frame, unit.last_frame)]
    assert frames == sorted(frames)
    transcription = Transcription(search.decode, TOKENIZER, 0.04, None, search.boundary)
    for first in range(0, 1205, 100):
        transcription.feed(first, log_probs_SV[first : first + 100])
    assert transcription.finish(48.2).text == "bb ab"
