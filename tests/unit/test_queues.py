"""What a function says of its messages decides which of them stay, as Lambda reads it."""

import json
from pathlib import Path
from textwrap import dedent

import pytest

from local.queues import to_come_again
from local.template import QueueSource, load_template

MESSAGES = [{"MessageId": "a"}, {"MessageId": "b"}, {"MessageId": "c"}]


@pytest.mark.parametrize("answer", [None, {}, {"batchItemFailures": []}, {"batchItemFailures": None}, []])
def test_where_no_failure_is_reported_all_are_done(answer: object) -> None:
    """Nothing, null and an empty list mean the same."""
    assert to_come_again(MESSAGES, json.dumps(answer).encode()) == []


def test_those_that_are_reported_stay() -> None:
    """By their ids."""
    answer = {"batchItemFailures": [{"itemIdentifier": "c"}, {"itemIdentifier": "a"}]}
    assert to_come_again(MESSAGES, json.dumps(answer).encode()) == [MESSAGES[2], MESSAGES[0]]


@pytest.mark.parametrize(
    "answer",
    [
        "text",
        {"batchItemFailures": [{"itemIdentifier": "d"}]},
        {"batchItemFailures": [{"itemIdentifier": None}]},
        {"batchItemFailures": [{"bad": "a"}]},
        {"batchItemFailures": ["a"]},
    ],
    ids=range(5),
)
def test_a_report_that_makes_no_sense_keeps_all(answer: object) -> None:
    """An unknown, empty or missing id fails the whole batch."""
    assert to_come_again(MESSAGES, json.dumps(answer).encode()) == MESSAGES


def test_the_template_says_which_queue_a_function_gets(tmp_path: Path) -> None:
    """Name, batch, how many at once and whether failures are reported; Lambda's own numbers where none are given."""
    template = tmp_path / "template.yaml"
    template.write_text(
        dedent(
            """
            Resources:
              Queue:
                Type: AWS::SQS::Queue
                Properties: {QueueName: !Sub "${AWS::StackName}-inbox"}
              ShopFunction:
                Type: AWS::Serverless::Function
                Properties: {Handler: shop.handler}
              OtherFunction:
                Type: AWS::Serverless::Function
                Properties: {Handler: other.handler}
              Careful:
                Type: AWS::Lambda::EventSourceMapping
                Properties:
                  FunctionName: !Ref ShopFunction.Alias
                  EventSourceArn: !GetAtt Queue.Arn
                  BatchSize: 3
                  FunctionResponseTypes: [ReportBatchItemFailures]
                  ScalingConfig: {MaximumConcurrency: 2}
              Plain:
                Type: AWS::Lambda::EventSourceMapping
                Properties: {FunctionName: !Ref ShopFunction, EventSourceArn: !GetAtt Queue.Arn}
            """
        )
    )
    functions = load_template(template).functions
    assert functions["OtherFunction"].queue_sources == ()
    assert functions["ShopFunction"].queue_sources == (
        QueueSource("holdfast-inbox", 3, 2, reports_failures=True),
        QueueSource("holdfast-inbox", 10, 5, reports_failures=False),
    )
