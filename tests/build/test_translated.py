"""What is really deployed - SAM's translation of the built template - promises what it must, and grants nothing more."""

import copy
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.build.artefacts import ROOT, Built
from tests.build.translated import of_type, statements, translated

pytestmark = pytest.mark.build

DAY_S = 24 * 60 * 60
# AWS's own policies, which SAM attaches. They hold stars that no template can take away.
MANAGED = {
    # Writing logs. SAM attaches it to every role that it makes.
    "service-role/AWSLambdaBasicExecutionRole",
    # Sending traces: X-Ray's two actions know no resources, so that a policy of ours would have to say `*` as well.
    # https://docs.aws.amazon.com/service-authorization/latest/reference/list_awsx-ray.html
    "AWSXrayWriteOnlyAccess",
    # Making network interfaces. SAM attaches it because VpcConfig is there, also where its condition does not hold.
    "service-role/AWSLambdaVPCAccessExecutionRole",
    # Moving the aliases of a canary. It is CodeDeploy's role, and no function's.
    "service-role/AWSCodeDeployRoleForLambda",
}
CORS = {
    "AllowOrigins": {"Ref": "AllowedOrigins"},
    "AllowHeaders": [
        *("Content-Type", "Authorization", "Idempotency-Key", "X-Idempotency-Key"),
        *("X-Reservation-Token", "X-CSRF-Token", "If-Match"),
    ],
    "ExposeHeaders": ["ETag", "Retry-After", "Idempotent-Replayed", "X-Request-Id", "Date"],
    "MaxAge": 600,
}
# Called by nothing but a deploy, which it does not wait for.
BEFORE_THE_MIGRATION = {"MigrateFunction"}
WITHOUT_DATABASE = {"SessionsFunction"}


@pytest.fixture(scope="module")
def deployed(built: Built) -> dict[str, dict[str, Any]]:
    return translated(built.template)


def unlimited(resources: dict[str, dict[str, Any]]) -> list[str]:
    """Who may do anything of a kind, or to anything."""
    return [
        name
        for name, statement in statements(resources)
        if "*" in str([statement.get("Action"), statement.get("Resource")])
        or {"NotAction", "NotResource"} & statement.keys()
    ]


def test_no_policy_of_ours_holds_a_star(deployed: dict[str, dict[str, Any]]) -> None:
    assert len(statements(deployed)) > 20
    assert unlimited(deployed) == []


@pytest.mark.parametrize(
    ("part", "value"), [("Action", "sqs:*"), ("Resource", "*"), ("NotAction", "iam:PassRole")]
)
def test_a_star_would_be_found(built: Built, part: str, value: str) -> None:
    template = copy.deepcopy(built.template)
    template["Resources"]["LogErrorFunction"]["Properties"]["Policies"][0]["Statement"][0][part] = value
    assert unlimited(translated(template)) == ["LogErrorFunctionRole"]


def test_aws_s_own_policies_are_the_few_that_have_their_reason(deployed: dict[str, dict[str, Any]]) -> None:
    attached = {
        policy.split(":policy/")[1]
        for role in of_type(deployed, "AWS::IAM::Role").values()
        for policy in role.get("ManagedPolicyArns", [])
    }
    assert attached == MANAGED


# checkov's rules that what is deployed does not follow, beside those that .checkov.yaml gives the reasons for.
NOT_FOLLOWED = {
    # Buyers' browsers and Stripe cannot sign a call as AWS does: the functions ask for tokens and signatures themselves.
    "CKV_AWS_258",
    # What template.yaml excepts at the resource, where SAM's translation has no comments: migrate's limit, the key of the
    # alarms' topic, the front's firewall and log.
    "CKV_AWS_115",
    "CKV_AWS_26",
    "CKV_AWS_68",
    "CKV_AWS_86",
}


