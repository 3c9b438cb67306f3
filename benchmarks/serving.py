"""The server beside the bare engine, in one run: real processes, real HTTP, everybody on this machine.

    start         from the command to ready; the first one measures which runtime is the fastest, later ones remember
    idle          a clip of 10 s on an idle server, and through `Transcriber.transcribe`
    16 clients    audio a second; through `model.bulk.transcribe_many`; on a server without batching, which is the same
                  one with `--batch-rows 1`: as many requests at once, as many threads, the search as parallel, but the
                  network computes every window by itself; and for comparison on one that takes one request at a time
    processor     what the server process used of it for a second of audio: tells the same on a busy machine
    fairness      a clip of 5 s while three files of an hour are transcribed, and on an idle server
    event loop    /healthz, asked all the while
    leaving       how soon the work of clients that hang up has ended

Audio is made of the synthetic clips of the tests. Where a line has a bound, it says so where that is missed, and the
exit status is 1. What cannot be had by arithmetic is said in docs/experiments.md, and stays a miss here.

With `--batching SECONDS` it also shows for which runtime, greedy or with the search, batching pays
(`benchmarks.batching`).

usage: python -m benchmarks.serving [--seconds 30] [--hour-s 3600] [--runtime NAME] [--threads N] [--batching SECONDS]
       [--record]
"""

import argparse
import json
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from benchmarks.results import record
from benchmarks.served import WARM_UP_FILES, serving, timed, write_audio

ROOT = Path(__file__).resolve().parent.parent
CALLS = 20  # of what is timed one by one


