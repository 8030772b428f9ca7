"""Each alarm watches what is really counted: a name or a dimension that differs never rings."""

import ast
import io
import json
import runpy
from collections.abc import Iterator
from contextlib import redirect_stdout
from pathlib import Path
from typing import Any

import pytest
from samcli.yamlhelper import yaml_parse

ROOT = Path(__file__).resolve().parents[2]
TEMPLATE: dict[str, Any] = yaml_parse((ROOT / "template.yaml").read_text())
ALARMS: dict[str, dict[str, Any]] = {
    name: resource["Properties"]
    for name, resource in TEMPLATE["Resources"].items()
    if resource["Type"] == "AWS::CloudWatch::Alarm"
}
OURS = {name for name, alarm in ALARMS.items() if alarm["Namespace"] == "Holdfast"}
VARIABLES = TEMPLATE["Globals"]["Function"]["Environment"]["Variables"]


def counted() -> Iterator[str]:
    """The names that the code gives to `count`, as far as it writes them out, and those that it puts together."""
    for folder in ("functions", "shared"):
        for file in (ROOT / folder).rglob("*.py"):
            for node in ast.walk(ast.parse(file.read_text())):
                if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "count":
                    yield from (
                        part.value
                        for part in ast.walk(node.args[0])
                        if isinstance(part, ast.Constant) and isinstance(part.value, str)
                    )
    yield from ("DisputeOpen", "DisputeWon", "DisputeLost")  # "Dispute" + Dispute.standing


@pytest.mark.parametrize("name", sorted(OURS))
def test_an_alarm_watches_a_metric_that_is_counted(name: str) -> None:
    assert ALARMS[name]["MetricName"] in set(counted())


@pytest.mark.parametrize("name", sorted(OURS))
def test_an_alarm_has_the_dimensions_that_are_written(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """CloudWatch knows a metric by its namespace and all of its dimensions: those of the line that a count leaves."""
    monkeypatch.setenv("POWERTOOLS_SERVICE_NAME", "a-stack")
    monkeypatch.setenv("POWERTOOLS_METRICS_NAMESPACE", VARIABLES["POWERTOOLS_METRICS_NAMESPACE"])
    observability = runpy.run_path(str(ROOT / "shared/runtime/observability.py"))
    with redirect_stdout(io.StringIO()) as written:
        observability["count"](ALARMS[name]["MetricName"])
        observability["_flush_metrics"]()
    line = json.loads(written.getvalue())
    (said,) = line["_aws"]["CloudWatchMetrics"]
    assert said["Namespace"] == ALARMS[name]["Namespace"]
    assert {name: line[name] for name in said["Dimensions"][0]} == {"service": "a-stack"}
    assert ALARMS[name]["Dimensions"] == [{"Name": "service", "Value": {"Ref": "AWS::StackName"}}]
    assert VARIABLES["POWERTOOLS_SERVICE_NAME"] == {"Ref": "AWS::StackName"}


@pytest.mark.parametrize("name", sorted(ALARMS))
def test_an_alarm_tells_somebody(name: str) -> None:
    """And says what it means: its description is all that a mail shows."""
    assert ALARMS[name]["AlarmActions"] == [{"Ref": "AlarmTopic"}]
    assert ALARMS[name]["AlarmDescription"].endswith(".")


def test_all_that_is_given_up_has_an_alarm() -> None:
    """Dead events and effects, what is quarantined, and both queues of what was tried too often."""
    watched = {alarm["MetricName"] for alarm in ALARMS.values()}
    assert watched >= {
        "WebhookDead",
        "WebhookNeedsPerson",
        "PaymentQuarantined",
        "OutboxDead",
        "RefundFailed",
    }
    queues = {
        dimension["Value"]["Fn::GetAtt"][0]
        for alarm in ALARMS.values()
        for dimension in alarm["Dimensions"]
        if dimension["Name"] == "QueueName"
    }
    assert queues == {"WebhookInboxDeadLetterQueue", "FailedInvocationsQueue", "WebhookInboxQueue"}


@pytest.mark.parametrize("name", sorted(ALARMS))
def test_an_alarm_is_in_the_runbook(name: str) -> None:
    """Under its own name, without the stack's."""
    own_name = ALARMS[name]["AlarmName"]["Fn::Sub"].removeprefix("${AWS::StackName}-")
    headings = [line for line in (ROOT / "docs/runbook.md").read_text().splitlines() if line[:3] == "## "]
    assert own_name in [part.strip() for heading in headings for part in heading[3:].split(",")]
