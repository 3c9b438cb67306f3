"""Speech that machines speak: more words than any few hours of recordings have, and voices that are nobody's.

The voices are those of espeak-ng (formants, in many accents) and flite (diphones and clustered units of real speakers),
each sentence in a voice, at a pace and at a pitch that are drawn. Both are programs to install first:
`apt-get install espeak-ng flite`.
"""

import math
import random
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import soundfile

from features.audio import SAMPLE_RATE_HZ, Waveform, decode_audio
from training.corpora import Utterance, fingerprint
from training.errors import CorpusError

ESPEAK_ACCENTS = ("en-us", "en-gb", "en-gb-scotland", "en-gb-x-rp", "en-gb-x-gbclan", "en-029")
ESPEAK_VARIANTS = ("m1", "m2", "m3", "m4", "m5", "m6", "m7", "f1", "f2", "f3", "f4", "f5")
FLITE_VOICES = ("awb", "kal16", "rms", "slt")
PACE = (0.8, 1.25)  # of the usual one
LEVEL = 0.5  # highest sample
FEWEST_WORDS, MOST_WORDS = 5, 15  # of a sentence from a book: about 2 to 8 s

Speak = Callable[["Manner", str], Waveform]


@dataclass(frozen=True)
class Manner:
    """How a sentence is spoken: `program` is espeak-ng or flite, `pace` 1 as usual, `pitch` 0..1 from low to high."""

    program: str
    voice: str
    pace: float
    pitch: float


def choose_sentences(
    sentences: Iterable[Sequence[str]], *, allowed: Collection[str] | None = None, seed: int = 1
) -> list[str]:
    """What of a text is spoken: sentences of at least `FEWEST_WORDS`, and stretches of those beyond `MOST_WORDS`.

    Args:
        sentences: their words.
        allowed: only what has no other word, so that whoever hears it can know how it is pronounced; None for all.
        seed: where in a long sentence the stretch begins.
    """
    rng, chosen = random.Random(seed), []
    for words in sentences:
        if len(words) > MOST_WORDS:
            begin = rng.randint(0, len(words) - MOST_WORDS)
            words = words[begin : begin + MOST_WORDS]
        if len(words) >= FEWEST_WORDS and (allowed is None or all(word in allowed for word in words)):
            chosen.append(" ".join(words))
    return chosen


def draw_manner(rng: random.Random) -> Manner:
    """A voice, with both programs as likely, a pace and a pitch."""
    if rng.random() < 0.5:
        program, voice = "flite", rng.choice(FLITE_VOICES)
    else:
        program, voice = "espeak-ng", f"{rng.choice(ESPEAK_ACCENTS)}+{rng.choice(ESPEAK_VARIANTS)}"
    return Manner(program, voice, round(rng.uniform(*PACE), 2), round(rng.random(), 2))


def synthesise(texts: Sequence[str], folder: Path, hours: float, speak: Speak, *, seed: int = 1) -> Iterator[Utterance]:
    """Utterances of at least `hours` in all, spoken as FLAC files in `folder`; the texts are taken in random order.

    Where they are too few, they are taken again, in other voices. What a run before has spoken, the same words in the
    same manner, is not spoken again.

    Raises:
        CorpusError: there is no text, a program is missing, or says nothing.
    """
    if not texts or not 0 < hours < math.inf:
        raise CorpusError(f"there are {len(texts)} texts and {hours:g} h to speak; 1 and more than 0 are needed")
    folder.mkdir(parents=True, exist_ok=True)
    spoken_s, number = 0.0, 0
    order: list[str] = []
    rng = random.Random(seed)
    while spoken_s < 3600 * hours:
        order = order or rng.sample(list(texts), len(texts))
        text, manner = order.pop(), draw_manner(rng)
        path = folder / f"{number:06}-{fingerprint(text, manner)}.flac"
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
