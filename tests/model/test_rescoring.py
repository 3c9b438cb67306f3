"""N-best lists in a new order: against the formula, through the transcriber, and as part of a bundle."""

import json
import math
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from features.audio import Waveform
from model.beam_search import BeamSearch
from model.checkpoint import NEURAL_LM_FILE, Bundle, load_bundle, save_bundle
from model.errors import BundleFormatError, BundleHashError, OptionError
from model.language_model import BeamSearchConfig, LanguageModel, RescoringConfig
from model.neural_language_model import NeuralLanguageModel, NeuralLanguageModelConfig
from model.rescoring import Rescorer, rescore
from model.transcriber import Transcriber
from tests.arpa import word_list_arpa
from tests.model.conftest import BundleMaker

LETTERS = "abcdefghijklmnopqrstuvwxyz"  # words of one letter: whatever is heard, many ways to write it are near
SEARCH = BeamSearchConfig(lm_weight=2.0, word_bonus=3.0, beam_size=200, beam_threshold=1000.0)


@pytest.fixture
def neural_lm() -> NeuralLanguageModel:
    """It was never trained, but has strong opinions, and does not know the last of the letters."""
    torch.manual_seed(1)
    model = NeuralLanguageModel(LETTERS[:20], NeuralLanguageModelConfig(width=8, cutoffs=(6,), unknown_words=6))
    model.softmax.head.weight.data.mul_(4)
    model.softmax.head.bias.data[model.encode("d")[0]] -= 10  # which is what the bundle's network hears in noise
    return model.eval()


@pytest.fixture
def bundle(make_bundle: BundleMaker, neural_lm: NeuralLanguageModel, tmp_path: Path) -> Bundle:
    undecided = make_bundle(0)
    undecided.acoustic_model.head.weight.data.mul_(0.05)
    undecided.acoustic_model.head.bias.data[:2] -= 5
    (tmp_path / "words.arpa").write_text(word_list_arpa(*LETTERS))
    model = LanguageModel(tmp_path / "words.arpa", tuple(LETTERS), SEARCH)
    return replace(undecided, language_model=model, neural_lm=neural_lm, rescoring=RescoringConfig(0.6, 40))


def listening(bundle: Bundle, *, greedy: bool = False) -> Transcriber:
    """A transcriber that takes noise for speech."""
    return Transcriber(bundle, greedy=greedy, detection=None, rejection=None)


@pytest.fixture
def search(bundle: Bundle) -> BeamSearch:
    assert bundle.language_model is not None
    return BeamSearch(bundle.tokenizer, bundle.language_model)


@pytest.fixture
def noise() -> Waveform:
    return Waveform(np.random.default_rng(5).normal(0, 0.1, 32_000).astype(np.float32))


def by_the_formula(ngram: Sequence[float], neural: Sequence[float], weight: float) -> float:
    """log10 probability of a sentence whose words have probabilities mixed of two."""
    mixed = [(1 - weight) * 10**one + weight * 10**other for one, other in zip(ngram, neural, strict=True)]
    return math.log10(math.prod(mixed))


@pytest.mark.parametrize("weight", [0.0, 0.01, 0.5, 1.0])
def test_the_order_is_that_of_the_formula(search: BeamSearch, neural_lm: NeuralLanguageModel, weight: float) -> None:
    log_probs_SV = torch.randn(12, 29, generator=torch.Generator().manual_seed(3)).log_softmax(-1)
    (found,) = search.n_best(log_probs_SV, 40)
    judged = neural_lm.word_log10probs([hypothesis.words for hypothesis in found.hypotheses])
    expected = {}
    for hypothesis, neural in zip(found.hypotheses, judged, strict=True):
        lm = by_the_formula(hypothesis.word_log10probs, neural, weight)
        expected[hypothesis.text] = hypothesis.acoustic_logprob + 2.0 * lm + 3.0 * len(hypothesis.words)
    (rescored,) = Rescorer(search, neural_lm, RescoringConfig(weight, 40)).n_best(log_probs_SV, 40)
    assert len(expected) == 40
    assert {h.text: h.score for h in rescored.hypotheses} == pytest.approx(expected, abs=1e-6)
    assert [h.text for h in rescored.hypotheses] == sorted(expected, key=lambda text: -expected[text])


