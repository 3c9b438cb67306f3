"""A server process, its clients, and the audio that they send: what `benchmarks.serving` and others measure with."""

import argparse
import http.client
import io
import json
import os
import re
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import soundfile

from features.audio import SAMPLE_RATE_HZ, decode_audio

ROOT = Path(__file__).resolve().parent.parent
N_CLIENTS = 16
N_FILES = 48  # of the load: 3 to 20 s each
WARM_UP_FILES = 16
PATH = "/v1/audio/transcriptions"
BOUNDARY = "cepstra-benchmark"
PROBE_EVERY_S = 0.02
COUNTERS = (
    "cepstra_batch_rows_count",
    "cepstra_batch_rows_sum",
    "process_cpu_seconds_total",
    "cepstra_audio_seconds_total",
)


@dataclass
class Server:
    """A server process that is ready.

    Attributes:
        address: host and port.
        pid: of the process.
        start_s: seconds from the command to ready.
    """

    address: str
    pid: int
    start_s: float

    def connect(self) -> http.client.HTTPConnection:
        """A connection of its own."""
        return http.client.HTTPConnection(self.address, timeout=600)

    def times(self, audio: bytes, calls: int) -> list[float]:
        """Seconds of each of several requests, one after the other; two before them do not count."""
        connection = self.connect()
        return [timed(lambda: transcribe(connection, audio)) for _ in range(calls + 2)][2:]

    def throughput(self, files: list[bytes], seconds: float) -> tuple[float, float, float]:
        """16 clients who send one file after the other.

        Returns:
            Seconds of audio a second; windows of a batch, mean; seconds of the processor for a second of audio.
        """
        done: list[float] = []
        ends_at = float("inf")
        number = iter(range(10**9))

        def client() -> None:
            connection = self.connect()
            while time.perf_counter() < ends_at:
                audio_s = transcribe(connection, files[next(number) % len(files)])
                if time.perf_counter() < ends_at:
                    done.append(audio_s)

        with ThreadPoolExecutor(N_CLIENTS) as pool:
            calls = [pool.submit(client) for _ in range(N_CLIENTS)]
            while len(done) < WARM_UP_FILES and not any(call.done() for call in calls):
                time.sleep(0.01)
            done.clear()
            before = [self.number(name) for name in COUNTERS]
            began = time.perf_counter()
            ends_at = began + seconds
            for call in calls:
                call.result()
        grown = [self.number(name) - value for name, value in zip(COUNTERS, before, strict=True)]
        batches, rows, cpu_s, audio_s = (max(1e-9, value) for value in grown)
        return sum(done) / seconds, rows / batches, cpu_s / audio_s

    @contextmanager
    def probed(self) -> Iterator[list[float]]:
        """Ask for /healthz all the while; gives the seconds of each answer, from when it was due on."""
        seconds: list[float] = []
        over = threading.Event()

        def probe() -> None:
            connection = self.connect()
            due = time.perf_counter()
            while not over.is_set():
                connection.request("GET", "/healthz")
                connection.getresponse().read()
                seconds.append(time.perf_counter() - due)
                due = max(due + PROBE_EVERY_S, time.perf_counter())
                over.wait(due - time.perf_counter())

        thread = threading.Thread(target=probe)
        thread.start()
        try:
            yield seconds
        finally:
            over.set()
            thread.join()

    @contextmanager
    def abandoned(self, files: list[bytes]) -> Iterator[Callable[[], float]]:
        """Requests in flight; gives a function that hangs up, and returns the seconds until no work is left."""
        connections = [self.connect() for _ in files]
        for connection, audio in zip(connections, files, strict=True):
            send(connection, audio)
        while self.running() < len(files):
            time.sleep(0.01)
        time.sleep(2.0)  # past their first windows, which go as those of a clip

        def hang_up() -> float:
            began = time.perf_counter()
            for connection in connections:
                connection.close()
            while self.running():
                time.sleep(0.01)
            return time.perf_counter() - began

        yield hang_up

    def running(self) -> int:
        """Requests that have a thread."""
        return int(self.number('cepstra_running{class="interactive"}'))

    def number(self, name: str) -> float:
        """One number of /metrics."""
        connection = self.connect()
        connection.request("GET", "/metrics")
        text = connection.getresponse().read().decode()
        connection.close()
        return next(float(line.rpartition(" ")[2]) for line in text.splitlines() if line.startswith(f"{name} "))