def test_checkov_has_nothing_against_it_but_what_has_its_reason(
    deployed: dict[str, dict[str, Any]], tmp_path: Path
) -> None:
    (tmp_path / "deployed.json").write_text(json.dumps({"Resources": deployed}))
    excepted = yaml.safe_load((ROOT / ".checkov.yaml").read_text())["skip-check"]
    command = [
        Path(sys.prefix) / "checkov" / "bin" / "checkov",
        "--framework",
        "cloudformation",
        "--skip-download",
    ]
    command += [
        "--file",
        "deployed.json",
        "--skip-check",
        ",".join(excepted),
        "--output",
        "json",
        "--soft-fail",
    ]
    answer = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True)
    told = json.loads(answer.stdout)
    assert told["summary"]["passed"] > 100
    assert {each["check_id"] for each in told["results"]["failed_checks"]} == NOT_FOLLOWED


def test_a_role_is_for_one_service_and_one_function(deployed: dict[str, dict[str, Any]]) -> None:
    functions = of_type(deployed, "AWS::Lambda::Function")
    roles = [function["Role"]["Fn::GetAtt"][0] for function in functions.values()]
    assert len(roles) == len(set(roles))
    for role in of_type(deployed, "AWS::IAM::Role").values():
        (statement,) = role["AssumeRolePolicyDocument"]["Statement"]
        assert len(statement["Principal"]["Service"]) == 1


def test_a_scheduled_run_is_tried_once_and_kept_where_it_fails(deployed: dict[str, dict[str, Any]]) -> None:
    schedules = of_type(deployed, "AWS::Scheduler::Schedule")
    failed = {"Fn::GetAtt": ["FailedInvocationsQueue", "Arn"]}
    asynchronous = {
        each["FunctionName"]["Ref"]: each
        for each in of_type(deployed, "AWS::Lambda::EventInvokeConfig").values()
    }
    assert schedules
    for schedule in schedules.values():
        target = schedule["Target"]
        assert target["RetryPolicy"] == {"MaximumRetryAttempts": 0, "MaximumEventAgeInSeconds": 60}
        assert target["DeadLetterConfig"] == {"Arn": failed}
        invoked = asynchronous[target["Arn"]["Ref"].removesuffix("Aliaslive")]
        assert (invoked["MaximumRetryAttempts"], invoked["MaximumEventAgeInSeconds"]) == (0, 60)
        assert invoked["DestinationConfig"] == {"OnFailure": {"Destination": failed}}
        assert invoked["Qualifier"] == "live"


def test_a_queue_that_redrives_keeps_at_it_for_a_day(deployed: dict[str, dict[str, Any]]) -> None:
    queues = of_type(deployed, "AWS::SQS::Queue")
    redriven = {name: queue for name, queue in queues.items() if "RedrivePolicy" in queue}
    assert set(redriven) == {"WebhookInboxQueue"}
    for queue in redriven.values():
        assert queue["VisibilityTimeout"] * queue["RedrivePolicy"]["maxReceiveCount"] >= DAY_S
    for queue in queues.values():
        assert queue["MessageRetentionPeriod"] == 14 * DAY_S
        assert queue["SqsManagedSseEnabled"] is True


def test_what_reads_a_queue_is_done_long_before_its_messages_come_again(
    deployed: dict[str, dict[str, Any]],
) -> None:
    for mapping in of_type(deployed, "AWS::Lambda::EventSourceMapping").values():
        queue = deployed[mapping["EventSourceArn"]["Fn::GetAtt"][0]]["Properties"]
        function = deployed[mapping["FunctionName"]["Ref"].removesuffix("Aliaslive")]["Properties"]
        # https://docs.aws.amazon.com/lambda/latest/dg/services-sqs-configure.html
        assert queue["VisibilityTimeout"] >= 6 * function["Timeout"]
        assert mapping["FunctionResponseTypes"] == ["ReportBatchItemFailures"]


def test_pages_may_send_and_read_the_same_headers_at_every_url(deployed: dict[str, dict[str, Any]]) -> None:
    urls = of_type(deployed, "AWS::Lambda::Url")
    assert len(urls) > 6
    for url in urls.values():
        assert url["AuthType"] == "NONE"
        # The URL answers OPTIONS itself, and refuses a list that holds it.
        assert {"GET", "POST", "PUT", "PATCH", "DELETE"} >= set(url["Cors"]["AllowMethods"])
        assert {name: value for name, value in url["Cors"].items() if name != "AllowMethods"} == CORS


