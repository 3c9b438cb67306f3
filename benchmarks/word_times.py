"""How far the words' times are from the truth: median error, 95th percentile, and the share within 150 ms.

Two truths. On recorded speech, the forced alignment of the reference by PocketSphinx (`pip install pocketsphinx`), a
recogniser of another kind, with frames of 10 ms: utterances with a word that its dictionary lacks are left out. On
`tests/clips/words`, words synthesised one by one and joined with known gaps, the times at which they were put. In both,
words are compared that were recognised as the reference has them, once as the frames of their letters say and once
corrected by loudness (`model.word_timing`).

usage: python -m benchmarks.word_times [--manifest FILE [--where COLUMN=VALUE] [--every N]] [--bundle DIR]
"""

import argparse
import csv
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np

from features.audio import Waveform, decode_audio
from model.checkpoint import load_bundle
from model.shipped import SHIPPED_BUNDLE
from model.transcriber import Transcriber
from training.confusions import align_words
from training.corpora import Utterance, normalize_transcript, read_corpus

ROOT = Path(__file__).resolve().parent.parent
SYNTHETIC = ROOT / "tests" / "clips" / "words"
WITHIN_S = 0.15

Times = list[tuple[str, float, float]]


def main() -> None:
    """Measure and print a line for each truth, each way and each end of a word."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--manifest", type=Path, help="recorded speech to compare with PocketSphinx on")
    parser.add_argument("--where", help="keep only COLUMN=VALUE")
    parser.add_argument("--every", type=int, default=1, help="take every N-th utterance")
    parser.add_argument("--bundle", type=Path, default=SHIPPED_BUNDLE)
    arguments = parser.parse_args()

    bundle = load_bundle(arguments.bundle)
    ways = {"letters": Transcriber(bundle, timing=None), "with loudness": Transcriber(bundle)}
    print(f"{'truth':14} {'times':14} {'':6} {'words':>6} {'median':>8} {'95 %':>8} {'within 150 ms':>14}")
    known = _known_times()
    _show("synthetic", ways, read_corpus(SYNTHETIC / "clips.tsv"), lambda utterance, _: known[utterance.id])
    if arguments.manifest is not None:
        column, _, value = (arguments.where or "").partition("=")
        utterances = read_corpus(arguments.manifest, where={column: value} if column else {})[:: arguments.every]
        aligner = _Aligner()
        _show("PocketSphinx", ways, utterances, lambda utterance, waveform: aligner.align(utterance, waveform))


def _show(
    name: str,
    ways: dict[str, Transcriber],
    utterances: Iterable[Utterance],
    truth_of: Callable[[Utterance, Waveform], Times | None],
) -> None:
    errors_s: dict[str, list[tuple[float, float]]] = {way: [] for way in ways}
    for utterance in utterances:
        waveform = decode_audio(utterance.path)
        truth = truth_of(utterance, waveform)
        if truth is None:
            continue
        for way, transcriber in ways.items():
            errors_s[way] += _errors(truth, transcriber.transcribe(waveform).words)
    for way, found in errors_s.items():
        for end, each_s in zip(("start", "end"), np.abs(np.array(found).reshape(-1, 2)).T, strict=True):
            middle, most = np.percentile(each_s, (50, 95)) * 1000
            within = (each_s <= WITHIN_S + 1e-9).mean()
            print(f"{name:14} {way:14} {end:6} {len(each_s):6} {middle:5.0f} ms {most:5.0f} ms {within:14.1%}")


def _errors(truth: Times, words: Iterable[Any]) -> list[tuple[float, float]]:
    """Seconds by which begin and end are off, of words that are as the reference has them."""
    heard, errors_s = list(words), []
    at = heard_at = 0
    for pair in align_words(" ".join(word for word, _, _ in truth), " ".join(word.text for word in heard)):
        if pair.kind == "hit":
            _, start_s, end_s = truth[at]
            errors_s.append((heard[heard_at].start_s - start_s, heard[heard_at].end_s - end_s))
        at += bool(pair.reference)
        heard_at += bool(pair.hypothesis)
    return errors_s


def _known_times() -> dict[str, Times]:
    times: dict[str, Times] = {}
    with open(SYNTHETIC / "times.tsv", newline="") as file:
        for row in csv.DictReader(file, delimiter="\t"):
            times.setdefault(row["id"], []).append((row["word"], float(row["start_s"]), float(row["end_s"])))
    return times


class _Aligner:
    """PocketSphinx, told what is said; its frames last 10 ms."""

    def __init__(self) -> None:
        from pocketsphinx import Decoder

        # Times of the best path itself: those of the word lattice (bestpath) have other ends. Beams that lose nothing.
        beams = {"beam": 1e-100, "pbeam": 1e-100, "wbeam": 1e-80, "bestpath": False}
        self._decoder: Any = Decoder(samprate=16000, lm=None, loglevel="FATAL", **beams)

    def align(self, utterance: Utterance, waveform: Waveform) -> Times | None:
        """Words with begin and end in seconds; None where a word is unknown to it, or it finds no alignment."""
        text = normalize_transcript(utterance.transcript)
        if any(self._decoder.lookup_word(word) is None for word in text.split()):
            return None
        self._decoder.set_align_text(text)
        self._decoder.start_utt()
        samples_N = (waveform.samples_N * 32767).clip(-32768, 32767).astype(np.int16)
        self._decoder.process_raw(samples_N.tobytes(), full_utt=True)
        self._decoder.end_utt()
        if self._decoder.hyp() is None:
            return None
        spoken = [segment for segment in self._decoder.seg() if segment.word[0] not in "<[+"]
        times = [(s.word.partition("(")[0], s.start_frame / 100, (s.end_frame + 1) / 100) for s in spoken]
        return times if [word for word, _, _ in times] == text.split() else None


if __name__ == "__main__":
    main()
