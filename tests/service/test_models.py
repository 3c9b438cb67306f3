"""Several models behind one server: picked by `model`, promoted and rolled back over HTTP and from the command line."""

import gc
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import pytest
from typer.testing import CliRunner, Result

import cli
from model.checkpoint import Bundle, save_bundle
from model.transcript import Transcript
from service.promotions import Promotions
from service.recogniser import ServedModel
from service.settings import Settings
from tests.model.conftest import make_bundle, tiny_bundle
from tests.service.conftest import DECODERS, Server, request, serving, wait_until
from tests.service.fakes import TEXT, FakeTranscriber, transcript_of, wav
from tests.service.test_registry import write_bundle

__all__ = ["make_bundle", "tiny_bundle"]  # fixtures of the model's tests, used here too


CLIP = Path(__file__).resolve().parents[1] / "clips" / "train.flac"


class Named(FakeTranscriber):
    """Hears its own name."""

    def __init__(self, name: str) -> None:
        super().__init__()
        self.name = name

    def transcribe(self, audio: Any, **options: Any) -> Transcript:
        return transcript_of([self.name]) if super().transcribe(audio, **options).text else Transcript("", (), 1.0)


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    for name in ("fast", "large"):
        write_bundle(tmp_path / "models" / name)
    return Settings(models_dir=tmp_path / "models", state_dir=tmp_path / "state", remember_s=0)


@pytest.fixture
def server(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    """A fake default, and two bundles beside it that load as fakes."""
    monkeypatch.setattr(ServedModel, "_from_bundle", lambda _, path: Named(path.name))
    with serving(settings, FakeTranscriber()) as running:
        yield running


def heard(server: Server, model: str) -> str:
    response = request(
        "POST",
        f"{server.url}/v1/audio/transcriptions",
        files={"file": ("a.wav", wav())},
        data={"model": model, "response_format": "text"},
    )
    assert response.status_code == 200, response.text
    return response.text.rstrip("\n")


def listed(server: Server) -> list[tuple[str, bool, bool]]:
    """Name, whether it is the default, whether it is in memory."""
    data = request("GET", f"{server.url}/admin/models").json()["data"]
    return [(model["id"], model["default"], model["loaded"]) for model in data]


def admin(server: Server, action: str, **more: Any) -> httpx.Response:
    return request("POST", f"{server.url}/admin/models/{action}", **more)


def test_model_picks_one_and_all_are_listed(server: Server) -> None:
    models = request("GET", f"{server.url}/v1/models").json()["data"]
    assert [model["id"] for model in models] == ["fake-base", "fast", "large"]
    assert listed(server) == [("fake-base", True, True), ("fast", False, False), ("large", False, False)]
    assert request("GET", f"{server.url}/v1/models/large").json() == models[2]
    assert [heard(server, name) for name in ("fast", "whisper-1", "fast")] == ["fast", TEXT, "fast"]
    assert listed(server) == [("fake-base", True, True), ("fast", False, True), ("large", False, False)]


def test_one_model_s_transcript_is_not_another_s(start_server: Callable[..., Server], settings: Settings) -> None:
    server = start_server(**settings.model_dump() | {"remember_s": 600.0})
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ServedModel, "_from_bundle", lambda _, path: Named(path.name))
        assert [heard(server, name) for name in ("default", "fast", "default", "fast")] == [TEXT, "fast", TEXT, "fast"]
    assert server.fake.calls == 1


def test_promotion_and_rollback_over_http(server: Server) -> None:
    response = admin(server, "promote", json={"model": "large"})
    assert [model["id"] for model in response.json()["data"]] == ["large", "fake-base", "fast"]
    assert heard(server, "whisper-1") == "large"
    assert request("GET", f"{server.url}/readyz").json()["model"] == "large"
    assert admin(server, "rollback").json()["data"][0]["id"] == "fake-base"
    assert heard(server, "whisper-1") == TEXT
    for answer, status, code in (
        (admin(server, "rollback"), 409, "promotion_failed"),
        (admin(server, "promote", json={"model": "none"}), 404, "model_not_found"),
        (admin(server, "promote", json={"name": "large"}), 400, "invalid_value"),
        (admin(server, "promote", content=b"{"), 400, "invalid_value"),
    ):
        assert (answer.status_code, answer.json()["error"]["code"]) == (status, code)


