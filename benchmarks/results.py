"""Where benchmarks write what they measured: a section of RESULTS.md each, with date, commit, machine and command."""

import os
import platform
import re
import sys
from datetime import UTC, datetime
from pathlib import Path

from model.house import processors
from training.commit import git_commit

RESULTS = Path(__file__).resolve().parent / "RESULTS.md"


def record(section: str, table: str, path: Path = RESULTS) -> None:
    """Put `table`, as it was printed, under the heading `section`, in the place of what stood there.

    Args:
        section: the heading.
        table: lines of text.
        path: the file; it has a heading of that name already, or gets one at its end.
    """
    load = f", load {os.getloadavg()[0]:.1f} at the end" if hasattr(os, "getloadavg") else ""
    where = f"{datetime.now(UTC):%Y-%m-%d}, commit `{git_commit()}`, {_processor()}, {processors()} processors{load}."
    body = f"\n{where}\n\n```sh\n{_command()}\n```\n\n```\n{table.rstrip()}\n```\n"
    text = path.read_text() if path.exists() else "# Results of the benchmarks\n"
    heading = f"## {section}\n"
    begin = text.find(heading)
    if begin < 0:
        path.write_text(f"{text.rstrip()}\n\n{heading}{body}")
        return
    begin += len(heading)
    end = text.find("\n## ", begin)
    path.write_text(text[:begin] + body + (text[end:] if end >= 0 else ""))


def _command() -> str:
    """The command line without what differs from machine to machine: folders of files."""
    module = sys.modules["__main__"].__spec__
    arguments = [argument for argument in sys.argv[1:] if argument != "--record"]
    return " ".join(["python -m", module.name if module else "", *(re.sub(r"^.*/", "", a) for a in arguments)])


def _processor() -> str:
    try:
        names = re.findall(r"^model name\s*: (.*)$", Path("/proc/cpuinfo").read_text(), re.MULTILINE)
    except OSError:
        names = []
    return str(names[0]) if names else platform.processor() or platform.machine()
