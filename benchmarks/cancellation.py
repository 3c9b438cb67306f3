"""How soon work stops after it was cancelled: `python -m benchmarks.cancellation AUDIO…`.

The files, one after another in one long recording, are transcribed again and again, and cancelled at moments drawn at
random from the time that the whole takes: as samples, as a FLAC file, and as a stream. Printed: the time from
`CancelToken.cancel` to the error, its median, 95th percentile and maximum, with 200 ms as the aim.

Before that, where it comes from: for each line that asks the token, how long it had not been asked before, at most, in
processor time of the thread (which other work on the machine does not lengthen) and by the clock. ONNX Runtime is told
rather than asked, and stops between its nodes; its whole run is one line here.
"""

import argparse
import io
import random
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import soundfile
import torch

from features.audio import Waveform, decode_audio
from model.cancellation import CancelToken
from model.errors import WorkCancelledError
from model.runtime_names import RUNTIMES
from model.shipped import SHIPPED_BUNDLE
from model.transcriber import Transcriber

Work = Callable[[CancelToken], object]
WORKS = ("samples", "file", "stream")
SHOWN = 8  # lines with the longest gaps
AIM_MS = 200


class WatchedToken(CancelToken):
    """Notes who asks, and how long nobody had asked before; asked from one thread.

    Attributes:
        gaps: for each line that asked, the longest times before, in processor time and by the clock, seconds.
    """

    def __init__(self) -> None:
        super().__init__()
        self.gaps: dict[str, tuple[float, float]] = {}
        self._last = time.thread_time(), time.perf_counter()

    def check(self) -> None:
        """As `CancelToken.check`, and note it."""
        frame = sys._getframe(1)
        while frame.f_code.co_filename.endswith("cancellation.py") and frame.f_back:
            frame = frame.f_back
        line = f"{Path(frame.f_code.co_filename).name}:{frame.f_lineno} {frame.f_code.co_name}"
        now = time.thread_time(), time.perf_counter()
        before = self.gaps.get(line, (0.0, 0.0))
        cpu_s, wall_s = (max(old, new - last) for old, new, last in zip(before, now, self._last, strict=True))
        self.gaps[line], self._last = (cpu_s, wall_s), now
        super().check()


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("audio", type=Path, nargs="+")
    parser.add_argument("--bundle", type=Path, default=SHIPPED_BUNDLE)
    parser.add_argument("--runtime", choices=RUNTIMES, default="torch")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--work", choices=WORKS, nargs="+", default=WORKS, help="what is cancelled")
    parser.add_argument("--times", type=int, default=30, help="0 to see only where the token is asked")
    arguments = parser.parse_args()
    transcriber = Transcriber.from_bundle(arguments.bundle, threads=arguments.threads, runtime=arguments.runtime)
    waveform = Waveform(np.concatenate([decode_audio(path).samples_N for path in arguments.audio]))
    file = io.BytesIO()
    soundfile.write(file, waveform.samples_N, waveform.sample_rate_hz, format="FLAC")
    flac = file.getvalue()

    def live(token: CancelToken) -> object:
        session = transcriber.stream(cancelled=token)
        return [*session.feed(waveform.samples_N), *session.flush()]

    works: dict[str, Work] = {
        "samples": lambda token: transcriber.transcribe(waveform, cancelled=token),
        "file": lambda token: transcriber.transcribe(flac, cancelled=token),
        "stream": live,
    }
    print(f"{waveform.duration_s:.0f} s of audio, {arguments.runtime}, {arguments.threads} threads")
    for name in arguments.work:
        work = works[name]
        token = WatchedToken()
        began_s = time.perf_counter()
        work(token)
        whole_s = time.perf_counter() - began_s
        print(f"\n{name}: {whole_s:.2f} s in all; longest without being asked (processor time, clock), then asked by")
        longest = sorted(token.gaps.items(), key=lambda item: -item[1][0])[:SHOWN]
        for line, (cpu_s, wall_s) in longest:
            print(f"{1000 * cpu_s:8.1f} ms {1000 * wall_s:8.1f} ms   {line}")
        delays_s = cancel_at_random(work, whole_s, arguments.times)
        if not delays_s:
            continue
        median_s, p95_s = np.quantile(delays_s, [0.5, 0.95])
        print(
            f"cancelled {len(delays_s)} times: stopped after {1000 * median_s:.0f} ms in the median, "
            f"{1000 * p95_s:.0f} ms at the 95th percentile, {1000 * max(delays_s):.0f} ms at most (aim: {AIM_MS} ms)",
            flush=True,
        )


def cancel_at_random(work: Work, whole_s: float, times: int) -> list[float]:
    """Seconds from cancelling to the error, of so many times; what ends before it is cancelled does not count."""
    generator = random.Random(0)
    delays_s: list[float] = []
    while len(delays_s) < times:
        token, cancelled_at = CancelToken(), list[float]()

        def cancel(token: CancelToken = token, cancelled_at: list[float] = cancelled_at) -> None:
            cancelled_at.append(time.perf_counter())
            token.cancel()

        timer = threading.Timer(generator.uniform(0, whole_s), cancel)
        timer.start()
        try:
            work(token)
        except WorkCancelledError:
            delays_s.append(time.perf_counter() - cancelled_at[0])
        timer.cancel()
    return delays_s


if __name__ == "__main__":
    main()