def test_a_server_follows_a_promotion_of_another_process(server: Server, settings: Settings) -> None:
    Promotions(settings.state_dir).promote("fast")
    wait_until(lambda: heard(server, "default") == "fast")


def test_swaps_under_load_fail_no_request(server: Server) -> None:
    promoted = ["default"]
    answers: list[tuple[int, str]] = []  # of each request, how many promotions were answered before it began
    done = threading.Event()

    def ask() -> None:
        while not done.is_set():
            began_after = len(promoted)
            answers.append((began_after, heard(server, "default")))

    with ThreadPoolExecutor(3) as pool:
        askers = [pool.submit(ask) for _ in range(3)]
        try:
            for name in ("fast", "large", "fast", "large"):
                assert admin(server, "promote", json={"model": name}).status_code == 200
                promoted.append(name)
                wait_until(lambda: len(promoted) in dict(answers))
        finally:
            done.set()
        for asker in askers:
            asker.result()
    assert {name for count, name in answers if count == len(promoted)} == {"large"}
    assert {"fast", "large"} <= {name for _, name in answers}


def test_a_dropped_model_takes_its_threads_along(tmp_path: Path, tiny_bundle: Bundle) -> None:
    """Those that compute its network hold its weights: what is unloaded has to be let go of by them too."""
    for path in (tmp_path / "bundle", tmp_path / "models" / "other"):
        save_bundle(tiny_bundle, path)
    settings = Settings(bundle=tmp_path / "bundle", models_dir=tmp_path / "models", state_dir=tmp_path / "state")
    before = computing()
    served = ServedModel(settings, decoders=DECODERS)
    try:
        served.load()
        assert served.failure is None
        at_rest = computing()
        with CLIP.open("rb") as clip:
            served.transcribe(clip, lambda _: None, model=served.named("other"))
        assert computing() - at_rest
        served.registry.drop_idle(0)
        wait_until(lambda: gc.collect() >= 0 and not computing() - at_rest)
    finally:
        served.close()
    wait_until(lambda: not computing() - before)


def computing() -> set[threading.Thread]:
    """Threads that compute networks."""
    return {thread for thread in threading.enumerate() if thread.name.startswith("network")}


# ---- the command line, with real bundles


@pytest.fixture
def models(tmp_path: Path, tiny_bundle: Bundle) -> Callable[..., Result]:
    """Runs `cepstra models …` on folders of the test's own: a default, `good` and `broken`."""
    for path in (tmp_path / "bundle", tmp_path / "models" / "good", tmp_path / "models" / "broken"):
        save_bundle(tiny_bundle, path)
    (tmp_path / "models" / "broken" / "model.safetensors").write_bytes(b"no weights")
    folders = {"BUNDLE": "bundle", "MODELS_DIR": "models", "STATE_DIR": "state"}
    environment = {f"CEPSTRA_{variable}": str(tmp_path / folder) for variable, folder in folders.items()}
    return lambda *arguments: CliRunner().invoke(cli.app, ["models", *arguments], env=environment)


def test_list_promote_and_rollback(models: Callable[..., Result], tiny_bundle: Bundle) -> None:
    def marked() -> list[list[str]]:
        return [line.split()[:2] for line in models("list").stdout.splitlines() if line.startswith("*")]

    assert len(models("list").stdout.splitlines()) == 3
    assert marked() == [["*", tiny_bundle.name]]
    assert models("promote", "good").stdout == "good\n"
    assert marked() == [["*", "good"]]
    for arguments, message in (
        (("promote", "broken"), "'broken' could not be loaded"),
        (("promote", "none"), "'none' does not exist"),
    ):
        result = models(*arguments)
        assert (result.exit_code, result.stdout) == (1, "")
        assert message in result.stderr
    assert marked() == [["*", "good"]]
    assert models("rollback").stdout == f"{tiny_bundle.name}\n"
    assert models("rollback").exit_code == 1
