"""`cepstra serve` as a process of its own, with the shipped bundle, through the official client and curl's way."""

import os
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import jiwer
import openai
import pytest
from typer.testing import CliRunner

import cli
from model.shipped import SHIPPED_BUNDLE
from service.ports import check_port
from tests.conftest import SpokenClip
from tests.service.caption_readers import read_srt, read_vtt, text_of
from tests.service.conftest import is_ready, request, wait_until
from tests.service.fakes import wav
from tests.service.test_telemetry import numbers

ROOT = Path(__file__).resolve().parents[2]
STARTS_S = 240.0  # of a machine that trains at the same time
MAX_CER = 0.4  # what the first bundle has to reach on the whole dev set, here on a few clips of it


@contextmanager
def cepstra_serve(log: Path, *options: str) -> Iterator[tuple[str, "subprocess.Popen[bytes]"]]:
    kept = {"CEPSTRA_STATE_DIR"}  # the tests' own
    environment = {name: value for name, value in os.environ.items() if name in kept or name[:8] != "CEPSTRA_"}
    with log.open("wb") as stderr:
        process = subprocess.Popen(
            [sys.executable, "-m", "cli", "serve", "--port", "0", *options], cwd=ROOT, env=environment, stderr=stderr
        )
    try:
        wait_until(lambda: process.poll() is not None or "running on" in log.read_text(), STARTS_S)
        found = re.search(r"running on (http://127\.0\.0\.1:\d+)", log.read_text())
        assert found, log.read_text()
        yield found[1], process
    finally:
        process.terminate()
        process.wait(60)


@pytest.fixture(scope="module")
def bundle() -> Path:
    return SHIPPED_BUNDLE


@dataclass(frozen=True)
class Running:
    """A server process that is ready, and its log."""

    url: str
    process: "subprocess.Popen[bytes]"
    log: Path


@pytest.fixture(scope="module")
def running(bundle: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    log = tmp_path_factory.mktemp("server") / "log"
    with cepstra_serve(log, "--bundle", str(bundle), "--remember-s", "0") as (address, process):
        wait_until(lambda: is_ready(address), STARTS_S)
        yield Running(address, process, log)
    assert "Traceback" not in log.read_text()


@pytest.fixture(scope="module")
def url(running: Running) -> str:
    return running.url


@pytest.fixture(scope="module")
def client(url: str) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=f"{url}/v1", api_key="none", max_retries=0) as connected:
        yield connected


def test_every_format_says_the_same(client: openai.OpenAI, synthetic_clips: list[SpokenClip]) -> None:
    create = client.audio.transcriptions.create
    clip = synthetic_clips[0]
    plain = create(file=clip.path, model="whisper-1", include=["logprobs"])
    assert plain.text
    assert plain.logprobs
    verbose = create(
        file=clip.path,
        model="default",
        response_format="verbose_json",
        timestamp_granularities=["word", "segment"],
    )
    assert verbose.duration == pytest.approx(clip.duration_s, abs=0.05)
    assert verbose.words
    assert verbose.segments
    assert " ".join(word.word for word in verbose.words) == plain.text
    assert " ".join(segment.text for segment in verbose.segments) == plain.text
    assert all(0 <= word.start <= word.end <= verbose.duration for word in verbose.words)
    as_srt = str(create(file=clip.path, model="default", response_format="srt"))
    as_vtt = str(create(file=clip.path, model="default", response_format="vtt"))
    assert str(create(file=clip.path, model="default", response_format="text")) == plain.text + "\n"
    assert text_of(read_srt(as_srt)).replace(" ", "") == plain.text.replace(" ", "")
    assert read_srt(as_srt) == read_vtt(as_vtt)
    events = list(create(file=clip.path, model="default", stream=True))
    assert "".join(event.delta for event in events if event.type == "transcript.text.delta") == plain.text


def test_the_words_of_recorded_speech_can_be_recognised(url: str, dev_clean: list[SpokenClip]) -> None:
    """The issue's main job: LibriSpeech clips, sent as curl sends them, come back as their words."""
    clips = [clip for clip in dev_clean if 5 < clip.duration_s < 10][::40]
    assert len(clips) >= 6
    heard = []
    for clip in clips:
        response = request(
            "POST",
            f"{url}/v1/audio/transcriptions",
            files={"file": (clip.path.name, clip.path.read_bytes())},
            data={"model": SHIPPED_BUNDLE.name},
        )
        assert response.status_code == 200
        heard.append(response.json()["text"])
    assert jiwer.cer([clip.transcript.lower() for clip in clips], heard) <= MAX_CER


def test_silence_gives_no_words(client: openai.OpenAI) -> None:
    assert client.audio.transcriptions.create(file=("a.wav", wav(3.0, amplitude=0)), model="default").text == ""


def test_errors_of_the_real_model(client: openai.OpenAI) -> None:
    with pytest.raises(openai.BadRequestError) as caught:
        client.audio.transcriptions.create(file=("a.wav", b"not audio"), model="default")
    assert (caught.value.code, caught.value.param) == ("unsupported_audio", "file")


