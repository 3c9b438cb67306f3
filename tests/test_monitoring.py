"""What Prometheus and Grafana are given under deploy/: every number that they ask for is one that the service exports.

`make prove-monitoring` asks a real Prometheus, beside a real server.
"""

import json
import re
from collections.abc import Iterator
from itertools import combinations
from pathlib import Path
from typing import Any

import promql_parser as promql
import pytest
import yaml
from fastapi.testclient import TestClient
from prometheus_client.parser import text_string_to_metric_families

from model.batching import Batch
from model.stages import stage
from model.transcript import Transcript
from service.app import create_app
from service.errors import TABLE
from service.settings import Settings
from tests.service.fakes import FakeTranscriber, wav
from tests.waiting import wait_until

ROOT = Path(__file__).resolve().parents[1]
PROMETHEUS = ROOT / "deploy" / "prometheus"
GRAFANA = ROOT / "deploy" / "grafana"
DASHBOARD = json.loads((GRAFANA / "dashboards" / "cepstra.json").read_text())
RULES = [rule for group in yaml.safe_load((PROMETHEUS / "alerts.yml").read_text())["groups"] for rule in group["rules"]]

OF_PROMETHEUS = {"job", "instance"}  # the labels that it gives to all it reads
SHOWN = {  # what the dashboard is for
    "cepstra_queue_age_seconds",
    "cepstra_real_time_factor_bucket",
    "cepstra_batch_rows_sum",
    "cepstra_rejections_total",
    "process_resident_memory_bytes",
    "cepstra_jobs",
    "cepstra_requests_total",
    "cepstra_request_seconds_bucket",
}

Exported = dict[str, list[dict[str, str]]]
"""Name of a number → the labels of each of its series."""


def panels() -> list[dict[str, Any]]:
    """All that show something; rows are headings."""
    return [panel for panel in DASHBOARD["panels"] if panel["type"] != "row"]


def expressions() -> Iterator[tuple[str, str]]:
    """Where from, and the expression as Prometheus gets it."""
    for rule in RULES:
        yield f"alert {rule['alert']}", rule["expr"]
    for panel in panels():
        for target in panel["targets"]:
            yield f"panel {panel['title']} {target['refId']}", target["expr"].replace("$__rate_interval", "1m")
    for annotation in DASHBOARD["annotations"]["list"]:
        yield f"annotation {annotation['name']}", annotation["expr"]


each_expression = pytest.mark.parametrize("expression", [pytest.param(expr, id=name) for name, expr in expressions()])


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Exported:
    """What /metrics says once everything that is counted has happened."""

    class Staged(FakeTranscriber):
        def transcribe(self, audio: Any, **options: Any) -> Transcript:
            with stage("search"):
                return super().transcribe(audio, **options)

    settings = Settings(remember_s=0, state_dir=tmp_path_factory.mktemp("state"))
    with TestClient(create_app(settings, Staged())) as client:
        wait_until(lambda: client.get("/readyz").status_code == 200)
        for content in (wav(2.0), b"no audio"):
            for path in ("/v1/audio/transcriptions", "/v1/jobs"):
                client.post(path, files={"file": ("a.wav", content)}, data={"model": "default"})
        client.app.state.telemetry.computed(  # type: ignore[attr-defined]  # it is our application
            Batch(rows=3, frames=900, padded_frames=1000, waited_s=0.2, took_s=0.5)
        )
        families = list(text_string_to_metric_families(client.get("/metrics").text))
    found: Exported = {"up": [{}]}  # Prometheus' own
    for family in families:
        for sample in family.samples:
            found.setdefault(sample.name, []).append(sample.labels)
    return found


@each_expression
def test_every_number_asked_for_is_exported(expression: str, exported: Exported) -> None:
    selectors, labels_grouped_by = read(expression)
    assert selectors
    known = set(OF_PROMETHEUS)
    for selector in selectors:
        assert selector.name in exported, f"the service exports no {selector.name}"
        series = exported[selector.name]
        known |= {label for labels in series for label in labels}
        for matcher in selector.matchers.matchers:
            if matcher.name in OF_PROMETHEUS:
                assert (matcher.name, matcher.value) == ("job", "cepstra")
                continue
            assert all(matcher.name in labels for labels in series), f"{selector.name} has no label {matcher.name}"
            if matcher.op == promql.MatchOp.Equal:
                assert matcher.value in {labels[matcher.name] for labels in series}
            if matcher.name == "reason":
                assert set(matcher.value.split("|")) <= {row.code for row in TABLE.values()}
            if matcher.name == "state":
                assert set(matcher.value.split("|")) <= {labels["state"] for labels in exported["cepstra_jobs"]}
    assert labels_grouped_by <= known


def test_the_dashboard_shows_what_it_is_for() -> None:
    asked = {name for panel in panels() for target in panel["targets"] for name in names(target["expr"])}
    assert asked >= SHOWN


