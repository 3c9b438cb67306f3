"""A bundle with a language model: on disk, and through the one path."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from features.audio import Waveform
from features.errors import AudioTooLongError
from model.beam_search import BeamSearch
from model.checkpoint import Bundle, load_bundle, save_bundle
from model.decoder import decode_greedy
from model.errors import BundleFormatError, BundleHashError, OptionError
from model.language_model import BeamSearchConfig, LanguageModel
from model.transcriber import Transcriber
from tests.arpa import word_list_arpa

WORDS = ("CAT", "DOG'S", "A")
ARPA = word_list_arpa(*WORDS)


@pytest.fixture
def led_bundle(tiny_bundle: Bundle, tmp_path: Path) -> Bundle:
    (tmp_path / "words.arpa").write_text(ARPA)
    model = LanguageModel(tmp_path / "words.arpa", WORDS, BeamSearchConfig(lm_weight=0.7, word_bonus=0.3, beam_size=30))
    return replace(tiny_bundle, language_model=model)


@pytest.fixture
def noise() -> Waveform:
    return Waveform(np.random.default_rng(5).normal(0, 0.1, 32_000).astype(np.float32))


def test_a_language_model_travels_with_its_bundle(led_bundle: Bundle, tmp_path: Path) -> None:
    save_bundle(led_bundle, tmp_path / "bundle")
    assert led_bundle.language_model is not None
    led_bundle.language_model.path.unlink()
    loaded = load_bundle(tmp_path / "bundle").language_model
    assert loaded is not None
    assert (loaded.words, loaded.search) == (WORDS, led_bundle.language_model.search)
    assert loaded.path.read_text() == ARPA


def test_a_bundle_without_one_has_none(tiny_bundle: Bundle, tmp_path: Path) -> None:
    save_bundle(tiny_bundle, tmp_path / "bundle")
    assert load_bundle(tmp_path / "bundle").language_model is None


@pytest.mark.parametrize("file", ["lm.klm", "lexicon.txt"])
def test_a_changed_language_model_is_refused(led_bundle: Bundle, tmp_path: Path, file: str) -> None:
    save_bundle(led_bundle, tmp_path / "bundle")
    with (tmp_path / "bundle" / file).open("a") as stream:
        stream.write("X\n")
    with pytest.raises(BundleHashError, match=file):
        load_bundle(tmp_path / "bundle")


def test_a_lexicon_without_its_language_model_is_refused(led_bundle: Bundle, tmp_path: Path) -> None:
    save_bundle(led_bundle, tmp_path / "bundle")
    config = tmp_path / "bundle" / "config.json"
    listed = json.loads(config.read_text())
    del listed["sha256"]["lm.klm"]
    config.write_text(json.dumps(listed))
    with pytest.raises(BundleFormatError, match=r"lm\.klm"):
        load_bundle(tmp_path / "bundle")


def test_the_transcriber_searches_with_it_unless_asked_to_be_greedy(led_bundle: Bundle, noise: Waveform) -> None:
    led = Transcriber(led_bundle, detection=None, rejection=None)
    greedy = Transcriber(led_bundle, greedy=True, detection=None, rejection=None)
    log_probs_SV = led.log_probs(noise)
    assert led_bundle.language_model is not None
    search = BeamSearch(led_bundle.tokenizer, led_bundle.language_model)

    def text(units: object) -> str:
        assert isinstance(units, list)
        return " ".join(led_bundle.tokenizer.decode([unit.id for unit in units]).split())

    assert led.transcribe(noise).text == text(search.decode(log_probs_SV))
    assert greedy.transcribe(noise).text == text(decode_greedy(log_probs_SV))
    assert led.transcribe(noise).text != greedy.transcribe(noise).text
    assert {word.text.upper() for word in led.transcribe(noise).words} <= set(WORDS)


def test_the_transcriber_gives_other_ways_to_hear_it(led_bundle: Bundle, noise: Waveform) -> None:
    assert led_bundle.language_model is not None
    wide = replace(led_bundle.language_model, search=BeamSearchConfig(beam_size=500, beam_threshold=1000.0))
    led = Transcriber(replace(led_bundle, language_model=wide), detection=None, rejection=None)
    (stretch,) = led.n_best(noise, 4)
    assert stretch.hypotheses[0].text == led.transcribe(noise).text
    texts = [hypothesis.text for hypothesis in stretch.hypotheses]
    assert 1 < len(texts) == len(set(texts)) <= 4
    assert stretch.end_frame * led.frame_s == pytest.approx(noise.duration_s, abs=led.frame_s)
    with pytest.raises(OptionError, match="decoded greedily"):
        Transcriber(led_bundle, greedy=True).n_best(noise, 4)
    with pytest.raises(AudioTooLongError, match=r"2 s, more than the limit of 1\.5 s"):
        led.n_best(noise, 4, max_duration_s=1.5)


@pytest.mark.parametrize("content", ["", "this is no language model", "\\data\\\nngram 1=9\n"])
def test_a_file_that_is_no_language_model_is_named(tiny_bundle: Bundle, tmp_path: Path, content: str) -> None:
    (tmp_path / "bad.arpa").write_text(content)
    model = LanguageModel(tmp_path / "bad.arpa", WORDS, BeamSearchConfig())
    with pytest.raises(OptionError, match=r"bad\.arpa"):
        BeamSearch(tiny_bundle.tokenizer, model)
