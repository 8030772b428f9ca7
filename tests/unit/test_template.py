"""template.yaml is read as CloudFormation and SAM would."""

from pathlib import Path
from textwrap import dedent

import pytest

from database.connection import ANSWER_SECONDS, CONNECT_OPTIONS
from local.cloudformation import TemplateError
from local.template import LambdaFunction, load_template

FUNCTION = """
      Type: AWS::Serverless::Function
      Properties:
        FunctionName: !Sub "${AWS::StackName}-do-it"
        Handler: do_it.handler
"""


def load(folder: Path, text: str, **parameters: str) -> dict[str, LambdaFunction]:
    file = folder / "template.yaml"
    file.write_text(dedent(text))
    return dict(load_template(file, parameters=parameters, aws_endpoint_url="http://127.0.0.1:1").functions)


def test_a_function_goes_by_what_follows_the_stack_name(tmp_path: Path) -> None:
    """The public name is the same on every stack."""
    function = load(tmp_path, "Resources:\n    DoIt:" + FUNCTION)["do-it"]
    assert (function.full_name, function.logical_id) == ("holdfast-do-it", "DoIt")
    assert (function.timeout_s, function.memory_mb, function.url_auth) == (3, 128, None)


def test_globals_are_merged_as_sam_does(tmp_path: Path) -> None:
    """Mappings by key, lists one after the other, the function's own value last."""
    function = load(
        tmp_path,
        """
        Globals:
          Function:
            Timeout: 9
            MemorySize: 512
            Layers: [!Ref First]
            Environment: {Variables: {SHARED: "1", BOTH: globals}}
        Resources:
          First: {Type: AWS::Serverless::LayerVersion, Metadata: {BuildMethod: python3.13}, Properties: {ContentUri: first}}
          Second: {Type: AWS::Serverless::LayerVersion, Properties: {ContentUri: second}}
          DoIt:
            Type: AWS::Serverless::Function
            Properties:
              Handler: do_it.handler
              FunctionName: holdfast-do-it
              MemorySize: 1024
              Layers: [!Ref Second, "arn:aws:lambda:eu-west-1:1:layer:foreign:1"]
              Environment: {Variables: {BOTH: own, NUMBER: 5, TRUTH: true}}
        """,
    )["do-it"]
    assert (function.timeout_s, function.memory_mb) == (9, 1024)
    assert function.environment == {"SHARED": "1", "BOTH": "own", "NUMBER": "5", "TRUTH": "true"}
    # What SAM builds for Python lands in /opt/python; what it does not build is copied to /opt as it is.
    assert function.layers == (tmp_path / "first", tmp_path / "second/python")


def test_intrinsic_functions_are_resolved(tmp_path: Path) -> None:
    """Parameters by default or override, pseudo parameters, conditions, and resources by their kind."""
    text = """
    Parameters:
      Word: {Type: String, Default: hello}
      Many: {Type: CommaDelimitedList, Default: "a, b"}
      Stage: {Type: String, Default: dev}
    Mappings: {Sizes: {small: {mb: 128}}}
    Conditions:
      IsProd: !Equals [!Ref Stage, prod]
      NotProd: !Not [!Condition IsProd]
    Resources:
      Inbox: {Type: AWS::SQS::Queue, Properties: {QueueName: !Sub "${AWS::StackName}-inbox"}}
      Nowhere: {Type: AWS::Serverless::Function, Condition: IsProd, Properties: {Handler: x.y}}
      DoIt:
        Type: AWS::Serverless::Function
        Properties:
          FunctionName: holdfast-do-it
          Handler: do_it.handler
          MemorySize: !FindInMap [Sizes, small, mb]
          Environment:
            Variables:
              WORD: !Ref Word
              SUB: !Sub "${Word} ${AWS::Region} ${!Literal} ${DoIt.Arn}"
              SUB_MAP: !Sub ["${x}!", {x: !Ref Word}]
              MANY: !Ref Many
              SECOND: !Select [1, !Ref Many]
              JOINED: !Join ["/", [a, !Ref Word]]
              SPLIT: !Select [0, !Split ["l", !Ref Word]]
              CHOSEN: !If [IsProd, a, !If [NotProd, b, c]]
              ABSENT: !If [IsProd, x, !Ref AWS::NoValue]
              QUEUE_URL: !Ref Inbox
              QUEUE_ARN: !GetAtt Inbox.Arn
              ITSELF: !Ref DoIt
    """
    functions = load(tmp_path, text, Word="hi")
    assert list(functions) == ["do-it"]
    assert functions["do-it"].environment == {
        "WORD": "hi",
        "SUB": "hi us-east-1 ${Literal} arn:aws:lambda:us-east-1:123456789012:function:holdfast-do-it",
        "SUB_MAP": "hi!",
        "MANY": "a,b",
        "SECOND": "b",
        "JOINED": "a/hi",
        "SPLIT": "hi",
        "CHOSEN": "b",
        "QUEUE_URL": "http://127.0.0.1:1/123456789012/holdfast-inbox",
        "QUEUE_ARN": "arn:aws:sqs:us-east-1:123456789012:holdfast-inbox",
        "ITSELF": "holdfast-do-it",
    }


