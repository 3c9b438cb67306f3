"""What it costs that uploads are decoded in processes of their own: `python -m benchmarks.decoding [AUDIO…]`.

Each file is decoded again and again, one at a time, in this process and by `service.decoding`, in turn. Printed for
both: the time by the clock (the least, and the median, which other work on the machine lengthens), and the processor
time of all processes involved. Of the latter a part is spent before an upload comes (the next process is made) and
after its answer (a process ends), which nobody waits for. The aim: at most 10 ms more by the clock on an idle machine.
"""

import argparse
import os
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO

from features.audio import open_audio
from features.limits import AudioLimits
from service.decoding.decoders import Decoders

CLIPS = Path(__file__).resolve().parents[1] / "tests" / "clips"
LIMITS = AudioLimits(max_duration_s=14_400)
PAUSE_S = 0.03  # between two uploads, in which the next process is made
AIM_MS = 10.0


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("audio", nargs="*", type=Path, default=sorted(CLIPS.glob("*.flac"))[:2])
    parser.add_argument("--rounds", type=int, default=100)
    options = parser.parse_args()
    decoders = Decoders()
    try:
        for path in options.audio:
            with path.open("rb") as file:
                measure(path, file, decoders, options.rounds)
    finally:
        decoders.close()


def measure(path: Path, file: BinaryIO, decoders: Decoders, rounds: int) -> None:
    """Print what decoding one file costs here and there."""

    def here() -> int:
        with open_audio(path, LIMITS) as blocks:
            return sum(map(len, blocks))

    def there() -> int:
        with decoders.open(file, LIMITS) as blocks:
            return sum(map(len, blocks))

    if here() != there():  # and whatever the first time costs
        raise SystemExit(f"{path.name}: decoded to another length in another process")
    clock_ms: dict[str, list[float]] = {}
    cpu_ms: dict[str, float] = {}
    for _ in range(2):
        for place, decode in (("here", here), ("there", there)):
            took_ms, cost_ms = timed(decode, rounds // 2)
            clock_ms.setdefault(place, []).extend(took_ms)
            cpu_ms[place] = cpu_ms.get(place, 0.0) + cost_ms / 2
    for place, took_ms in clock_ms.items():
        print(
            f"{path.name} {place:5}: least {min(took_ms):6.2f} ms, median {statistics.median(took_ms):6.2f} ms, "
            f"processor {cpu_ms[place]:6.2f} ms"
        )
    more_ms = min(clock_ms["there"]) - min(clock_ms["here"])
    print(f"{path.name}: {more_ms:+.2f} ms by the least; the aim is {AIM_MS:g} ms")


def timed(decode: Callable[[], int], rounds: int) -> tuple[list[float], float]:
    """Milliseconds of each round by the clock, and the processor's for one."""
    took_ms, before_s = [], processor_s()
    for _ in range(rounds):
        began_s = time.perf_counter()
        decode()
        took_ms.append(1e3 * (time.perf_counter() - began_s))
        time.sleep(PAUSE_S)
    return took_ms, 1e3 * (processor_s() - before_s) / rounds


def processor_s() -> float:
    """Processor time of this process, of the decoders' parent, and of its children that have ended."""
    total_s = time.process_time()
    for child in _children():
        fields = Path(f"/proc/{child}/stat").read_text().rpartition(")")[2].split()
        total_s += sum(map(int, fields[11:15])) / os.sysconf("SC_CLK_TCK")
    return total_s


def _children() -> list[int]:
    tasks = Path("/proc/self/task").iterdir()
    return [int(child) for task in tasks for child in (task / "children").read_text().split()]


if __name__ == "__main__":
    main()
