"""What cutting long audio costs in words: `python -m benchmarks.long_audio [--each N]`.

Utterances of dev-clean, one after another with pauses between, are transcribed as one recording, in windows; compared
is the word error rate with that of the utterances one by one, and with that of windows twice as long, whose seams lie
elsewhere. At most 0.3 points are wanted.
"""

import argparse
import csv
from pathlib import Path

import jiwer
import numpy as np
import torch

from features.audio import SAMPLE_RATE_HZ, Waveform, decode_audio
from model.chunking import ChunkingConfig
from model.runtime_names import RUNTIMES
from model.shipped import SHIPPED_BUNDLE
from model.transcriber import Transcriber

DATA = Path(__file__).resolve().parents[2] / "shared" / "data" / "librispeech"
PAUSE_S = 0.8


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--each", type=int, default=4, help="every n-th utterance of dev-clean")
    parser.add_argument("--bundle", type=Path, default=SHIPPED_BUNDLE)
    parser.add_argument("--runtime", choices=RUNTIMES, default="torch")
    parser.add_argument("--greedy", action="store_true")
    parser.add_argument("--data", type=Path, default=DATA, help="folder of a manifest with dev-clean in it")
    arguments = parser.parse_args()
    transcriber = Transcriber.from_bundle(
        arguments.bundle, threads=torch.get_num_threads(), runtime=arguments.runtime, greedy=arguments.greedy
    )
    with open(arguments.data / "manifest.tsv", encoding="utf-8", newline="") as file:
        rows = [row for row in csv.DictReader(file, delimiter="\t") if row["subset_or_note"] == "dev-clean"]
    rows = rows[:: arguments.each]
    clips = [decode_audio(arguments.data / row["path"]) for row in rows]
    reference = " ".join(row["transcript"].lower() for row in rows)
    pause_N = np.random.default_rng(0).normal(0, 1e-4, round(PAUSE_S * SAMPLE_RATE_HZ)).astype(np.float32)
    joined = Waveform(np.concatenate([part_N for clip in clips for part_N in (clip.samples_N, pause_N)]))
    print(f"{transcriber.name}: {len(clips)} utterances, {joined.duration_s:.0f} s, {len(reference.split())} words")

    alone = " ".join(transcriber.transcribe(clip).text for clip in clips)
    print(f"one by one           WER {jiwer.wer(reference, alone):.2%}")
    for window_s in (transcriber.chunking.window_s, 2 * transcriber.chunking.window_s):
        transcriber.chunking = ChunkingConfig(window_s=window_s, context_s=transcriber.chunking.context_s)
        text = transcriber.transcribe(joined).text
        print(
            f"in windows of {window_s:3.0f} s  WER {jiwer.wer(reference, text):.2%}, "
            f"{jiwer.wer(alone, text):.2%} of the words other than one by one"
        )


if __name__ == "__main__":
    main()
