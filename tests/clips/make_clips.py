"""Make the clips of this folder again: `python tests/clips/make_clips.py` (README.md says what it needs).

Two free synthesisers speak sentences written for this project; soundfile and PyAV store them.
"""

import csv
import io
import subprocess
from dataclasses import dataclass
from pathlib import Path

import av
import numpy as np
import soundfile
import soxr

HERE = Path(__file__).parent
SAMPLE_RATE_HZ = 16_000


@dataclass(frozen=True)
class Sentence:
    """What to say, and the command that says it: it writes a wav file to standard output."""

    name: str
    text: str
    command: tuple[str, ...]


ESPEAK = ("espeak-ng", "--stdout", "-s", "150", "-v")
FLITE = ("flite", "-o", "/dev/stdout", "-voice")
SENTENCES = (
    Sentence("train", "The morning train was late again because of the snow.", (*ESPEAK, "en-us")),
    Sentence("cups", "Please put the blue cups back on the kitchen shelf.", (*ESPEAK, "en-gb-x-rp+f3")),
    Sentence("clock", "Nobody knew why the old clock had stopped at noon.", (*ESPEAK, "en-gb-scotland+m3")),
    Sentence("dog", "My neighbor's dog sleeps under the apple tree all day.", (*FLITE, "rms", "-t")),
    Sentence("river", "We planned a short walk along the river after lunch.", (*FLITE, "slt", "-t")),
    Sentence("letter", "She wrote a letter to her brother and never sent it.", (*FLITE, "awb", "-t")),
)
VARIANTS_OF = "river"


def main() -> None:
    """Write the clips, `clips.tsv` and the variants of one of them."""
    with open(HERE / "clips.tsv", "w", newline="") as file:
        manifest = csv.writer(file, delimiter="\t", lineterminator="\n")
        manifest.writerow(["id", "path", "duration_s", "transcript"])
        for sentence in SENTENCES:
            samples_N = spoken(sentence)
            path = f"{sentence.name}.flac"
            soundfile.write(HERE / path, samples_N, SAMPLE_RATE_HZ, subtype="PCM_16")
            transcript = sentence.text.rstrip(".").upper()
            manifest.writerow([sentence.name, path, f"{len(samples_N) / SAMPLE_RATE_HZ:.3f}", transcript])
            if sentence.name == VARIANTS_OF:
                write_variants(samples_N)


def spoken(sentence: Sentence) -> np.ndarray:
    """The sentence as mono float32 at 16 kHz, peak at 0.7."""
    wav = subprocess.run([*sentence.command, sentence.text], check=True, capture_output=True).stdout
    samples_N, rate_hz = soundfile.read(io.BytesIO(wav), dtype="float32")
    samples_N = soxr.resample(samples_N, rate_hz, SAMPLE_RATE_HZ, quality="VHQ")
    return np.asarray(samples_N * (0.7 / np.abs(samples_N).max()), dtype=np.float32)


def write_variants(samples_N: np.ndarray) -> None:
    """One clip in the containers that people send."""
    folder = HERE / "variants"
    folder.mkdir(exist_ok=True)
    at_8k_N = soxr.resample(samples_N, SAMPLE_RATE_HZ, 8_000, quality="VHQ")
    at_48k_N = soxr.resample(samples_N, SAMPLE_RATE_HZ, 48_000, quality="VHQ")
    stereo_NC = np.stack([at_48k_N, 0.5 * at_48k_N], axis=1)
    name = VARIANTS_OF
    soundfile.write(folder / f"{name}.mp3", samples_N, SAMPLE_RATE_HZ)
    soundfile.write(folder / f"{name}.ogg", samples_N, SAMPLE_RATE_HZ, subtype="VORBIS")
    soundfile.write(folder / f"{name}.opus", samples_N, SAMPLE_RATE_HZ, format="OGG", subtype="OPUS")
    soundfile.write(folder / f"{name}-ulaw-8k.wav", at_8k_N, 8_000, subtype="ULAW")
    # Values of 16 bits in samples of 24 keep the file small.
    coarse_NC = np.round(stereo_NC * 2**15) / 2**15
    soundfile.write(folder / f"{name}-24bit-stereo-48k.flac", coarse_NC, 48_000, subtype="PCM_24")
    write_by_av(folder / f"{name}.m4a", "ipod", "aac", samples_N, SAMPLE_RATE_HZ)
    write_by_av(folder / f"{name}.webm", "webm", "libopus", at_48k_N, 48_000)


def write_by_av(path: Path, muxer: str, codec: str, samples_N: np.ndarray, rate_hz: int) -> None:
    """Mono samples through one of FFmpeg's encoders."""
    frame = av.AudioFrame.from_ndarray(samples_N[None].astype(np.float32), format="fltp", layout="mono")
    frame.sample_rate, frame.pts = rate_hz, 0
    with av.open(path, "w", format=muxer, container_options={"fflags": "+bitexact"}) as container:
        stream = container.add_stream(codec, rate=rate_hz, layout="mono")
        assert isinstance(stream, av.AudioStream)
        stream.bit_rate = 32_000
        form = "flt" if codec == "libopus" else "fltp"
        for converted in av.AudioResampler(format=form, layout="mono", rate=rate_hz).resample(frame):
            container.mux(stream.encode(converted))
        container.mux(stream.encode(None))


if __name__ == "__main__":
    main()
