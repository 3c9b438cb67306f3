"""What the container promises, without a Docker daemon. `make prove-container` builds and runs it."""

import json
import re
import shutil
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest
import yaml

from service.settings import Settings

ROOT = Path(__file__).resolve().parent.parent
START_LIMIT_S = 120

# The checkout is installed here too, and must not lend a file that the image lacks.
START = """
import sys
sys.meta_path[:] = [finder for finder in sys.meta_path if "editable" not in repr(finder).lower()]
import cli
cli.main()
"""


def test_compose_gives_the_service_no_more_than_it_needs() -> None:
    service = yaml.safe_load((ROOT / "docker-compose.yml").read_text())["services"]["cepstra"]
    assert service["read_only"] is True
    assert service["tmpfs"] == ["/tmp"]
    assert service["volumes"] == ["state:/state", "models:/models:ro"]
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert service["ports"] == ["${CEPSTRA_PUBLISH:-127.0.0.1:8000}:8000"]
    assert "privileged" not in service


def test_compose_passes_on_every_setting_that_is_not_the_image_s_own() -> None:
    service = yaml.safe_load((ROOT / "docker-compose.yml").read_text())["services"]["cepstra"]
    own = {"bundle", "models_dir", "state_dir", "host", "port"}
    assert {line.partition("=")[0] for line in service["environment"]} == {
        f"CEPSTRA_{name.upper()}" for name in Settings.model_fields if name not in own
    }
    assert int(service["stop_grace_period"].removesuffix("s")) > Settings.model_fields["shutdown_s"].default


def test_the_image_runs_as_an_ordinary_user() -> None:
    lines = (ROOT / "Dockerfile").read_text().splitlines()
    last_stage = lines[max(i for i, line in enumerate(lines) if line.startswith("FROM ")) :]
    assert [line for line in last_stage if line.startswith("USER ")] == ["USER cepstra"]


def test_what_enters_the_image_is_enough_to_be_healthy(image_tree: Path, free_port: int) -> None:
    """The server starts from the files that .dockerignore lets through, and the Dockerfile's own check passes."""
    command = [sys.executable, "-c", START, "serve", "--port", str(free_port)]
    environment = {"PYTHONPATH": str(image_tree), "PATH": "/nowhere", "HOME": "/nowhere"}
    server = subprocess.Popen(command, cwd=image_tree, env=environment, stderr=subprocess.PIPE, text=True)
    try:
        deadline = time.monotonic() + START_LIMIT_S
        while subprocess.run(health_check(free_port), capture_output=True).returncode:
            assert server.poll() is None, server.communicate()[1]
            assert time.monotonic() < deadline, f"not healthy after {START_LIMIT_S} s"
            time.sleep(0.2)
    finally:
        server.terminate()
        server.communicate(timeout=60)


def test_the_health_check_fails_where_nothing_listens(free_port: int) -> None:
    assert subprocess.run(health_check(free_port), capture_output=True).returncode != 0


@pytest.fixture
def image_tree(tmp_path: Path) -> Path:
    """The build context as .dockerignore leaves it: everything is left out but the lines that begin with `!`."""
    lines = (ROOT / ".dockerignore").read_text().splitlines()
    assert "*" in lines
    for name in [line[1:] for line in lines if line.startswith("!")]:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        if (ROOT / name).is_dir():
            shutil.copytree(ROOT / name, tmp_path / name, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(ROOT / name, tmp_path / name)
    return tmp_path


@pytest.fixture
def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    return int(port)


def health_check(port: int) -> list[str]:
    """The command after HEALTHCHECK, with this interpreter and this port."""
    found = re.search(r"^HEALTHCHECK[^\[]*CMD (\[.*\])$", (ROOT / "Dockerfile").read_text(), flags=re.MULTILINE)
    assert found
    python, *arguments = json.loads(found[1])
    assert python == "python"
    return [sys.executable, *(argument.replace(":8000/", f":{port}/") for argument in arguments)]
