"""Hot words: what the search prefers, against all ways to write the audio; and what is refused."""

import itertools
import math
from collections import defaultdict
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from features.audio import Waveform
from model.beam_search import TERM_STEP, BeamSearch
from model.checkpoint import Bundle
from model.errors import HotWordError
from model.hot_words import LARGEST_BOOST, LONGEST_TERM, MOST_TERMS, HotWords, plain_words, spell
from model.language_model import BeamSearchConfig, LanguageModel
from model.stream_events import Final
from model.tokenizer import CharacterTokenizer
from model.transcriber import Transcriber
from tests.arpa import arpa

TOKENIZER = CharacterTokenizer(" ab")
UNIGRAMS = {"<s>": -99.0, "</s>": -1.0, "<unk>": -2.0, "A": -0.9, "AB": -0.5, "BB": -0.7, "BA": -1.1}
BACKOFFS = {"<s>": -0.2, "A": -0.3, "AB": -0.1, "BB": -0.4, "BA": -0.25, "<unk>": 0.0}
BIGRAMS = {("<s>", "A"): -0.3, ("A", "AB"): -0.2, ("AB", "</s>"): -0.4, ("BB", "A"): -0.6, ("AB", "AB"): -1.5}
WORDS = ("A", "AB", "BB", "BA")


@pytest.fixture(scope="module")
def search(tmp_path_factory: pytest.TempPathFactory) -> BeamSearch:
    path = tmp_path_factory.mktemp("lm") / "bigram.arpa"
    path.write_text(arpa(UNIGRAMS, BIGRAMS, BACKOFFS))
    return BeamSearch(TOKENIZER, LanguageModel(path, WORDS, BeamSearchConfig()))


def log10_probability(labels: list[str], *, begin: str = "<s>", end: bool = True) -> float:
    """Of words after each other by the back-off rule; those that the model does not know are `<unk>`."""
    known = [label if label in UNIGRAMS else "<unk>" for label in labels] + ["</s>"] * end
    total = 0.0
    for before, word in itertools.pairwise([begin, *known]):
        total += BIGRAMS.get((before, word), BACKOFFS.get(before, 0.0) + UNIGRAMS[word])
    return total


def best_score(words: list[str], terms: list[str], boost: float, lm_weight: float, word_bonus: float) -> float:
    """All but the acoustics: the best way to take the words one by one or as terms."""
    hot = [term.split() for term in terms]

    def parses(left: list[str]) -> list[list[tuple[str, float]]]:
        if not left:
            return [[]]
        first = [(left[0].upper(), word_bonus)] if left[0].upper() in WORDS else []
        ways = [[first[0], *rest] for rest in parses(left[1:])] if first else []
        for term in hot:
            if left[: len(term)] != term:
                continue
            added = boost * len(term) + word_bonus
            if len(term) > 1:
                inner = log10_probability([word.upper() for word in term], begin="", end=False)
                extra = lm_weight * (inner - UNIGRAMS["<unk>"]) + word_bonus * (len(term) - 1)
                added += round(extra / TERM_STEP) * TERM_STEP
            ways += [[(" ".join(term).upper(), added), *rest] for rest in parses(left[len(term) :])]
        return ways

    return max(
        (
            lm_weight * log10_probability([label for label, _ in way]) + sum(added for _, added in way)
            for way in parses(words)
        ),
        default=-math.inf,
    )


@settings(max_examples=20, deadline=None)
@given(
    st.integers(0, 10_000),
    st.integers(3, 6),
    st.lists(st.sampled_from(["a", "bba", "ab bb", "b", "aa b", "bb", "ab"]), max_size=3, unique=True),
    st.floats(0.0, 6.0),
    st.just(0.0) | st.floats(1e-6, 3.0),
    st.floats(-1.0, 2.0),
)
def test_the_search_finds_the_best_of_all_texts_with_hot_words(
    search: BeamSearch, seed: int, n_frames: int, terms: list[str], boost: float, lm_weight: float, word_bonus: float
) -> None:
    generator = torch.Generator().manual_seed(seed)
    log_probs_SV = (3 * torch.randn(n_frames, 4, generator=generator)).log_softmax(-1)
    scores: dict[str, float] = defaultdict(lambda: -math.inf)
    for path in itertools.product(range(4), repeat=n_frames):
        text = TOKENIZER.decode([unit for unit, _ in itertools.groupby(path) if unit])
        acoustic = sum(float(log_probs_SV[frame, unit]) for frame, unit in enumerate(path))
        scores[" ".join(text.split())] = max(scores[" ".join(text.split())], acoustic)
    for text in scores:
        scores[text] += best_score(text.split(), terms, boost, lm_weight, word_bonus)
    config = BeamSearchConfig(lm_weight, word_bonus, beam_size=3000, beam_units=4, beam_threshold=1e6)
    (found,) = search.with_config(config).with_hot_words(HotWords(tuple(terms), boost)).n_best(log_probs_SV, 3)
    best = found.hypotheses[0]
    assert scores[best.text] == pytest.approx(max(scores.values()), abs=1e-3)
    assert best.score == pytest.approx(scores[best.text], abs=2e-3)
    assert len(best.word_log10probs) == len(best.words) + 1
    for hypothesis in found.hypotheses:
        assert TOKENIZER.decode([unit.id for unit in hypothesis.units]).split() == list(hypothesis.words)


