"""The search called past flashlight's bindings: the same results, and Python goes on meanwhile."""

import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch

from model import unlocked_search
from model.beam_search import BeamSearch
from model.errors import OptionError
from model.hot_words import HotWords
from model.hypothesis import NBest
from model.language_model import BeamSearchConfig, LanguageModel
from model.tokenizer import CharacterTokenizer
from tests.arpa import arpa

TOKENIZER = CharacterTokenizer(" abcdefgh")
LETTERS = tuple("ABCDEFGH")
WORDS = tuple(sorted({*LETTERS, *(one + other for one in LETTERS for other in LETTERS)}))


@pytest.fixture(scope="module")
def language_model(tmp_path_factory: pytest.TempPathFactory) -> LanguageModel:
    path = tmp_path_factory.mktemp("lm") / "lm.arpa"
    path.write_text(arpa({"<s>": -99.0, "</s>": -1.0, "<unk>": -2.0} | dict.fromkeys(WORDS, -1.8), {("A", "B"): -0.5}))
    return LanguageModel(path, WORDS, BeamSearchConfig(1.0, 0.5, beam_size=100, beam_units=8, beam_threshold=40.0))


@pytest.fixture
def with_lock(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """As with a version of flashlight that nobody has tried."""
    unlocked_search._library.cache_clear()
    monkeypatch.setattr(unlocked_search, "TRIED", ("0.0.0",))
    yield
    unlocked_search._library.cache_clear()


def found(language_model: LanguageModel) -> list[list[NBest]]:
    """What eight threads find in eight inputs, four of them with hot words."""
    search = BeamSearch(TOKENIZER, language_model, at_once=4)
    hot = search.with_hot_words(HotWords(("cab", "a b")))
    generator = torch.Generator().manual_seed(7)
    inputs = [(torch.randn(90, 10, generator=generator) * 2).log_softmax(-1) for _ in range(8)]
    with ThreadPoolExecutor(8) as pool:
        return list(pool.map(lambda at: (hot if at % 2 else search).n_best(inputs[at], 20), range(8)))


def test_the_lock_is_free_here() -> None:
    assert unlocked_search.searches_unlocked()


def test_threads_find_without_the_lock_what_they_find_with_it(
    language_model: LanguageModel, request: pytest.FixtureRequest
) -> None:
    unlocked = found(language_model)
    request.getfixturevalue("with_lock")
    assert not unlocked_search.searches_unlocked()
    assert found(language_model) == unlocked


def test_python_runs_while_a_search_computes(language_model: LanguageModel) -> None:
    """Where the lock changes hands by request only, nobody else could see a search that has begun and not ended."""
    search = BeamSearch(TOKENIZER, language_model)
    log_probs_SV = torch.randn(750, 10, generator=torch.Generator().manual_seed(1)).log_softmax(-1)
    state = {"inside": False, "seen": False}

    def work() -> None:
        step = unlocked_search.SearchSteps.step

        def told(steps: unlocked_search.SearchSteps, data_ptr: int, n_frames: int, n_units: int) -> None:
            state["inside"] = True
            step(steps, data_ptr, n_frames, n_units)
            state["inside"] = False

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(unlocked_search.SearchSteps, "step", told)
            patch.setattr("model.beam_search.PIECE_FRAMES", 750)
            while not state["seen"] and time.monotonic() < ends_s:
                search.decode(log_probs_SV)

    ends_s = time.monotonic() + 60
    before_s = sys.getswitchinterval()
    sys.setswitchinterval(1000)
    try:
        thread = threading.Thread(target=work)
        thread.start()
        while thread.is_alive() and not state["seen"]:
            state["seen"] = state["inside"]
            time.sleep(0.001)
        thread.join()
    finally:
        sys.setswitchinterval(before_s)
    assert state["seen"]


def test_less_than_one_search_at_once_is_refused(language_model: LanguageModel) -> None:
    with pytest.raises(OptionError, match="0 searches at once"):
        BeamSearch(TOKENIZER, language_model, at_once=0)
