"""The rules of docs/architecture.md that a machine can hold: who may import whom, and what.

Imports are read with `ast`, so those inside functions and under `TYPE_CHECKING` count like all others.
"""

import ast
import importlib.metadata
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent

MAY_IMPORT: dict[str, set[str]] = {
    "features": set(),
    "model": {"features"},
    "training": {"features", "model"},
    "service": {"features", "model"},
}
OURS = {*MAY_IMPORT, "cli", "tests", "benchmarks"}


@pytest.mark.parametrize("room", MAY_IMPORT)
def test_a_room_imports_only_the_rooms_below_it(room: str) -> None:
    allowed = MAY_IMPORT[room] | {room}
    wrong = [
        f"{path.relative_to(ROOT)}:{line} imports {module}"
        for path in sources_of(room)
        for module, line in imports_of(path.read_text(), package_of(path))
        if module.split(".")[0] in OURS - allowed
    ]
    assert not wrong, f"{room} may import {sorted(allowed)}: {wrong}"


def test_no_circular_imports() -> None:
    assert find_circle(import_graph()) is None


@pytest.mark.parametrize(
    ("room", "extras"),
    [("features", []), ("model", ["onnx"]), ("service", ["microphone", "otel"]), ("training", ["train"])],
)
def test_a_room_imports_only_what_is_installed_for_it(room: str, extras: list[str]) -> None:
    """The container installs no extra, and who trains does not need the tests' tools.

    That both work without their extras is shown in tests/model/test_runtime.py and tests/service/test_telemetry.py.
    """
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    requirements = sum((project["optional-dependencies"][extra] for extra in extras), project["dependencies"])
    declared = {normalized(requirement) for requirement in requirements}
    providers = importlib.metadata.packages_distributions()
    wrong = [
        f"{path.relative_to(ROOT)}:{line} imports {module}"
        for path in sources_of(room)
        for module, line in imports_of(path.read_text(), package_of(path))
        if (top := module.split(".")[0]) not in OURS | sys.stdlib_module_names
        and declared.isdisjoint(normalized(name) for name in providers.get(top, []))
    ]
    assert not wrong, f"not declared in pyproject.toml: {wrong}"


def test_the_command_line_starts_without_torch() -> None:
    """`cepstra --help` answers at once: cli.py imports the rooms only inside its commands."""
    heavy = "torch", "torchaudio", "fastapi", "lightning", "service.app", "training.trainer"
    probe = f"import cli, sys; print([name for name in {heavy!r} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", probe], cwd=ROOT, capture_output=True, text=True)
    assert (done.returncode, done.stdout.strip()) == (0, "[]"), done.stderr


def test_silenced_checks_say_why() -> None:
    """`# noqa: CODE` and `# type: ignore[code]` need a reason after them."""
    bare = re.compile(r"#\s*(?:noqa(?::\s*[A-Z]+\d+(?:,\s*[A-Z]+\d+)*)?|type:\s*ignore(?:\[[\w, -]+\])?)\s*$")
    wrong = [
        f"{path.relative_to(ROOT)}:{number}"
        for path in all_sources()
        for number, line in enumerate(path.read_text().splitlines(), start=1)
        if bare.search(line)
    ]
    assert not wrong


def test_the_checker_sees_every_form_of_import() -> None:
    source = """
import service.app as a, json
from model import checkpoint
from . import sibling
from .deeper import thing
if TYPE_CHECKING:
    from training.recipe import Recipe
def late():
    import cli
"""
    assert {module for module, _ in imports_of(source, "service.routes")} == {
        "service.app",
        "json",
        "model.checkpoint",
        "service.routes.sibling",
        "service.routes.deeper.thing",
        "training.recipe.Recipe",
        "cli",
    }


def test_the_checker_finds_a_circle() -> None:
    assert find_circle({"a": {"b"}, "b": {"c"}, "c": set()}) is None
    assert find_circle({"a": {"b"}, "b": {"c"}, "c": {"b"}}) == ["b", "c", "b"]


def sources_of(room: str) -> list[Path]:
    """All Python files of a room; a room without any is a mistake of this test."""
    files = sorted((ROOT / room).rglob("*.py"))
    assert files, f"no Python files in {room}/"
    return files


def all_sources() -> Iterator[Path]:
    for room in sorted(OURS - {"cli"}):
        yield from sorted((ROOT / room).rglob("*.py"))
    yield ROOT / "cli.py"


def package_of(path: Path) -> str:
    return ".".join(path.relative_to(ROOT).parent.parts)


def imports_of(source: str, package: str) -> Iterator[tuple[str, int]]:
    """Dotted names that a file imports, with their lines; `from a import b` gives `a.b`."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from ((alias.name, node.lineno) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = package.split(".")[: len(package.split(".")) - node.level + 1] if node.level else []
            prefix = ".".join([*base, *([node.module] if node.module else [])])
            yield from ((f"{prefix}.{alias.name}", node.lineno) for alias in node.names)


def import_graph() -> dict[str, set[str]]:
    """Module → the modules of ours that it imports; a package's `__init__` bears the package's name."""
    modules = {
        ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"): path
        for path in [ROOT / "cli.py", *(path for room in MAY_IMPORT for path in sources_of(room))]
    }

    def known(name: str) -> str | None:
        """`model.checkpoint.load_bundle` is a name in the module `model.checkpoint`."""
        while name and name not in modules:
            name = name.rpartition(".")[0]
        return name or None

    return {
        module: {
            target
            for name, _ in imports_of(path.read_text(), package_of(path))
            if (target := known(name)) and target != module
        }
        for module, path in modules.items()
    }


def find_circle(graph: dict[str, set[str]]) -> list[str] | None:
    """The first chain of imports that comes back to where it began, or None."""
    finished: set[str] = set()

    def walk(module: str, chain: list[str]) -> list[str] | None:
        if module in chain:
            return [*chain[chain.index(module) :], module]
        if module in finished:
            return None
        for target in sorted(graph[module]):
            if circle := walk(target, [*chain, module]):
                return circle
        finished.add(module)
        return None

    return next((circle for module in sorted(graph) if (circle := walk(module, []))), None)


def normalized(requirement: str) -> str:
    """The distribution's name alone, as PEP 503 compares it: `ray[serve]>=2.50` gives `ray`."""
    name = re.match(r"[\w.-]+", requirement)
    assert name, requirement
    return re.sub(r"[-_.]+", "-", name[0]).lower()