def main() -> None:
    """Measure, print, and exit with 1 where a bound is missed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=30.0, help="of each phase with load")
    parser.add_argument("--hour-s", type=float, default=3600.0, help="length of the three long files")
    parser.add_argument("--runtime", default="auto")
    parser.add_argument("--threads", type=int, default=0, help="0 takes all processors")
    parser.add_argument("--batching", type=float, default=0.0, help="seconds of each runtime and search; 0 for none")
    parser.add_argument("--record", action="store_true", help="write the table into benchmarks/RESULTS.md")
    parser.add_argument("--bare", type=Path, help=argparse.SUPPRESS)  # the folder of clips; measure only the engine
    options = parser.parse_args()
    if options.bare:
        print(json.dumps(bare(options.bare, options.seconds, options.runtime, options.threads)))
        return
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_audio(folder, options.hour_s)
        table = compare(folder, options)
        if options.batching:
            from benchmarks import batching  # which needs torch, and this module

            batching.compare(folder, options.threads, options.batching, table)
    if options.record:
        record("Serving", "\n".join(table.lines))
    sys.exit(1 if table.missed else 0)


def compare(folder: Path, options: argparse.Namespace) -> "Table":
    """All phases, one after the other."""
    files = [path.read_bytes() for path in sorted(folder.glob("load-*.flac"))]
    ten, five = (folder / "ten.flac").read_bytes(), (folder / "five.flac").read_bytes()
    hour = (folder / "hour.flac").read_bytes()
    again = ["--runtime", options.runtime, "--threads", str(options.threads), "--seconds", str(options.seconds)]
    command = [sys.executable, "-m", "benchmarks.serving", "--bare", str(folder), *again]
    alone = json.loads(subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, check=True).stdout.splitlines()[-1])
    table = Table()
    with serving(folder, options) as server:
        table.add("first start to ready", server.start_s, "s", most=4.0)
        ten_s = float(np.median(server.times(ten, CALLS)))
        table.add("10 s clip, bare engine", alone["ten_s"], "s")
        table.add("10 s clip, idle server", ten_s, "s")
        table.add("  server / bare", ten_s / alone["ten_s"], "×", most=1.5)
        with server.probed() as probes:
            on, rows, on_cpu = server.throughput(files, options.seconds)
        table.add("16 clients, bare engine", alone["throughput"], "× real time")
        table.add("16 clients, server", on, "× real time")
        table.add("  server / bare", on / alone["throughput"], "×", least=0.7)
        table.add("  windows of a batch, mean", rows, "")
        table.add("  processor", 1000 * on_cpu, "ms/s of audio")
        table.add("/healthz meanwhile, p99", 1000 * percentile(probes, 99), "ms", most=50.0)
        five_s = float(np.median(server.times(five, CALLS)))
        with server.abandoned([hour] * 3) as hang_up:
            with server.probed() as probes:
                beside_s = percentile(server.times(five, max(CALLS, round(2 * options.seconds))), 95)
            still = server.running()
            left_s = hang_up()
        table.add("5 s clip, idle server", five_s, "s")
        table.add(f"5 s clip beside {still} long files, p95", beside_s, "s")
        table.add("  beside / idle", beside_s / five_s, "×", most=3.0)
        table.add("/healthz meanwhile, p99", 1000 * percentile(probes, 99), "ms", most=50.0)
        table.add("clients hang up, work ended after", left_s, "s", most=1.0)
    with serving(folder, options, "--batch-rows", "1") as server:
        table.add("later start to ready", server.start_s, "s", most=4.0)
        off, _, off_cpu = server.throughput(files, options.seconds)
    table.add("16 clients, server without batching", off, "× real time")
    table.add("  with / without", on / off, "×", least=2.0)
    table.add("  processor", 1000 * off_cpu, "ms/s of audio")
    table.add("  without / with", off_cpu / on_cpu, "×")
    with serving(folder, options, "--batch-rows", "1", "--workers", "1") as server:
        one, _, _ = server.throughput(files, options.seconds)
    table.add("16 clients, one request at a time", one, "× real time")
    table.add("  with batching / so", on / one, "×")
    return table


def bare(folder: Path, seconds: float, runtime: str, threads: int) -> dict[str, float]:
    """The engine by itself: seconds for a clip of 10 s, and audio a second of many files at once."""
    import torch

    from model.bulk import transcribe_many
    from model.shipped import SHIPPED_BUNDLE
    from model.transcriber import Transcriber

    if threads:
        torch.set_num_threads(threads)
    transcriber = Transcriber.from_bundle(SHIPPED_BUNDLE, runtime=runtime)  # type: ignore[arg-type]  # checked there
    ten = (folder / "ten.flac").read_bytes()
    files = [path.read_bytes() for path in sorted(folder.glob("load-*.flac"))]
    ten_s = float(np.median([timed(lambda: transcriber.transcribe(ten)) for _ in range(CALLS + 2)][2:]))
    list(transcribe_many(transcriber, files[:WARM_UP_FILES]))
    began, audio_s, round_ = time.perf_counter(), 0.0, 0
    while time.perf_counter() - began < seconds or not round_:
        for transcript in transcribe_many(transcriber, files):
            if isinstance(transcript, Exception):
                raise transcript
            audio_s += transcript.duration_s
        round_ += 1
    return {"ten_s": ten_s, "throughput": audio_s / (time.perf_counter() - began)}


@dataclass
class Table:
    """What was measured, printed line by line."""

    missed: list[str] = field(default_factory=list)
    lines: list[str] = field(default_factory=list)

    def add(self, what: str, value: float, unit: str, *, most: float | None = None, least: float | None = None) -> None:
        """One line; with a bound, whether it holds."""
        holds = (most is None or value <= most) and (least is None or value >= least)
        bound = f"at most {most:g}" if most is not None else f"at least {least:g}" if least is not None else ""
        self.lines.append(f"{what:40} {value:8.3f} {unit:14} {bound:14} {'' if holds else 'MISSED'}".rstrip())
        print(self.lines[-1], flush=True)
        if not holds:
            self.missed.append(what)


def percentile(seconds: list[float], share: float) -> float:
    """Of a list that is not empty."""
    return float(np.percentile(seconds, share))


if __name__ == "__main__":
    main()