def spelled(path: str, certainty: float = 4.0) -> Tensor:
    """Log-probs in which the characters of `path` are likely, `_` being the blank."""
    ids = torch.tensor(["_ ab".index(character) for character in path])
    return (torch.nn.functional.one_hot(ids, 4).float() * certainty).log_softmax(-1)


def text_of(search: BeamSearch, log_probs_SV: Tensor) -> str:
    return " ".join(TOKENIZER.decode([unit.id for unit in search.decode(log_probs_SV)]).split())


def test_words_that_the_lexicon_lacks_are_written_only_if_they_are_hot(search: BeamSearch) -> None:
    heard = spelled("_ab_ _b_b_a_ b_b")
    assert text_of(search, heard) != "ab bba bb"
    assert text_of(search.with_hot_words(HotWords(("Bba",))), heard) == "ab bba bb"
    assert text_of(search, heard) != "ab bba bb"  # the lexicon that all share has not changed


def test_a_term_of_several_words_does_not_prefer_its_parts(search: BeamSearch) -> None:
    unsure = spelled("_a_b_ _", 1.0)
    term = search.with_hot_words(HotWords(("aab bba",), 15.0))
    assert text_of(term, unsure) == text_of(search, unsure)
    assert text_of(term, spelled("a_ab_ b_ba ")) == "aab bba"


def test_threads_with_words_of_their_own(search: BeamSearch) -> None:
    """Searches that run at the same time do not see each other's words."""
    generator = torch.Generator().manual_seed(0)  # of two texts with equal scores, chance would take one
    heard = [
        (spelled(path) + torch.randn(len(path), 4, generator=generator)).log_softmax(-1)
        for path in ("_ab_ _b_b_a_ b_b", "a_a_a b b_a", "b_b_b_ a_b")
    ]
    terms = ["bba", "aaa b", "bbb", "b", "aba"]

    def write(number: int) -> str:
        hot = search.with_hot_words(HotWords((terms[number % 5], terms[(number + 2) % 5]), 8.0))
        return text_of(hot, heard[number % 3])

    expected = [write(number) for number in range(15)]
    assert len(set(expected)) > 3
    with ThreadPoolExecutor(8) as pool:
        for _ in range(4):
            assert list(pool.map(write, range(15))) == expected


def test_spelling_knows_accents_hyphens_and_apostrophes() -> None:
    tokenizer = CharacterTokenizer()
    assert spell("Zoë Müller-Straße", tokenizer) == ("zoe", "muller", "strasse")
    assert spell("O’Neill", tokenizer) == ("o'neill",)
    assert spell("J.R.R. Tolkien", tokenizer) == ("j", "r", "r", "tolkien")
    assert spell("the™ ﬃ", tokenizer) == ("thetm", "ffi")


@pytest.mark.parametrize(
    ("terms", "boost", "message"),
    [
        (("a",) * (MOST_TERMS + 1), 1.0, f"{MOST_TERMS + 1} hot words are given; {MOST_TERMS} are possible"),
        (("a" * (LONGEST_TERM + 1),), 1.0, f"has {LONGEST_TERM + 1} characters; {LONGEST_TERM} are possible"),
        ((" ",), 1.0, "is empty"),
        (("a",), LARGEST_BOOST + 0.1, "20.1; 0 to 20 is possible"),
        (("a",), -0.1, "-0.1; 0 to 20"),
        (("a",), math.nan, "nan; 0 to 20"),
    ],
)
def test_limits(terms: tuple[str, ...], boost: float, message: str) -> None:
    with pytest.raises(HotWordError, match=message):
        HotWords(terms, boost)


