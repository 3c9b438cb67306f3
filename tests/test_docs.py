"""What README and docs/ tell a reader to type, open or follow has to be there."""

import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer

import cli

ROOT = Path(__file__).resolve().parent.parent
DOCUMENTS = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
PLACES = "features|model|training|service|tests|benchmarks|docs|scripts|bundles|deploy|\\.ci"

each_document = pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))


@each_document
def test_make_targets_exist(document: Path) -> None:
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), flags=re.MULTILINE))
    targets |= {proof.name for proof in (ROOT / "scripts").glob("prove-*")} | {"prove-NAME"}
    mentioned = {word for line in code_of(document) for word in re.findall(r"\bmake ([a-z][\w-]*)", line)}
    assert not mentioned - targets


@each_document
def test_cepstra_commands_parse(document: Path) -> None:
    cepstra = typer.main.get_command(cli.app)
    wrong = [f"{line!r}: {problem}" for line in code_of(document) for problem in problems_of_line(line, cepstra)]
    assert not wrong


@each_document
def test_relative_links_resolve(document: Path) -> None:
    links = re.findall(r"\]\(([^)#\s]+)", document.read_text())
    missing = [link for link in links if "://" not in link and not (document.parent / link).exists()]
    assert not missing


@each_document
def test_files_mentioned_exist(document: Path) -> None:
    """Only places of this repository are looked at; a name in capitals stands for one of the reader's own."""
    paths = {
        path.rstrip(".")
        for line in code_of(document)
        for path in re.findall(rf"(?<![\w./-])(?:{PLACES})/[\w./*-]*", line)
        if not re.search(r"[A-Z]{3}", path.replace("README", ""))
    }
    assert not [path for path in sorted(paths) if not any(ROOT.glob(path))]


def test_the_checker_of_commands_sees_what_is_wrong() -> None:
    app = typer.Typer()

    @app.command()
    def serve(port: int = 8000, format: str = "text") -> None: ...

    @app.command()
    def evaluate() -> None: ...

    def problems(line: str) -> list[str]:
        return list(problems_of_line(line, typer.main.get_command(app)))

    assert not problems("$ cepstra serve --port 1 --format=json FILE | grep -v x")
    assert not problems("cepstra serve [--format text|json]  # comment --nothing")
    assert not problems("a sentence about cepstra-base --and this")
    assert not problems("docker-compose exec -T cepstra cepstra serve --port 1 > cepstra.log")
    assert not problems("docker-compose exec database psql -U cepstra --nothing")
    assert problems("docker-compose run --rm -T api cepstra serve --prot 1") == ["no option '--prot'"]
    assert problems("cepstra server") == ["no command 'server'"]
    assert problems("cat x | cepstra serve --prot 1") == ["no option '--prot'"]


def code_of(document: Path) -> list[str]:
    """Every line of fenced code, continued lines joined, and every `span` of code."""
    block = re.compile(r"^```[^\n]*\n(.*?)^```", flags=re.DOTALL | re.MULTILINE)
    text = document.read_text()
    lines = [line for code in block.findall(text) for line in code.replace("\\\n", " ").splitlines()]
    return lines + re.findall(r"`([^`\n]+)`", block.sub("", text))


def problems_of_line(line: str, tool: Any) -> Iterator[str]:
    """What is wrong with each call of `cepstra` in a shell line or a synopsis."""
    line = without_compose(line)
    for call in re.findall(r"(?:^|[|;&$(]|\s)\s*cepstra(\s[^;&>#]*|$)", line):
        words = re.sub(r"[\[\]…]", " ", re.sub(r"\s\|\s.*", "", call))
        yield from problems_of_words(shlex.split(words), tool)


def without_compose(line: str) -> str:
    """What docker-compose is to run in a container, where it is `cepstra`: services bear that name too."""
    if not re.match(r"\s*docker[- ]compose\s", line):
        return line
    called = re.search(r"\s(?:exec|run)\s+(?:-\S+\s+)*\S+\s+(cepstra\s.*)", line)
    return called[1] if called else ""


def problems_of_words(words: list[str], command: Any) -> Iterator[str]:
    """`command` is what typer makes of a function: click's objects, of a copy that typer keeps to itself."""
    while words and re.match(r"[a-z]", words[0]) and (commands := getattr(command, "commands", None)):
        name, *words = words
        if name not in commands:
            yield f"no command {name!r}"
            return
        command = commands[name]
    known = {"--help", *(name for param in command.params for name in [*param.opts, *param.secondary_opts])}
    for word in words:
        flag = word.partition("=")[0]
        if re.match(r"--?[a-z]", flag) and flag not in known:
            yield f"no option {flag!r}"
