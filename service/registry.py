"""Several models by name: which there are, which of them is the default, and which are in memory.

A model is the directory of a bundle. It is loaded when it is first used, by the thread that uses it, and dropped when
nobody has used it for a while. The default stays in memory; another takes its place in one step, once it has been
loaded and has transcribed something. Whoever had found the one before goes on with it: a model lives as long as
somebody holds it, and nothing is taken away from a request.
"""

import json
import logging
import os
import re
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Generic, Protocol, TypeVar

from features.errors import CepstraError
from service.errors import NotReadyError, PromotionError, UnknownModelError
from service.promotions import Promotions

logger = logging.getLogger("cepstra.service")

# Names under which any client finds the default: ours, and those that OpenAI's clients know.
ALIASES = (
    "default",
    "whisper-1",
    "gpt-transcribe",
    "gpt-4o-transcribe",
    "gpt-4o-mini-transcribe",
    "gpt-4o-mini-transcribe-2025-12-15",
    "gpt-live-transcribe",
    "gpt-realtime-whisper",
)
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}")
CONFIG_FILE = "config.json"


class Named(Protocol):
    """What has to be known of a loaded model."""

    @property
    def name(self) -> str:
        """The bundle's name."""

    @property
    def created_at(self) -> int:
        """Unix seconds at which the bundle was written."""


T = TypeVar("T", bound=Named)


class Model(Generic[T]):
    """A bundle that may be in memory. Safe between threads.

    Attributes:
        name: what clients call it.
        created_at: unix seconds at which the bundle was written.
    """

    def __init__(
        self, name: str, created_at: int, load: Callable[[], T], clock: Callable[[], float] = time.monotonic
    ) -> None:
        self.name = name
        self.created_at = created_at
        self._load = load
        self._clock = clock
        self._loaded: T | None = None
        self._loading = threading.Lock()
        self._lock = threading.Lock()
        self._users = 0
        self._used_at_s = clock()

    @property
    def loaded(self) -> bool:
        """Whether it is in memory."""
        return self._loaded is not None

    def peek(self) -> T | None:
        """The loaded model; None where it is not. Does not count as use."""
        return self._loaded

    @contextmanager
    def in_use(self) -> Iterator[T]:
        """The loaded model; where it is not, loads it first, which takes seconds.

        Raises:
            model.errors.BundleError: it cannot be loaded.
        """
        with self._lock:
            self._users += 1
        try:
            yield self.ensure()
        finally:
            with self._lock:
                self._users -= 1
                self._used_at_s = self._clock()

    def ensure(self) -> T:
        """Load it where it is not; one thread does, others wait for that one. Raises as `in_use`."""
        with self._loading:
            if self._loaded is None:
                started_s = time.monotonic()
                self._loaded = self._load()
                logger.info("model %s ready after %.1f s", self.name, time.monotonic() - started_s)
            with self._lock:
                self._used_at_s = self._clock()
            return self._loaded

    def now(self) -> T:
        """The loaded model, for those who may not wait.

        Raises:
            NotReadyError: it is not in memory; from now on it is being loaded.
        """
        loaded = self._loaded
        if loaded is None:
            threading.Thread(target=self._ensure_quietly, name=f"load {self.name}", daemon=True).start()
            raise NotReadyError(f"The model '{self.name}' is being loaded; try again in 2 s.", retry_after_s=2)
        with self._lock:
            self._used_at_s = self._clock()
        return loaded

    def drop_if_idle(self, idle_s: float) -> None:
        """Let go of it where nobody has used it for `idle_s` seconds."""
        with self._lock:
            if self._loaded is None or self._users or self._clock() - self._used_at_s < idle_s:
                return
            self._loaded = None
        logger.info("model %s dropped: nobody used it for %.0f s", self.name, idle_s)

    def _ensure_quietly(self) -> None:
        try:
            self.ensure()
        except Exception as error:
            logger.error("model %s cannot be loaded: %s", self.name, error)


