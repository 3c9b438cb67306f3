"""Which model was made the default, and which were before: one file under CEPSTRA_STATE_DIR.

`cepstra models` and the admin routes write it; every server that shares the folder follows it, without a restart.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, ValidationError

from service.errors import PromotionError
from service.state import locked, newer_format, replace_file

FILE = "models.json"
LOCK_FILE = "models.lock"
MOST_REMEMBERED = 20


class _Contents(BaseModel):
    """Names of bundles, the default last; None is the bundle that the settings name."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    format_version: Literal[1] = 1
    defaults: tuple[str | None, ...] = (None,)


class Promotions:
    """`models.json` in a state directory. Every method raises PromotionError where it cannot be read or written."""

    def __init__(self, state_dir: Path) -> None:
        self._path = state_dir / FILE

    def current(self) -> str | None:
        """The name of the default; None where it is the bundle of the settings."""
        return self._read()[-1]

    def before(self) -> str | None:
        """The default before the current one; raises PromotionError where there was none."""
        defaults = self._read()
        if len(defaults) < 2:
            raise PromotionError("No model was promoted before, so there is none to go back to.")
        return defaults[-2]

    def promote(self, name: str | None) -> None:
        """Make `name` the default."""
        with self._changing():
            defaults = self._read()
            if name != defaults[-1]:
                self._write((*defaults, name)[-MOST_REMEMBERED:])

    def rollback(self) -> None:
        """Make the one before the default again; a second time goes back one more."""
        with self._changing():
            self.before()
            self._write(self._read()[:-1])

    def _read(self) -> tuple[str | None, ...]:
        try:
            content = self._path.read_bytes()
            contents = _Contents.model_validate_json(content)
        except (FileNotFoundError, NotADirectoryError):
            contents = _Contents()
        except OSError as error:
            raise PromotionError(f"{self._path} cannot be read: {error.strerror}") from error
        except ValidationError as error:
            if version := newer_format(content, known=1):
                raise PromotionError(
                    f"{self._path} has format {version}, and this Cepstra reads format 1: a newer one wrote it"
                ) from None
            raise PromotionError(f"{self._path} is damaged: {error.errors()[0]['msg']}") from None
        return contents.defaults or (None,)

    def _write(self, defaults: tuple[str | None, ...]) -> None:
        replace_file(self._path, _Contents(defaults=defaults).model_dump_json(indent=2).encode() + b"\n")

    @contextmanager
    def _changing(self) -> Iterator[None]:
        try:
            with locked(self._path.with_name(LOCK_FILE)):
                yield
        except OSError as error:
            raise PromotionError(f"{self._path} cannot be written: {error.strerror}") from error
