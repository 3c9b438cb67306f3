"""A bundle with a language model: on disk, and through the one path."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from features.audio import Waveform
from features.errors import AudioTooLongError
from model.beam_search import BeamSearch
from model.checkpoint import Bundle, load_bundle, save_bundle
from model.decoder import decode_greedy
from model.errors import BundleFormatError, BundleHashError, HotWordError, OptionError
from model.hot_words import HotWords
from model.language_model import BeamSearchConfig, LanguageModel
from model.letter_to_sound import LetterToSound, LetterToSoundConfig, dump, parse
from model.phones import N_PHONES, parse_pronunciations
from model.searches import make_search
from model.stream_events import Final, Partial
from model.transcriber import Transcriber
from tests.arpa import word_list_arpa
from tests.model.conftest import BundleMaker

WORDS = ("CAT", "DOG'S", "A")
ARPA = word_list_arpa(*WORDS)
PRONUNCIATIONS = parse_pronunciations("cat K AE T\ndog's D AO G Z\na AH\na(2) EY\n")


@pytest.fixture
def led_bundle(tiny_bundle: Bundle, tmp_path: Path) -> Bundle:
    (tmp_path / "words.arpa").write_text(ARPA)
    model = LanguageModel(tmp_path / "words.arpa", WORDS, BeamSearchConfig(lm_weight=0.7, word_bonus=0.3, beam_size=30))
    return replace(tiny_bundle, language_model=model)


@pytest.fixture
def spoken_bundle(make_bundle: BundleMaker, tmp_path: Path) -> Bundle:
    """The same found by their sounds."""
    (tmp_path / "words.arpa").write_text(ARPA)
    search = BeamSearchConfig(0.7, 20.0, beam_size=100, beam_units=N_PHONES, beam_threshold=200.0, letter_weight=0.2)
    model = LanguageModel(tmp_path / "words.arpa", WORDS, search, PRONUNCIATIONS)
    with torch.random.fork_rng():
        torch.manual_seed(2)
        network = LetterToSound(LetterToSoundConfig(embedding_size=4, hidden_size=4, n_layers=1))
    bundle = make_bundle(0, n_phones=N_PHONES)
    bundle.acoustic_model.phone_head.weight.data.mul_(5)
    return replace(bundle, language_model=model, letter_to_sound=parse(dump(network)))


@pytest.fixture
def noise() -> Waveform:
    return Waveform(np.random.default_rng(5).normal(0, 0.1, 32_000).astype(np.float32))


def test_a_pause_is_as_long_at_any_frame_rate(make_bundle: BundleMaker, led_bundle: Bundle) -> None:
    """A quarter of a second without letters ends a stretch, be it 6 frames of 40 ms or 12 of 20."""
    for subsampling, frames in ((4, 6), (2, 12)):
        bundle = replace(make_bundle(subsampling=subsampling), language_model=led_bundle.language_model)
        assert bundle.frame_s * frames == pytest.approx(0.24)
        search = make_search(bundle)
        assert search is not None
        for pause, n_stretches in ((frames - 1, 1), (frames, 2)):
            blank_S = torch.tensor([0] * 5 + [1] * pause + [0] * 5)
            scores_SV = torch.full((len(blank_S), bundle.tokenizer.vocabulary_size), -20.0)
            scores_SV[:, 2] = 0.0
            scores_SV[:, 0] = 40.0 * blank_S - 20.0
            assert len(search.n_best(scores_SV.log_softmax(-1), 1)) == n_stretches


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


def test_pronunciations_travel_with_their_bundle_of_a_format_of_their_own(
    spoken_bundle: Bundle, tmp_path: Path, noise: Waveform
) -> None:
    save_bundle(spoken_bundle, tmp_path / "bundle")
    assert json.loads((tmp_path / "bundle" / "config.json").read_text())["format_version"] == 3
    loaded = load_bundle(tmp_path / "bundle")
    assert loaded.language_model is not None
    assert loaded.language_model.pronunciations == PRONUNCIATIONS
    assert loaded.language_model.search.letter_weight == 0.2
    assert loaded.letter_to_sound is not None
    assert spoken_bundle.letter_to_sound is not None
    assert loaded.letter_to_sound.pronounce(["hat"]) == spoken_bundle.letter_to_sound.pronounce(["hat"])
    (tmp_path / "bundle" / "pronunciations.txt").write_text("cat K AE T\n")
    with pytest.raises(BundleHashError, match=r"pronunciations\.txt"):
        load_bundle(tmp_path / "bundle")


def test_words_are_found_by_their_sounds_and_a_hot_word_needs_some(spoken_bundle: Bundle, noise: Waveform) -> None:
    led = Transcriber(spoken_bundle, detection=None, rejection=None)
    transcript = led.transcribe(noise, alternatives=2)
    assert transcript.words
    assert {word.text for word in transcript.words} <= set(PRONUNCIATIONS)
    assert any(word.alternatives for word in transcript.words)
    assert led.n_best(noise, 3)[0].hypotheses[0].text == transcript.text
    hot = HotWords(("hat",), 20.0)
    assert {word.text for word in led.transcribe(noise, hot_words=hot).words} <= {*PRONUNCIATIONS, "hat"}
    with pytest.raises(HotWordError, match="'hat'"):
        Transcriber(replace(spoken_bundle, letter_to_sound=None)).transcribe(noise, hot_words=hot)
    greedy = Transcriber(spoken_bundle, greedy=True, detection=None, rejection=None)
    plain = replace(spoken_bundle, language_model=None)
    assert greedy.transcribe(noise).text == Transcriber(plain, detection=None, rejection=None).transcribe(noise).text


def test_heard_live_by_their_sounds_committed_words_never_change(spoken_bundle: Bundle) -> None:
    sound_N = np.random.default_rng(5).normal(0, 0.1, 160_000).astype(np.float32)
    session = Transcriber(spoken_bundle, detection=None, rejection=None).stream()
    committed: list[str] = []
    partials = 0
    for event in [*session.feed(sound_N), *session.flush()]:
        words = [word.text for word in (event.segment.words if isinstance(event, Final) else event.words)]
        assert words[: len(committed)] == committed
        partials += isinstance(event, Partial) and bool(words)
        committed = [] if isinstance(event, Final) else words
    assert partials


def test_pronunciations_without_a_head_for_phones_are_refused(spoken_bundle: Bundle, tiny_bundle: Bundle) -> None:
    with pytest.raises(OptionError, match="no head for phones"):
        replace(tiny_bundle, language_model=spoken_bundle.language_model)


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
