"""Alerts and the dashboard ask for what the code exports, and say what they should."""

import json
import re
import shutil
from collections.abc import Iterator
from itertools import combinations
from pathlib import Path
from typing import Any

import promql_parser
import pytest
import ray
import yaml

from pipeline.tracking.prometheus import GAUGES, PREFIX
from tests.infra.tools import INFRA, ROOT, Document, Problems, judge, plant

MONITORING = INFRA / "monitoring"
RULES = (MONITORING / "rules.yml").read_text()
DASHBOARD = (MONITORING / "grafana" / "bngan.json").read_text()
OURS = {f"ray_{PREFIX}{name}" for name in GAUGES}
RAYS = (Path(ray.__file__).parent / "dashboard/modules/reporter/reporter_agent.py").read_text()
PROMETHEUS = {"up", "ALERTS"}
KUBERNETES = {"kube_job_failed", "kube_job_created"}  # by kube-state-metrics
promtool = pytest.mark.skipif(
    shutil.which("promtool") is None, reason="there is no promtool: it comes with prometheus"
)


def selectors(tree: Any) -> Iterator[str]:
    """Names of all metrics in a parsed expression."""
    if isinstance(tree, promql_parser.VectorSelector):
        yield tree.name
    elif isinstance(tree, list):
        for each in tree:
            yield from selectors(each)
    elif type(tree).__module__.startswith(("promql_parser", "builtins")):
        for part in ("lhs", "rhs", "expr", "args", "vector_selector", "param"):
            if (value := getattr(tree, part, None)) is not None:
                yield from selectors(value)


def expression_problems(expression: str, recorded: set[str]) -> Iterator[str]:
    try:
        names = set(selectors(promql_parser.parse(expression)))
    except ValueError as error:
        yield f"{expression}: {error}"
        return
    if not names:
        yield f"{expression}: asks for nothing"
    for name in sorted(names - OURS - PROMETHEUS - KUBERNETES - recorded):
        if not (name.startswith("ray_") and f'"{name.removeprefix("ray_")}": Gauge' in RAYS):
            yield f"nothing exports {name}"


def recorded() -> set[str]:
    groups = yaml.safe_load(RULES)["groups"]
    return {rule["record"] for group in groups for rule in group["rules"] if "record" in rule}


def rules_problems(text: str) -> Problems:
    groups = yaml.safe_load(text)["groups"]
    rules = [rule for group in groups for rule in group["rules"]]
    names = {rule["record"] for rule in rules if "record" in rule}
    operations, found = (ROOT / "docs" / "operations.md").read_text(), []
    for rule in rules:
        found += expression_problems(rule["expr"], names)
        if "alert" not in rule:
            continue
        if rule.get("labels", {}).get("severity") not in ("warning", "critical"):
            found.append(f"{rule['alert']}: no severity")
        if "summary" not in rule.get("annotations", {}):
            found.append(f"{rule['alert']}: no summary")
        runbook = rule.get("annotations", {}).get("runbook", "")
        if runbook not in {f"docs/operations.md#{anchor}" for anchor in anchors(operations)}:
            found.append(f"{rule['alert']}: no run book {runbook}")
    return found


def anchors(markdown: str) -> set[str]:
    """As GitHub makes them of headings."""
    titles = re.findall(r"(?m)^#+ (.+)$", markdown)
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}


def dashboard_problems(text: str) -> Problems:
    board = json.loads(text)
    panels = [panel for panel in board["panels"] if panel["type"] != "row"]
    found = list(source_problems(board["templating"]["list"], panels))
    if len({panel["id"] for panel in board["panels"]}) < len(board["panels"]):
        found.append("two panels have one id")
    for panel in panels:
        if panel["type"] != "timeseries" or not panel["title"] or not panel["targets"]:
            found.append(f"panel {panel['id']} shows nothing")
        for target in panel["targets"]:
            found += expression_problems(target["expr"], recorded())
    for one, other in combinations(board["panels"], 2):
        if overlap(one["gridPos"], other["gridPos"]):
            found.append(f"{one['title']} lies on {other['title']}")
    return found


def source_problems(listed: list[Document], panels: list[Document]) -> Iterator[str]:
    """Where panels and variables ask: whoever imports the dashboard says which Prometheus."""
    source, *variables = listed
    file = MONITORING / "grafana/provisioning/datasources/prometheus.yaml"
    provisioned = {each["type"] for each in yaml.safe_load(file.read_text())["datasources"]}
    if source["type"] != "datasource":
        yield "whoever imports it cannot say which Prometheus"
    if source["query"] not in provisioned:
        yield f"there is no source of the kind {source['query']}"
    for panel in [*panels, *variables]:
        if panel["datasource"] != {"type": source["query"], "uid": f"${{{source['name']}}}"}:
            yield f"{panel.get('title')}: there is no source {panel['datasource']['uid']}"
    for variable in variables:
        asked = re.fullmatch(r"label_values\((.*), \w+\)", variable["query"]["query"])
        yield from expression_problems(asked[1] if asked else "", set())


def overlap(one: dict[str, int], other: dict[str, int]) -> bool:
    return all(
        one[at] < other[at] + other[size] and other[at] < one[at] + one[size]
        for at, size in (("x", "w"), ("y", "h"))
    )


