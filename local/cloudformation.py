"""CloudFormation's language: a template's YAML, and what its intrinsic functions come to on this machine."""

import json
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import cast

import yaml

from local.errors import CannotStart

type Node = str | int | float | bool | list[Node] | dict[str, Node] | None

REGION = "us-east-1"
ACCOUNT = "123456789012"
STACK_NAME = "holdfast"
PSEUDO_PARAMETERS: dict[str, Node] = {
    "AWS::Region": REGION,
    "AWS::AccountId": ACCOUNT,
    "AWS::StackName": STACK_NAME,
    "AWS::StackId": f"arn:aws:cloudformation:{REGION}:{ACCOUNT}:stack/{STACK_NAME}/local",
    "AWS::Partition": "aws",
    "AWS::URLSuffix": "amazonaws.com",
    "AWS::NotificationARNs": [],
}


class TemplateError(CannotStart):
    """The template says something that cannot be resolved; the message says where."""


class NoValue:
    """What `AWS::NoValue` stands for: the property is not there."""


NO_VALUE = NoValue()


class _Loader(yaml.SafeLoader):
    """YAML with CloudFormation's short forms: `!Ref x`, `!Sub x`, `!GetAtt a.b` and the like."""


def _short_form(loader: yaml.SafeLoader, suffix: str, node: yaml.Node) -> Node:
    if isinstance(node, yaml.ScalarNode):
        value: Node = loader.construct_scalar(node)
    elif isinstance(node, yaml.SequenceNode):
        value = loader.construct_sequence(node, deep=True)
    elif isinstance(node, yaml.MappingNode):
        value = cast("dict[str, Node]", loader.construct_mapping(node, deep=True))
    else:
        raise TemplateError(f"!{suffix} of something that is no scalar, list or mapping")
    if suffix == "GetAtt" and isinstance(value, str):
        value = list(value.split(".", 1))
    return {suffix if suffix in {"Ref", "Condition"} else f"Fn::{suffix}": value}


_Loader.add_multi_constructor("!", _short_form)  # pyright: ignore[reportUnknownMemberType] - the stub is untyped


