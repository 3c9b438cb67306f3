"""How soon work stops after it was cancelled: `python -m benchmarks.cancellation AUDIO…`.

The files, one after another in one long recording, are transcribed again and again, and cancelled at moments drawn at
random from the seconds that the whole takes. Printed: the time from `CancelToken.cancel` to the error, its median, 95th
percentile and maximum, with 200 ms as the aim.
"""

import argparse
import random
import threading
import time
from pathlib import Path

import numpy as np
import torch

from features.audio import Waveform, decode_audio
from model.cancellation import CancelToken
from model.errors import WorkCancelledError
from model.runtime_names import RUNTIMES
from model.shipped import SHIPPED_BUNDLE
from model.transcriber import Transcriber


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("audio", type=Path, nargs="+")
    parser.add_argument("--bundle", type=Path, default=SHIPPED_BUNDLE)
    parser.add_argument("--runtime", choices=RUNTIMES, default="torch")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--times", type=int, default=30)
    arguments = parser.parse_args()
    transcriber = Transcriber.from_bundle(arguments.bundle, threads=arguments.threads, runtime=arguments.runtime)
    waveform = Waveform(np.concatenate([decode_audio(path).samples_N for path in arguments.audio]))
    began = time.perf_counter()
    transcriber.transcribe(waveform)
    whole_s = time.perf_counter() - began
    print(f"{waveform.duration_s:.0f} s of audio, {arguments.runtime}, {arguments.threads} threads: {whole_s:.2f} s")

    generator = random.Random(0)
    delays_s: list[float] = []
    while len(delays_s) < arguments.times:
        token, cancelled_at = CancelToken(), list[float]()

        def cancel(token: CancelToken = token, cancelled_at: list[float] = cancelled_at) -> None:
            cancelled_at.append(time.perf_counter())
            token.cancel()

        timer = threading.Timer(generator.uniform(0, whole_s), cancel)
        timer.start()
        try:
            transcriber.transcribe(waveform, cancelled=token)
        except WorkCancelledError:
            delays_s.append(time.perf_counter() - cancelled_at[0])
        timer.cancel()
    median_s, p95_s = np.quantile(delays_s, [0.5, 0.95])
    print(
        f"cancelled {len(delays_s)} times: stopped after {1000 * median_s:.0f} ms in the median, {1000 * p95_s:.0f} ms "
        f"at the 95th percentile, {1000 * max(delays_s):.0f} ms at most (aim: 200 ms)"
    )


if __name__ == "__main__":
    main()
