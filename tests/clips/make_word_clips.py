"""Make `words/` again: `python -m tests.clips.make_word_clips` (README.md says what it needs).

Each word is synthesised by itself, cut where its sound begins and ends, and joined to the next with a gap of known
length, so that the times of every word are known to the sample.
"""

import csv
from itertools import cycle

import numpy as np
import soundfile

from tests.clips.make_clips import ESPEAK, FLITE, HERE, SAMPLE_RATE_HZ, Sentence, spoken

FOLDER = HERE / "words"
SENTENCES = (
    Sentence("winter", "the winter was long and the nights were very cold", (*FLITE, "rms", "-t")),
    Sentence("garden", "the children played in the garden until the evening", (*FLITE, "rms", "-t")),
    Sentence("window", "she opened the window and looked at the people below", (*FLITE, "rms", "-t")),
    Sentence("bread", "my father bought some bread and a bottle of milk", (*FLITE, "slt", "-t")),
    Sentence("money", "he never had enough money to build another house", (*FLITE, "awb", "-t")),
    Sentence("soldier", "the old soldier told us a story about the war", (*ESPEAK, "en-us")),
)
GAPS_S = (0.0, 0.05, 0.0, 0.12, 0.3, 0.0, 0.08, 0.6, 0.0, 0.2)  # between words, in this order, again and again
EDGE_S = 0.4  # before the first word and after the last
BLOCK = SAMPLE_RATE_HZ // 200  # 5 ms
AUDIBLE_DB = -40.0  # of a block, below the word's loudest one
NOISE_DB = -80.0  # under everything, as in a very quiet room


def main() -> None:
    """Write the clips, `clips.tsv` as in the folder above, and `times.tsv` with a line for each word."""
    FOLDER.mkdir(exist_ok=True)
    gaps_s = cycle(GAPS_S)
    noise = np.random.default_rng(1)
    with open(FOLDER / "clips.tsv", "w", newline="") as clips_file, open(FOLDER / "times.tsv", "w", newline="") as file:
        clips = csv.writer(clips_file, delimiter="\t", lineterminator="\n")
        clips.writerow(["id", "path", "duration_s", "transcript"])
        times = csv.writer(file, delimiter="\t", lineterminator="\n")
        times.writerow(["id", "word", "start_s", "end_s"])
        for sentence in SENTENCES:
            pieces, at = [_silence(EDGE_S)], round(EDGE_S * SAMPLE_RATE_HZ)
            for word in sentence.text.split():
                sound_N = _trimmed(spoken(Sentence(sentence.name, word, sentence.command)))
                end = at + len(sound_N)
                times.writerow([sentence.name, word, f"{at / SAMPLE_RATE_HZ:.4f}", f"{end / SAMPLE_RATE_HZ:.4f}"])
                gap_N = _silence(next(gaps_s))
                pieces += [sound_N, gap_N]
                at = end + len(gap_N)
            samples_N = np.concatenate([*pieces, _silence(EDGE_S)])
            samples_N += 10 ** (NOISE_DB / 20) * noise.standard_normal(len(samples_N)).astype(np.float32)
            soundfile.write(FOLDER / f"{sentence.name}.flac", samples_N, SAMPLE_RATE_HZ, subtype="PCM_16")
            duration_s = f"{len(samples_N) / SAMPLE_RATE_HZ:.3f}"
            clips.writerow([sentence.name, f"{sentence.name}.flac", duration_s, sentence.text.upper()])


def _silence(duration_s: float) -> np.ndarray:
    return np.zeros(round(duration_s * SAMPLE_RATE_HZ), dtype=np.float32)


def _trimmed(samples_N: np.ndarray) -> np.ndarray:
    """A word without the silence around it."""
    blocks_BN = samples_N[: len(samples_N) // BLOCK * BLOCK].reshape(-1, BLOCK)
    level_B = 10 * np.log10(np.square(blocks_BN).mean(axis=1) + 1e-12)
    audible = np.flatnonzero(level_B > level_B.max() + AUDIBLE_DB)
    return np.asarray(samples_N[audible[0] * BLOCK : (audible[-1] + 1) * BLOCK])


if __name__ == "__main__":
    main()
