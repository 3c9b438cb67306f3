"""Rescoring on a dev corpus: its trials are evaluations, and its oracle the best of all choices."""

import itertools
from dataclasses import replace
from pathlib import Path

import jiwer
import pytest
import torch

from features.audio import decode_audio
from model.checkpoint import Bundle
from model.errors import OptionError
from model.language_model import BeamSearchConfig, LanguageModel, RescoringConfig
from model.neural_language_model import NeuralLanguageModel, NeuralLanguageModelConfig
from model.transcriber import Transcriber
from tests.arpa import word_list_arpa
from training.corpora import Utterance, normalize_transcript, read_corpus
from training.evaluate import evaluate
from training.tune_rescoring import tune_rescoring

WORDS = ("A", "B", "C", "AB", "CAB", "BCA")


@pytest.fixture
def bundle(tiny_bundle: Bundle, tmp_path: Path) -> Bundle:
    """Hears at random, and judges by a network that was never trained but has strong opinions."""
    (tmp_path / "words.arpa").write_text(word_list_arpa(*WORDS))
    search = BeamSearchConfig(lm_weight=3.0, word_bonus=3.0, beam_size=100, beam_threshold=1000.0)
    torch.manual_seed(2)
    neural_lm = NeuralLanguageModel([word.lower() for word in WORDS], NeuralLanguageModelConfig(width=8, cutoffs=(5,)))
    neural_lm.softmax.head.weight.data.mul_(8)
    return replace(
        tiny_bundle,
        language_model=LanguageModel(tmp_path / "words.arpa", WORDS, search),
        neural_lm=neural_lm.eval(),
        rescoring=RescoringConfig(n_best=10),
    )


@pytest.fixture
def utterances(tones_manifest: Path) -> list[Utterance]:
    return list(read_corpus(tones_manifest))[:6]


def test_the_errors_of_a_trial_are_those_of_an_evaluation_with_its_weight(
    bundle: Bundle, utterances: list[Utterance]
) -> None:
    seen: list[tuple[int, int]] = []
    result = tune_rescoring(
        bundle, utterances, neural_weights=[1.0, 0.0, 0.5], progress=lambda done, total: seen.append((done, total))
    )
    assert seen == [(done, 6) for done in range(1, 7)]
    assert sorted(trial.config.neural_weight for trial in result.trials) == [0.0, 0.5, 1.0]
    assert [trial.words.rate for trial in result.trials] == sorted(trial.words.rate for trial in result.trials)
    assert len({trial.words for trial in result.trials}) > 1
    plain = Transcriber(replace(bundle, neural_lm=None), rejection=None)  # which would drop what is no speech
    assert result.before == evaluate(plain, utterances).words
    for trial in result.trials:
        assert trial.config.n_best == 10
        weighed = Transcriber(replace(bundle, rescoring=trial.config), rejection=None)
        assert evaluate(weighed, utterances).words == trial.words
        if trial.config.neural_weight == 0:
            assert trial.words == result.before


def test_the_oracle_takes_the_best_of_each_list(bundle: Bundle, utterances: list[Utterance]) -> None:
    result = tune_rescoring(bundle, utterances, neural_weights=[0.5], n_best=30)
    transcriber = Transcriber(bundle)
    errors = words = 0
    for utterance in utterances:
        lists = [stretch.hypotheses for stretch in transcriber.n_best(decode_audio(utterance.path), 30)]
        texts = [" ".join(hypothesis.text for hypothesis in chosen) for chosen in itertools.product(*lists)]
        reference = normalize_transcript(utterance.transcript)
        found = [jiwer.process_words(reference, text) for text in texts]
        errors += min(o.substitutions + o.deletions + o.insertions for o in found)
        words += len(reference.split())
    assert result.oracle.rate == pytest.approx(errors / words)
    assert result.oracle.reference_units == words
    assert result.oracle.rate < result.before.rate


def test_of_equal_weights_the_one_that_changes_least_is_taken(bundle: Bundle, utterances: list[Utterance]) -> None:
    result = tune_rescoring(bundle, utterances, neural_weights=[0.9, 0.1, 0.0], n_best=1)
    assert [trial.config.neural_weight for trial in result.trials] == [0.0, 0.1, 0.9]
    assert result.oracle == result.before


def test_nothing_to_tune_is_said(bundle: Bundle, utterances: list[Utterance]) -> None:
    with pytest.raises(OptionError, match="no neural language model to tune"):
        tune_rescoring(replace(bundle, neural_lm=None), utterances, neural_weights=[0.5])
    with pytest.raises(OptionError, match="0 weights"):
        tune_rescoring(bundle, utterances, neural_weights=[])
    with pytest.raises(OptionError, match="0 utterances"):
        tune_rescoring(bundle, [], neural_weights=[0.5])
    with pytest.raises(OptionError, match=r"neural_weight is 1\.5"):
        tune_rescoring(bundle, utterances, neural_weights=[1.5])
