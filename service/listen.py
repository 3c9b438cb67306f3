"""Speech to text at the terminal while somebody speaks: what `cepstra listen` does."""

import shutil
from collections.abc import Iterator
from typing import IO, TextIO

from features.errors import CepstraError
from features.pcm import SampleDecoder
from model.stream_events import Final, Partial, StreamEvent
from service.output import write_out
from service.recogniser import LiveSession

READ_S = 0.1  # of audio that is taken from a microphone at a time
PIPE_BYTES = 65_536  # the most that is taken from a pipe at a time; what is there is taken at once
EXTRA = "pip install 'cepstra[microphone]'"


class MicrophoneError(CepstraError):
    """There is no microphone, or nothing that can open one."""


def listen(session: LiveSession, blocks: Iterator[bytes], *, out: TextIO, screen: TextIO) -> None:
    """Transcribe until the blocks end or the user interrupts.

    Args:
        session: what hears.
        blocks: PCM16, mono, at the session's rate.
        out: where each utterance is written when it is over, a line each.
        screen: where what is heard meanwhile is shown, on a line that is written over; nothing where it is no terminal.
    """
    decoder = SampleDecoder("pcm16")
    show = _Line(screen)
    try:
        for block in blocks:
            _tell(session.feed(decoder.feed(block)), out, show)
    except KeyboardInterrupt:
        pass  # how a microphone is switched off
    _tell(session.flush(), out, show)


def pipe_blocks(stream: IO[bytes]) -> Iterator[bytes]:
    """What comes through a pipe, as soon as it is there."""
    read = getattr(stream, "read1", stream.read)
    while block := read(PIPE_BYTES):
        yield block


def microphone_blocks(sample_rate_hz: int, device: str | None = None) -> Iterator[bytes]:
    """What a microphone hears, for ever.

    Args:
        sample_rate_hz: hertz.
        device: part of its name, or its number; None for the system's own choice.

    Raises:
        MicrophoneError: sounddevice or PortAudio is not installed, or there is no such microphone.
    """
    try:
        import sounddevice
    except ModuleNotFoundError as error:
        raise MicrophoneError(f"a microphone needs sounddevice, which is not installed: {EXTRA}") from error
    except OSError as error:
        raise MicrophoneError(f"{error}; on Debian and Ubuntu: apt-get install libportaudio2") from error
    chosen = int(device) if device is not None and device.isdigit() else device
    try:
        stream = sounddevice.RawInputStream(sample_rate_hz, device=chosen, channels=1, dtype="int16")
    except (sounddevice.PortAudioError, ValueError) as error:
        named = f"microphone {device!r}" if device is not None else "microphone"
        raise MicrophoneError(f"no {named} can be opened at {sample_rate_hz} Hz: {error}") from error
    with stream:
        while True:
            block, _ = stream.read(round(READ_S * sample_rate_hz))
            yield bytes(block)


class _Line:
    """One line of a terminal that is written over."""

    def __init__(self, screen: TextIO) -> None:
        self._screen = screen if screen.isatty() else None

    def show(self, text: str) -> None:
        if self._screen:
            # Back to the line's beginning, and clear it; the end of a long line is what is new in it.
            self._screen.write("\r\x1b[K" + text[1 - shutil.get_terminal_size().columns :])
            self._screen.flush()


def _tell(events: list[StreamEvent], out: TextIO, line: _Line) -> None:
    for event in events:
        if isinstance(event, Final):
            line.show("")
            write_out(event.segment.text + "\n", out)
        elif isinstance(event, Partial):
            line.show(" ".join(word.text for word in (*event.words, *event.interim)))
