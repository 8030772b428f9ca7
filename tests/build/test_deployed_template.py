"""What template.yaml grants and promises, beyond what CloudFormation's own rules can see."""

import importlib
from pathlib import Path
from typing import Any

import pytest
from samcli.yamlhelper import yaml_parse

ROOT = Path(__file__).resolve().parents[2]
TEMPLATE: dict[str, Any] = yaml_parse((ROOT / "template.yaml").read_text())
FUNCTIONS: dict[str, dict[str, Any]] = {
    name: resource["Properties"]
    for name, resource in TEMPLATE["Resources"].items()
    if resource["Type"] == "AWS::Serverless::Function"
}
WITH_URL = {name for name, function in FUNCTIONS.items() if "FunctionUrlConfig" in function}
# https://docs.aws.amazon.com/AmazonCloudFront/latest/DeveloperGuide/using-managed-cache-policies.html
CACHING_DISABLED = "4135ea2d-6df8-44a3-9df3-4b5a84be39ad"
ALL_VIEWER_EXCEPT_HOST_HEADER = "b689b0a8-53d0-40ab-baf2-68738e2966ac"
DAY_S = 24 * 60 * 60
LOG_ERROR = (
    "arn:${AWS::Partition}:lambda:${AWS::Region}:${AWS::AccountId}:function:${AWS::StackName}-log-error:live"
)
ASYNCHRONOUS = {
    "ReservationCleanupFunction",
    "DeliverOutboxFunction",
    "ReconcilePaymentsFunction",
    "SealAuditFunction",
    "CheckPromisesFunction",
    "MigrateFunction",
}


def granted(function: dict[str, Any], action: str) -> list[str]:
    """What a function may do this to: references and attributes by their names."""
    resources: list[str] = []
    for statement in [each for policy in function["Policies"] for each in policy["Statement"]]:
        actions = statement["Action"]
        if action in ([actions] if isinstance(actions, str) else actions):
            named = statement["Resource"]
            for resource in named if isinstance(named, list) else [named]:
                # One that stands under a condition counts as granted.
                ((_, value),) = resource.get("Fn::If", [None, resource])[1].items()
                resources.append(".".join(value) if isinstance(value, list) else value)
    return resources


@pytest.mark.parametrize("name", sorted(FUNCTIONS))
def test_a_function_reads_exactly_the_secrets_that_it_is_told_of(name: str) -> None:
    variables = FUNCTIONS[name]["Environment"]["Variables"]
    told = [value["Ref"] for variable, value in variables.items() if variable.endswith("_ARN")]
    assert sorted(granted(FUNCTIONS[name], "secretsmanager:GetSecretValue")) == sorted(told)


@pytest.mark.parametrize("name", sorted(FUNCTIONS))
def test_a_function_may_invoke_what_it_kicks_and_log_error_and_nothing_else(name: str) -> None:
    variables = FUNCTIONS[name]["Environment"]["Variables"]
    kicked = variables.get("DELIVER_OUTBOX_FUNCTION")
    assert kicked in (None, {"Fn::Sub": "${DeliverOutboxFunction}:live"})
    may = granted(FUNCTIONS[name], "lambda:InvokeFunction")
    reports = [] if name == "LogErrorFunction" else [LOG_ERROR]
    assert may == reports + (["${DeliverOutboxFunction.Arn}:live"] if kicked else [])


def test_every_function_but_log_error_itself_reports_its_failures_to_it() -> None:
    """To report its own it would invoke itself, and might go on for ever."""
    everybody = TEMPLATE["Globals"]["Function"]["Environment"]["Variables"]["LOG_ERROR_FUNCTION"]
    assert everybody == {"Fn::Sub": "${AWS::StackName}-log-error:live"}
    own = {
        name: function["Environment"]["Variables"]["LOG_ERROR_FUNCTION"]
        for name, function in FUNCTIONS.items()
        if "LOG_ERROR_FUNCTION" in function["Environment"]["Variables"]
    }
    assert own == {"LogErrorFunction": ""}


def test_the_tracker_s_token_is_for_deliver_outbox_alone() -> None:
    told = {name for name in FUNCTIONS if "GITHUB_TOKEN_ARN" in FUNCTIONS[name]["Environment"]["Variables"]}
    assert told == {"DeliverOutboxFunction"}


def test_no_policy_holds_a_star() -> None:
    assert "*" not in str([function["Policies"] for function in FUNCTIONS.values()])