@contextmanager
def serving(folder: Path, options: argparse.Namespace, *more: str) -> Iterator[Server]:
    """A server process of its own, ready; ended afterwards."""
    command = [sys.executable, "-m", "cli", "serve", "--port", "0", "--remember-s", "0", "--runtime", options.runtime]
    command += ["--log-level", "info", *(["--threads", str(options.threads)] if options.threads else []), *more]
    environment = {name: value for name, value in os.environ.items() if not name.startswith("CEPSTRA_")}
    environment["CEPSTRA_STATE_DIR"] = str(folder / "state")
    log = folder / "log"
    began = time.perf_counter()
    with log.open("wb") as stderr:
        process = subprocess.Popen(command, cwd=ROOT, env=environment, stderr=stderr)
    try:
        while not (found := re.search(r"running on http://(127\.0\.0\.1:\d+)", log.read_text())):
            if process.poll() is not None:
                sys.exit(log.read_text())
            time.sleep(0.01)
        server = Server(found[1], process.pid, 0.0)
        while not ready(server):
            time.sleep(0.01)
        server.start_s = time.perf_counter() - began
        yield server
    finally:
        process.terminate()
        process.wait()


def ready(server: Server) -> bool:
    """Whether it answers that it is."""
    connection = server.connect()
    connection.request("GET", "/readyz")
    return connection.getresponse().status == 200


def transcribe(connection: http.client.HTTPConnection, audio: bytes) -> float:
    """One request; the seconds of audio that were transcribed."""
    send(connection, audio)
    response = connection.getresponse()
    body = response.read()
    if response.status != 200:
        raise RuntimeError(f"{response.status}: {body.decode()}")
    return float(json.loads(body)["usage"]["seconds"])


def send(connection: http.client.HTTPConnection, audio: bytes, path: str = PATH, **fields: str) -> None:
    """Send one file as a form."""
    head = "".join(
        f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n{value}\r\n'
        for name, value in {"model": "default", **fields}.items()
    )
    head += f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="file"; filename="a"\r\n\r\n'
    body = head.encode() + audio + f"\r\n--{BOUNDARY}--\r\n".encode()
    connection.request("POST", path, body, {"content-type": f"multipart/form-data; boundary={BOUNDARY}"})


def write_audio(folder: Path, hour_s: float) -> None:
    """The clips of the tests, put together by chance."""
    clips = [decode_audio(clip).samples_N for clip in sorted((ROOT / "tests" / "clips").glob("*.flac"))]
    generator = np.random.default_rng(0)

    def speech(n_samples: int) -> np.ndarray:
        parts, length = [], 0
        while length < n_samples:
            parts.append(clips[generator.integers(len(clips))])
            parts.append(np.zeros(SAMPLE_RATE_HZ // 4, np.float32))
            length += len(parts[-2]) + len(parts[-1])
        return np.concatenate(parts)[:n_samples]

    def write(name: str, duration_s: float) -> None:
        buffer = io.BytesIO()
        soundfile.write(buffer, speech(round(duration_s * SAMPLE_RATE_HZ)), SAMPLE_RATE_HZ, format="FLAC")
        (folder / f"{name}.flac").write_bytes(buffer.getvalue())

    for number, duration_s in enumerate(generator.uniform(3, 20, N_FILES)):
        write(f"load-{number:02}", duration_s)
    write("five", 5.0)
    write("ten", 10.0)
    write("hour", hour_s)


def timed(work: Callable[[], object]) -> float:
    """The seconds that it took."""
    began = time.perf_counter()
    work()
    return time.perf_counter() - began
