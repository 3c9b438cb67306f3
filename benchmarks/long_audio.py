"""What cutting long audio costs in words, and what silence costs in work.

usage: python -m benchmarks.long_audio [--each N] [--greedy] [--pause S] [--runtime NAME] [--threads N] [--bundle DIR]
                                       [--data DIR] [--record]; `make prove-seams` is this with all of dev-clean

Every reader's utterances of dev-clean, one after another, are one recording. It is transcribed in windows, and compared
with its utterances one by one and with one pass over the whole of it, word by word (`training.paired`): at most 0.3
points of WER are wanted between windows and utterances, and as many that windows may be worse than one pass. The exit
status is 1 where it is more. With fewer words than all of dev-clean chance alone makes more of it: of 2000 words 0.8
points, of all 16 107 a quarter of one.

Then an hour in which two sentences are spoken, the rest being a room's noise, or nothing at all.
"""

import argparse
import csv
import sys
import time
from collections import defaultdict
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from benchmarks.results import record
from features.audio import SAMPLE_RATE_HZ, Waveform, decode_audio
from model.cancellation import CancelToken
from model.chunking import ChunkingConfig
from model.runtime import Runtime
from model.runtime_names import RUNTIMES
from model.shipped import SHIPPED_BUNDLE
from model.transcriber import Transcriber
from training.corpora import normalize_transcript
from training.metrics import word_errors
from training.paired import PairedDifference, compare_words

ROOT = Path(__file__).resolve().parents[1]
DATA = ROOT.parent / "shared" / "data" / "librispeech"
MOST_APART = 0.003  # of WER
ROOM_LEVEL = 1e-3  # of full scale: -60 dB


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--each", type=int, default=4, help="every n-th utterance of dev-clean")
    parser.add_argument("--bundle", type=Path, default=SHIPPED_BUNDLE)
    parser.add_argument("--runtime", choices=("auto", *RUNTIMES), default="auto")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--greedy", action="store_true")
    parser.add_argument("--pause", type=float, default=0.0, help="seconds of faint noise put between utterances")
    parser.add_argument("--data", type=Path, default=DATA, help="folder of a manifest with dev-clean in it")
    parser.add_argument("--record", action="store_true", help="write the tables into benchmarks/RESULTS.md")
    arguments = parser.parse_args()
    transcriber = Transcriber.from_bundle(
        arguments.bundle, threads=arguments.threads, runtime=arguments.runtime, greedy=arguments.greedy
    )
    words, apart = compare_seams(transcriber, arguments.data, arguments.each, arguments.pause)
    print(words, flush=True)
    silence = measure_silence(transcriber)
    print(silence)
    if arguments.record:
        record("Long audio: seams", words)
        record("Long audio: silence", silence)
    sys.exit(apart)


def compare_seams(transcriber: Transcriber, data: Path, each: int, pause_s: float) -> tuple[str, bool]:
    """A table of error rates and their differences, and whether any is too large."""
    with open(data / "manifest.tsv", encoding="utf-8", newline="") as file:
        rows = [row for row in csv.DictReader(file, delimiter="\t") if row["subset_or_note"] == "dev-clean"][::each]
    readers: dict[str, list[dict[str, str]]] = defaultdict(list)
    for row in rows:
        readers[row["id"].split("-")[0]].append(row)
    chunking, whole = transcriber.chunking, ChunkingConfig(window_s=80_000.0)
    pause_N = np.random.default_rng(0).normal(0, 1e-4, round(pause_s * SAMPLE_RATE_HZ)).astype(np.float32)
    references, texts = list[str](), defaultdict[str, list[str]](list)
    n_windows = 0
    for own in readers.values():
        clips = [decode_audio(data / row["path"]) for row in own]
        joined = Waveform(np.concatenate([part_N for clip in clips for part_N in (clip.samples_N, pause_N)]))
        references.append(normalize_transcript(" ".join(row["transcript"] for row in own)))
        texts["one by one"].append(" ".join(transcriber.transcribe(clip).text for clip in clips))
        texts["in windows"].append(transcriber.transcribe(joined).text)
        transcriber.chunking = whole
        texts["in one pass"].append(transcriber.transcribe(joined).text)
        transcriber.chunking = chunking
        n_windows += round(joined.duration_s / (chunking.window_s - 2 * chunking.context_s))
    n_words = len(" ".join(references).split())
    lines = [
        f"{transcriber.name}, {transcriber.runtime.name}: {len(rows)} utterances, {n_words} words, {len(readers)} "
        f"recordings of one reader each, {pause_s:g} s put between utterances; about {n_windows} windows"
    ]
    lines += [f"{name:12} WER {word_errors(references, heard).rate:.2%}" for name, heard in texts.items()]
    alone = compare_words(references, texts["in windows"], texts["one by one"])
    one_pass = compare_words(references, texts["in windows"], texts["in one pass"])
    lines += [f"windows and one by one: {_told(alone)}", f"windows and one pass:   {_told(one_pass)}"]
    apart = abs(alone.rate) > MOST_APART or one_pass.rate > MOST_APART
    return "\n".join([*lines, "TOO FAR APART" if apart else "near enough"]), apart


def _told(difference: PairedDifference) -> str:
    return (
        f"{100 * difference.rate:+.2f} points, of which chance gives ±{100 * difference.chance:.2f}; "
        f"{difference.unequal} words differ in being right (at most {100 * MOST_APART:g} points are wanted)"
    )


def measure_silence(transcriber: Transcriber) -> str:
    """A table of what an hour that is almost all silence costs, beside its two sentences alone."""
    sentence_N = decode_audio(ROOT / "tests" / "clips" / "train.flac").samples_N
    room_N = np.random.default_rng(0).normal(0, ROOM_LEVEL, 600 * SAMPLE_RATE_HZ).astype(np.float32)
    counted = _Counted(transcriber.runtime)
    transcriber.runtime = counted
    lines = []
    for name, silence_N in (("digital silence", np.zeros_like(room_N)), ("a room's noise", room_N)):
        parts = (silence_N, silence_N, sentence_N, silence_N, silence_N, sentence_N, silence_N, silence_N)
        hour = Waveform(np.concatenate(parts))
        counted.windows_s.clear()
        began_s = time.process_time()
        words = len(transcriber.transcribe(hour).words)
        lines.append(
            f"{hour.duration_s / 3600:.2f} h, {name} and two sentences: {words} words, {len(counted.windows_s)} "
            f"windows of {sum(counted.windows_s):.0f} s, {time.process_time() - began_s:.2f} s of processor time"
        )
    began_s = time.process_time()
    transcriber.transcribe(Waveform(np.concatenate([sentence_N, sentence_N])))
    lines.append(f"the two sentences alone: {time.process_time() - began_s:.2f} s of processor time")
    return "\n".join(lines)


class _Counted:
    """A runtime that notes how many seconds each window has that it is given."""

    def __init__(self, runtime: Runtime) -> None:
        self._runtime, self.name = runtime, runtime.name
        self.windows_s: list[float] = []

    def __call__(
        self, features_BTF: Tensor, lengths_B: Tensor, cancelled: CancelToken | None = None
    ) -> tuple[Tensor, Tensor]:
        self.windows_s.append(float(lengths_B.sum()) / 100)
        return self._runtime(features_BTF, lengths_B, cancelled)


if __name__ == "__main__":
    main()
