"""Where batching pays, and how much: the same server with and without it, for each runtime, greedy and with the search.

16 clients send clips of 3 to 20 s, one after the other. Without batching is `--batch-rows 1`: as many requests at once,
as many threads, but the network computes every window by itself. What batching can save is a part of the network's
work, so it shows where the network is most of it (greedy), and where a row of a batch costs less than one alone: in
float32, whose weights are read from memory once for the batch, but not in 8 bits, where the server makes no batches at
all, because the rows of one would share a scale and so change each other's answers. That runtime is the zero of the
measurement: its ratio shows how far others may be off by chance.

Audio and clients are those of `benchmarks.serving`, of which this can be a part: `--batching 5` there.

usage: python -m benchmarks.batching [--seconds 5] [--threads N] [--record]
"""

import argparse
import tempfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from benchmarks.results import record
from benchmarks.served import serving, write_audio
from benchmarks.serving import Table
from model.checkpoint import load_bundle, save_bundle
from model.runtime import installed_runtimes
from model.shipped import SHIPPED_BUNDLE


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=5.0, help="of each server under load")
    parser.add_argument("--threads", type=int, default=0, help="0 takes all processors")
    parser.add_argument("--record", action="store_true", help="write the table into benchmarks/RESULTS.md")
    options = parser.parse_args()
    table = Table()
    with tempfile.TemporaryDirectory() as name:
        write_audio(Path(name), hour_s=1.0)
        compare(Path(name), options.threads, options.seconds, table)
    if options.record:
        record("Batching", "\n".join(table.lines))


def compare(folder: Path, threads: int, seconds: float, table: Table) -> None:
    """Add the lines of all runtimes.

    Args:
        folder: with the clips of `benchmarks.served.write_audio`.
        threads: of each server; 0 takes all processors.
        seconds: that each server is under load.
        table: gets the lines.
    """
    files = [path.read_bytes() for path in sorted(folder.glob("load-*.flac"))]
    for runtime in installed_runtimes():
        options = argparse.Namespace(runtime=runtime, threads=threads)
        for search, bundle in _bundles(folder):
            measured = []
            for more in ((), ("--batch-rows", "1")):
                with serving(folder, options, "--bundle", str(bundle), *more) as server:
                    measured.append(server.throughput(files, seconds))
            (on, rows, on_cpu), (off, _, off_cpu) = measured
            table.add(f"{runtime}, {search}", on, "× real time")
            table.add("  windows of a batch, mean", rows, "")
            table.add("  without batching", off, "× real time")
            table.add("  with / without", on / off, "×")
            table.add("  processor, without / with", off_cpu / on_cpu, "×")


def _bundles(folder: Path) -> Iterator[tuple[str, Path]]:
    """How words are found, and a bundle that does so."""
    greedy = folder / "greedy"
    if not greedy.exists():
        save_bundle(replace(load_bundle(SHIPPED_BUNDLE), language_model=None, neural_lm=None), greedy)
    yield "greedy", greedy
    yield "language model", SHIPPED_BUNDLE


if __name__ == "__main__":
    main()