def test_log_error_gets_its_own_role_and_migrate_alone_the_owner() -> None:
    urls = {
        name: function["Environment"]["Variables"].get("DATABASE_URL_ARN", {}).get("Ref")
        for name, function in FUNCTIONS.items()
    }
    assert urls.pop("LogErrorFunction") == "ErrorWriterDatabaseUrlArn"
    assert urls.pop("MigrateFunction") is None
    assert urls.pop("SessionsFunction") is None
    assert set(urls.values()) == {"DatabaseUrlArn"}
    owners = [
        name for name in FUNCTIONS if "DATABASE_OWNER_URL_ARN" in FUNCTIONS[name]["Environment"]["Variables"]
    ]
    assert owners == ["MigrateFunction"]


@pytest.mark.parametrize("name", sorted(WITH_URL))
def test_a_function_url_lets_pages_send_and_read_the_headers_they_need(name: str) -> None:
    url = FUNCTIONS[name]["FunctionUrlConfig"]
    assert url["AuthType"] == "NONE"
    cors = url["Cors"]
    assert cors["AllowOrigins"] == {"Ref": "AllowedOrigins"}
    assert cors["AllowHeaders"] == [
        *("Content-Type", "Authorization", "Idempotency-Key", "X-Idempotency-Key"),
        *("X-Reservation-Token", "X-CSRF-Token", "If-Match"),
    ]
    assert cors["ExposeHeaders"] == ["ETag", "Retry-After", "Idempotent-Replayed", "X-Request-Id", "Date"]
    # Every method that a route takes. Not OPTIONS: the URL answers those itself, and refuses a list that holds it.
    app = importlib.import_module(FUNCTIONS[name]["Handler"].removesuffix(".lambda_handler")).app
    assert set(cors["AllowMethods"]) == {method for method, _ in app._methods}


@pytest.mark.parametrize("name", sorted(ASYNCHRONOUS))
def test_an_asynchronous_invocation_is_tried_once_and_then_kept(name: str) -> None:
    failed = {"Fn::GetAtt": ["FailedInvocationsQueue", "Arn"]}
    invoke = FUNCTIONS[name]["EventInvokeConfig"]
    assert (invoke["MaximumRetryAttempts"], invoke["MaximumEventAgeInSeconds"]) == (0, 60)
    assert invoke["DestinationConfig"]["OnFailure"]["Destination"] == failed
    for event in FUNCTIONS[name].get("Events", {}).values():
        schedule = event["Properties"]
        assert schedule["RetryPolicy"] == {"MaximumRetryAttempts": 0, "MaximumEventAgeInSeconds": 60}
        assert schedule["DeadLetterConfig"]["Arn"] == failed
        assert schedule["Name"]["Fn::Sub"].startswith("${AWS::StackName}-")


def test_the_front_has_a_path_for_every_function_with_a_url_but_the_webhook() -> None:
    front = TEMPLATE["Resources"]["Front"]["Properties"]["DistributionConfig"]
    functions = WITH_URL - {"StripeWebhookFunction"}
    slugs = {
        FUNCTIONS[name]["FunctionName"]["Fn::Sub"].removeprefix("${AWS::StackName}-"): name
        for name in functions
    }
    origins = {each["Id"]: each for each in front["Origins"] if each["Id"] != "site"}
    assert set(origins) == set(slugs)
    for slug, name in slugs.items():
        url = {"Fn::GetAtt": [f"{name}Url", "FunctionUrl"]}
        assert origins[slug]["DomainName"] == {"Fn::Select": [2, {"Fn::Split": ["/", url]}]}
        assert origins[slug]["OriginCustomHeaders"][0]["HeaderName"] == "X-Front-Secret"
    paths = {each["PathPattern"]: each for each in front["CacheBehaviors"]}
    assert set(paths) == {f"/{slug}/*" for slug in slugs}
    for path, behaviour in paths.items():
        assert path == f"/{behaviour['TargetOriginId']}/*"
        assert behaviour["CachePolicyId"] == CACHING_DISABLED
        assert behaviour["OriginRequestPolicyId"] == ALL_VIEWER_EXCEPT_HOST_HEADER
        assert {"GET", "POST", "PUT", "DELETE", "OPTIONS"} <= set(behaviour["AllowedMethods"])


def test_a_front_is_there_for_who_names_its_domain_alone() -> None:
    assert TEMPLATE["Parameters"]["FrontDomainName"]["Default"] == ""
    conditional = {
        name for name, each in TEMPLATE["Resources"].items() if each.get("Condition") == "HasFront"
    }
    assert conditional == {"Front", "FrontRequest"}


def test_the_inbox_outlasts_a_day_without_a_database() -> None:
    queues = {
        name: each["Properties"]
        for name, each in TEMPLATE["Resources"].items()
        if each["Type"] == "AWS::SQS::Queue"
    }
    inbox = queues["WebhookInboxQueue"]
    redrive = inbox["RedrivePolicy"]
    assert inbox["VisibilityTimeout"] * redrive["maxReceiveCount"] >= DAY_S
    assert redrive["deadLetterTargetArn"] == {"Fn::GetAtt": ["WebhookInboxDeadLetterQueue", "Arn"]}
    for queue in queues.values():
        assert (queue["MessageRetentionPeriod"], queue["SqsManagedSseEnabled"]) == (14 * DAY_S, True)


