"""The search by sounds against a search over every path, and what comes of its words."""

import itertools
import math
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import cast

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from model.beam_search import IMPOSSIBLE
from model.cancellation import CancelToken
from model.decoder import DecodedUnit
from model.errors import HotWordError, OptionError, WorkCancelledError
from model.hot_words import MOST_TERMS, HotWords
from model.language_model import BeamSearchConfig, LanguageModel, RescoringConfig
from model.letter_to_sound import LetterToSound, LetterToSoundConfig
from model.neural_language_model import NeuralLanguageModel
from model.phones import N_PHONES, PHONE_BOUNDARY_ID, PHONE_UNITS, Pronunciation, parse_pronunciations
from model.rescoring import Rescorer
from model.sound_search import MOST_JUDGED, PRONOUNCED_AT_ONCE, SoundSearch
from model.tokenizer import CharacterTokenizer
from tests.arpa import arpa

TOKENIZER = CharacterTokenizer(" acdek")
BOUNDARY = TOKENIZER.encode(" ")[0]
V = TOKENIZER.vocabulary_size
WORDS = ("CAKE", "ACE", "ADD", "AD", "CAD")
# `add` and `ad` sound the same; `ace` has two ways. The search hears K, EY, D and S.
PRONUNCIATIONS = parse_pronunciations("cake K EY K\nace EY S\nace(2) EY\nadd AE D\nad AE D\ncad K AE D\n")
UNIGRAMS = {"<s>": -99.0, "</s>": -1.0, "<unk>": -2.0, "CAKE": -0.9, "ACE": -0.5, "ADD": -0.7, "AD": -1.1, "CAD": -1.2}
BACKOFFS = {"<s>": -0.2, "CAKE": -0.3, "ACE": -0.1, "ADD": -0.4, "AD": -0.25, "CAD": 0.0, "<unk>": 0.0}
BIGRAMS = {("<s>", "CAKE"): -0.3, ("CAKE", "ACE"): -0.2, ("ACE", "</s>"): -0.4, ("AD", "CAKE"): -0.6}
HEARD = ("K", "EY", "AE", "D", "S")  # the phones that are possible in these tests


