"""A stream of audio against itself fed otherwise, and against the whole recording."""

from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import replace
from difflib import SequenceMatcher
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from features.audio import decode_audio
from features.errors import AudioParameterError, NonFiniteAudioError
from features.front_end import FrontEnd, FrontEndConfig
from model.cancellation import CancelToken
from model.checkpoint import Bundle
from model.confidence import ConfidenceConfig, ConfidenceWeights, word_confidence
from model.decoder import DecodedUnit, decode_greedy
from model.errors import OptionError, WorkCancelledError
from model.stable_words import CommitConfig
from model.stream_events import Final, Partial, StreamEvent
from model.streaming import StreamingConfig
from model.transcriber import Transcriber
from tests.conftest import SpokenClip
from tests.model.conftest import BundleMaker
from tests.sounds import RATE_HZ, SOUNDS
from training.metrics import word_errors

QUICK = StreamingConfig(block_s=0.32, right_s=0.4, commit=CommitConfig(longest_s=3.0))
# The first look is not to end an utterance either.
ALL_AT_ONCE = StreamingConfig(block_s=5.0, right_s=4.0, prior_s=0.0, commit=CommitConfig(pause_s=3.0))


@pytest.fixture(scope="module")
def tiny(tiny_bundle: Bundle) -> Transcriber:
    return Transcriber(tiny_bundle)


@pytest.fixture(scope="module")
def shipped(shipped_transcriber: Transcriber) -> Transcriber:
    return shipped_transcriber


@pytest.fixture(scope="module")
def talk(clips_folder: Path) -> np.ndarray:
    """Two sentences with three seconds of nothing between them, and one after."""
    sentences = [decode_audio(clips_folder / f"{name}.flac").samples_N for name in ("dog", "river")]
    return np.concatenate([sentences[0], silence(3.0), sentences[1], silence(1.0)])


@pytest.fixture(scope="module")
def events_of_the_talk(tiny: Transcriber, talk: np.ndarray) -> list[StreamEvent]:
    return stream(tiny, [talk])


@settings(deadline=None, max_examples=4)
@given(cuts=st.lists(st.integers(0, 11 * RATE_HZ), max_size=6))
def test_however_it_is_fed_the_events_are_the_same(
    tiny: Transcriber, talk: np.ndarray, events_of_the_talk: list[StreamEvent], cuts: list[int]
) -> None:
    assert stream(tiny, np.split(talk, sorted(cuts))) == events_of_the_talk


def test_single_samples_and_another_rate_give_the_same_events(tiny: Transcriber, talk: np.ndarray) -> None:
    talk = talk[: 3 * RATE_HZ]
    for rate_hz in (RATE_HZ, 24_000):
        expected = stream(tiny, [talk], rate_hz)
        assert finals(expected)
        assert stream(tiny, np.split(talk, np.arange(0, len(talk), 7)), rate_hz) == expected


@pytest.mark.parametrize("options", [{}, {"n_phones": 41, "spelling_layers": 2}], ids=["heard", "spelled"])
@pytest.mark.parametrize("seed", [0, 2])
def test_committed_words_never_change(
    make_bundle: BundleMaker, talk: np.ndarray, seed: int, options: dict[str, int]
) -> None:
    events = stream(Transcriber(make_bundle(seed, **options)), [talk])
    assert_nothing_is_taken_back(events)
    assert any(event.words for event in events if isinstance(event, Partial))
    assert finals(events)


def test_with_a_language_model_it_is_about_as_good_as_the_whole(
    shipped: Transcriber, synthetic_clips: Sequence[SpokenClip]
) -> None:
    references, texts, offline_texts = [], [], []
    for clip in synthetic_clips[::2]:
        waveform = decode_audio(clip.path)
        expected = shipped.transcribe(waveform)
        samples_N = np.concatenate([waveform.samples_N, silence(1.0)])
        events = stream(shipped, [samples_N], config=StreamingConfig())
        assert_nothing_is_taken_back(events)
        assert any(event.words for event in events if isinstance(event, Partial))  # some are known before the end
        found = [word for final in finals(events) for word in final.segment.words]
        same = SequenceMatcher(None, [word.text for word in found], [word.text for word in expected.words], False)
        for block in same.get_matching_blocks():
            for streamed, whole in zip(found[block.a :][: block.size], expected.words[block.b :], strict=False):
                assert streamed.start_s == pytest.approx(whole.start_s, abs=0.12)
        assert all(0 < word.confidence <= 1 for word in found)
        references.append(clip.transcript.lower())
        offline_texts.append(expected.text)
        texts.append(" ".join(word.text for word in found))
    offline = word_errors(references, offline_texts)
    live = word_errors(references, texts)
    assert live.rate <= offline.rate + 3 / live.reference_units  # three words of thirty


