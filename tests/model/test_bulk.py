"""Many files at once give what they give one by one, in their order."""

import threading
import time
from pathlib import Path
from typing import Any

import pytest
import torch

from features.errors import UnsupportedAudioError
from model.bulk import transcribe_many
from model.cancellation import CancelToken, check
from model.checkpoint import Bundle
from model.errors import OptionError
from model.hot_words import HotWords
from model.runtime import make_runtime
from model.transcriber import Transcriber
from model.transcript import Transcript
from tests.conftest import SpokenClip


@pytest.mark.parametrize("name", ["torch", "onnx"])
def test_the_words_are_those_of_one_file_after_the_other(
    shipped_bundle: Bundle, synthetic_clips: list[SpokenClip], name: str
) -> None:
    runtime = make_runtime(shipped_bundle.acoustic_model, name)  # type: ignore[arg-type]  # a name from the list above
    transcriber = Transcriber(shipped_bundle, greedy=True, runtime=runtime)
    files = [clip.path.read_bytes() for clip in synthetic_clips]
    expected = [transcriber.transcribe(file).text for file in files]
    found = list(transcribe_many(transcriber, files * 3, threads=2))
    assert [transcript.text for transcript in found if isinstance(transcript, Transcript)] == expected * 3
    assert transcriber.runtime is runtime


def test_without_batches_it_is_the_same_to_the_last_digit(
    shipped_transcriber: Transcriber, synthetic_clips: list[SpokenClip]
) -> None:
    transcriber = shipped_transcriber
    files = [clip.path for clip in synthetic_clips]
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    expected = [transcriber.transcribe(file, alternatives=2) for file in files]
    torch.set_num_threads(before)
    assert list(transcribe_many(transcriber, files, threads=2, batched=False, alternatives=2)) == expected


def test_hot_words_are_for_every_file(shipped_transcriber: Transcriber, synthetic_clips: list[SpokenClip]) -> None:
    transcriber, hot_words = shipped_transcriber, HotWords(("leter", "snoe"), 20.0)
    files = [clip.path for clip in synthetic_clips]
    expected = [transcriber.transcribe(file, hot_words=hot_words).text for file in files]
    found = list(transcribe_many(transcriber, files, threads=2, batched=False, hot_words=hot_words))
    assert [transcript.text for transcript in found if isinstance(transcript, Transcript)] == expected
    assert expected != [transcriber.transcribe(file).text for file in files]


def test_closing_it_cancels_what_is_under_way(tiny_bundle: Bundle, clips_folder: Path) -> None:
    seen: list[CancelToken | None] = []
    transcriber = Transcriber(tiny_bundle)

    class Watched(Transcriber):
        def transcribe(self, audio: Any, *, cancelled: CancelToken | None = None, **options: Any) -> Transcript:
            seen.append(cancelled)
            if len(seen) > 1:  # all but the first take for ever
                while True:
                    check(cancelled)
                    time.sleep(0.01)
            return super().transcribe(audio, cancelled=cancelled, **options)

    transcriber.__class__ = Watched
    results = transcribe_many(transcriber, [clips_folder / "river.flac"] * 20, threads=2, batched=False)
    assert isinstance(next(results), Transcript)
    results.close()
    assert 1 < len(seen) < 20 and all(token is not None and token.is_cancelled for token in seen)


def test_an_error_stands_where_its_file_stood(tiny_bundle: Bundle, clips_folder: Path, tmp_path: Path) -> None:
    good = clips_folder / "river.flac"
    first, bad, missing, last = transcribe_many(
        Transcriber(tiny_bundle), [good, b"no audio", tmp_path / "nothing.wav", good]
    )
    assert isinstance(first, Transcript) and first.text
    assert isinstance(bad, UnsupportedAudioError)
    assert isinstance(missing, FileNotFoundError)
    assert isinstance(last, Transcript) and last.text == first.text


def test_the_number_of_threads_is_as_before_also_where_nobody_reads_on(tiny_bundle: Bundle, clips_folder: Path) -> None:
    before, alive = torch.get_num_threads(), threading.active_count()
    results = transcribe_many(Transcriber(tiny_bundle), [clips_folder / "river.flac"] * 3, threads=3)
    next(results)
    results.close()
    assert torch.get_num_threads() == before
    assert threading.active_count() == alive


def test_no_threads_are_refused(tiny_bundle: Bundle) -> None:
    with pytest.raises(OptionError, match="0 threads were asked for"):
        list(transcribe_many(Transcriber(tiny_bundle), [], threads=0))
