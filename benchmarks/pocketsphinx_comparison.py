"""Cepstra beside PocketSphinx: word error rate and speed on the same clips, on the same processor cores, in one run.

PocketSphinx (`pip install pocketsphinx`, with the English models that come along) gets the samples already decoded;
Cepstra gets the files' bytes. Each uses all the cores: PocketSphinx one process a core, because a decoder of it runs on
one; Cepstra one process with a thread a core. Beside the time by the clock stands that of the processors, which other
work on the machine does not lengthen. Cepstra has a line with its bundle's own beam, which is what the last line
compares, one with each narrower beam that is asked for, and one without a language model: what more speed would cost.

usage: python -m benchmarks.pocketsphinx_comparison [--manifest FILE] [--limit N] [--bundle DIR] [--runtime NAME]
                                                    [--threads N] [--beams 50 100] [--record]
"""

import argparse
import multiprocessing
import time
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks.results import record
from features.audio import decode_audio
from model.bulk import transcribe_many
from model.runtime_names import RUNTIMES
from model.shipped import SHIPPED_BUNDLE
from model.transcriber import Transcriber
from model.transcript import Transcript
from training.corpora import normalize_transcript, read_corpus
from training.metrics import word_errors

ROOT = Path(__file__).resolve().parent.parent
_decoder: Any = None  # of a PocketSphinx process


def main() -> None:
    """Measure and print a line each, and how many times faster."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--manifest", type=Path, default=ROOT / "tests" / "clips" / "clips.tsv")
    parser.add_argument("--limit", type=int, default=40, help="utterances, spread evenly")
    parser.add_argument("--bundle", type=Path, default=SHIPPED_BUNDLE)
    parser.add_argument("--runtime", choices=("auto", *RUNTIMES), default="auto")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads(), help="processor cores of each")
    parser.add_argument("--beams", type=int, nargs="*", default=[100, 50], help="narrower beams to measure too")
    parser.add_argument("--record", action="store_true", help="write the lines into benchmarks/RESULTS.md")
    arguments = parser.parse_args()

    utterances = read_corpus(arguments.manifest)
    utterances = utterances[:: max(1, len(utterances) // arguments.limit)][: arguments.limit]
    references = [normalize_transcript(utterance.transcript) for utterance in utterances]
    files = [utterance.path.read_bytes() for utterance in utterances]
    waveforms = [decode_audio(content) for content in files]
    audio_s = sum(waveform.duration_s for waveform in waveforms)
    lines = [f"{len(files)} clips, {audio_s:.0f} s of audio, {arguments.threads} cores"]

    samples = [(waveform.samples_N * 32767).clip(-32768, 32767).astype(np.int16).tobytes() for waveform in waveforms]
    context = multiprocessing.get_context("spawn")
    with context.Pool(arguments.threads, initializer=_load_pocketsphinx) as pool:
        pool.map(_hear, samples[: arguments.threads], chunksize=1)  # every process has its model now
        began = time.perf_counter()
        heard = pool.map(_hear, samples, chunksize=1)
        theirs_s = time.perf_counter() - began
    theirs, theirs_cpu_s = [text for text, _ in heard], sum(cpu_s for _, cpu_s in heard)
    lines.append(line(f"PocketSphinx {version('pocketsphinx')}", references, theirs, theirs_s, theirs_cpu_s, audio_s))

    transcriber = Transcriber.from_bundle(arguments.bundle, threads=arguments.threads, runtime=arguments.runtime)
    bundle, runtime = transcriber.bundle, transcriber.runtime
    language_model = bundle.language_model
    ways = {f"{transcriber.name}, {runtime.name}": transcriber}
    if language_model is not None:
        for beam in arguments.beams:
            search = replace(language_model.search, beam_size=beam)
            narrower = replace(bundle, language_model=replace(language_model, search=search))
            ways[f"  beam {beam}"] = Transcriber(narrower, runtime=runtime)
    ways["  greedy"] = Transcriber.from_bundle(arguments.bundle, greedy=True, runtime=runtime.name)
    times: list[tuple[float, float]] = []
    for name, way in ways.items():
        list(transcribe_many(way, files[:8]))
        began, began_cpu_s = time.perf_counter(), time.process_time()
        results = list(transcribe_many(way, files))
        ours_s, ours_cpu_s = time.perf_counter() - began, time.process_time() - began_cpu_s
        ours = [result.text if isinstance(result, Transcript) else "" for result in results]
        faster = f", {theirs_s / ours_s:.0f} times faster"
        lines.append(line(name, references, ours, ours_s, ours_cpu_s, audio_s) + faster)
        times.append((ours_s, ours_cpu_s))
    ours_s, ours_cpu_s = times[0]
    lines.append(
        f"as shipped {theirs_s / ours_s:.0f} times faster by the clock, {theirs_cpu_s / ours_cpu_s:.0f} times in "
        "processor time"
    )
    print("\n".join(lines))
    if arguments.record:
        record("PocketSphinx on the same clips", "\n".join(lines))


def line(name: str, references: list[str], hypotheses: list[str], took_s: float, cpu_s: float, audio_s: float) -> str:
    """One line of the comparison."""
    rate = word_errors(references, [normalize_transcript(text) for text in hypotheses]).rate
    speed = f"{took_s:8.2f} s {audio_s / took_s:7.1f} × real time"
    return f"{name:28} WER {rate:7.2%} {speed}, processors {1000 * cpu_s / audio_s:7.2f} ms for a second of audio"


def _load_pocketsphinx() -> None:
    global _decoder
    from pocketsphinx import Decoder

    _decoder = Decoder(samprate=16000, loglevel="FATAL")


def _hear(samples: bytes) -> tuple[str, float]:
    """The words, and the seconds of processor time."""
    began = time.process_time()
    _decoder.start_utt()
    _decoder.process_raw(samples, full_utt=True)
    _decoder.end_utt()
    hypothesis = _decoder.hyp()
    return hypothesis.hypstr if hypothesis else "", time.process_time() - began


if __name__ == "__main__":
    main()