def test_url_schedule_and_asynchronous_settings_are_read(tmp_path: Path) -> None:
    """All that makes a function reachable, and how often a failed event is tried."""
    function = load(
        tmp_path,
        """
        Parameters:
          Origins: {Type: CommaDelimitedList, Default: "https://a.example,https://b.example"}
        Resources:
          DoIt:
            Type: AWS::Serverless::Function
            Metadata: {BuildProperties: {ParentPackageMode: explicit, ParentPackages: functions.do_it}}
            Properties:
              FunctionName: holdfast-do-it
              Handler: functions.do_it.handler
              ReservedConcurrentExecutions: 3
              EventInvokeConfig: {MaximumRetryAttempts: 0, MaximumEventAgeInSeconds: 60}
              FunctionUrlConfig:
                AuthType: NONE
                Cors: {AllowOrigins: !Ref Origins, AllowMethods: [GET], AllowHeaders: ["*"], MaxAge: 5}
              Events:
                Often:
                  Type: ScheduleV2
                  Properties: {ScheduleExpression: rate(1 minute), Input: '{"a": 1}', State: DISABLED}
                Queue: {Type: SQS, Properties: {Queue: arn}}
        """,
    )["do-it"]
    assert (function.reserved_concurrency, function.async_retries, function.async_max_age_s) == (3, 0, 60)
    assert function.parent_packages == "functions.do_it"
    assert function.cors is not None
    assert function.cors.origins == ("https://a.example", "https://b.example")
    (schedule,) = function.schedules
    assert (schedule.expression, schedule.payload, schedule.enabled) == ("rate(1 minute)", '{"a": 1}', False)


@pytest.mark.parametrize("value", ["!Ref Nobody", "!GetAtt Nobody.Arn", "!ImportValue x", '!Sub "${Nobody}"'])
def test_what_cannot_be_resolved_is_refused_by_name(tmp_path: Path, value: str) -> None:
    """A function does not start with a hole in its environment."""
    text = "Resources:\n    DoIt:" + FUNCTION + f"        Environment: {{Variables: {{X: {value}}}}}\n"
    with pytest.raises(TemplateError, match=r"Nobody|ImportValue"):
        load(tmp_path, text)


def test_the_repository_template_gives_every_function_what_it_needs() -> None:
    """The real one is understood whole."""
    functions = load_template(Path(__file__).parents[2] / "template.yaml").functions
    assert {"reservations", "create-payment-intent", "stripe-webhook", "migrate"} <= functions.keys()
    assert all(layer.exists() for name in ("reservations", "log-error") for layer in functions[name].layers)
    assert functions["reservation-cleanup"].schedules[0].expression == "rate(5 minutes)"


def test_every_function_that_is_called_outlives_a_database_that_says_nothing() -> None:
    """Or Lambda would end it, and answer 502, before it has answered 503 itself."""
    functions = load_template(Path(__file__).parents[2] / "template.yaml").functions
    patience = ANSWER_SECONDS + CONNECT_OPTIONS["connect_timeout"]
    called = {name: function.timeout_s for name, function in functions.items() if function.url_auth}
    assert len(called) > 5
    assert {name for name, timeout in called.items() if timeout <= patience} == set()
