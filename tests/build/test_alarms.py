"""Each alarm tells somebody what it means, and the dashboard shows all; what is emitted is held to them in tests/integration."""

import json
from pathlib import Path
from typing import Any

import pytest

from tests.support.alarms import ALARMS, TEMPLATE, metrics_of, own_name

ROOT = Path(__file__).resolve().parents[2]
RESOURCES: dict[str, dict[str, Any]] = TEMPLATE["Resources"]
DASHBOARD = json.loads(RESOURCES["Dashboard"]["Properties"]["DashboardBody"]["Fn::Sub"])
FUNCTIONS = {name for name, each in RESOURCES.items() if each["Type"] == "AWS::Serverless::Function"}
WATCHED = {metric["MetricName"] for alarm in ALARMS.values() for metric in metrics_of(alarm)}
# The code counts these in the story of a purchase, of a flood, of a page's errors: no alarm watches them.
SHOWN_ALONE = {
    *("HoldGranted", "HoldSoldOut", "PaymentCreated", "BookingMade", "BookingCancelled", "RefundSent"),
    *(
        "WebhookProcessed",
        "WebhookStale",
        "WebhookParked",
        "WebhookQuarantined",
        "WebhookQueued",
        "FailedEvents",
    ),
    *("Refused", "RequestLimited", "ErrorReported", "ErrorGroupOpened"),
}


@pytest.mark.parametrize("name", sorted(ALARMS))
def test_an_alarm_tells_somebody(name: str) -> None:
    """When it begins and when it is over; its description is all that a mail shows."""
    alarm = ALARMS[name]
    assert alarm["AlarmActions"] == alarm["OKActions"] == [{"Ref": "AlarmTopic"}]
    assert alarm["AlarmDescription"].endswith(".")
    assert alarm["TreatMissingData"] == ("breaching" if name.endswith("HeartbeatAlarm") else "notBreaching")


def test_the_three_queues_are_watched() -> None:
    """What waits, what was given up, and what never ran."""
    queues = {
        dimension["Value"]["Fn::GetAtt"][0]
        for alarm in ALARMS.values()
        for metric in metrics_of(alarm)
        for dimension in metric["Dimensions"]
        if dimension["Name"] == "QueueName"
    }
    assert queues == {"WebhookInboxDeadLetterQueue", "FailedInvocationsQueue", "WebhookInboxQueue"}


def test_every_function_is_watched_for_throttles() -> None:
    throttled = [
        dimension["Value"]["Ref"]
        for alarm in ALARMS.values()
        for metric in metrics_of(alarm)
        for dimension in metric["Dimensions"]
        if metric["MetricName"] == "Throttles"
    ]
    assert sorted(throttled) == sorted(FUNCTIONS)


def test_an_alarm_that_adds_up_has_no_more_metrics_than_cloudwatch_takes() -> None:
    """Ten: https://docs.aws.amazon.com/AmazonCloudWatch/latest/monitoring/Create-alarm-on-metric-math-expression.html ."""
    assert all(len(metrics_of(alarm)) <= 10 for alarm in ALARMS.values())


@pytest.mark.parametrize("name", sorted(ALARMS))
def test_an_alarm_is_in_the_runbook(name: str) -> None:
    """Under its own name, without the stack's."""
    headings = [line for line in (ROOT / "docs/runbook.md").read_text().splitlines() if line[:3] == "## "]
    assert own_name(ALARMS[name]) in [part.strip() for heading in headings for part in heading[3:].split(",")]


def test_the_dashboard_shows_every_alarm() -> None:
    shown = next(each["properties"]["alarms"] for each in DASHBOARD["widgets"] if each["type"] == "alarm")
    assert sorted(shown) == sorted(f"${{{name}.Arn}}" for name in ALARMS)


def test_the_dashboard_shows_metrics_that_there_are() -> None:
    """Those that alarms watch, which are really emitted, and a few besides; each under its whole name."""
    metrics = [metric for each in DASHBOARD["widgets"] for metric in each["properties"].get("metrics", [])]
    ours = [metric for metric in metrics if metric[0] == "Holdfast"]
    assert all(metric[2:4] == ["service", "${AWS::StackName}"] for metric in ours)
    named = {metric[1] for metric in ours}
    assert named - WATCHED == SHOWN_ALONE
    assert {metric[0] for metric in metrics} == {"Holdfast", "AWS/SQS", "AWS/Lambda"}
    assert named >= {
        metric["MetricName"]
        for alarm in ALARMS.values()
        for metric in metrics_of(alarm)
        if metric["Namespace"] == "Holdfast"
    }