def test_the_numbers_of_a_real_request_move(url: str, synthetic_clips: list[SpokenClip]) -> None:
    def seen() -> dict[tuple[str, ...], float]:
        return numbers(request("GET", f"{url}/metrics").text)

    before = seen()
    clip = synthetic_clips[0]
    for content in (clip.path.read_bytes(), b"not audio"):
        request(
            "POST", f"{url}/v1/audio/transcriptions", files={"file": ("a.flac", content)}, data={"model": "default"}
        )
    after = seen()
    grown = {name: value - before.get(name, 0.0) for name, value in after.items()}
    assert grown["cepstra_audio_seconds_total",] == pytest.approx(clip.duration_s, abs=0.05)
    assert grown["cepstra_rejections_total", "unsupported_audio"] == 1
    for name in ("real_time_factor_count", "batch_rows_count", "batch_wait_seconds_count", "network_frames_total"):
        assert grown[f"cepstra_{name}",] >= 1, name
    for stage in ("decode", "features", "network", "search"):
        assert grown["cepstra_stage_seconds_total", stage] > 0, stage
    assert grown["cepstra_network_seconds_total",] > 0
    assert after["process_resident_memory_bytes",] > 10e6
    assert {"cepstra_queue_age_seconds", "cepstra_network_queue_age_seconds"} <= {name for name, *_ in after}


def test_the_bundle_is_listed(client: openai.OpenAI, bundle: Path) -> None:
    (model,) = client.models.list().data
    assert model.id == bundle.name
    assert model.created > 1_600_000_000


def test_sigterm_ends_it_in_good_order(running: Running) -> None:
    """The last test with this server."""
    running.process.send_signal(signal.SIGTERM)
    assert running.process.wait(60) in (0, -signal.SIGTERM)
    assert "Application shutdown complete" in running.log.read_text()
    assert "Traceback" not in running.log.read_text()


def test_a_broken_bundle_ends_the_server(bundle: Path, tmp_path: Path, copy_bundle: Callable[[Path], Path]) -> None:
    """Not a server that answers 503 for ever: the process ends and says why."""
    broken = copy_bundle(bundle)
    (broken / "model.safetensors").write_bytes(b"no weights")
    done = subprocess.run(
        [sys.executable, "-m", "cli", "serve", "--port", "0", "--bundle", str(broken)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 1
    assert "could not be loaded" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.fixture
def copy_bundle(tmp_path: Path) -> Callable[[Path], Path]:
    def copy(bundle: Path) -> Path:
        target = tmp_path / "copy"
        target.mkdir()
        for file in bundle.iterdir():
            (target / file.name).write_bytes(file.read_bytes())
        return target

    return copy


@pytest.mark.parametrize(
    ("options", "status", "message"),
    [
        (["--bundle", "no-such-bundle"], 1, "no model bundle at no-such-bundle"),
        (["--bundle", str(ROOT / "tests")], 1, f"no model bundle at {ROOT / 'tests'}"),
        (["--host", "no.such.host.invalid", "--allow-anonymous"], 1, "host 'no.such.host.invalid' cannot be found: "),
        (["--host", "192.0.2.1", "--allow-anonymous"], 1, "192.0.2.1 is no address of this machine; --host names"),
        (["--port", "99999"], 2, "--port (CEPSTRA_PORT) is 99999"),
        (["--workers", "0"], 2, "--workers (CEPSTRA_WORKERS) is 0"),
        (["--log-level", "loud"], 2, "loud"),
        (["--host", "0.0.0.0"], 1, "--host 0.0.0.0 lets other machines in, and there are no keys"),
        (["--allowed-origins", "Example.org"], 2, "is 'Example.org': 'Example.org' is not an origin"),
    ],
)
def test_bad_options_end_the_start_with_a_message(options: list[str], status: int, message: str) -> None:
    done = CliRunner().invoke(cli.app, ["serve", "--port", "0", *options])
    assert isinstance(done.exception, SystemExit), done.exception
    assert done.exit_code == status
    assert message in done.stderr


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
def test_a_taken_port_ends_the_start_before_anything_is_loaded(host: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("service.server.serve", lambda settings: pytest.fail("it was started"))
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        done = CliRunner().invoke(cli.app, ["serve", "--host", host, "--port", str(port)])
    assert done.exit_code == 1
    assert done.stderr == f"cepstra: port {port} on {host} is taken; --port names another\n"


def test_a_port_that_was_just_given_up_can_be_had() -> None:
    """A server that is started again must not wait for the connections of the one before to be forgotten."""
    with socket.create_server(("127.0.0.1", 0)) as before:
        port = before.getsockname()[1]
        with socket.create_connection(("127.0.0.1", port)), before.accept()[0] as accepted:
            accepted.shutdown(socket.SHUT_RDWR)
    check_port("127.0.0.1", port)
    check_port("", 0)
