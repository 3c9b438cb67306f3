"""scripts/setup decides which torch is installed; here pip and the GPU are stand-ins that note what they are asked."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent

# Plays the interpreter: makes an environment that holds itself, and refuses the pip calls that match $REFUSED.
PYTHON = """#!/usr/bin/env bash
case "$*" in
  "-m venv "*) mkdir -p "${@: -1}/bin" && cp "$0" "${@: -1}/bin/python" ;;
  "-m pip "*) echo "${*:5}" >>"$PIP_CALLS"; ! [[ "$*" =~ ${REFUSED:-nothing} ]] ;;
  *version_info*) exit "${TOO_OLD:-0}" ;;
esac
"""
LOCAL, CPU_INDEX = "--no-index", "https://download.pytorch.org/whl/cpu"


class Setup:
    """A copy of what scripts/setup reads, with stand-ins for Python and nvidia-smi before all else on PATH."""

    def __init__(self, folder: Path) -> None:
        self.root, self.tools, self.calls = folder / "checkout", folder / "tools", folder / "pip-calls"
        (self.root / "scripts").mkdir(parents=True)
        for name in ("scripts/setup", "pyproject.toml", "constraints.txt"):
            shutil.copy(ROOT / name, self.root / name)
        self.tool("python3", PYTHON)
        self.tool("nvidia-smi", "#!/bin/sh\nexit 9\n")

    def tool(self, name: str, script: str) -> None:
        self.tools.mkdir(exist_ok=True)
        (self.tools / name).write_text(script)
        (self.tools / name).chmod(0o755)

    def run(self, *extras: str, **environment: str) -> subprocess.CompletedProcess[str]:
        """Run it and leave the pip calls of this run alone in `self.calls`."""
        self.calls.write_text("")
        variables = {"PATH": f"{self.tools}:{os.defpath}", "PIP_CALLS": str(self.calls), **environment}
        command = [str(self.root / "scripts/setup"), *extras]
        return subprocess.run(command, env=variables, capture_output=True, text=True)

    def pip_calls(self) -> list[str]:
        return self.calls.read_text().splitlines()


@pytest.fixture
def setup(tmp_path: Path) -> Setup:
    return Setup(tmp_path)


def test_a_cpu_wheel_offered_locally_is_taken_and_nothing_else_is_asked(setup: Setup) -> None:
    assert setup.run().returncode == 0
    torch, cepstra = setup.pip_calls()
    assert LOCAL in torch and "--no-deps" in torch and torch.endswith("+cpu")
    assert cepstra.endswith("-c constraints.txt -e .")


def test_next_comes_pytorchs_cpu_index_and_it_may_not_hold_up_the_set_up(setup: Setup) -> None:
    assert setup.run(REFUSED=LOCAL).returncode == 0
    torch = setup.pip_calls()[1]
    assert f"--index-url {CPU_INDEX}" in torch and torch.endswith("+cpu")
    assert "--no-deps" in torch and "--retries 0" in torch and "--timeout" in torch


def test_what_pip_finds_comes_last_and_with_a_warning(setup: Setup) -> None:
    done = setup.run(REFUSED=rf"{LOCAL}|{CPU_INDEX}")
    assert done.returncode == 0
    assert setup.pip_calls()[2] == "install -c constraints.txt torch"
    assert "several GB" in done.stderr


def test_a_gpu_gets_the_plain_build(setup: Setup) -> None:
    setup.tool("nvidia-smi", "#!/bin/sh\necho 'GPU 0: NVIDIA H200'\n")
    assert setup.run().returncode == 0
    assert setup.pip_calls()[0] == "install -c constraints.txt torch"


def test_the_build_can_be_forced(setup: Setup) -> None:
    setup.tool("nvidia-smi", "#!/bin/sh\necho 'GPU 0: NVIDIA H200'\n")
    assert setup.run(CEPSTRA_TORCH="cpu").returncode == 0
    assert LOCAL in setup.pip_calls()[0]
    refused = setup.run(CEPSTRA_TORCH="gpu")
    assert refused.returncode == 1
    assert "'gpu'" in refused.stderr


def test_a_second_run_asks_nothing_and_extras_add_up(setup: Setup) -> None:
    setup.run("train", "dev")
    for fewer in ([], ["dev"], ["dev", "train"]):
        assert setup.run(*fewer).returncode == 0
        assert setup.pip_calls() == []
    setup.run("cluster")
    assert setup.pip_calls()[-1].endswith("-e .[cluster,dev,train]")


def test_a_changed_pin_installs_again(setup: Setup) -> None:
    setup.run()
    with (setup.root / "constraints.txt").open("a") as constraints:
        constraints.write("another==1.0\n")
    setup.run()
    assert len(setup.pip_calls()) == 2


def test_a_failed_installation_is_not_taken_for_done(setup: Setup) -> None:
    assert setup.run(REFUSED="-e [.]").returncode != 0
    setup.run()
    assert len(setup.pip_calls()) == 2


def test_an_old_python_is_named(setup: Setup) -> None:
    refused = setup.run(TOO_OLD="1", PYTHON="python3")
    assert refused.returncode == 1
    assert "3.11 or newer; tried: python3" in refused.stderr
    assert setup.pip_calls() == []