class Document:
    """One template with its parameters' values; resources whose condition does not hold are not there."""

    def __init__(self, file: Path, parameters: Mapping[str, str], aws_endpoint_url: str) -> None:
        """`parameters` override the template's defaults; queue URLs start with `aws_endpoint_url`."""
        self.document = mapping(yaml.load(file.read_text(), _Loader), str(file))  # noqa: S506 - a safe loader's child
        self.aws_endpoint_url = aws_endpoint_url
        self.values = dict(PSEUDO_PARAMETERS)
        for name, declared in self.section("Parameters").items():
            declaration = mapping(declared, f"parameter {name}")
            value: Node = parameters.get(name, declaration.get("Default", ""))
            if declaration.get("Type") in {"CommaDelimitedList", "List<String>"}:
                value = [part.strip() for part in text(value).split(",") if part.strip()]
            self.values[name] = value
        self.conditions = self.section("Conditions")
        self.resources: dict[str, dict[str, Node]] = {}
        for name, resource in self.section("Resources").items():
            declaration = mapping(resource, name)
            if "Condition" not in declaration or self.holds(text(declaration["Condition"])):
                self.resources[name] = declaration

    def section(self, name: str) -> dict[str, Node]:
        """A top-level part of the template, unresolved; empty where it is missing."""
        return mapping(self.document.get(name) or {}, name)

    def of_type(self, kind: str) -> list[str]:
        """The logical ids of all resources of a type."""
        return [name for name, resource in self.resources.items() if resource.get("Type") == kind]

    def properties(self, name: str) -> dict[str, Node]:
        """A resource's properties, unresolved."""
        return mapping(self.resources[name].get("Properties") or {}, name)

    def physical(self, logical_id: str, naming_property: str) -> str:
        """A resource's own name: the one that it is given, or one made from its logical id."""
        named = self.properties(logical_id).get(naming_property)
        return self.string(named) if named is not None else f"{STACK_NAME}-{logical_id}"

    def _reference(self, logical_id: str, attribute: str | None) -> Node:
        """What `Ref` and `GetAtt` return for a resource."""
        kind = self.resources[logical_id].get("Type")
        if kind == "AWS::Serverless::Function":
            name = self.physical(logical_id, "FunctionName")
            return f"arn:aws:lambda:{REGION}:{ACCOUNT}:function:{name}" if attribute == "Arn" else name
        if kind == "AWS::SQS::Queue":
            name = self.physical(logical_id, "QueueName")
            url = f"{self.aws_endpoint_url}/{ACCOUNT}/{name}"
            return {"Arn": f"arn:aws:sqs:{REGION}:{ACCOUNT}:{name}", "QueueName": name}.get(
                attribute or "", url
            )
        return logical_id if attribute is None else f"{logical_id}.{attribute}"

    def string(self, node: Node) -> str:
        """The node, resolved, as a text."""
        return text(self.resolve(node))

    def optional_mapping(self, node: Node) -> dict[str, Node] | None:
        """The node, resolved, if there is one."""
        value = self.resolve(node)
        return None if value is None else mapping(value, "a property")

    def resolve(self, node: Node) -> Node:
        """The node with every intrinsic function replaced by its value."""
        value = self.resolve_member(node)
        return None if isinstance(value, NoValue) else value

    def resolve_member(self, node: Node) -> Node | NoValue:
        """As `resolve`, for a member that `AWS::NoValue` takes out of its list or mapping."""
        if isinstance(node, list):
            return [value for member in node if not isinstance(value := self.resolve_member(member), NoValue)]
        if not isinstance(node, dict):
            return node
        if len(node) == 1:
            ((name, argument),) = node.items()
            if name == "Ref" and argument == "AWS::NoValue":
                return NO_VALUE
            if (intrinsic := self._intrinsics().get(name)) is not None:
                return intrinsic(argument)
            if name.startswith("Fn::"):
                raise TemplateError(f"{name} is not understood here")
        return {
            key: value
            for key, member in node.items()
            if not isinstance(value := self.resolve_member(member), NoValue)
        }

    def _intrinsics(self) -> dict[str, Callable[[Node], Node | NoValue]]:
        return {
            "Ref": lambda node: self._ref(text(node)),
            "Fn::GetAtt": self._get_attribute,
            "Fn::Sub": self._sub,
            "Fn::If": self._if,
            "Fn::Join": self._join,
            "Fn::Select": self._select,
            "Fn::Split": self._split,
            "Fn::FindInMap": self._find_in_map,
        }

    def _ref(self, name: str) -> Node:
        if name in self.values:
            return self.values[name]
        if name in self.resources:
            return self._reference(name, None)
        raise TemplateError(f"nothing is called {name}")

    def _get_attribute(self, node: Node) -> Node:
        name, attribute = (text(part) for part in sequence(node, "Fn::GetAtt"))
        if name not in self.resources:
            raise TemplateError(f"nothing is called {name}")
        return self._reference(name, attribute)

    def _sub(self, node: Node) -> Node:
        own: dict[str, Node] = {}
        if isinstance(node, list):
            node, own = node[0], mapping(self.resolve(node[1]), "Fn::Sub")

        def value(match: re.Match[str]) -> str:
            name = match[1].strip()
            if name.startswith("!"):
                return "${" + name[1:] + "}"
            if name in own:
                return text(own[name])
            if "." in name:
                return text(self._get_attribute(list(name.split(".", 1))))
            return text(self._ref(name))

        return re.sub(r"\$\{([^}]+)\}", value, text(node))

    def _if(self, node: Node) -> Node | NoValue:
        name, yes, no = sequence(node, "Fn::If")
        return self.resolve_member(yes if self.holds(text(name)) else no)

    def _join(self, node: Node) -> Node:
        separator, parts = sequence(node, "Fn::Join")
        return text(separator).join(text(part) for part in sequence(self.resolve(parts), "Fn::Join"))

    def _select(self, node: Node) -> Node:
        index, members = sequence(node, "Fn::Select")
        return sequence(self.resolve(members), "Fn::Select")[int(text(self.resolve(index)))]

    def _split(self, node: Node) -> Node:
        separator, whole = sequence(node, "Fn::Split")
        return list(self.string(whole).split(text(separator)))

    def _find_in_map(self, node: Node) -> Node:
        name, first, second = (self.string(part) for part in sequence(node, "Fn::FindInMap"))
        return mapping(mapping(self.section("Mappings").get(name), name).get(first), name)[second]

    def holds(self, condition: str) -> bool:
        """Whether a named condition is true; raises TemplateError where there is none."""
        if condition not in self.conditions:
            raise TemplateError(f"no condition is called {condition}")
        return self._truth(self.conditions[condition])

    def _truth(self, node: Node) -> bool:
        ((name, argument),) = mapping(node, "a condition").items()
        if name == "Condition":
            return self.holds(text(argument))
        members = sequence(argument, name)
        if name == "Fn::Equals":
            first, second = (self.string(member) for member in members)
            return first == second
        truths = [self._truth(member) for member in members]
        match name:
            case "Fn::And":
                return all(truths)
            case "Fn::Or":
                return any(truths)
            case "Fn::Not":
                return not truths[0]
            case _:
                raise TemplateError(f"{name} is no condition")


def mapping(node: Node, where: str) -> dict[str, Node]:
    """The node, which must be a mapping."""
    if not isinstance(node, dict):
        raise TemplateError(f"{where}: a mapping was expected")
    return node


def sequence(node: Node, where: str) -> list[Node]:
    """The node, which must be a list."""
    if not isinstance(node, list):
        raise TemplateError(f"{where}: a list was expected")
    return node


def text(node: Node) -> str:
    """A scalar as CloudFormation hands it on; a list as its members between commas."""
    if isinstance(node, bool):
        return "true" if node else "false"
    if isinstance(node, list):
        return ",".join(text(member) for member in node)
    if isinstance(node, dict):
        raise TemplateError(f"a text was expected, not {json.dumps(node)}")
    return "" if node is None else str(node)
