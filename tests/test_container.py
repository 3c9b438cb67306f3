"""What the container promises, without a Docker daemon. `make prove-container` builds and runs it."""

import json
import os
import re
import shutil
import socket
import subprocess
import sys
import time
import tomllib
from pathlib import Path
from typing import Any

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


# Where things are inside a container is the image's own to say; the password is mounted where there is a database.
OF_THE_IMAGE = {"bundle", "models_dir", "state_dir", "host", "port"}
OF_THE_SECRETS = {"database_password_file"}
OF_WORKERS = {"metrics_port"}  # servers have their numbers at their own port
OF_TRACES = {"OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_HEADERS", "OTEL_SERVICE_NAME"}
OURS = ("cepstra", "api", "worker")


@pytest.fixture(scope="module")
def compose() -> dict[str, Any]:
    document: dict[str, Any] = yaml.safe_load((ROOT / "docker-compose.yml").read_text())
    return document


def profiles_of(compose: dict[str, Any]) -> set[str]:
    return {profile for service in compose["services"].values() for profile in service.get("profiles", ())}


def test_compose_starts_one_service_alone_unless_more_is_asked_for(compose: dict[str, Any]) -> None:
    assert [name for name, service in compose["services"].items() if not service.get("profiles")] == ["cepstra"]
    jobs = {name for name, service in compose["services"].items() if "jobs" in service.get("profiles", ())}
    assert jobs >= {"api", "worker", "proxy", "database"}
    for name, service in compose["services"].items():  # whom it needs is started by one of its own profiles
        for needed in service.get("depends_on", ()):
            others = compose["services"][needed].get("profiles")
            assert not others or set(service.get("profiles", ())) <= set(others), (name, needed)


def test_compose_gives_no_container_more_than_it_needs(compose: dict[str, Any]) -> None:
    for name, service in compose["services"].items():
        assert service["cap_drop"] == ["ALL"], name
        assert service["security_opt"] == ["no-new-privileges:true"], name
        assert {"mem_limit", "restart"} <= service.keys(), name
        if name in (*OURS, "proxy", "database"):
            assert service["read_only"] is True, name
            assert {"cpus", "logging"} <= service.keys(), name
        assert not {"privileged", "cap_add", "network_mode", "pid", "devices"} & service.keys(), name
        # Nothing is published but to this machine, unless somebody sets another address.
        assert all(port.startswith("${") and ":-127.0.0.1:" in port for port in service.get("ports", ())), name


def test_what_is_kept_lies_in_named_volumes(compose: dict[str, Any]) -> None:
    services = compose["services"]
    assert services["cepstra"]["volumes"] == ["state:/state", "models:/models:ro"]
    assert services["api"]["volumes"] == services["worker"]["volumes"] == ["jobs-state:/state", "models:/models:ro"]
    assert services["database"]["volumes"] == ["database:/var/lib/postgresql/data"]
    assert {"state", "models", "jobs-state", "database"} <= compose["volumes"].keys()


def test_compose_passes_on_every_setting_that_is_not_the_image_s_own(compose: dict[str, Any]) -> None:
    every = {f"CEPSTRA_{name.upper()}" for name in Settings.model_fields if name not in OF_THE_IMAGE}
    secret, of_workers = ({f"CEPSTRA_{name.upper()}" for name in names} for names in (OF_THE_SECRETS, OF_WORKERS))
    without = {"cepstra": secret | of_workers, "api": of_workers, "worker": set()}
    for name in OURS:
        service = compose["services"][name]
        assert service["environment"].keys() == (every - without[name]) | OF_TRACES, name
        assert int(service["stop_grace_period"].removesuffix("s")) > Settings.model_fields["shutdown_s"].default
    proxy = compose["services"]["proxy"]["environment"]
    default = Settings.model_fields["max_upload_bytes"].default
    assert proxy == {"CEPSTRA_MAX_UPLOAD_BYTES": f"${{CEPSTRA_MAX_UPLOAD_BYTES:-{default}}}"}


def test_no_secret_stands_in_the_environment(compose: dict[str, Any]) -> None:
    for name in (*OURS, "proxy", "database"):
        for variable, value in compose["services"][name]["environment"].items():
            assert "PASSWORD" not in variable or variable.endswith("_FILE"), (name, variable)
            assert "_FILE" not in variable or value is None or value.startswith("/run/secrets/"), (name, variable)
    assert all(set(secret) == {"file"} for secret in compose["secrets"].values())


def test_every_secret_that_a_container_is_told_of_is_mounted(compose: dict[str, Any]) -> None:
    told = set()
    for name in (*OURS, "database"):
        service = compose["services"][name]
        paths = {value for value in service["environment"].values() if str(value).startswith("/run/secrets/")}
        assert paths == {f"/run/secrets/{secret}" for secret in service["secrets"]}, name
        told |= paths
    assert told == {"/run/secrets/database_password", "/run/secrets/webhook_secret"}
    for secret in compose["secrets"].values():  # Compose wants a file for each, also in a fresh clone
        default = re.fullmatch(r"\$\{CEPSTRA_\w+_FILE:-\./(.*)\}", secret["file"])
        assert default
        assert (ROOT / default[1]).is_file()


def test_compose_s_own_variables_are_documented_with_their_defaults(compose: dict[str, Any]) -> None:
    text = (ROOT / "docker-compose.yml").read_text()
    settings = {f"CEPSTRA_{name.upper()}" for name in Settings.model_fields} - {
        "CEPSTRA_DATABASE_PASSWORD_FILE",
        "CEPSTRA_WEBHOOK_SECRET_FILE",
    }
    found = dict(re.findall(r"\$\{(CEPSTRA_\w+):-([^}]*)\}", text))
    documents = "".join(path.read_text() for path in (ROOT / "docs").glob("*.md"))
    rows = dict(re.findall(r"^\| `(CEPSTRA_\w+)` \| `([^`]*)` \|", documents, flags=re.MULTILINE))
    assert {name: rows.get(name) for name in found.keys() - settings} == {
        name: value for name, value in found.items() if name not in settings
    }


@pytest.mark.skipif(not shutil.which("docker-compose"), reason="docker-compose is not installed")
@pytest.mark.parametrize("which", ["none", "each", "all"])
def test_docker_compose_takes_every_profile(which: str, compose: dict[str, Any], tmp_path: Path) -> None:
    profiles = sorted(profiles_of(compose))
    choices: dict[str, list[list[str]]] = {"none": [[]], "each": [[name] for name in profiles], "all": [profiles]}
    for chosen in choices[which]:
        command = ["docker-compose", *(f"--profile={name}" for name in chosen), "config", "--quiet"]
        environment = {"PATH": os.environ["PATH"], "HOME": str(tmp_path)}
        done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        assert not done.stderr, done.stderr  # a fresh clone is warned of nothing


def test_the_image_says_which_version_it_is() -> None:
    version = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    dockerfile = (ROOT / "Dockerfile").read_text()
    assert f'org.opencontainers.image.version="{version}"' in dockerfile
    assert f":-cepstra:{version}}}" in (ROOT / "docker-compose.yml").read_text()


def test_the_dockerfile_is_plain_enough_for_the_classic_builder() -> None:
    dockerfile = (ROOT / "Dockerfile").read_text()
    assert not re.search(r"^#\s*syntax=|--mount=|--chmod|--link|<<", dockerfile, flags=re.MULTILINE)
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    installed = re.search(r'^ARG EXTRAS="(.*)"$', dockerfile, flags=re.MULTILINE)
    assert installed
    assert set(installed[1].split()) == {"onnx", "postgresql", "otel"} <= extras.keys()


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
