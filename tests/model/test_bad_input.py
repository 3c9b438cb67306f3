"""Whatever values the entries of the Python API are given: they work, or raise an error of ours that says why not.

The types are right everywhere; a wrong one is for a type checker to find.
"""

import contextlib
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from features.audio import Waveform, decode_audio, open_audio
from features.errors import AudioError, AudioParameterError, CepstraError
from features.front_end import FrontEndConfig
from features.limits import AudioLimits
from features.pcm import SampleDecoder
from features.speech_detection import SpeechDetectionConfig, SpeechDetector
from model.alignment import SegmentConfig
from model.bulk import transcribe_many
from model.checkpoint import Bundle, load_bundle
from model.chunking import ChunkingConfig
from model.errors import BundleError, HotWordError, OptionError
from model.hot_words import HotWords, spell
from model.language_model import BeamSearchConfig, RescoringConfig
from model.rejection import RejectionConfig
from model.stable_words import CommitConfig
from model.streaming import StreamingConfig
from model.tokenizer import CharacterTokenizer
from model.transcriber import Transcriber
from model.word_timing import TimingConfig

RATE_HZ = 16_000
NOISE_N = np.random.default_rng(0).normal(0, 0.1, RATE_HZ // 2).astype(np.float32)
wild_floats = st.floats() | st.sampled_from([0.0, -1.0, 0.04, 0.5, 1.0, 4.0, 25.0, 1e9])
wild_ints = st.integers() | st.integers(-2, 40)
wild_samples = arrays.arrays(
    st.sampled_from([np.float16, np.float32, np.float64, np.int16, np.complex64, np.bool_]),
    st.sampled_from([(), (0,), (1,), (700,), (2, 40)]),
)


@pytest.fixture(scope="module")
def tiny(tiny_bundle: Bundle) -> Transcriber:
    return Transcriber(tiny_bundle, detection=None)


def worked(call: Callable[[], object], *refusals: type[Exception]) -> bool:
    """Whether it did, and else was refused as it has to be."""
    with contextlib.suppress(*(refusals or (CepstraError,))):
        call()
        return True
    return False


@settings(deadline=None, max_examples=40)
@given(samples=wild_samples, rate_hz=wild_ints)
@example(samples=np.full(700, 3e38, np.float32), rate_hz=RATE_HZ)
@example(samples=np.full(700, 1e300), rate_hz=RATE_HZ)
@example(samples=np.full(700, 2.0**31, np.float32), rate_hz=RATE_HZ)
def test_samples(tiny: Transcriber, samples: np.ndarray, rate_hz: int) -> None:
    """As a waveform and as a stream; what went wrong changes nothing of what is heard after it."""
    worked(lambda: tiny.transcribe(Waveform(samples, rate_hz)), AudioError)
    session, undisturbed = tiny.stream(), tiny.stream()
    if not worked(lambda: session.feed(samples), AudioError):
        assert [*session.feed(NOISE_N), *session.flush()] == [*undisturbed.feed(NOISE_N), *undisturbed.flush()]
    worked(lambda: tiny.stream(sample_rate_hz=rate_hz), AudioParameterError)


@settings(deadline=None, max_examples=30)
@given(most_s=wild_floats, alternatives=wild_ints, n=wild_ints, threads=st.integers(-3, 0))
def test_options_of_a_transcript(
    tiny: Transcriber, tmp_path_factory: pytest.TempPathFactory, most_s: float, alternatives: int, n: int, threads: int
) -> None:
    waveform = Waveform(NOISE_N)
    worked(lambda: tiny.transcribe(waveform, max_duration_s=most_s), AudioError)
    worked(lambda: tiny.transcribe(waveform, alternatives=alternatives), OptionError)
    assert not worked(lambda: tiny.n_best(waveform, n), OptionError)  # it decodes greedily
    assert not worked(lambda: list(transcribe_many(tiny, [waveform], threads=threads)), OptionError)
    assert not worked(lambda: Transcriber.from_bundle(tmp_path_factory.getbasetemp(), threads=threads), OptionError)


@settings(deadline=None, max_examples=40)
@given(terms=st.lists(st.text(max_size=70), max_size=4).map(tuple), boost=wild_floats)
def test_hot_words(terms: tuple[str, ...], boost: float) -> None:
    if worked(lambda: HotWords(terms, boost), HotWordError):
        for term in terms:
            worked(partial(spell, term, CharacterTokenizer()), HotWordError)


@settings(deadline=None, max_examples=30)
@given(name=st.text() | st.sampled_from(["", "\0", "/", ".", "no such file", "a" * 5000]))
def test_names_of_files(tiny: Transcriber, name: str) -> None:
    """What the system says about a name is an OSError, as `open` raises it."""
    assert not worked(lambda: tiny.transcribe(name), CepstraError, OSError)
    assert not worked(lambda: load_bundle(name), BundleError)
    assert not worked(lambda: load_bundle(Path(name)), BundleError)


@settings(deadline=None, max_examples=30)
@given(data=st.binary(max_size=200), most_s=wild_floats, number=st.integers(-3, 2**40))
def test_bytes(tiny: Transcriber, data: bytes, most_s: float, number: int) -> None:
    assert not worked(lambda: tiny.transcribe(data), AudioError)
    assert not worked(lambda: decode_audio(data, max_duration_s=most_s), AudioError)
    decoder = SampleDecoder()
    decoder.feed(data)
    if number < 0 or number > 2**20:  # no file descriptor that is open
        with pytest.raises((AudioError, OSError)), open_audio(number):
            pass


SHORT, LONG = Waveform(NOISE_N), Waveform(np.tile(NOISE_N, 3))
# Everything that is an option somewhere: how it is made of wild values, and what it is used for.
CONFIGS: dict[str, tuple[type, Callable[[Transcriber, Any], object]]] = {
    "chunking": (ChunkingConfig, lambda t, c: Transcriber(t.bundle, chunking=c, detection=None).transcribe(LONG)),
    "segments": (SegmentConfig, lambda t, c: None),
    "rejection": (RejectionConfig, lambda t, c: Transcriber(t.bundle, rejection=c, detection=None).transcribe(SHORT)),
    "timing": (TimingConfig, lambda t, c: Transcriber(t.bundle, timing=c, detection=None).transcribe(SHORT)),
    "detection": (SpeechDetectionConfig, lambda t, c: SpeechDetector(c).feed(NOISE_N)),
    "streaming": (StreamingConfig, lambda t, c: heard(t, c)),
    "commit": (CommitConfig, lambda t, c: heard(t, StreamingConfig(commit=c))),
    "search": (BeamSearchConfig, lambda t, c: None),
    "rescoring": (RescoringConfig, lambda t, c: None),
    "limits": (AudioLimits, lambda t, c: None),
    "front end": (FrontEndConfig, lambda t, c: None),
}


def heard(transcriber: Transcriber, config: StreamingConfig) -> object:
    session = transcriber.stream(config=config)
    return [*session.feed(NOISE_N), *session.flush()]


@pytest.mark.parametrize("name", CONFIGS)
@settings(deadline=None, max_examples=30)
@given(data=st.data())
def test_options(tiny: Transcriber, name: str, data: st.DataObject) -> None:
    """One or two fields at a time have wild values, the others their defaults."""
    kind, use = CONFIGS[name]
    values = {field: value for field, value in vars(kind()).items() if type(value) in (int, float)}
    fields = data.draw(st.lists(st.sampled_from(sorted(values)), min_size=1, max_size=2, unique=True))
    options = {field: data.draw(wild_ints if type(values[field]) is int else wild_floats) for field in fields}
    made: list[Any] = []
    if worked(lambda: made.append(kind(**options))):
        worked(lambda: use(tiny, made[0]))
