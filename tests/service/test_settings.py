"""Three lists of the same settings: the class, `cepstra serve --help`, docs/settings.md."""

import inspect
import re
from pathlib import Path
from typing import Annotated, get_args, get_origin, get_type_hints

import pydantic
import pytest
from typer.testing import CliRunner

import cli
from model.shipped import SHIPPED_BUNDLE
from service.serve_commands import serve
from service.settings import Settings
from service.state import STATE_DIR

ROOT = Path(__file__).resolve().parents[2]
DOCUMENT = ROOT / "docs" / "settings.md"


def test_the_document_has_the_same_table() -> None:
    rows = re.findall(r"^\| `(CEPSTRA_\w+)` \| (.+?) \| (.+?) \|$", DOCUMENT.read_text(), flags=re.MULTILINE)
    assert rows == [
        (f"CEPSTRA_{name.upper()}", shown(name, field.default), field.description)
        for name, field in Settings.model_fields.items()
    ]


def test_the_command_has_the_same_options() -> None:
    options = {}
    for name, hint in get_type_hints(serve, include_extras=True).items():
        if get_origin(hint) is Annotated:
            type_, option = get_args(hint)
            options[name] = (option.envvar, inspect.signature(serve).parameters[name].default, option.help, type_)
    assert options == {
        name: (f"CEPSTRA_{name.upper()}", field.default, field.description, field.annotation)
        for name, field in Settings.model_fields.items()
    }


def test_help_shows_every_variable() -> None:
    result = CliRunner().invoke(cli.app, ["serve", "--help"], env={"COLUMNS": "200", "TERM": "dumb"})
    assert result.exit_code == 0
    missing = [name for name in Settings.model_fields if f"CEPSTRA_{name.upper()}" not in result.stdout]
    assert not missing


def test_no_variable_is_named_that_there_is_not() -> None:
    """In messages, the container and the documents: a name that nothing reads would be a promise nobody keeps."""
    settings = {f"CEPSTRA_{name.upper()}" for name in Settings.model_fields}
    places = [*(ROOT / "service").rglob("*.py"), *(ROOT / "docs").glob("*.md")]
    places += [ROOT / name for name in ("cli.py", "Dockerfile", "docker-compose.yml", "README.md")]
    elsewhere = [path for folder in ("scripts", "tests", "benchmarks") for path in (ROOT / folder).rglob("*")]
    others = variables([path for path in elsewhere if path.is_file() and path.suffix in ("", ".py")])
    named = variables(places)
    compose = (ROOT / "docker-compose.yml").read_text()
    of_compose = set(re.findall(r"\$\{(CEPSTRA_[A-Z_]+)", compose))
    assert named - others - of_compose <= settings
    assert named >= settings


def variables(places: list[Path]) -> set[str]:
    """Whole names in these files; not `CEPSTRA_DECODER_…`, which stands for several."""
    return {
        name
        for path in places
        for name in re.findall(r"CEPSTRA_[A-Z_]*[A-Z](?![A-Z]*_)", path.read_text(errors="replace"))
    }


def test_the_environment_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CEPSTRA_PORT", "1234")
    monkeypatch.setenv("CEPSTRA_BUNDLE", "/somewhere/else")
    assert Settings().port == 1234
    assert Settings().bundle == Path("/somewhere/else")
    assert Settings(port=5678).port == 5678


def test_an_empty_variable_is_as_none(monkeypatch: pytest.MonkeyPatch) -> None:
    """Compose hands on what stands in `.env` without a value; a worker is to take it as a server does."""
    for name in Settings.model_fields:
        monkeypatch.delenv(f"CEPSTRA_{name.upper()}", raising=False)
    unset = Settings()
    for name in Settings.model_fields:
        monkeypatch.setenv(f"CEPSTRA_{name.upper()}", "")
    assert Settings() == unset


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("port", 65536),
        ("port", -1),
        ("workers", 0),
        ("max_waiting", -1),
        ("max_audio_s", float("nan")),
        ("threads", 0),
        ("decoder_cpu_s", 10**20),  # more than the system can be told
        ("decoder_memory_bytes", 10**20),
    ],
)
def test_values_out_of_range(name: str, value: float) -> None:
    with pytest.raises(pydantic.ValidationError):
        Settings.model_validate({name: value})


def test_a_worker_is_told_of_values_as_they_are(monkeypatch: pytest.MonkeyPatch) -> None:
    """Not in lower case: names and patterns would be others."""
    monkeypatch.setenv("CEPSTRA_ALLOWED_ORIGINS", "Example.org")
    result = CliRunner().invoke(cli.app, ["work"])
    assert result.exit_code == 2
    assert "CEPSTRA_ALLOWED_ORIGINS is 'Example.org': 'Example.org' is not an origin" in result.stderr


def shown(name: str, default: object) -> str:
    if name == "bundle":
        assert default == SHIPPED_BUNDLE
        return "`bundles/cepstra-base` beside `cli.py`"
    if name == "state_dir":
        assert default == STATE_DIR
        return "`~/.local/state/cepstra`"
    if default == "":
        return "empty"
    return "unset" if default is None else f"`{default}`"