@pytest.fixture(scope="module")
def bigrams(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The model above, as a file."""
    path = tmp_path_factory.mktemp("lm") / "bigram.arpa"
    path.write_text(arpa(UNIGRAMS, BIGRAMS, BACKOFFS))
    return path


def search_of(
    bigrams: Path,
    *,
    lm_weight: float = 1.0,
    word_bonus: float = 0.0,
    blank_penalty: float = 0.0,
    boundary_penalty: float = 0.0,
    letter_weight: float = 0.0,
    pronunciations: dict[str, tuple[Pronunciation, ...]] | None = None,
) -> SoundSearch:
    config = BeamSearchConfig(
        lm_weight,
        word_bonus,
        blank_penalty,
        beam_size=5000,
        beam_units=N_PHONES,
        beam_threshold=1e6,
        letter_weight=letter_weight,
        boundary_penalty=boundary_penalty,
    )
    return SoundSearch(TOKENIZER, LanguageModel(bigrams, WORDS, config, pronunciations or PRONUNCIATIONS))


def log10_probability(words: tuple[str, ...]) -> float:
    """Of a sentence, by the back-off rule."""
    total = 0.0
    for before, word in itertools.pairwise(["<s>", *(word.upper() for word in words), "</s>"]):
        total += BIGRAMS.get((before, word), BACKOFFS.get(before, 0.0) + UNIGRAMS[word])
    return total


def made_log_probs(seed: int, n_frames: int) -> Tensor:
    """Letters and phones by chance; of phones only those of `HEARD`, the boundary and the blank."""
    generator = torch.Generator().manual_seed(seed)
    letters_SV = (2 * torch.randn(n_frames, V, generator=generator)).log_softmax(-1)
    possible = [0, PHONE_BOUNDARY_ID, *(PHONE_UNITS.index(phone) + 1 for phone in HEARD)]
    scores_SP = torch.full((n_frames, N_PHONES), -1e3)
    scores_SP[:, possible] = 2 * torch.randn(n_frames, len(possible), generator=generator)
    return torch.cat([letters_SV, scores_SP.log_softmax(-1)], 1)


def letters_score(words: tuple[str, ...], letters_SV: Tensor) -> float:
    """Log-probability of all paths that spell the words, each counted by itself."""
    target = TOKENIZER.encode(" ".join(words))
    total = -math.inf
    for path in itertools.product(sorted({0, *target}), repeat=len(letters_SV)):
        if [unit for unit, _ in itertools.groupby(path) if unit] == target:
            total = float(torch.logaddexp(torch.tensor(total), letters_SV[range(len(path)), list(path)].sum()))
    return total


def scores_by_brute_force(log_probs_SO: Tensor, config: BeamSearchConfig) -> dict[tuple[str, ...], float]:
    """Score of every word sequence that any path of phones pronounces, by all those that do."""
    phones_SP, letters_SV = log_probs_SO[:, V:].clone(), log_probs_SO[:, :V].clone()
    phones_SP[:, 0] -= config.blank_penalty
    letters_SV[:, 0] -= config.blank_penalty
    phones_SP[:, PHONE_BOUNDARY_ID] -= config.boundary_penalty
    letters_SV[:, BOUNDARY] -= config.boundary_penalty
    meanings: defaultdict[Pronunciation, list[str]] = defaultdict(list)
    for word, ways in PRONUNCIATIONS.items():
        for way in ways:
            meanings[way].append(word)
    acoustic: dict[tuple[str, ...], float] = defaultdict(lambda: -math.inf)
    possible = [0, PHONE_BOUNDARY_ID, *(PHONE_UNITS.index(phone) + 1 for phone in HEARD)]
    for path in itertools.product(possible, repeat=len(phones_SP)):
        units = [unit for unit, _ in itertools.groupby(path) if unit]
        said = [meanings.get(tuple(group), []) for group in _split(units)]
        score = float(phones_SP[range(len(path)), list(path)].sum())
        for words in itertools.product(*said):
            acoustic[words] = float(np.logaddexp(acoustic[words], score))
    told = {words: config.lm_weight * log10_probability(words) + config.word_bonus * len(words) for words in acoustic}
    scores = {words: heard + told[words] for words, heard in acoustic.items()}
    if not config.letter_weight or letters_score(max(scores, key=scores.__getitem__), letters_SV) == -math.inf:
        return scores  # nobody asks the letters, or they cannot follow
    share = config.letter_weight
    return {
        words: (1 - share) * heard + share * max(letters_score(words, letters_SV), IMPOSSIBLE) + told[words]
        for words, heard in acoustic.items()
    }


def _split(units: list[int]) -> list[list[int]]:
    groups: list[list[int]] = [[]]
    for unit in units:
        if unit == PHONE_BOUNDARY_ID:
            groups.append([])
        else:
            groups[-1].append(unit)
    return [group for group in groups if group]


def words_of(units: list[DecodedUnit]) -> tuple[str, ...]:
    return tuple(TOKENIZER.decode([unit.id for unit in units]).split())


@settings(max_examples=10, deadline=None)
@given(
    st.integers(0, 10_000),
    st.integers(2, 5),
    st.floats(0.1, 2.0),
    st.floats(-1.0, 2.0),
    st.tuples(st.floats(0.0, 1.0), st.floats(-1.0, 1.0)),
)
def test_the_search_finds_the_best_of_all_paths(
    bigrams: Path, seed: int, n_frames: int, lm_weight: float, word_bonus: float, penalties: tuple[float, float]
) -> None:
    blank, boundary = penalties
    search = search_of(
        bigrams, lm_weight=lm_weight, word_bonus=word_bonus, blank_penalty=blank, boundary_penalty=boundary
    )
    log_probs_SO = made_log_probs(seed, n_frames)
    scores = scores_by_brute_force(log_probs_SO, search.config)
    (found,) = search.n_best(log_probs_SO, 50)
    best = found.hypotheses[0]
    assert best.score == pytest.approx(max(scores.values()), abs=1e-3)
    for hypothesis in found.hypotheses:
        assert hypothesis.score == pytest.approx(scores[hypothesis.words], abs=1e-3)
    assert words_of(search.decode(log_probs_SO)) == best.words


@settings(max_examples=5, deadline=None)
@given(st.integers(0, 10_000), st.floats(0.1, 1.0))
def test_the_letters_have_their_share_in_the_score(bigrams: Path, seed: int, letter_weight: float) -> None:
    search = search_of(bigrams, letter_weight=letter_weight, blank_penalty=0.3, boundary_penalty=0.4, word_bonus=3.0)
    log_probs_SO = made_log_probs(seed, 5)
    scores = scores_by_brute_force(log_probs_SO, search.config)
    (found,) = search.n_best(log_probs_SO, 50)
    for hypothesis in found.hypotheses:
        assert hypothesis.score == pytest.approx(scores[hypothesis.words], abs=1e-3)
    scores_N = [one.score for one in found.hypotheses]
    for some in (scores_N[:MOST_JUDGED], scores_N[MOST_JUDGED:]):  # those beyond what is always judged come after
        assert some == sorted(some, reverse=True)
    told = search.config.lm_weight * found.hypotheses[0].lm_log10prob + 3.0 * len(found.hypotheses[0].words)
    assert found.hypotheses[0].acoustic_logprob == pytest.approx(found.hypotheses[0].score - told)


def spoken(phones: str, letters: str) -> Tensor:
    """Frame by frame a phone (`_` for the blank, `/` for a boundary) and a letter (`_`, `/` as well), both certain."""
    heard = phones.split()
    assert len(heard) == len(letters)
    log_probs_SO = torch.full((len(heard), V + N_PHONES), -12.0)
    for frame, (phone, letter) in enumerate(zip(heard, letters, strict=True)):
        unit = 0 if phone == "_" else PHONE_UNITS.index(phone.replace("/", " ")) + 1
        log_probs_SO[frame, V + unit] = -0.01
        log_probs_SO[frame, 0 if letter == "_" else TOKENIZER.encode(letter.replace("/", " "))[0]] = -0.01
    return log_probs_SO


def test_letters_tell_homophones_apart(bigrams: Path) -> None:
    """`add` is the commoner word."""
    for spelled, said in (("a_d_d", "add"), ("a__d_", "ad")):
        log_probs_SO = spoken("AE AE _ D _", spelled)
        assert words_of(search_of(bigrams, letter_weight=0.5).decode(log_probs_SO)) == (said,)
        assert words_of(search_of(bigrams).decode(log_probs_SO)) == ("add",)


def test_words_come_with_letters_sounds_and_evidence(bigrams: Path) -> None:
    units = search_of(bigrams).decode(spoken("_ K EY K / EY S _ _", "_cake/ace"))
    assert TOKENIZER.decode([unit.id for unit in units]) == "cake ace"
    assert [unit.first_frame for unit in units] == [1, 2, 3, 4, 5, 6, 7, 8]
    assert all(unit.logprob == pytest.approx(-0.01) for unit in units)
    first, second = (unit for unit in units if unit.evidence is not None)
    assert (TOKENIZER.decode([first.id]), TOKENIZER.decode([second.id])) == ("c", "a")
    assert first.evidence is not None
    assert second.evidence is not None
    heard = [(PHONE_UNITS[sound.id - 1], sound.first, sound.last) for sound in first.evidence.sounds]
    assert heard == [("K", 0, 0), ("EY", 1, 1), ("K", 2, 2), (" ", 3, 3)]
    assert [PHONE_UNITS[sound.id - 1] for sound in second.evidence.sounds] == ["EY", "S"]
    assert [sound.first for sound in second.evidence.sounds] == [-1, 0]  # counted from the a in frame 6
    assert 0 < first.evidence.share <= 1
    assert first.evidence.log10prob == pytest.approx(BIGRAMS["<s>", "CAKE"])


def test_rescored_words_keep_their_sounds(bigrams: Path) -> None:
    class Judge:
        def word_log10probs(self, sentences: Sequence[Sequence[str]]) -> list[list[float]]:
            return [[-1.0] * (len(words) + 1) for words in sentences]

    search, log_probs_SO = search_of(bigrams), spoken("_ K EY K / EY S _ _", "_cake/ace")
    rescorer = Rescorer(search, cast(NeuralLanguageModel, Judge()), RescoringConfig(0.5, 16))
    heard, rescored = (
        [unit.evidence.sounds for unit in found.decode(log_probs_SO) if unit.evidence] for found in (search, rescorer)
    )
    assert rescored == heard
    assert all(len(sounds) >= 2 for sounds in rescored)


def test_a_boundary_that_was_heard_behind_the_last_word_is_there(bigrams: Path) -> None:
    units = search_of(bigrams).decode(spoken("K EY K _ / _", "cake/_"))
    assert TOKENIZER.decode([unit.id for unit in units]) == "cake "
    units = search_of(bigrams).decode(spoken("K EY K _ _", "cake_"))
    assert TOKENIZER.decode([unit.id for unit in units]) == "cake"


def test_words_too_quick_for_their_letters_are_spread_over_their_sounds(bigrams: Path) -> None:
    units = search_of(bigrams).decode(spoken("K EY K / AE D", "______"))
    assert words_of(units)[0] == "cake"
    assert [unit.first_frame for unit in units] == sorted(unit.first_frame for unit in units)
    assert all(0 <= unit.first_frame == unit.last_frame < 6 for unit in units)
    assert words_of(search_of(bigrams, letter_weight=0.5).decode(spoken("K EY K", "___"))) == ("cake",)


@given(st.integers(0, 10_000), st.integers(0, 40))
@settings(max_examples=30, deadline=None)
def test_units_are_in_order_within_the_frames_whatever_is_heard(bigrams: Path, seed: int, n_frames: int) -> None:
    units = search_of(bigrams, letter_weight=0.3).decode(made_log_probs(seed, n_frames))
    frames = [frame for unit in units for frame in (unit.first_frame, unit.last_frame)]
    assert frames == sorted(frames)
    assert all(0 <= frame < n_frames for frame in frames)
    assert set(words_of(units)) <= set(PRONUNCIATIONS)
    evidence = [unit.evidence for unit in units if unit.evidence is not None]
    assert len(evidence) == len(words_of(units))
    assert all(one.sounds for one in evidence)


def test_a_hot_word_that_sounds_like_another_is_found(bigrams: Path) -> None:
    search = search_of(bigrams).with_hot_words(HotWords(("ad",), 3.0))
    assert words_of(search.decode(spoken("AE _ D _", "____"))) == ("ad",)
    (found,) = search.n_best(spoken("AE _ D _", "____"), 5)
    assert found.hypotheses[0].boost == 3.0


def test_a_term_of_several_words_is_found_by_every_pronunciation(bigrams: Path) -> None:
    search = search_of(bigrams).with_hot_words(HotWords(("ace cad",), 5.0))
    for said in ("EY S / K AE D _", "EY _ / K AE D _"):
        units = search.decode(spoken(said, "_______"))
        assert words_of(units) == ("ace", "cad")
        assert [len(unit.evidence.sounds) for unit in units if unit.evidence] == [3 if "S" in said else 2, 3]


def test_a_hot_word_that_the_lexicon_lacks_is_pronounced_from_its_letters(bigrams: Path) -> None:
    class Reader:
        def pronounce(self, words: Sequence[str]) -> list[Pronunciation]:
            return [PRONUNCIATIONS["cake"][0][:2] for word in words if word == "keed"]

    model = LanguageModel(bigrams, WORDS, search_of(bigrams).config, PRONUNCIATIONS)
    search = SoundSearch(TOKENIZER, model, cast(LetterToSound, Reader()))
    assert words_of(search.decode(spoken("K EY _ _", "keed"))) != ("keed",)
    units = search.with_hot_words(HotWords(("keed",), 8.0)).decode(spoken("K EY _ _", "ke_d"))
    assert words_of(units) == ("keed",)


def test_hot_words_are_pronounced_together_and_the_work_can_be_cancelled(bigrams: Path) -> None:
    asked: list[int] = []
    token = CancelToken()

    class Reader:
        def pronounce(self, words: Sequence[str]) -> list[Pronunciation]:
            asked.append(len(words))
            if len(asked) == 2:
                token.cancel()
            return [PRONUNCIATIONS["cake"][0] for _ in words]

    model = LanguageModel(bigrams, WORDS, search_of(bigrams).config, PRONUNCIATIONS)
    search = SoundSearch(TOKENIZER, model, cast(LetterToSound, Reader()))
    hot = HotWords(tuple("".join(letters) for letters in itertools.product("acdek", repeat=3))[:MOST_TERMS])
    with pytest.raises(WorkCancelledError):
        search.stopped_by(token).with_hot_words(hot)
    assert asked == [PRONOUNCED_AT_ONCE] * 2
    search.with_hot_words(hot)
    others = [term for term in hot.terms if term.upper() not in WORDS]
    assert sum(asked[2:]) == len(others)


def test_a_hot_word_too_long_to_be_pronounced_is_refused_as_such(bigrams: Path) -> None:
    model = LanguageModel(bigrams, WORDS, search_of(bigrams).config, PRONUNCIATIONS)
    search = SoundSearch(CharacterTokenizer(), model, LetterToSound(LetterToSoundConfig()).eval())
    with pytest.raises(HotWordError, match=r"cannot be pronounced: 's+' has 120 letters"):
        search.with_hot_words(HotWords(("ß" * 60,)))


@pytest.mark.parametrize("seed", range(20))
def test_the_first_of_a_list_is_what_is_written_however_long_the_list(bigrams: Path, seed: int) -> None:
    search = search_of(bigrams, letter_weight=0.9)
    log_probs_SO = made_log_probs(seed, 8)
    written = words_of(search.decode(log_probs_SO))
    for n in (1, MOST_JUDGED, 60):
        (n_best,) = search.n_best(log_probs_SO, n)
        assert n_best.hypotheses[0].words == written
    assert len(n_best.hypotheses) > MOST_JUDGED


def test_a_hot_word_that_nobody_pronounces_is_refused(bigrams: Path) -> None:
    with pytest.raises(HotWordError, match="hot word 'decade' is not in the lexicon"):
        search_of(bigrams).with_hot_words(HotWords(("decade",), 3.0))


def test_words_without_a_pronunciation_are_left_out(bigrams: Path) -> None:
    fewer = {word: ways for word, ways in PRONUNCIATIONS.items() if word != "cake"}
    search = search_of(bigrams, pronunciations=fewer)
    assert "cake" not in words_of(search.decode(spoken("K EY K / AE D", "cake__")))
    with pytest.raises(OptionError, match="none of the lexicon's 5 words"):
        search_of(bigrams, pronunciations={"zebra": ((3,),)})


def test_more_words_than_flashlight_can_tell_sound_alike(bigrams: Path, capfd: pytest.CaptureFixture[str]) -> None:
    alike = tuple(a + b for a in "acdek" for b in "acdek")
    model = LanguageModel(bigrams, alike, replace(search_of(bigrams).config), dict.fromkeys(alike, ((3,),)))
    search = SoundSearch(TOKENIZER, model)
    assert words_of(search.decode(spoken("AE _", "__")))[0] in alike[:6]
    assert "limit" not in "".join(capfd.readouterr())  # what flashlight says where it is given more


def test_a_term_that_breaks_off_within_is_no_word(bigrams: Path) -> None:
    wide = search_of(bigrams)
    search = wide.with_config(replace(wide.config, beam_size=1)).with_hot_words(HotWords(("cake cad",), 20.0))
    whole, broken = (spoken(f"K EY K / K AE {end} _", "________") for end in ("D", "_"))
    assert words_of(search.decode(whole)) == ("cake", "cad")
    assert search.decode(broken) == []
    assert [one.words for one in search.n_best(broken, 3)[0].hypotheses] == [()]
