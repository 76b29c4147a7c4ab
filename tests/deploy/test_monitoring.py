"""The files of deploy/monitoring, checked by Prometheus' own tools."""

import json
import shutil
import subprocess
from pathlib import Path

import pytest
import yaml

from deploy.monitoring import dashboard, reference
from deploy.monitoring.panels import ROWS
from service.metrics import Metrics, Registry

FOLDER = Path(dashboard.__file__).parent

needs_promtool = pytest.mark.skipif(
    shutil.which("promtool") is None, reason="needs promtool (Debian: prometheus)"
)


@needs_promtool
@pytest.mark.parametrize(
    "arguments",
    [
        ("check", "config", "prometheus.yml"),
        ("check", "rules", "alerts.yml"),
        ("test", "rules", "alerts_test.yml"),
    ],
)
def test_promtool_accepts(arguments: tuple[str, ...]) -> None:
    checked = subprocess.run(
        ["promtool", *arguments], cwd=FOLDER, capture_output=True, text=True, check=False
    )
    assert checked.returncode == 0, checked.stdout + checked.stderr


def test_every_alert_has_a_test() -> None:
    rules = yaml.safe_load((FOLDER / "alerts.yml").read_text())["groups"][0]["rules"]
    tests = yaml.safe_load((FOLDER / "alerts_test.yml").read_text())["tests"]
    fired = {each["alertname"] for test in tests for each in test["alert_rule_test"] if each["exp_alerts"]}
    assert {rule["alert"] for rule in rules} == fired


def test_the_dashboard_is_made_from_the_panels() -> None:
    assert dashboard.FILE.read_text() == dashboard.render(), "run: python -m deploy.monitoring.dashboard"
    identifiers = [panel["id"] for panel in json.loads(dashboard.render())["panels"]]
    assert len(set(identifiers)) == len(identifiers)
    source = yaml.safe_load((FOLDER / "grafana/provisioning/datasources/prometheus.yml").read_text())
    assert source["datasources"][0]["uid"] == dashboard.SOURCE["uid"]


def test_alerts_and_panels_use_metrics_that_exist() -> None:
    described = Metrics(Registry()).registry.described
    suffixes = {"counter": ["_total"], "gauge": [""], "histogram": ["_bucket", "_sum", "_count"]}
    names = {each.name + suffix for each in described for suffix in suffixes[each.kind]}
    used = [query.expression for row in ROWS for panel in row.panels for query in panel.queries]
    rules = yaml.safe_load((FOLDER / "alerts.yml").read_text())["groups"][0]["rules"]
    used += [rule["expr"] for rule in rules]
    for expression in used:
        for word in (
            expression.replace("(", " ").replace(")", " ").replace("{", " ").replace("[", " ").split()
        ):
            if word.startswith(("cellgate_", "process_")):
                assert word in names, expression


def test_the_documentation_has_every_metric_and_alert() -> None:
    page = reference.PAGE.read_text()
    assert page == reference.write(page), "run: python -m deploy.monitoring.reference"
    assert page.count("| `cellgate_") + page.count("| `process_") == len(
        Metrics(Registry()).registry.described
    )
    assert page.count("| `Cellgate") == len(
        yaml.safe_load(reference.ALERTS.read_text())["groups"][0]["rules"]
    )