def test_everybody_comes_to_a_function_by_its_alias(deployed: dict[str, dict[str, Any]]) -> None:
    functions = of_type(deployed, "AWS::Lambda::Function")
    aliases = of_type(deployed, "AWS::Lambda::Alias")
    assert {f"{name}Aliaslive" for name in functions} == set(aliases)
    targets = [url["TargetFunctionArn"] for url in of_type(deployed, "AWS::Lambda::Url").values()]
    targets += [each["Target"]["Arn"] for each in of_type(deployed, "AWS::Scheduler::Schedule").values()]
    targets += [
        each["FunctionName"] for each in of_type(deployed, "AWS::Lambda::EventSourceMapping").values()
    ]
    targets.append(deployed["Migration"]["Properties"]["ServiceToken"])
    assert all(target["Ref"] in aliases for target in targets)


def test_no_function_with_a_database_is_touched_before_the_migration(
    deployed: dict[str, dict[str, Any]],
) -> None:
    for name in of_type(deployed, "AWS::Lambda::Function"):
        waits = deployed[name].get("DependsOn") == "Migration"
        assert waits or name in BEFORE_THE_MIGRATION | WITHOUT_DATABASE, name
    asked = deployed["Migration"]["Properties"]
    migrate = deployed["MigrateFunction"]["Properties"]
    assert asked["ServiceToken"] == {"Ref": "MigrateFunctionAliaslive"}
    assert asked["Migrations"] in migrate["Layers"]
    assert asked["ServiceTimeout"] > migrate["Timeout"] + 60


def test_the_payment_functions_move_by_a_canary_that_alarms_bring_back(
    deployed: dict[str, dict[str, Any]],
) -> None:
    groups = of_type(deployed, "AWS::CodeDeploy::DeploymentGroup")
    assert set(groups) == {
        "CreatePaymentIntentFunctionDeploymentGroup",
        "StripeWebhookFunctionDeploymentGroup",
    }
    for name, group in groups.items():
        function = name.removesuffix("DeploymentGroup")
        chosen = group["DeploymentConfigName"]["Fn::Sub"]
        assert chosen == ["CodeDeployDefault.Lambda${ConfigName}", {"ConfigName": "Canary10Percent5Minutes"}]
        assert "DEPLOYMENT_STOP_ON_ALARM" in group["AutoRollbackConfiguration"]["Events"]
        alarms = [
            deployed[each["Name"]["Ref"]]["Properties"] for each in group["AlarmConfiguration"]["Alarms"]
        ]
        errors, answers = alarms
        version = deployed[f"{function}Aliaslive"]["Properties"]["FunctionVersion"]
        assert (errors["MetricName"], answers["MetricName"]) == ("Errors", "Url5xxCount")
        assert errors["Dimensions"] == [
            {"Name": "FunctionName", "Value": {"Ref": function}},
            {"Name": "Resource", "Value": {"Fn::Sub": f"${{{function}}}:live"}},
            {"Name": "ExecutedVersion", "Value": version},
        ]
        assert answers["Dimensions"] == [{"Name": "FunctionName", "Value": {"Ref": function}}]


def versions(template: dict[str, Any], **parameters: str) -> set[str]:
    return set(of_type(translated(template, **parameters), "AWS::Lambda::Version"))


def test_a_new_release_publishes_a_version_of_every_function(built: Built) -> None:
    template = copy.deepcopy(built.template)
    template["Globals"]["Function"]["Environment"]["Variables"]["RELEASE"] = "another"
    assert not versions(built.template) & versions(template)


def test_a_setting_alone_publishes_none_which_is_why_a_build_names_its_release(built: Built) -> None:
    assert versions(built.template) == versions(built.template, LogLevel="DEBUG")


def test_a_new_layer_publishes_a_version_of_every_function_that_has_it(built: Built) -> None:
    template = copy.deepcopy(built.template)
    template["Resources"]["StripeLayer"]["Properties"]["ContentUri"] = "another"
    with_stripe = {
        name
        for name, function in built.of_type("AWS::Serverless::Function").items()
        if {"Ref": "StripeLayer"} in function["Layers"]
    }
    published = versions(template) - versions(built.template)
    assert {name.partition("Version")[0] for name in published} == with_stripe
