"""What `cepstra listen` writes, and what it says where there is no microphone."""

import io
import sys
import types
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

import pytest

from model.stream_events import Final, Partial, StreamEvent
from model.transcript import Segment, Word
from service.listen import MicrophoneError, listen, microphone_blocks, pipe_blocks


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


class Session:
    """Hears a word a feed; the utterance is over at the end."""

    def __init__(self) -> None:
        self.fed: list[int] = []

    def feed(self, samples_N: object) -> list[StreamEvent]:
        self.fed.append(len(samples_N))  # type: ignore[arg-type]  # an array, as the real one is given
        words = tuple(word(number) for number in range(len(self.fed)))
        return [Partial(0, words[:-1], words[-1:])]

    def flush(self) -> list[StreamEvent]:
        words = tuple(word(number) for number in range(len(self.fed)))
        return [Final(0, Segment(0, 0.0, 1.0, " ".join(w.text for w in words), words, (), -0.1, 0.0))]


def word(number: int) -> Word:
    return Word(f"word{number}", number, number + 0.5, 0.9)


def test_finals_are_lines_and_what_may_change_is_shown_on_the_terminal() -> None:
    out, screen = io.StringIO(), Terminal()
    session = Session()
    listen(session, iter([b"\x00" * 5, b"\x00" * 3]), out=out, screen=screen)
    assert session.fed == [2, 2]  # half a sample waits for the rest of it
    assert out.getvalue() == "word0 word1\n"
    assert screen.getvalue() == "\r\x1b[Kword0\r\x1b[Kword0 word1\r\x1b[K"


def test_nothing_is_shown_where_there_is_no_terminal() -> None:
    out, screen = io.StringIO(), io.StringIO()
    listen(Session(), iter([b"\x00\x00"]), out=out, screen=screen)
    assert (out.getvalue(), screen.getvalue()) == ("word0\n", "")


def test_an_interrupt_ends_the_last_utterance() -> None:
    def blocks() -> Iterator[bytes]:
        yield b"\x00\x00"
        raise KeyboardInterrupt

    out = io.StringIO()
    listen(Session(), blocks(), out=out, screen=io.StringIO())
    assert out.getvalue() == "word0\n"


def test_a_pipe_is_read_as_it_fills() -> None:
    data = bytes(range(256)) * 600
    blocks = [*pipe_blocks(io.BytesIO(data))]
    assert b"".join(blocks) == data
    assert len(blocks) > 1


def test_a_microphone_is_read_in_tenths_of_a_second(monkeypatch: pytest.MonkeyPatch) -> None:
    opened: list[tuple[object, ...]] = []

    class Stream:
        def __init__(self, rate: int, *, device: object, channels: int, dtype: str) -> None:
            opened.append((rate, device, channels, dtype))

        def __enter__(self) -> "Stream":
            return self

        def __exit__(self, *_: object) -> None:
            opened.append(("closed",))

        def read(self, n_samples: int) -> tuple[bytearray, bool]:
            return bytearray(2 * n_samples), False

    monkeypatch.setitem(sys.modules, "sounddevice", fake_sounddevice(Stream))
    blocks = microphone_blocks(48_000, "3")
    assert [len(block) for block in islice(blocks, 2)] == [9600, 9600]
    blocks.close()  # type: ignore[attr-defined]  # a generator
    assert opened == [(48_000, 3, 1, "int16"), ("closed",)]


def test_without_sounddevice_the_message_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "sounddevice", None)
    with pytest.raises(MicrophoneError, match=r"pip install 'cepstra\[microphone\]'"):
        next(microphone_blocks(16_000))


def test_without_portaudio_the_message_says_what_to_install(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "sounddevice.py").write_text("raise OSError('PortAudio library not found')\n")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "sounddevice", raising=False)
    with pytest.raises(MicrophoneError, match=r"PortAudio library not found; .* libportaudio2"):
        next(microphone_blocks(16_000))


def test_a_microphone_that_is_not_there_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    def stream(*_: object, **__: object) -> None:
        raise ValueError("No input device matching 'desk'")

    monkeypatch.setitem(sys.modules, "sounddevice", fake_sounddevice(stream))
    with pytest.raises(MicrophoneError, match="no microphone 'desk' can be opened at 16000 Hz: No input device"):
        next(microphone_blocks(16_000, "desk"))


def fake_sounddevice(stream: object) -> types.ModuleType:
    module = types.ModuleType("sounddevice")
    vars(module).update(RawInputStream=stream, PortAudioError=RuntimeError)
    return module