def test_what_is_just_within_the_limits_is_taken(search: BeamSearch) -> None:
    words = tuple("".join(letters) for letters in itertools.product("ab", repeat=7))[: MOST_TERMS - 1]
    hot = search.with_hot_words(HotWords((*words, "ab" * (LONGEST_TERM // 2)), LARGEST_BOOST))
    assert text_of(hot, spelled("a_a_a_a_a_ab ")) == "aaaaaab"


@pytest.mark.parametrize("term", ["GPT 4", "münchen", "c", "--", "a+b", "'"])
def test_what_cannot_be_spelled_is_named(search: BeamSearch, term: str) -> None:
    with pytest.raises(HotWordError, match=r"write it as it is spoken|has no letters"):
        search.with_hot_words(HotWords((term,)))


@pytest.mark.parametrize(
    ("clip", "term"),
    [
        ("river", "we plan to go"),
        ("train", "the president of the united states"),
        ("clock", "old clock tower"),
        ("clock", "the old man and the sea"),
        ("dog", "the apple of my eye"),
        ("dog", "all day long"),
    ],
)
def test_a_term_that_only_begins_like_what_is_said_takes_nothing_away(
    shipped_transcriber: Transcriber, clips_folder: Path, clip: str, term: str
) -> None:
    audio = clips_folder / f"{clip}.flac"
    said = shipped_transcriber.transcribe(audio).text
    assert shipped_transcriber.transcribe(audio, hot_words=HotWords((term,))).text == said


def test_a_single_word_at_the_largest_boost_takes_nothing_away_that_does_not_sound_like_it(
    shipped_transcriber: Transcriber, clips_folder: Path
) -> None:
    audio = clips_folder / "clock.flac"
    hot = HotWords(("stopper",), LARGEST_BOOST)
    assert shipped_transcriber.transcribe(audio, hot_words=hot).text.endswith(" at noon")


NOISE = Waveform(np.random.default_rng(1).normal(0, 0.1, 80_000).astype(np.float32))


@pytest.fixture
def greedy(tiny_bundle: Bundle) -> Transcriber:
    return Transcriber(tiny_bundle, detection=None)


@pytest.fixture
def led(tiny_bundle: Bundle, tmp_path: Path) -> Transcriber:
    """The same network, whose search knows no word but the letters."""
    letters = tuple("ABCDEFGHIJKLMNOPQRSTUVWXYZ")
    path = tmp_path / "lm.arpa"
    special = {"<s>": -99.0, "</s>": -1.0, "<unk>": -6.0}
    path.write_text(arpa(special | dict.fromkeys(letters, -1.4), {("A", "B"): -1.0}))
    model = LanguageModel(path, letters, BeamSearchConfig(beam_size=20))
    return Transcriber(replace(tiny_bundle, language_model=model), detection=None)


def test_a_transcriber_takes_them_for_one_call(greedy: Transcriber, led: Transcriber) -> None:
    word = next(word.text for word in greedy.transcribe(NOISE).words if len(word.text) > 2)
    before = led.transcribe(NOISE)
    assert word not in before.text.split()
    assert word in led.transcribe(NOISE, hot_words=HotWords((word,), 20.0)).text.split()
    assert led.transcribe(NOISE) == before
    with pytest.raises(HotWordError, match="decoded greedily"):
        greedy.transcribe(NOISE, hot_words=HotWords(("abc",)))
    assert greedy.transcribe(NOISE, hot_words=HotWords(())) == greedy.transcribe(NOISE)


def test_a_live_session_takes_them_too(greedy: Transcriber, led: Transcriber) -> None:
    word = next(word for word in heard_live(greedy) if len(word) > 2)
    assert word not in heard_live(led)
    assert word in heard_live(led, HotWords((word,), 20.0))
    with pytest.raises(HotWordError, match="decoded greedily"):
        greedy.stream(hot_words=HotWords(("abc",)))


def heard_live(transcriber: Transcriber, hot_words: HotWords | None = None) -> list[str]:
    session = transcriber.stream(hot_words=hot_words)
    events = [*session.feed(NOISE.samples_N), *session.flush()]
    return [word.text for event in events if isinstance(event, Final) for word in event.segment.words]


def test_quotes_around_a_term_are_none_of_its_letters() -> None:
    assert plain_words("‘Birket Foster’") == plain_words("'Birket Foster'") == ("birket", "foster")
    assert plain_words("'tis") == ("'tis",)
    assert plain_words("the dogs'") == ("the", "dogs'")
