"""Several models: found by name, loaded on demand, dropped when idle, and swapped while they are used."""

import json
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import pytest

from model.errors import BundleError
from service.errors import NotReadyError, PromotionError, UnknownModelError
from service.promotions import Promotions
from service.registry import ALIASES, Registry
from tests.service.conftest import wait_until

CREATED_AT = 1_700_000_000


@dataclass(frozen=True)
class Loaded:
    """A model in memory, as far as the registry knows one."""

    name: str
    created_at: int


class Loader:
    """Reads what `write_bundle` wrote; one of the name `broken` cannot be loaded."""

    def __init__(self) -> None:
        self.loads: list[str] = []
        self.go = threading.Event()
        self.go.set()

    def __call__(self, path: Path) -> Loaded:
        self.loads.append(path.name)
        assert self.go.wait(60)
        if path.name == "broken":
            raise BundleError(f"{path} is broken")
        config = json.loads((path / "config.json").read_bytes())
        return Loaded(path.name, config["created_at"])


def write_bundle(path: Path, created_at: int = CREATED_AT) -> Path:
    path.mkdir(parents=True, exist_ok=True)
    (path / "new").write_text(json.dumps({"name": f"own name of {path.name}", "created_at": created_at}))
    (path / "new").replace(path / "config.json")
    return path


@pytest.fixture
def loader() -> Loader:
    return Loader()


@pytest.fixture
def now_s() -> list[float]:
    """The registry's clock, to be set."""
    return [0.0]


@pytest.fixture
def make(tmp_path: Path, loader: Loader, now_s: list[float]) -> Iterator[Callable[[], Registry[Loaded]]]:
    """Registries of the same folders, as of several processes: a bundle, and `a`, `b` and `broken` beside it."""
    bundle = write_bundle(tmp_path / "bundle")
    for name in ("b", "a", "broken", ".hidden"):
        write_bundle(tmp_path / "models" / name)
    (tmp_path / "models" / "empty").mkdir()
    (tmp_path / "models" / "notes.txt").write_text("no bundle")
    yield lambda: Registry(bundle, tmp_path / "models", Promotions(tmp_path / "state"), loader, lambda: now_s[0])
    loader.go.set()


def test_a_directory_that_is_not_there_is_told_once(
    tmp_path: Path, loader: Loader, caplog: pytest.LogCaptureFixture
) -> None:
    bundle = write_bundle(tmp_path / "bundle")
    registry = Registry(bundle, tmp_path / "modles", Promotions(tmp_path / "state"), loader)
    registry.follow()
    assert [model.name for model in registry.models()] == ["own name of bundle"]
    (told,) = [record for record in caplog.records if record.levelname == "WARNING"]
    assert told.getMessage() == f"no models in {tmp_path}/modles (CEPSTRA_MODELS_DIR): there is no such directory"


@pytest.fixture
def registry(make: Callable[[], Registry[Loaded]]) -> Registry[Loaded]:
    made = make()
    made.follow()
    return made


def names(registry: Registry[Loaded]) -> list[str]:
    return [model.name for model in registry.models()]


def test_all_are_listed_and_one_is_loaded(registry: Registry[Loaded], loader: Loader) -> None:
    assert names(registry) == ["own name of bundle", "a", "b", "broken"]
    assert [model.loaded for model in registry.models()] == [True, False, False, False]
    assert {model.created_at for model in registry.models()} == {CREATED_AT}
    assert loader.loads == ["bundle"]


def test_names(registry: Registry[Loaded]) -> None:
    for name in ("own name of bundle", *ALIASES):
        assert registry.find(name) is registry.default
    assert registry.find("a") is registry.find("a") is not registry.default
    for name in ("", "c", ".hidden", "empty", "notes.txt", "../bundle", "../models/a", "A", "a/"):
        with pytest.raises(UnknownModelError, match=r"does not exist\. Served here is 'own name of bundle', 'a', 'b'"):
            registry.find(name)


def test_before_the_default_is_loaded(make: Callable[[], Registry[Loaded]]) -> None:
    registry = make()
    with pytest.raises(NotReadyError):
        registry.find("default")
    assert registry.default is None


def test_a_model_is_loaded_once_when_it_is_needed(registry: Registry[Loaded], loader: Loader) -> None:
    loader.go.clear()
    with ThreadPoolExecutor(8) as pool:

        def use(_: int) -> str:
            with registry.find("a").in_use() as model:
                return model.name

        answers = pool.map(use, range(8))
        wait_until(lambda: loader.loads == ["bundle", "a"])
        loader.go.set()
        assert list(answers) == ["a"] * 8
    assert loader.loads == ["bundle", "a"]


