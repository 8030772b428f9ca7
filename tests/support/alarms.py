"""The template's alarms, and whether what was emitted would ring them: CloudWatch's arithmetic over one period."""

from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from statistics import mean, quantiles
from typing import Any

from samcli.yamlhelper import yaml_parse

TEMPLATE: dict[str, Any] = yaml_parse((Path(__file__).resolve().parents[2] / "template.yaml").read_text())
ALARMS: dict[str, dict[str, Any]] = {
    name: resource["Properties"]
    for name, resource in TEMPLATE["Resources"].items()
    if resource["Type"] == "AWS::CloudWatch::Alarm"
}
# What stands for the stack's name where the functions run in tests.
STACK = "tests"

type Series = Mapping[tuple[str, str, tuple[tuple[str, str], ...]], list[float]]

STATISTICS: Mapping[str, Callable[[list[float]], float]] = {
    "Sum": sum,
    "Average": mean,
    "Minimum": min,
    "Maximum": max,
    "p95": lambda values: quantiles([*values, values[-1]], n=20, method="inclusive")[-1],
}
COMPARISONS: Mapping[str, Callable[[float, float], bool]] = {
    "GreaterThanThreshold": lambda value, threshold: value > threshold,
    "GreaterThanOrEqualToThreshold": lambda value, threshold: value >= threshold,
    "LessThanThreshold": lambda value, threshold: value < threshold,
}
FUNCTIONS: Mapping[str, Callable[..., Any]] = {
    "IF": lambda condition, then, otherwise: then if condition else otherwise,
    "FILL": lambda value, filling: filling if value is None else value,
}


def own_name(alarm: Mapping[str, Any]) -> str:
    """The alarm's name without the stack's."""
    return alarm["AlarmName"]["Fn::Sub"].removeprefix("${AWS::StackName}-")


def metrics_of(alarm: Mapping[str, Any]) -> list[dict[str, Any]]:
    """What the alarm watches: `{"Namespace", "MetricName", "Dimensions"}` each."""
    if "Metrics" not in alarm:
        return [{name: alarm[name] for name in ("Namespace", "MetricName", "Dimensions")}]
    return [each["MetricStat"]["Metric"] for each in alarm["Metrics"] if "MetricStat" in each]


def series_of(documents: Iterable[Mapping[str, Any]]) -> Series:
    """The values of each metric, by namespace, name and dimensions, as CloudWatch reads them out of EMF lines."""
    found: dict[tuple[str, str, tuple[tuple[str, str], ...]], list[float]] = {}
    for document in documents:
        for said in document["_aws"]["CloudWatchMetrics"]:
            for names in said["Dimensions"]:
                dimensions = tuple(sorted((name, document[name]) for name in names))
                for metric in said["Metrics"]:
                    key = said["Namespace"], metric["Name"], dimensions
                    found.setdefault(key, []).extend(document[metric["Name"]])
    return found


def rings(alarm: Mapping[str, Any], series: Series) -> bool:
    """Whether the alarm rings, had a period nothing but these values; what is missing counts as the alarm says."""
    value = _value(alarm, series)
    if value is None:
        return alarm["TreatMissingData"] == "breaching"
    return COMPARISONS[alarm["ComparisonOperator"]](value, alarm["Threshold"])


def _value(alarm: Mapping[str, Any], series: Series) -> float | None:
    if "Metrics" not in alarm:
        return _statistic(alarm, alarm.get("Statistic") or alarm["ExtendedStatistic"], series)
    expression, *rest = alarm["Metrics"]
    values = {
        each["Id"]: _statistic(each["MetricStat"]["Metric"], each["MetricStat"]["Stat"], series)
        for each in rest
    }
    try:
        return eval(expression["Expression"], dict(FUNCTIONS), values)  # noqa: S307 - our own template's
    except TypeError:  # arithmetic with what is missing
        return None


def _statistic(metric: Mapping[str, Any], statistic: str, series: Series) -> float | None:
    dimensions = tuple(sorted((each["Name"], _resolved(each["Value"])) for each in metric["Dimensions"]))
    values = series.get((metric["Namespace"], metric["MetricName"], dimensions))
    return STATISTICS[statistic](values) if values else None


def _resolved(value: Any) -> str:
    return STACK if value == {"Ref": "AWS::StackName"} else str(value)
