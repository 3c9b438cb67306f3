from dataclasses import replace
from pathlib import Path

import pytest

from model.checkpoint import Bundle
from model.errors import OptionError
from model.language_model import BeamSearchConfig, LanguageModel
from model.transcriber import Transcriber
from tests.arpa import word_list_arpa
from training.corpora import read_corpus
from training.evaluate import evaluate
from training.tune import tune

WORDS = ("CAB", "A", "BB")


@pytest.fixture
def led_bundle(tiny_bundle: Bundle, tmp_path: Path) -> Bundle:
    (tmp_path / "words.arpa").write_text(word_list_arpa(*WORDS))
    model = LanguageModel(tmp_path / "words.arpa", WORDS, BeamSearchConfig(beam_size=20))
    return replace(tiny_bundle, language_model=model)


def test_the_errors_of_a_trial_are_those_of_an_evaluation_with_its_weights(
    led_bundle: Bundle, tones_manifest: Path
) -> None:
    seen: list[tuple[int, int]] = []
    trials = tune(
        led_bundle,
        read_corpus(tones_manifest),
        lm_weights=[0.5, 2.0],
        word_bonuses=[-5.0, 5.0],
        blank_penalties=[0.0, 3.0],
        boundary_penalties=[0.0, 2.0],
        progress=lambda done, total: seen.append((done, total)),
    )
    assert seen == [(done, 16) for done in range(1, 17)]
    assert len({trial.search for trial in trials}) == 16
    assert [t.words.rate for t in trials] == sorted(t.words.rate for t in trials)
    assert len({t.words for t in trials}) > 1
    assert led_bundle.language_model is not None
    for trial in trials:
        weighed = replace(led_bundle, language_model=replace(led_bundle.language_model, search=trial.search))
        assert evaluate(Transcriber(weighed), tones_manifest).words == trial.words


def test_nothing_to_tune_is_said(tiny_bundle: Bundle, led_bundle: Bundle, tones_manifest: Path) -> None:
    utterances = read_corpus(tones_manifest)
    with pytest.raises(OptionError, match="no language model to tune"):
        tune(tiny_bundle, utterances, lm_weights=[1.0], word_bonuses=[0.0])
    with pytest.raises(OptionError, match="0 combinations"):
        tune(led_bundle, utterances, lm_weights=[], word_bonuses=[0.0])