def test_with_all_of_it_known_the_words_are_those_of_the_whole(
    shipped: Transcriber, shipped_bundle: Bundle, synthetic_clips: Sequence[SpokenClip]
) -> None:
    waveform = decode_audio(synthetic_clips[0].path)
    assert shipped_bundle.confidence is not None
    same = replace(shipped_bundle.confidence, live_search=None)  # words of streams weighed as those of files
    transcriber = Transcriber(replace(shipped_bundle, confidence=same))
    events = stream(transcriber, [waveform.samples_N], config=ALL_AT_ONCE)
    expected = transcriber.transcribe(waveform).segments
    found = [event.segment for event in finals(events)]
    assert [segment.text for segment in found] == [segment.text for segment in expected]
    for one, other in zip(found[0].words, expected[0].words, strict=True):
        assert (one.start_s, one.end_s) == pytest.approx((other.start_s, other.end_s))
        assert one.confidence == pytest.approx(other.confidence, abs=1e-3)


def test_confidence_is_that_of_streams(tiny_bundle: Bundle, talk: np.ndarray) -> None:
    whole, live = ConfidenceWeights(1.0, 0.5), ConfidenceWeights(-1.0, 0.5, letters=0.2)
    transcriber = Transcriber(replace(tiny_bundle, confidence=ConfidenceConfig(None, whole, None, live)))
    said = finals(stream(transcriber, [talk[: 3 * RATE_HZ]]))
    assert said
    for final in said:
        expected = [word_confidence(units, live) for units in final.units]
        assert [word.confidence for word in final.segment.words] == expected
        texts = ["".join(tiny_bundle.tokenizer.decode([unit.id]) for unit in units) for units in final.units]
        assert texts == [word.text for word in final.segment.words]


@pytest.mark.parametrize("sound", ["digital silence", "loud white noise", "pink noise", "hum", "trembling noise"])
def test_where_nobody_speaks_nothing_is_said(shipped: Transcriber, sound: str) -> None:
    samples_N = SOUNDS[sound](5.0)
    assert stream(shipped, [samples_N], config=StreamingConfig()) == []
    assert stream(shipped, [samples_N * np.float32(0.01)], config=StreamingConfig()) == []


def test_times_rise_and_end_with_the_audio(talk: np.ndarray, events_of_the_talk: list[StreamEvent]) -> None:
    said = finals(events_of_the_talk)
    times_s = [time_s for final in said for word in final.segment.words for time_s in (word.start_s, word.end_s)]
    assert times_s == sorted(times_s)
    assert times_s[-1] <= len(talk) / RATE_HZ
    assert [final.segment.id for final in said] == [final.utterance for final in said] == [*range(len(said))]


def test_after_flush_another_stream_begins(make_bundle: BundleMaker, talk: np.ndarray) -> None:
    session = Transcriber(make_bundle(0, utterance_mean=False)).stream(config=QUICK)
    first = [*session.feed(talk[:70_000]), *session.flush()]
    assert session.duration_s == 0
    assert [*session.feed(talk[:70_000]), *session.flush()] == first
    assert session.flush() == []


def test_neither_state_nor_work_grows_with_the_stream(make_bundle: BundleMaker, talk: np.ndarray) -> None:
    """Speech and noise, over and over: what is remembered in the end is no more than the first time."""
    transcriber = Transcriber(make_bundle(2))
    searched = 0

    def decode(log_probs_SV: torch.Tensor) -> list[DecodedUnit]:
        nonlocal searched
        searched = max(searched, len(log_probs_SV))
        return decode_greedy(log_probs_SV)

    transcriber.decode = decode
    session = transcriber.stream(config=QUICK)
    programme_N = np.concatenate([talk[: 4 * RATE_HZ], SOUNDS["drums"](3.0), SOUNDS["white noise"](4.0)])
    peaks = []
    for _ in range(3):
        sizes = []
        for block_N in np.split(programme_N, np.arange(8000, len(programme_N), 8000)):
            session.feed(block_N)
            sizes.append(remembered_bytes(vars(session)))
        peaks.append(max(sizes))
    assert peaks[2] <= 1.1 * peaks[0]
    assert peaks[2] < 2**20
    assert searched * transcriber.frame_s <= QUICK.commit.longest_s + QUICK.right_s + 3  # and what the gate held back


def test_a_cancelled_session_stops_between_blocks(tiny: Transcriber, talk: np.ndarray) -> None:
    token = CancelToken()
    session = tiny.stream(config=QUICK, cancelled=token)
    session.feed(talk[:8000])
    token.cancel()
    for more_N in (talk[8000:], talk[8000:9000]):
        with pytest.raises(WorkCancelledError):
            session.feed(more_N)
    with pytest.raises(WorkCancelledError):
        session.flush()