def test_rules_are_sound() -> None:
    assert rules_problems(RULES) == []


@pytest.mark.parametrize(
    ("old", "new", "told"),
    [
        ("ray_bngan_alarms", "ray_bngan_alarm", "nothing exports ray_bngan_alarm"),
        ("ray_node_disk_free", "ray_node_disk_fre", "nothing exports ray_node_disk_fre"),
        ("changes(bngan:worker_start:max", "changes(bngan:worker_starts", "bngan:worker_starts"),
        ("== 0\n        for: 5m\n", "== = 0\n        for: 5m\n", "up"),
        ("kube_job_created", "kube_job_made", "nothing exports kube_job_made"),
        ("severity: critical", "severity: terrible", "no severity"),
        ("summary:", "sumary:", "no summary"),
        ("#workers-die", "#workers-dye", "no run book docs/operations.md#workers-dye"),
    ],
)
def test_mistakes_in_rules_are_found(old: str, new: str, told: str) -> None:
    assert told in "\n".join(rules_problems(plant(RULES, old, new)))


def test_every_alert_has_a_unit_test() -> None:
    alerts = set(re.findall(r"alert: (\w+)", RULES))
    tested = set(re.findall(r"alertname: (\w+)", (MONITORING / "rules_test.yml").read_text()))
    assert tested == alerts
    assert len(alerts) > 5


@promtool
@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("", ""),
        ("ray_bngan_alarms) > 0", "ray_bngan_alarms) > 2"),
        ("> 1800", "> 18000"),
        ("200 * (", "0 * ("),
        ("[30m])) == 0", "[30m])) == 1"),
        ("[1h]) >= 3", "[1h]) >= 1"),
        ("ray_bngan_rollbacks) > 1", "ray_bngan_rollbacks) > 0"),
        ('up{job="ray"} == 0', 'up{job="ray"} == 1'),
        ("> 0.9", "> 0.99"),
        ("            or bngan:worker_start:max\n          ) >", "          ) >"),
        ("            or 0 * bngan:worker_start:max\n", ""),
        ("ray_bngan_images offset 30m", "ray_bngan_images"),
        ("[1h:1m]", "[1m:1m]"),
        ("[1h:1m]", "[3h:1m]"),
        (
            'count by (ray_io_cluster) (up{job="ray"})\n          <',
            'count(up{job="ray"})\n          <',
        ),
        ('condition="true"', 'condition="false"'),
        ('kube_job_failed{namespace="bngan"', 'kube_job_failed{namespace="other"'),
        ("< 86400", "< 864000"),
        ("for: 2m", "for: 20m"),
        ("severity: critical", "severity: warning"),
    ],
)
def test_promtool_tests_the_rules(old: str, new: str, tmp_path: Path) -> None:
    (tmp_path / "rules.yml").write_text(plant(RULES, old, new))
    (tests := tmp_path / "rules_test.yml").write_text((MONITORING / "rules_test.yml").read_text())
    assert bool(judge("promtool", "test", "rules", tests)) == bool(old)


@promtool
def test_promtool_takes_the_configurations(tmp_path: Path) -> None:
    text = (MONITORING / "prometheus.yml").read_text()
    assert judge("promtool", "check", "config", MONITORING / "prometheus.yml") == []
    there = (INFRA / "docker" / "prometheus.yml").read_text()
    there = plant(there, "/etc/prometheus/rules.yml", str(MONITORING / "rules.yml"))
    (tmp_path / "compose.yml").write_text(there)
    assert judge("promtool", "check", "config", tmp_path / "compose.yml") == []
    for old, new in (("rules.yml", "rule.yml"), ("file_sd_configs", "file_configs")):
        (tmp_path / "wrong.yml").write_text(plant(text, old, new))
        assert judge("promtool", "check", "config", tmp_path / "wrong.yml")


def test_the_dashboard_is_sound() -> None:
    assert dashboard_problems(DASHBOARD) == []


def test_the_dashboard_shows_what_is_exported() -> None:
    shown = set(re.findall(r"ray_bngan_\w+", DASHBOARD + RULES))
    assert shown == OURS


@pytest.mark.parametrize(
    ("old", "new", "told"),
    [
        ("ray_bngan_loss_g", "ray_bngan_loss", "nothing exports ray_bngan_loss"),
        ("ray_node_gpus_utilization", "ray_gpu_use", "nothing exports ray_gpu_use"),
        ("max by (training) (ray_bngan_workers", "max by training (ray_bngan_workers", "workers"),
        ("${datasource}", "prometheus", "there is no source prometheus"),
        ("${datasource}", "${source}", "there is no source ${source}"),
        ('"type": "datasource"', '"type": "custom"', "cannot say which Prometheus"),
        ('"query": "prometheus"', '"query": "loki"', "there is no source of the kind loki"),
        ('"y": 1,', '"y": 2,', "lies on"),
        ('"id": 3,', '"id": 2,', "two panels have one id"),
        ('"type": "timeseries"', '"type": "timeserie"', "shows nothing"),
        ("label_values(ray_bngan_images,", "label_values(bngan_images,", "exports bngan_images"),
    ],
)
def test_mistakes_in_the_dashboard_are_found(old: str, new: str, told: str) -> None:
    assert told in "\n".join(dashboard_problems(plant(DASHBOARD, old, new)))
