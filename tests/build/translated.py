"""What SAM makes of the built template: the CloudFormation that is deployed, roles and all."""

import copy
import os
from typing import Any

from samtranslator.translator.managed_policy_translator import ManagedPolicyLoader
from samtranslator.translator.transform import transform

SECRET_ARN = "arn:aws:secretsmanager:eu-central-1:000000000000:secret:holdfast-AbCdEf"


class NoNames(ManagedPolicyLoader):
    """SAM's list of AWS's managed policies by name; the template names none."""

    def __init__(self) -> None:
        """AWS is not asked."""

    def load(self) -> dict[str, str]:
        return {}


def translated(template: dict[str, Any], **parameters: str) -> dict[str, dict[str, Any]]:
    """The resources, by logical id, under the parameters' defaults and these; artefacts count as uploaded."""
    document = copy.deepcopy(template)
    for resource in document["Resources"].values():
        for uri in ("CodeUri", "ContentUri"):
            if uri in resource["Properties"]:
                resource["Properties"][uri] = f"s3://artefacts/{resource['Properties'][uri]}"
    values = {name: each.get("Default", SECRET_ARN) for name, each in document["Parameters"].items()}
    os.environ.setdefault("AWS_DEFAULT_REGION", "eu-central-1")
    return transform(document, values | parameters, NoNames())["Resources"]


def statements(resources: dict[str, dict[str, Any]]) -> list[tuple[str, dict[str, Any]]]:
    """Every statement of every policy, with the logical id of what it belongs to."""
    found: list[tuple[str, dict[str, Any]]] = []
    for name, resource in resources.items():
        properties = resource["Properties"]
        documents = [each["PolicyDocument"] for each in properties.get("Policies", [])]
        if "PolicyDocument" in properties:
            documents.append(properties["PolicyDocument"])
        found += [(name, statement) for document in documents for statement in document["Statement"]]
    return found


def of_type(resources: dict[str, dict[str, Any]], kind: str) -> dict[str, dict[str, Any]]:
    """The properties of every resource of a type, by logical id."""
    return {name: each["Properties"] for name, each in resources.items() if each["Type"] == kind}