def test_a_session_goes_on_after_bad_input(
    tiny: Transcriber, talk: np.ndarray, events_of_the_talk: list[StreamEvent]
) -> None:
    session = tiny.stream(config=QUICK)
    session.feed(talk[:8000])
    broken_N = talk[8000:9000].copy()
    broken_N[400] = np.nan
    with pytest.raises(NonFiniteAudioError, match=r"sample at 0\.525 s is NaN"):
        session.feed(broken_N)
    for wrong in (np.zeros((2, 80), np.float32), np.zeros(80, np.int16)):
        with pytest.raises(AudioParameterError, match="mono samples of floating point"):
            session.feed(wrong)
    events = [*session.feed(talk[8000:]), *session.flush()]
    assert events[-1:] == events_of_the_talk[-1:]


def test_options_out_of_range_are_refused(tiny: Transcriber, tiny_bundle: Bundle) -> None:
    latencies: list[dict[str, Any]] = [{"block_s": 0.01}, {"block_s": 6.0}, {"right_s": -1.0}, {"right_s": 5.0}]
    for options in latencies:
        with pytest.raises(OptionError, match="block is"):
            StreamingConfig(**options)
    means: list[dict[str, Any]] = [{"prior_s": -1.0}, {"prior_s": 30.0}, {"memory_s": 0.5, "prior_s": 0.0}]
    for options in means:
        with pytest.raises(OptionError, match="the mean begins with"):
            StreamingConfig(**options)
    commits: list[dict[str, Any]] = [{"agreement": 0}, {"pause_s": 0.0}, {"edge_s": -1.0}, {"longest_s": 26.0}]
    for commit in commits:
        with pytest.raises(OptionError, match="agreement is"):
            CommitConfig(**commit)
    with pytest.raises(AudioParameterError, match="7000 Hz"):
        tiny.stream(sample_rate_hz=7000)
    other = replace(tiny_bundle, front_end=FrontEnd(FrontEndConfig(sample_rate_hz=8000, f_max_hz=4000)))
    with pytest.raises(OptionError, match="hears 8000 Hz"):
        Transcriber(other, detection=None).stream()


def stream(
    transcriber: Transcriber,
    pieces: Sequence[np.ndarray],
    rate_hz: int = RATE_HZ,
    config: StreamingConfig = QUICK,
) -> list[StreamEvent]:
    session = transcriber.stream(sample_rate_hz=rate_hz, config=config)
    return [*(event for piece_N in pieces for event in session.feed(piece_N)), *session.flush()]


def finals(events: Sequence[StreamEvent]) -> list[Final]:
    return [event for event in events if isinstance(event, Final)]


def assert_nothing_is_taken_back(events: Sequence[StreamEvent]) -> None:
    for earlier, later in pairwise(events):
        if isinstance(earlier, Final):
            assert later.utterance == earlier.utterance + 1
            continue
        assert later.utterance == earlier.utterance
        words = later.segment.words if isinstance(later, Final) else later.words
        assert [word.text for word in words[: len(earlier.words)]] == [word.text for word in earlier.words]
        if isinstance(later, Partial):  # of final words, times are corrected by loudness
            times_s = [(word.start_s, word.end_s) for word in words[: len(earlier.words)]]
            assert times_s == [(word.start_s, word.end_s) for word in earlier.words]


def remembered_bytes(thing: object) -> int:
    """Of all arrays and tensors that the streaming classes hold, whatever they are views of; without the bundle."""
    return sum(size for _, size in {id(part): (part, nbytes(part)) for part in parts_of(thing)}.values())


def parts_of(thing: object) -> Iterator[object]:
    if isinstance(thing, np.ndarray | torch.Tensor):
        yield thing
    elif isinstance(thing, bytearray):
        yield np.frombuffer(bytes(thing), np.uint8)
    elif isinstance(thing, dict):
        for value in thing.values():
            yield from parts_of(value)
    elif isinstance(thing, list | tuple | deque):
        for value in thing:
            yield from parts_of(value)
    elif type(thing).__module__ in STATEFUL:
        yield from parts_of(vars(thing))


STATEFUL = {
    "features.loudness",
    "features.resampling",
    "features.speech_detection",
    "features.streaming",
    "model.latency_control",
    "model.speech_gate",
    "model.stable_words",
}


def nbytes(part: object) -> int:
    if isinstance(part, torch.Tensor):
        return part.untyped_storage().nbytes()
    assert isinstance(part, np.ndarray)
    return part.nbytes if part.base is None or not isinstance(part.base, np.ndarray) else part.base.nbytes


def silence(duration_s: float) -> np.ndarray:
    return np.zeros(round(duration_s * RATE_HZ), np.float32)