def test_a_weight_of_0_leaves_everything_as_the_search_found_it(
    search: BeamSearch, neural_lm: NeuralLanguageModel, bundle: Bundle, noise: Waveform
) -> None:
    log_probs_SV = listening(bundle).log_probs(noise)
    rescorer = Rescorer(search, neural_lm, RescoringConfig(0.0, 40))
    assert rescorer.n_best(log_probs_SV, 7) == search.n_best(log_probs_SV, 7)
    assert rescorer.decode(log_probs_SV) == search.decode(log_probs_SV)
    assert Rescorer(search, neural_lm, RescoringConfig(0.6, 1)).decode(log_probs_SV) == search.decode(log_probs_SV)


def test_words_that_a_model_holds_for_impossible_have_scores(search: BeamSearch) -> None:
    log_probs_SV = torch.randn(9, 29, generator=torch.Generator().manual_seed(2)).log_softmax(-1)
    hypotheses = search.n_best(log_probs_SV, 3)[0].hypotheses
    judged = [[-2000.0] * (len(hypothesis.words) + 1) for hypothesis in hypotheses]
    for weight in (0.5, 1.0):
        assert all(math.isfinite(h.score) for h in rescore(hypotheses, judged, SEARCH, weight))


def test_the_transcriber_rescores_where_the_bundle_can(
    bundle: Bundle, search: BeamSearch, neural_lm: NeuralLanguageModel, noise: Waveform
) -> None:
    transcriber, plain = listening(bundle), listening(replace(bundle, neural_lm=None))
    (stretch,) = Rescorer(search, neural_lm, bundle.rescoring).n_best(transcriber.log_probs(noise), 5)
    assert transcriber.transcribe(noise).text == stretch.hypotheses[0].text
    assert transcriber.transcribe(noise).text != plain.transcribe(noise).text
    assert transcriber.n_best(noise, 5) == [stretch]
    unheard = replace(bundle, rescoring=RescoringConfig(0.0))
    assert listening(unheard).transcribe(noise) == plain.transcribe(noise)
    greedy = listening(bundle, greedy=True).transcribe(noise)
    assert greedy == listening(replace(bundle, neural_lm=None), greedy=True).transcribe(noise)


def test_a_neural_model_travels_with_its_bundle(bundle: Bundle, noise: Waveform, tmp_path: Path) -> None:
    save_bundle(replace(bundle, weight_format="float32"), tmp_path / "bundle")
    loaded = load_bundle(tmp_path / "bundle")
    assert loaded.neural_lm is not None
    assert loaded.neural_lm.words == tuple(LETTERS[:20])
    assert loaded.rescoring == RescoringConfig(0.6, 40)
    assert listening(loaded).transcribe(noise).text == listening(bundle).transcribe(noise).text


def test_bundles_without_one_are_read_as_before(bundle: Bundle, tmp_path: Path) -> None:
    save_bundle(replace(bundle, neural_lm=None), tmp_path / "bundle")
    assert not (tmp_path / "bundle" / NEURAL_LM_FILE).exists()
    config = json.loads((tmp_path / "bundle" / "config.json").read_text())
    assert config.pop("neural_lm") is None
    (tmp_path / "bundle" / "config.json").write_text(json.dumps(config))  # as bundles were before there was any
    assert load_bundle(tmp_path / "bundle").neural_lm is None


def test_a_neural_model_that_was_changed_is_refused(bundle: Bundle, tmp_path: Path) -> None:
    save_bundle(bundle, tmp_path / "bundle")
    with (tmp_path / "bundle" / NEURAL_LM_FILE).open("ab") as stream:
        stream.write(b"x")
    with pytest.raises(BundleHashError, match="neural_lm"):
        load_bundle(tmp_path / "bundle")


@pytest.mark.parametrize("change", [{"neural_weight": 2.0}, {"n_best": 0}, {"temperature": 1.0}])
def test_a_bundle_with_options_nobody_knows_is_refused(
    bundle: Bundle, tmp_path: Path, change: dict[str, float]
) -> None:
    save_bundle(bundle, tmp_path / "bundle")
    path = tmp_path / "bundle" / "config.json"
    config = json.loads(path.read_text())
    config["neural_lm"] |= change
    path.write_text(json.dumps(config))
    with pytest.raises(BundleFormatError, match=next(iter(change))):
        load_bundle(tmp_path / "bundle")


def test_a_neural_model_needs_hypotheses(tiny_bundle: Bundle, neural_lm: NeuralLanguageModel) -> None:
    with pytest.raises(OptionError, match="needs an n-gram model"):
        replace(tiny_bundle, neural_lm=neural_lm)


def test_asking_for_less_than_one_hypothesis_is_refused(search: BeamSearch, neural_lm: NeuralLanguageModel) -> None:
    with pytest.raises(OptionError, match="the 0 best"):
        Rescorer(search, neural_lm, RescoringConfig()).n_best(torch.zeros(4, 29), 0)
