"""The alert rules and the dashboard: of metrics that exist, of queries that can be read, and tried by promtool."""

import json
import re
import shutil
import subprocess
import sys
from importlib.resources import files
from pathlib import Path

import pytest
import yaml

from uidsync.integrations.events.agreement import Agreement
from uidsync.integrations.events.metrics import write_metrics as write_events
from uidsync.integrations.exporter.families import COUNTERS, GAUGES
from uidsync.integrations.relay.stats import write_metrics
from uidsync.report.metrics import METRICS

SHIPPED = files("uidsync.integrations.exporter")
RULES = yaml.safe_load(SHIPPED.joinpath("rules.yml").read_text("utf-8"))
DASHBOARD = json.loads(SHIPPED.joinpath("dashboard.json").read_text("utf-8"))
TRIALS = Path(__file__).parent / "exporter_rules.yml"

ALERTS = {rule["alert"]: rule for group in RULES["groups"] for rule in group["rules"]}
QUERIES = {
    f"{panel['title']} {target['refId']}": target["expr"]
    for panel in DASHBOARD["panels"]
    for target in panel.get("targets", ())
}
OF_NODE_EXPORTER = {"node_textfile_mtime_seconds"}
AGREEMENT = Agreement({("fw", "trust"): {"agree": 1}})
OF_EVENTS = set(re.findall("^# TYPE ([a-z_]+)", write_events({"new": 0}, AGREEMENT, {"fw": True}, 0.0), re.MULTILINE))
KNOWN = (
    METRICS.keys()
    | GAUGES.keys()
    | {f"{name}_total" for name in COUNTERS}
    | {"uidsync_report_readable"}  # of the exporter itself
    | set(re.findall(r"^# TYPE (\S+)", write_metrics({}, None, 0.0), re.MULTILINE))  # of the relay
    | OF_NODE_EXPORTER
    | OF_EVENTS
)


def find_metrics(query):
    """Return the names of metrics in a query."""
    return set(re.findall(r"\b(?:uidsync|panos|node|ifI)\w*_\w+", re.sub(r'"[^"]*"', '""', query)))


def run_promtool(*arguments, **options):
    """Run promtool and return what it printed; it has no complaint."""
    beside = Path(sys.executable).with_name("promtool")  # `make test-rules` puts it there
    program = shutil.which("promtool") or (str(beside) if beside.exists() else None)
    if program is None:
        pytest.skip("promtool is missing; `make test-rules` fetches it")
    ended = subprocess.run([program, *arguments], capture_output=True, text=True, timeout=60, check=False, **options)
    assert ended.returncode == 0, ended.stdout + ended.stderr
    return ended.stdout


@pytest.mark.parametrize("name", ALERTS)
def test_alerts_go_by_metrics_that_exist(name):
    """An alert on a name that nobody exports would never fire."""
    found = find_metrics(ALERTS[name]["expr"])
    assert found
    assert found <= KNOWN


@pytest.mark.parametrize("name", QUERIES)
def test_panels_show_metrics_that_exist(name):
    """A panel of a name that nobody exports would be empty for ever."""
    found = find_metrics(QUERIES[name])
    assert found
    assert found <= KNOWN


def test_alerts_say_what_and_how_bad():
    """Every alert has a severity and a summary."""
    assert {rule["labels"]["severity"] for rule in ALERTS.values()} == {"critical", "warning", "info"}
    assert all(rule["annotations"]["summary"] for rule in ALERTS.values())


@pytest.mark.parametrize("name", ALERTS)
def test_texts_have_no_holes(name):
    """A label that not all have stands with the blank before it between `with` and `end`, or it would leave a hole."""
    for text in ALERTS[name]["annotations"].values():
        assert "$labels.member" not in text.replace("{{ with $labels.member }} {{ . }}{{ end }}", "")
        assert "  " not in text.strip()


def test_alerts_on_tunnels_leave_passive_members_alone():
    """Every alert on the state of a tunnel asks whether its member forwards traffic."""
    on_state = [rule["expr"] for rule in ALERTS.values() if re.search(r"tunnel_(condition|up)\b", rule["expr"])]
    assert len(on_state) == 5
    gate = re.compile(
        r"unless on \(job, instance, target, member\) (last_over_time\(panos_ha_active\[10m\]\)|panos_ha_active) == 0"
    )
    assert all(gate.search(expr) for expr in on_state)


def test_every_alert_is_tried():
    """Each alert has a case in which it fires."""
    tests = yaml.safe_load(TRIALS.read_text("utf-8"))["tests"]
    fired = {case["alertname"] for test in tests for case in test["alert_rule_test"] if case.get("exp_alerts")}
    assert fired == ALERTS.keys()


def test_panels_can_be_told_apart():
    """Panels have numbers of their own, and lie side by side."""
    numbers = [panel["id"] for panel in DASHBOARD["panels"]]
    assert len(set(numbers)) == len(numbers)
    taken = set()
    for panel in DASHBOARD["panels"]:
        place = panel["gridPos"]
        cells = {(place["x"] + x, place["y"] + y) for x in range(place["w"]) for y in range(place["h"])}
        assert not taken & cells, panel["title"]
        assert max(x for x, _ in cells) < 24
        taken |= cells


def test_alerts_fire_when_they_should(tmp_path):
    """`promtool test rules` finds each alert as its case has it, and silence where all is well."""
    tmp_path.joinpath("rules.yml").write_text(SHIPPED.joinpath("rules.yml").read_text("utf-8"))
    shutil.copy(TRIALS, tmp_path / "trials.yml")
    assert "SUCCESS" in run_promtool("test", "rules", "trials.yml", cwd=tmp_path)


def test_rules_and_queries_can_be_read(tmp_path):
    """`promtool check rules` reads the alerts, and every query of the dashboard in the place of one."""
    queries = {
        name: query.replace("$target", ".*").replace("$__rate_interval", "5m") for name, query in QUERIES.items()
    }
    rules = [{"record": f"q:{number}", "expr": query} for number, query in enumerate(queries.values())]
    file = tmp_path / "queries.yml"
    file.write_text(json.dumps({"groups": [*RULES["groups"], {"name": "dashboard", "rules": rules}]}))
    assert f"{len(rules) + len(ALERTS)} rules found" in run_promtool("check", "rules", str(file))
