"""`python -m training.experiments.synthesise TEXTS OUTPUT`: a corpus that machines speak, to begin a training with.

The sentences are the transcripts of a corpus, the voices those of espeak-ng (formants, in many accents) and flite
(diphones and clustered units of real speakers), each sentence in a voice, at a pace and at a pitch that are drawn. Both
are programs to install first: `apt-get install espeak-ng flite`.
"""

import random
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import numpy as np
import soundfile
import typer

from features.audio import SAMPLE_RATE_HZ, Waveform, decode_audio
from training.corpora import Utterance, normalize_transcript, read_corpus, write_manifest
from training.errors import CorpusError
from training.terminal import clear_errors

ESPEAK_ACCENTS = ("en-us", "en-gb", "en-gb-scotland", "en-gb-x-rp", "en-gb-x-gbclan", "en-029")
ESPEAK_VARIANTS = ("m1", "m2", "m3", "m4", "m5", "m6", "m7", "f1", "f2", "f3", "f4", "f5")
FLITE_VOICES = ("awb", "kal16", "rms", "slt")
PACE = (0.8, 1.25)  # of the usual one
LEVEL = 0.5  # highest sample

Speak = Callable[["Manner", str], Waveform]


@dataclass(frozen=True)
class Manner:
    """How a sentence is spoken: `program` is espeak-ng or flite, `pace` 1 as usual, `pitch` 0..1 from low to high."""

    program: str
    voice: str
    pace: float
    pitch: float


def draw_manner(rng: random.Random) -> Manner:
    """A voice, with both programs as likely, a pace and a pitch."""
    if rng.random() < 0.5:
        program, voice = "flite", rng.choice(FLITE_VOICES)
    else:
        program, voice = "espeak-ng", f"{rng.choice(ESPEAK_ACCENTS)}+{rng.choice(ESPEAK_VARIANTS)}"
    return Manner(program, voice, round(rng.uniform(*PACE), 2), round(rng.random(), 2))


def synthesise(texts: Sequence[str], folder: Path, hours: float, speak: Speak, *, seed: int = 1) -> Iterator[Utterance]:
    """Utterances of at least `hours` in all, spoken as FLAC files in `folder`; the texts are taken in random order.

    Where they are too few, they are taken again, in other voices. What a run before has spoken is not spoken again.

    Raises:
        CorpusError: there is no text, a program is missing, or says nothing.
    """
    if not texts or hours <= 0:
        raise CorpusError(f"there are {len(texts)} texts and {hours:g} h to speak; 1 and more than 0 are needed")
    folder.mkdir(parents=True, exist_ok=True)
    spoken_s, number = 0.0, 0
    order: list[str] = []
    rng = random.Random(seed)
    while spoken_s < 3600 * hours:
        order = order or rng.sample(list(texts), len(texts))
        text, manner = order.pop(), draw_manner(rng)
        path = folder / f"{number:06}.flac"
        if not path.exists():
            samples_N = speak(manner, text).samples_N
            if not np.abs(samples_N).max(initial=0.0):
                raise CorpusError(f"{manner.program} says nothing as {manner.voice}: {text!r}")
            scratch = path.with_suffix(".tmp.flac")
            soundfile.write(scratch, LEVEL / np.abs(samples_N).max() * samples_N, SAMPLE_RATE_HZ)
            scratch.replace(path)
        duration_s = soundfile.info(path).duration
        yield Utterance(f"synthetic-{number:06}", path, text, f"{manner.program} {manner.voice}", duration_s)
        spoken_s, number = spoken_s + duration_s, number + 1


def speak_by_program(manner: Manner, text: str) -> Waveform:
    """Have a program speak; 16 kHz mono.

    Raises:
        CorpusError: it is not installed, or fails.
    """
    if shutil.which(manner.program) is None:
        raise CorpusError(f"{manner.program} is not installed: apt-get install {manner.program}")
    with tempfile.TemporaryDirectory() as folder:
        wav = Path(folder) / "spoken.wav"
        if manner.program == "flite":
            stretch, f0_hz = (
                f"duration_stretch={1 / manner.pace:.3f}",
                f"int_f0_target_mean={80 + 120 * manner.pitch:.0f}",
            )
            options = ["--setf", stretch, "--setf", f0_hz]
            command = ["flite", "-voice", manner.voice, *options, "-t", text, "-o", str(wav)]
        else:
            rates = ["-s", f"{160 * manner.pace:.0f}", "-p", f"{20 + 60 * manner.pitch:.0f}"]
            command = ["espeak-ng", "-v", manner.voice, *rates, "-w", str(wav), text]
        finished = subprocess.run(command, capture_output=True, text=True, check=False)
        if finished.returncode or not wav.exists():
            raise CorpusError(f"{' '.join(command)} failed: {finished.stderr.strip() or 'no audio'}")
        return decode_audio(wav)


def main(
    texts: Annotated[Path, typer.Argument(help="A corpus whose transcripts are spoken.")],
    output: Annotated[Path, typer.Argument(help="The manifest to write (TSV); the audio lies beside it, in a folder.")],
    hours: Annotated[float, typer.Option(help="Hours of speech.")] = 2.0,
    seed: Annotated[int, typer.Option(help="Of texts, voices, pace and pitch.")] = 1,
) -> None:
    """Speak the transcripts of a corpus by espeak-ng and flite; a run that was stopped goes on."""
    with clear_errors():
        sentences = [normalize_transcript(utterance.transcript) for utterance in read_corpus(texts)]
        folder = output.with_suffix(".audio")
        utterances = list(synthesise(sentences, folder, hours, speak_by_program, seed=seed))
        write_manifest(utterances, output)
        spoken_h = sum(utterance.duration_s for utterance in utterances) / 3600
        voices = len({utterance.speaker for utterance in utterances})
        typer.echo(f"{output}: {len(utterances)} utterances, {spoken_h:.2f} h, {voices} voices")


if __name__ == "__main__":
    typer.run(main)
