"""What docs/deploy.md and samconfig.toml tell an operator is what the code and the template say."""

import re
import tomllib
from pathlib import Path
from typing import Any

import pytest
from samcli.yamlhelper import yaml_parse

from payments.applying import ACTED_ON
from stripe_gateway.webhook import API_VERSION

ROOT = Path(__file__).resolve().parents[2]
GUIDE = (ROOT / "docs" / "deploy.md").read_text()
TEMPLATE: dict[str, Any] = yaml_parse((ROOT / "template.yaml").read_text())
CONFIG: dict[str, Any] = tomllib.loads((ROOT / "samconfig.toml").read_text())


def overrides(environment: str) -> dict[str, str]:
    given = CONFIG[environment]["deploy"]["parameters"]["parameter_overrides"]
    return dict(each.split("=", 1) for each in given)


def test_stripe_is_asked_for_the_events_that_are_acted_on() -> None:
    """None that would be ignored, none that would be missed, in the version that they are read in."""
    command = re.search(r"printf -- '-d enabled_events\[\]=%s ' (.*?)\) \|", GUIDE, re.DOTALL)
    assert command
    assert sorted(command[1].replace("\\\n", " ").split()) == sorted(ACTED_ON)
    assert f"-d api_version={API_VERSION}" in GUIDE


@pytest.mark.parametrize("environment", ["dev", "staging", "prod"])
def test_an_environment_is_given_every_parameter_that_has_no_default(environment: str) -> None:
    """And none that the template does not have; each under a name of its own."""
    given, declared = overrides(environment), TEMPLATE["Parameters"]
    required = {name for name, each in declared.items() if "Default" not in each}
    assert required <= given.keys() <= declared.keys()
    assert given["Environment"] == environment
    assert all(
        f":secret:holdfast/{environment}/" in value for name, value in given.items() if name in required
    )
    settings = CONFIG[environment]["deploy"]["parameters"]
    assert settings["stack_name"] == f"holdfast-{environment}"
    assert settings["template_file"] == ".aws-sam/build/template.yaml"
    for name, value in given.items():
        assert re.fullmatch(declared[name].get("AllowedPattern", ".*"), value)
        assert value in map(str, declared[name].get("AllowedValues", [value]))


def test_the_guide_creates_the_secrets_that_are_named() -> None:
    """Under the names that samconfig.toml's ARNs have."""
    created = set(re.findall(r"(?:^|\| )secret ([a-z-]+)", GUIDE, re.MULTILINE)) - {"front-secret"}
    named = {
        match[1]
        for value in overrides("prod").values()
        if (match := re.search(r":secret:holdfast/prod/([a-z-]+)-XXXXXX$", value))
    }
    assert created == named


def test_the_guide_adds_connections_up_as_the_template_limits_them() -> None:
    """Every function with a database, as often as its group's limit in prod; migrate once."""
    total, functions = 0, set[str]()
    for resource in TEMPLATE["Resources"].values():
        properties = resource["Properties"]
        variables = properties.get("Environment", {}).get("Variables", {})
        if not {"DATABASE_URL_ARN", "DATABASE_OWNER_URL_ARN"} & variables.keys():
            continue
        limit = properties.get("ReservedConcurrentExecutions")
        total += int(overrides("prod")[limit["Fn::If"][1]["Ref"]]) if limit else 1
        functions.add(properties["FunctionName"]["Fn::Sub"].removeprefix("${AWS::StackName}-"))
    table = GUIDE.partition("| group |")[2].partition("\n\n")[0]
    assert set(re.findall(r"`([a-z-]+)`", table)) == functions
    assert f"| **{total}** |" in table
    assert f"= {2 * total + 10}\n" in GUIDE