def test_the_checker_sees_a_number_that_is_not_there(exported: Exported) -> None:
    for wrong in (
        "rate(cepstra_request_total[5m])",  # requests
        'cepstra_jobs{status="queued"}',  # state
        'cepstra_jobs{state="waiting"}',  # queued
        "sum by (path) (cepstra_queue_depth)",  # class
        'cepstra_rejections_total{reason=~"queue_full|no_room"}',  # no such code
    ):
        with pytest.raises(AssertionError):
            test_every_number_asked_for_is_exported(wrong, exported)


def test_panels_are_apart_and_read_from_the_data_source_that_is_provisioned() -> None:
    provisioned = yaml.safe_load((GRAFANA / "provisioning" / "datasources" / "prometheus.yaml").read_text())
    (source,) = provisioned["datasources"]
    reference = {"type": source["type"], "uid": source["uid"]}
    ids = [panel["id"] for panel in DASHBOARD["panels"]]
    assert len(set(ids)) == len(ids)
    for panel in panels():
        assert panel["title"] and panel["description"] and panel["targets"]
        assert panel["fieldConfig"]["defaults"]["unit"]
        assert len({target["refId"] for target in panel["targets"]}) == len(panel["targets"])
        assert all(queried["datasource"] == reference for queried in (panel, *panel["targets"]))
    assert all(annotation["datasource"] == reference for annotation in DASHBOARD["annotations"]["list"])
    for one, other in combinations([panel["gridPos"] for panel in DASHBOARD["panels"]], 2):
        beside = one["x"] + one["w"] <= other["x"] or other["x"] + other["w"] <= one["x"]
        assert beside or one["y"] + one["h"] <= other["y"] or other["y"] + other["h"] <= one["y"]
    assert all(panel["gridPos"]["x"] + panel["gridPos"]["w"] <= 24 for panel in DASHBOARD["panels"])


def test_every_alert_is_explained_and_shown_to_fire_and_to_be_silent() -> None:
    alerts = {rule["alert"] for rule in RULES}
    operations = (ROOT / "docs" / "operations.md").read_text()
    assert set(re.findall(r"^### (Cepstra\w+)$", operations, flags=re.MULTILINE)) == alerts
    for rule in RULES:
        assert rule["labels"]["severity"] in ("page", "ticket")
        assert rule["annotations"]["summary"]
        assert rule["annotations"]["runbook"] == f"docs/operations.md#{rule['alert'].lower()}"
    cases = [
        case
        for test in yaml.safe_load((PROMETHEUS / "alerts_test.yml").read_text())["tests"]
        for case in test["alert_rule_test"]
    ]
    assert {case["alertname"] for case in cases if case.get("exp_alerts")} == alerts
    assert {case["alertname"] for case in cases if not case.get("exp_alerts")} == alerts


def test_compose_mounts_what_prometheus_and_grafana_read() -> None:
    compose = yaml.safe_load((ROOT / "docker-compose.yml").read_text())
    services = compose["services"]
    for name in ("prometheus", "grafana"):
        assert services[name]["profiles"] == ["monitoring"]
        folders = [volume.split(":") for volume in services[name]["volumes"] if volume.startswith("./")]
        assert folders
        for folder, _, mode in folders:
            assert (ROOT / folder).is_dir()
            assert mode == "ro"
        assert all(re.match(r"\$\{CEPSTRA_\w+:-127\.0\.0\.1:", port) for port in services[name]["ports"])
    config = yaml.safe_load((PROMETHEUS / "prometheus.yml").read_text())
    assert config["rule_files"] == ["alerts.yml"]
    ours = next(scrape for scrape in config["scrape_configs"] if scrape["job_name"] == "cepstra")
    (found,) = ours["dns_sd_configs"]
    serving = {name for name, service in services.items() if "cepstra:" in service.get("image", "")}
    assert serving == {"cepstra", "api", "worker"} == set(found["names"])
    assert services["worker"]["environment"]["CEPSTRA_METRICS_PORT"] == found["port"]
    assert ours["authorization"]["credentials_file"] == "/run/secrets/metrics_key"
    assert services["prometheus"]["secrets"] == ["metrics_key"]
    provider = yaml.safe_load((GRAFANA / "provisioning" / "dashboards" / "cepstra.yaml").read_text())["providers"][0]
    assert f"./deploy/grafana/dashboards:{provider['options']['path']}:ro" in services["grafana"]["volumes"]


def read(expression: str) -> tuple[list[promql.VectorSelector], set[str]]:
    """The selectors of an expression, and the labels that it groups or joins by."""
    selectors: list[promql.VectorSelector] = []
    labels: set[str] = set()

    def visit(node: promql.Expr) -> None:
        if isinstance(node, promql.VectorSelector):
            selectors.append(node)
        elif isinstance(node, promql.AggregateExpr) and node.modifier:
            labels.update(node.modifier.labels)

    promql.walk(promql.parse(expression), visit)
    return selectors, labels


def names(expression: str) -> set[str]:
    """The numbers that it asks for."""
    return {str(selector.name) for selector in read(expression.replace("$__rate_interval", "1m"))[0]}