def test_who_may_not_wait_is_told_to_come_again(registry: Registry[Loaded], loader: Loader) -> None:
    with pytest.raises(NotReadyError) as caught:
        registry.find("a").now()
    assert caught.value.retry_after_s
    wait_until(lambda: registry.find("a").loaded)
    assert registry.find("a").now().name == "a"


def test_a_model_that_cannot_be_loaded_fails_its_own_requests_alone(registry: Registry[Loaded]) -> None:
    for _ in range(2):
        with pytest.raises(BundleError), registry.find("broken").in_use():
            pass
    with registry.find("default").in_use() as model:
        assert model.name == "bundle"


def test_idle_models_are_dropped_and_come_back(registry: Registry[Loaded], loader: Loader, now_s: list[float]) -> None:
    model = registry.find("a")
    with model.in_use():
        now_s[0] = 100.0
        registry.drop_idle(10)
        assert model.loaded  # however long it takes
    now_s[0] = 109.0
    registry.drop_idle(10)
    assert model.loaded
    now_s[0] = 110.0
    registry.drop_idle(10)
    assert [model.loaded] == [False]
    assert registry.default is not None and registry.default.loaded
    with model.in_use() as loaded:
        assert loaded.name == "a"
    assert loader.loads == ["bundle", "a", "a"]


def test_promotion_and_rollback_outlive_the_process(
    registry: Registry[Loaded], make: Callable[[], Registry[Loaded]]
) -> None:
    assert registry.promote("a").name == "a"
    assert registry.promote("b").name == "b"
    assert names(registry) == ["b", "own name of bundle", "a", "broken"]
    assert registry.find("whisper-1").name == "b"
    later = make()
    later.follow()
    assert later.find("default").name == "b"
    assert later.rollback().name == "a"
    assert later.rollback().name == "own name of bundle"
    with pytest.raises(PromotionError, match="none to go back to"):
        later.rollback()
    registry.follow()
    assert registry.find("default").name == "own name of bundle"


def test_what_cannot_be_loaded_is_not_promoted(
    registry: Registry[Loaded], make: Callable[[], Registry[Loaded]]
) -> None:
    with pytest.raises(PromotionError, match=r"'broken' could not be loaded: .* is broken"):
        registry.promote("broken")
    with pytest.raises(UnknownModelError):
        registry.promote("c")
    assert registry.find("default").name == make().promoted().name == "own name of bundle"


def test_a_promoted_model_that_is_gone_is_said(
    registry: Registry[Loaded], make: Callable[[], Registry[Loaded]], tmp_path: Path
) -> None:
    registry.promote("a")
    (tmp_path / "models" / "a" / "config.json").unlink()
    registry.find("default")  # goes on
    with pytest.raises(PromotionError, match=r"no bundle at .*models/a that can be read"):
        registry.follow()
    with pytest.raises(PromotionError):
        make().follow()


def test_a_bundle_that_is_replaced_is_loaded_again(registry: Registry[Loaded], loader: Loader, tmp_path: Path) -> None:
    before = registry.default
    registry.follow()
    assert registry.default is before
    write_bundle(tmp_path / "bundle", CREATED_AT + 1)
    registry.follow()
    assert registry.default is not before
    with registry.find("default").in_use() as model:
        assert model.created_at == CREATED_AT + 1


@pytest.mark.parametrize(
    ("contents", "message"),
    [
        ("", "is damaged"),
        ("{}x", "is damaged"),
        ('{"defaults": "a"}', "is damaged"),
        ('{"format_version": 2}', "has format 2, .* a newer one wrote it"),
    ],
)
def test_a_damaged_or_newer_file_changes_nothing(
    registry: Registry[Loaded], tmp_path: Path, contents: str, message: str
) -> None:
    registry.promote("a")
    (tmp_path / "state" / "models.json").write_text(contents)
    with pytest.raises(PromotionError, match=message):
        registry.follow()
    assert registry.find("default").name == "a"


def test_swaps_under_load_fail_no_request(registry: Registry[Loaded], now_s: list[float]) -> None:
    done = threading.Event()
    heard: set[str] = set()

    def ask() -> None:
        while not done.is_set():
            with registry.find("default").in_use() as model:
                heard.add(model.name)

    with ThreadPoolExecutor(4) as pool:
        askers = [pool.submit(ask) for _ in range(4)]
        try:
            for _ in range(20):
                registry.promote("a")
                wait_until(lambda: "a" in heard)
                registry.promote("b")
                registry.drop_idle(0)
                wait_until(lambda: "b" in heard)
                registry.rollback()
                heard.clear()
        finally:
            done.set()
        for asker in askers:
            asker.result()
