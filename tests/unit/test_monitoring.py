"""The files that Prometheus and Grafana get: whether these would take them, and whether a person can read them."""

import json
import shutil
import subprocess
from pathlib import Path

import pytest
import yaml

from tests.monitoring import ALERTS, DEPLOY, alerts, dashboards, names_in, panels, queries

pytestmark = pytest.mark.unit

_ALERT_TESTS = Path(__file__).with_name("alerts.test.yml")


@pytest.mark.parametrize(
    "words",
    [
        ("check", "rules", ALERTS),
        ("check", "config", DEPLOY / "prometheus" / "prometheus.yml"),
        ("test", "rules", _ALERT_TESTS),
    ],
    ids=["rules", "config", "alerts fire when they should"],
)
def test_prometheus_takes_our_files(words: tuple[object, ...]) -> None:
    if (promtool := shutil.which("promtool")) is None:
        pytest.skip("no promtool on this machine; Debian's package prometheus has it")
    done = subprocess.run([promtool, *map(str, words)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_every_alert_is_tested() -> None:
    tested = {one["alertname"] for one in yaml.safe_load(_ALERT_TESTS.read_text())["tests"][0]["alert_rule_test"]}
    assert tested == {alert["alert"] for alert in alerts()}


def test_every_alert_says_what_to_do() -> None:
    for alert in alerts():
        name, notes = alert["alert"], alert["annotations"]
        assert alert["labels"]["severity"] in {"warning", "critical"}, name
        assert notes["summary"], name
        assert notes["description"].endswith("."), name
        assert notes["runbook"] == f"section {name} of docs/operate.md in the repository of Voxqueue"


def test_the_runbook_has_a_section_for_every_alert() -> None:
    headings = (DEPLOY.parent / "docs" / "operate.md").read_text().splitlines()
    for alert in alerts():
        assert f"### {alert['alert']}" in headings


@pytest.mark.parametrize("path", dashboards(), ids=lambda path: path.stem)
def test_a_dashboard_is_one_that_grafana_takes_and_a_person_understands(path: Path) -> None:
    board = json.loads(path.read_text())
    assert board["uid"] == f"voxqueue-{path.stem}"
    assert len({panel["id"] for panel in board["panels"]}) == len(board["panels"])
    for panel in panels(path):
        assert panel["title"]
        assert panel["fieldConfig"]["defaults"]["unit"], panel["title"]
        assert panel["datasource"]["uid"] == "${datasource}", "whatever it is called in somebody's Grafana"
        place = panel["gridPos"]
        assert place["x"] + place["w"] <= 24
    for query in queries(path):
        assert names_in(query), query


def test_grafana_finds_what_the_dashboards_ask() -> None:
    folder = DEPLOY / "grafana" / "provisioning"
    [source] = yaml.safe_load((folder / "datasources" / "prometheus.yml").read_text())["datasources"]
    chosen = {json.loads(path.read_text())["templating"]["list"][0]["current"]["value"] for path in dashboards()}
    assert chosen == {source["uid"]}


def test_names_are_found_in_queries() -> None:
    """A name that is overlooked here may be misspelt in a dashboard."""
    query = (
        'sum by (le) (rate(a_total{kind="b"}[5m])) / on (x) c:d unless max(e) and label_replace(f, "g", "h", "i", "")'
    )
    assert names_in(query) == {"a_total", "c:d", "e", "f"}
