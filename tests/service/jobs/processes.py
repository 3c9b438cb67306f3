"""Servers and workers in processes of their own, which tests kill; forked from one that has imported all there is to.

With CEPSTRA_PROOF_MODEL=shipped they hear what the shipped bundle hears, else `FakeEar`.
"""

import hashlib
import io
import logging
import multiprocessing
import os
import random
import threading
import time
import wave
from collections.abc import Callable
from functools import cache
from os import PathLike
from pathlib import Path
from typing import Any, NoReturn

import httpx
import numpy as np
import uvicorn

from features.audio import Waveform, decode_audio
from features.audio_stream import AudioStream
from model.cancellation import CancelToken
from model.hot_words import HotWords
from model.shipped import SHIPPED_BUNDLE
from model.transcript import Transcript
from service.app import create_app
from service.recogniser import Progress, Recogniser
from service.server import DrainingServer
from service.settings import Settings
from tests.service.fakes import TEXT, transcript_of

WORDS = TEXT.split()
LONG_S = 10.0

SHIPPED = os.environ.get("CEPSTRA_PROOF_MODEL") == "shipped"

_CONTEXT = multiprocessing.get_context("forkserver")


class FakeEar:
    """Hears words that depend on every sample, takes a moment, and for more than `LONG_S` until it is cancelled."""

    name = "fake-base"
    created_at = 1_700_000_000
    greedy = False

    def transcribe(
        self,
        audio: bytes | str | PathLike[str] | AudioStream,
        *,
        progress: Progress | None = None,
        cancelled: CancelToken | None = None,
        hot_words: HotWords | None = None,
        alternatives: int = 0,
    ) -> Transcript:
        if isinstance(audio, bytes | str | PathLike):
            waveform = decode_audio(audio)
        else:
            waveform = Waveform(np.concatenate(list(audio)))
        steps = random.randint(1, 8)
        step = 0
        while step < steps or waveform.duration_s > LONG_S:
            time.sleep(0.02)
            step += 1
            if progress:
                progress(min(0.9, step / steps))
        digest = hashlib.sha256(waveform.samples_N.tobytes()).digest()
        return transcript_of([" ".join(WORDS[byte % len(WORDS)] for byte in digest)])

    def stream(self, *, sample_rate_hz: int, config: object = None, hot_words: object = None) -> NoReturn:
        raise AssertionError("no job is heard while it is spoken")


def noise(seed: int, duration_s: float) -> bytes:
    """A WAV file like no other."""
    buffer = io.BytesIO()
    with wave.open(buffer, "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(16_000)
        file.writeframes(random.Random(seed).randbytes(2 * round(16_000 * duration_s)))
    return buffer.getvalue()


@cache
def recogniser() -> Recogniser:
    """What these processes and the undisturbed run hear with: one thread, which survives a fork."""
    if SHIPPED:
        from model.transcriber import Transcriber  # and with it torch, which the quick ear does not need

        return Transcriber.from_bundle(SHIPPED_BUNDLE, threads=1, runtime="torch")
    return FakeEar()


def serve(settings: dict[str, Any], port: int, log: str) -> None:
    """A server, as `cepstra serve` is one."""
    logging.basicConfig(filename=log, level="INFO", format="%(asctime)s %(process)d %(name)s %(message)s")
    made = Settings.model_validate(settings)
    app = create_app(made, recogniser())
    config = uvicorn.Config(
        app, port=port, log_config=None, access_log=False, timeout_graceful_shutdown=made.shutdown_s
    )
    DrainingServer(app, made.drain_s, config).run()


class Process:
    """A server that can be killed and started again.

    Args:
        settings: its settings.
        port: where it listens, the same every time.
        log: the file that it adds to.
    """

    def __init__(self, settings: dict[str, Any], port: int, log: Path) -> None:
        self._arguments = settings, port, str(log)
        self.url = f"http://127.0.0.1:{port}"
        self._process: Any = None

    def start(self) -> None:
        _CONTEXT.set_forkserver_preload(["tests.service.jobs.forked_model"])
        self._process = _CONTEXT.Process(target=serve, args=self._arguments)
        self._process.start()

    def kill(self) -> None:
        """As `kill -9` does it: nothing of it runs any more."""
        self._process.kill()
        self._process.join()

    def terminate(self) -> None:
        """As `kill` does it, without waiting."""
        self._process.terminate()

    def wait(self, limit_s: float = 120.0) -> int | None:
        """Its exit status; None where it has not ended."""
        self._process.join(limit_s)
        status: int | None = self._process.exitcode
        return status


class Submitter(threading.Thread):
    """A client that does what one should: a key for each request, which is sent again until it is answered.

    Args:
        urls: servers, tried in turn.
        audio: what to send for the n-th job.
        webhook_url: to be told of the end.
        told: how many jobs it was told the end of.
        most_open: how many may wait for theirs; a machine that is slower than the client would never catch up.
        rest_s: between two jobs.
    """

    def __init__(
        self,
        urls: list[str],
        audio: Callable[[int], bytes],
        webhook_url: str,
        told: Callable[[], int],
        *,
        most_open: int,
        rest_s: float,
    ) -> None:
        super().__init__()
        self.accepted: dict[str, bytes] = {}
        self.refused = 0
        self._urls = urls
        self._audio = audio
        self._webhook_url = webhook_url
        self._told = told
        self._most_open = most_open
        self._rest_s = rest_s
        self._enough = threading.Event()

    def run(self) -> None:
        number = 0
        with httpx.Client(verify=False, timeout=60) as client:
            while not self._enough.is_set():
                audio = self._audio(number)
                while (job_id := self._sent(client, number, audio)) is None:
                    self.refused += 1
                    time.sleep(0.02)
                self.accepted[job_id] = audio
                number += 1
                self._enough.wait(self._rest_s)
                while len(self.accepted) - self._told() >= self._most_open and not self._enough.is_set():
                    self._enough.wait(0.1)

    def stop(self) -> None:
        self._enough.set()
        self.join()

    def _sent(self, client: httpx.Client, number: int, audio: bytes) -> str | None:
        url = random.choice(self._urls)
        form = {"model": "default", "webhook_url": self._webhook_url}
        headers = {"Idempotency-Key": f"job-{number}"}
        try:
            answer = client.post(f"{url}/v1/jobs", files={"file": ("a", audio)}, data=form, headers=headers)
        except httpx.TransportError:
            return None
        assert answer.status_code in (202, 429, 503), answer.text
        return str(answer.json()["id"]) if answer.status_code == 202 else None