def test_the_webhook_alone_may_write_to_the_inbox() -> None:
    writers = {name for name in FUNCTIONS if granted(FUNCTIONS[name], "sqs:SendMessage")}
    assert writers == {"StripeWebhookFunction"}
    assert granted(FUNCTIONS["StripeWebhookFunction"], "sqs:SendMessage") == ["WebhookInboxQueue.Arn"]


def test_every_function_with_a_schedule_is_tried_once() -> None:
    scheduled = {
        name
        for name, function in FUNCTIONS.items()
        if any(event["Type"] == "ScheduleV2" for event in function.get("Events", {}).values())
    }
    assert scheduled
    assert scheduled <= ASYNCHRONOUS


def test_the_inbox_reports_which_messages_failed_and_may_use_its_queue_alone() -> None:
    inbox = FUNCTIONS["WebhookInboxFunction"]
    source = TEMPLATE["Resources"]["WebhookInboxMapping"]["Properties"]
    assert source["FunctionName"] == {"Ref": "WebhookInboxFunction.Alias"}
    assert source["FunctionResponseTypes"] == ["ReportBatchItemFailures"]
    for action in ("ReceiveMessage", "DeleteMessage", "GetQueueAttributes", "ChangeMessageVisibility"):
        assert granted(inbox, f"sqs:{action}") == ["WebhookInboxQueue.Arn"]
    queue = TEMPLATE["Resources"]["WebhookInboxQueue"]["Properties"]
    assert queue["VisibilityTimeout"] >= 6 * inbox["Timeout"]


@pytest.mark.parametrize("name", sorted(FUNCTIONS))
def test_names_follow_the_stack_and_the_folder(name: str) -> None:
    function = FUNCTIONS[name]
    folder = Path(function["CodeUri"]).name
    assert (ROOT / function["CodeUri"] / "handler.py").exists()
    assert function["FunctionName"] == {"Fn::Sub": "${AWS::StackName}-" + folder.replace("_", "-")}
    assert function["Handler"] == f"functions.{folder}.handler.lambda_handler"
    build = TEMPLATE["Resources"][name]["Metadata"]["BuildProperties"]
    assert build == {"ParentPackageMode": "explicit", "ParentPackages": f"functions.{folder}"}


def test_snapstart_is_for_those_whom_somebody_waits_for_and_off() -> None:
    assert TEMPLATE["Parameters"]["SnapStart"]["Default"] == "None"
    asked = {name for name, function in FUNCTIONS.items() if "SnapStart" in function}
    assert asked == WITH_URL
    assert all(FUNCTIONS[name]["SnapStart"] == {"ApplyOn": {"Ref": "SnapStart"}} for name in asked)


def test_every_function_but_migrate_has_a_limit_of_its_group_where_one_is_set() -> None:
    conditions = TEMPLATE["Conditions"]
    for name in FUNCTIONS.keys() - {"MigrateFunction"}:
        condition, limit, otherwise = FUNCTIONS[name]["ReservedConcurrentExecutions"]["Fn::If"]
        assert TEMPLATE["Parameters"][limit["Ref"]]["Default"] == 0
        assert conditions[condition] == {"Fn::Not": [{"Fn::Equals": [limit, "0"]}]}
        assert otherwise == {"Ref": "AWS::NoValue"}


def test_functions_are_in_a_vpc_where_subnets_are_named() -> None:
    condition, inside, otherwise = TEMPLATE["Globals"]["Function"]["VpcConfig"]["Fn::If"]
    assert TEMPLATE["Conditions"][condition] == {
        "Fn::Not": [{"Fn::Equals": [{"Fn::Join": ["", {"Ref": "SubnetIds"}]}, ""]}]
    }
    assert inside == {"SubnetIds": {"Ref": "SubnetIds"}, "SecurityGroupIds": {"Ref": "SecurityGroupIds"}}
    assert otherwise == {"Ref": "AWS::NoValue"}
    assert not any("VpcConfig" in function for function in FUNCTIONS.values())


def test_logs_expire() -> None:
    assert TEMPLATE["Globals"]["Function"]["LoggingConfig"] == {"LogGroup": {"Ref": "LogGroup"}}
    assert not any("LoggingConfig" in function for function in FUNCTIONS.values())
    group = TEMPLATE["Resources"]["LogGroup"]["Properties"]
    assert group["RetentionInDays"] == {"Ref": "LogRetentionDays"}
