"""What latency buys: right context against word error rate, and what a stream costs to compute.

Every utterance is a stream of its own, which begins with the corpus' mean: the worst case, since a stream that goes on
knows its speaker. The offline figure is of the same utterances in the same run; `points` is the difference to it, with
what chance gives (`training.paired`). `committed` is how long after its end a word is certain, by the audio that was
fed until then; `shown` is the same for when it was first seen, interim or not. `ECE` is the expected calibration error
of the final words' confidences, and behind it what chance alone gives on as many words. Computing comes on top:
processor seconds for each second of audio are the last column.

usage: python -m benchmarks.streaming [--manifest FILE] [--where subset_or_note=dev-clean] [--every N] [--greedy]
           [--right 0 0.24 0.52 1 2] [--block 0.32] [--bundle DIR] [--record]

With every fourth utterance of dev-clean a row takes three to four minutes; `--right 0 2 --every 20` has two in one.
"""

import argparse
import time
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import torch

from benchmarks.results import record
from features.audio import SAMPLE_RATE_HZ, Waveform, decode_audio
from model.checkpoint import load_bundle
from model.shipped import SHIPPED_BUNDLE
from model.stream_events import Final, StreamEvent
from model.streaming import StreamingConfig
from model.transcriber import Transcriber
from model.transcript import Word
from training.calibration import chance_error, expected_calibration_error
from training.confusions import align_words
from training.corpora import normalize_transcript, read_corpus
from training.metrics import word_errors
from training.paired import compare_words

ROOT = Path(__file__).resolve().parent.parent
FED_S = 0.02  # as sockets and microphones do it
RIGHT_S = (0.0, 0.24, 0.52, 1.0, 2.0)


@dataclass
class Latencies:
    """Seconds of audio from the end of a word to where it was first shown, and to where it was certain."""

    shown_s: list[float] = field(default_factory=list)
    committed_s: list[float] = field(default_factory=list)


@dataclass
class Heard:
    """What streams said: their texts, and for each of their words how sure it was and whether it was right."""

    texts: list[str] = field(default_factory=list)
    confidences: list[float] = field(default_factory=list)
    right: list[bool] = field(default_factory=list)

    def add(self, words: Sequence[Word], reference: str) -> None:
        """The words of one stream, and what was said in it."""
        self.texts.append(" ".join(word.text for word in words))
        self.confidences += [word.confidence for word in words]
        self.right += [pair.kind == "hit" for pair in align_words(reference, self.texts[-1]) if pair.hypothesis]

    def calibration_error(self) -> str:
        """In percent, and what chance gives; see `training.calibration.expected_calibration_error`."""
        confidence_W = np.array(self.confidences)
        error = expected_calibration_error(confidence_W, np.array(self.right))
        return f"{error:.1%} ({chance_error(confidence_W):.1%})"


def main() -> None:
    """Measure and print one row for each right context."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--manifest", type=Path, default=ROOT / "tests" / "clips" / "clips.tsv")
    parser.add_argument("--where", help="COLUMN=VALUE that an utterance has to have")
    parser.add_argument("--every", type=int, default=1, help="take every N-th utterance")
    parser.add_argument("--bundle", type=Path, default=SHIPPED_BUNDLE)
    parser.add_argument("--greedy", action="store_true", help="without the bundle's language model")
    parser.add_argument("--right", type=float, nargs="+", default=RIGHT_S, help="seconds of right context")
    parser.add_argument("--block", type=float, default=StreamingConfig().block_s, help="seconds computed at once")
    parser.add_argument("--prior", type=float, default=StreamingConfig().prior_s, help="seconds of the corpus' mean")
    parser.add_argument("--record", action="store_true", help="write the table into benchmarks/RESULTS.md")
    arguments = parser.parse_args()

    torch.set_num_threads(1)
    transcriber = Transcriber(load_bundle(arguments.bundle), greedy=arguments.greedy)
    where = dict([arguments.where.split("=", 1)]) if arguments.where else None
    utterances = read_corpus(arguments.manifest, where=where)[:: arguments.every]
    waveforms = [decode_audio(utterance.path) for utterance in utterances]
    references = [normalize_transcript(utterance.transcript) for utterance in utterances]
    audio_s = sum(waveform.duration_s for waveform in waveforms)
    lines: list[str] = []

    def tell(line: str) -> None:
        lines.append(line)
        print(line, flush=True)

    tell(f"{len(utterances)} utterances, {audio_s:.0f} s of audio, one thread, torch {torch.__version__}")

    began_s = time.process_time()
    offline = Heard()
    for waveform, reference in zip(waveforms, references, strict=True):
        offline.add(transcriber.transcribe(waveform).words, reference)
    cost = (time.process_time() - began_s) / audio_s
    offline_wer = word_errors(references, offline.texts).rate
    tell(f"offline: WER {offline_wer:.2%}, ECE {offline.calibration_error()}, {cost:.3f} of real time")
    tell("\n right  block      WER  points          shown    committed (median, 95 %)   ECE (chance)   CPU / audio")
    for right_s in arguments.right:
        config = replace(StreamingConfig(), right_s=right_s, block_s=arguments.block, prior_s=arguments.prior)
        latencies, live = Latencies(), Heard()
        began_s = time.process_time()
        for waveform, reference in zip(waveforms, references, strict=True):
            live.add(listen(transcriber, config, waveform, latencies), reference)
        cost = (time.process_time() - began_s) / audio_s
        difference = compare_words(references, live.texts, offline.texts)
        tell(
            f"{right_s:5.2f}s {config.block_s:5.2f}s   {word_errors(references, live.texts).rate:6.2%}  "
            f"{100 * difference.rate:+6.2f} ± {100 * difference.chance:.2f}   "
            f"{np.quantile(latencies.shown_s or np.nan, 0.5):5.2f} s   "
            f"{np.quantile(latencies.committed_s or np.nan, 0.5):5.2f} s, "
            f"{np.quantile(latencies.committed_s or np.nan, 0.95):5.2f} s          "
            f"{live.calibration_error():>13}   {cost:.3f}"
        )
    if arguments.record:
        record("Streaming", "\n".join(lines))


def listen(transcriber: Transcriber, config: StreamingConfig, waveform: Waveform, latencies: Latencies) -> list[Word]:
    """The final words of a stream; when each of its words was known is added to the latencies."""
    session = transcriber.stream(config=config)
    step = round(FED_S * SAMPLE_RATE_HZ)
    shown: dict[tuple[int, int], float] = {}
    committed: dict[tuple[int, int], float] = {}
    said: list[Word] = []

    def note(events: Sequence[StreamEvent], fed_s: float) -> None:
        for event in events:
            certain = event.segment.words if isinstance(event, Final) else event.words
            rest = () if isinstance(event, Final) else event.interim
            for index, word in enumerate((*certain, *rest)):
                shown.setdefault((event.utterance, index), fed_s - word.end_s)
            for index, word in enumerate(certain):
                committed.setdefault((event.utterance, index), fed_s - word.end_s)
            if isinstance(event, Final):
                said.extend(event.segment.words)

    for first in range(0, len(waveform.samples_N), step):
        piece_N = waveform.samples_N[first : first + step]
        note(session.feed(piece_N), (first + len(piece_N)) / SAMPLE_RATE_HZ)
    # The last words are certain because the recording ends, which says nothing about a stream.
    latencies.shown_s.extend(shown.values())
    latencies.committed_s.extend(committed.values())
    note(session.flush(), waveform.duration_s)
    return said


if __name__ == "__main__":
    main()