class Registry(Generic[T]):
    """The models of a directory, and the one that is served where nothing else is asked for.

    Args:
        bundle: the directory of the bundle that is the default until another is promoted; or a model instead.
        directory: holds bundles, each in a directory of its own that gives it its name; None where there is only one.
        promotions: which of them was made the default.
        load: bundle directory → model, warmed up.
    """

    def __init__(
        self,
        bundle: Path | Model[T],
        directory: Path | None,
        promotions: Promotions,
        load: Callable[[Path], T],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._bundle = bundle.resolve() if isinstance(bundle, Path) else bundle
        self._directory = directory.resolve() if directory else None
        if self._directory and not os.path.isdir(self._directory):  # which a directory that may not be entered is not
            logger.warning("no models in %s (CEPSTRA_MODELS_DIR): there is no such directory", self._directory)
        self._promotions = promotions
        self._load = load
        self._clock = clock
        self._lock = threading.Lock()
        self._changing = threading.Lock()  # held while one model takes another's place
        self._models: dict[Path, tuple[tuple[int, int, int], Model[T]]] = {}
        self._default: Model[T] | None = None

    @property
    def default(self) -> Model[T] | None:
        """The model that is served where nothing else is asked for; None before the first was loaded."""
        return self._default

    def models(self) -> list[Model[T]]:
        """All that there are, the default first."""
        there = [model for model in (self._configured(), *map(self._at, self._paths())) if model]
        by_name = {model.name: model for model in there}
        if default := self._default:
            by_name = {default.name: default} | by_name | {default.name: default}
        return list(by_name.values())

    def find(self, name: str) -> Model[T]:
        """The model that `name` names, in memory or not.

        Raises:
            UnknownModelError: there is none.
            NotReadyError: it is the default, and that is not loaded yet.
        """
        default = self._default
        if name in ALIASES or (default and name == default.name):
            if default is None:
                raise NotReadyError("The model is still loading; try again in a few seconds.", retry_after_s=2)
            return default
        model = next((model for model in self.models() if model.name == name), None)
        if model is None:
            names, aliases = (
                ", ".join(f"'{known}'" for known in listed)
                for listed in ([model.name for model in self.models()], ALIASES)
            )
            raise UnknownModelError(
                f"The model '{name[:100]}' does not exist. Served here is {names}; the first also as {aliases}."
            )
        return model

    def promote(self, name: str) -> Model[T]:
        """Make `name` the default, once it is loaded; blocks meanwhile.

        Raises:
            UnknownModelError: there is none of that name.
            PromotionError: it cannot be loaded; the default stays.
        """
        with self._changing:
            model = self.find(name)
            _load(model)
            self._promotions.promote(None if model is self._configured() else model.name)
            self._default = model
            return model

    def rollback(self) -> Model[T]:
        """Make the default before this one the default again; blocks while it is loaded.

        Raises:
            PromotionError: there was none before, or it cannot be loaded; the default stays.
        """
        with self._changing:
            model = self._named(self._promotions.before())
            _load(model)
            self._promotions.rollback()
            self._default = model
            return model

    def promoted(self) -> Model[T]:
        """The model that is to be the default, in memory or not; raises PromotionError where it is gone."""
        return self._named(self._promotions.current())

    def follow(self) -> None:
        """Load what is to be the default, and put it in the place of the one that is; nothing where it is already.

        Another process may have promoted it, or replaced its bundle.

        Raises:
            PromotionError: it is gone, or cannot be loaded; the default stays.
        """
        with self._changing:
            model = self.promoted()
            if model is not self._default:
                _load(model)
                self._default = model
                logger.info("model %s is the default", model.name)

    def drop_idle(self, idle_s: float) -> None:
        """Let go of the models that nobody has used for `idle_s` seconds; never of the default."""
        with self._lock:
            models = [model for _, model in self._models.values()]
        for model in models:
            if model is not self._default:
                model.drop_if_idle(idle_s)

    def _named(self, name: str | None) -> Model[T]:
        """The model of the directory with that name; the bundle of the settings where it is None."""
        if name is None:
            model, place = self._configured(), str(self._bundle)
        else:
            path = next((path for path in self._paths() if path.name == name), None)
            model, place = self._at(path) if path else None, f"{self._directory}/{name}"
        if model is None:
            raise PromotionError(f"There is no bundle at {place} that can be read.")
        return model

    def _configured(self) -> Model[T] | None:
        return self._at(self._bundle) if isinstance(self._bundle, Path) else self._bundle

    def _paths(self) -> list[Path]:
        """What may be a bundle in the directory, by name."""
        if self._directory is None or not self._directory.is_dir():
            return []
        return sorted(path for path in self._directory.iterdir() if NAME.fullmatch(path.name))

    def _at(self, path: Path) -> Model[T] | None:
        """The model at `path`, the same one while the bundle there is the same; None where there is no bundle."""
        config = path / CONFIG_FILE
        try:
            status = config.stat()
            stamp = status.st_ino, status.st_mtime_ns, status.st_size
            with self._lock:
                if path in self._models and self._models[path][0] == stamp:
                    return self._models[path][1]
            about = json.loads(config.read_bytes())
            own_name, created_at = str(about["name"]), int(about["created_at"])
        except (OSError, ValueError, TypeError, KeyError):
            return None
        model = Model(
            own_name if path == self._bundle else path.name, created_at, lambda: self._load(path), self._clock
        )
        with self._lock:
            known = self._models.get(path)
            if known is None or known[0] != stamp:  # unless another thread was faster
                known = self._models[path] = (stamp, model)
            return known[1]


def _load(model: Model[T]) -> None:
    try:
        model.ensure()
    except CepstraError as error:
        raise PromotionError(f"The model '{model.name}' could not be loaded: {error}") from error
