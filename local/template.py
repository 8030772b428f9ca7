"""Reads template.yaml as CloudFormation and SAM would, as far as running its functions on this machine needs."""

import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
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
SIX_HOURS_S = 6 * 3600


class TemplateError(CannotStart):
    """The template says something that cannot be resolved; the message says where."""


class _NoValue:
    """What `AWS::NoValue` stands for: the property is not there."""


NO_VALUE = _NoValue()


@dataclass(frozen=True)
class Cors:
    """A function URL's CORS configuration; `max_age_s` none leaves the header out."""

    origins: tuple[str, ...]
    methods: tuple[str, ...]
    headers: tuple[str, ...]
    exposed: tuple[str, ...]
    credentials: bool
    max_age_s: int | None


@dataclass(frozen=True)
class Schedule:
    """When EventBridge Scheduler invokes a function, and with what JSON; `payload` none is its default event."""

    name: str
    expression: str
    timezone: str
    payload: str | None
    enabled: bool


@dataclass(frozen=True)
class LambdaFunction:
    """One function as the template describes it; `name` is what follows the stack's name in `full_name`."""

    logical_id: str
    name: str
    full_name: str
    handler: str
    timeout_s: float
    memory_mb: int
    environment: Mapping[str, str]
    code: Path
    parent_packages: str | None
    layers: tuple[Path, ...]
    reserved_concurrency: int | None
    url_auth: str | None
    cors: Cors | None
    schedules: tuple[Schedule, ...]
    async_retries: int
    async_max_age_s: int

    @property
    def arn(self) -> str:
        """The function's ARN on this machine."""
        return f"arn:aws:lambda:{REGION}:{ACCOUNT}:function:{self.full_name}"


@dataclass(frozen=True)
class Template:
    """What the template holds that this machine plays: functions by public name, queues by logical id."""

    functions: Mapping[str, LambdaFunction]
    queues: Mapping[str, Mapping[str, str]] = field(default_factory=dict[str, Mapping[str, str]])


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


def load_template(
    path: Path, *, parameters: Mapping[str, str] | None = None, aws_endpoint_url: str = "http://127.0.0.1"
) -> Template:
    """Read and resolve `path`; `parameters` override its defaults, queue URLs start with `aws_endpoint_url`."""
    document = _mapping(yaml.load(path.read_text(), _Loader), "the template")  # noqa: S506 - it is a safe loader's child
    return _Reader(document, path.parent.resolve(), parameters or {}, aws_endpoint_url).template()


class _Reader:
    """Resolves one document's intrinsic functions."""

    def __init__(
        self, document: dict[str, Node], root: Path, parameters: Mapping[str, str], aws_endpoint_url: str
    ) -> None:
        self.document = document
        self.root = root
        self.aws_endpoint_url = aws_endpoint_url
        self.values = dict(PSEUDO_PARAMETERS)
        for name, declared in self._section("Parameters").items():
            declaration = _mapping(declared, f"parameter {name}")
            value: Node = parameters.get(name, declaration.get("Default", ""))
            if declaration.get("Type") in {"CommaDelimitedList", "List<String>"}:
                value = [part.strip() for part in _text(value).split(",") if part.strip()]
            self.values[name] = value
        self.conditions = self._section("Conditions")
        self.resources: dict[str, dict[str, Node]] = {}
        for name, resource in self._section("Resources").items():
            declaration = _mapping(resource, name)
            if "Condition" not in declaration or self._holds(_text(declaration["Condition"])):
                self.resources[name] = declaration

    def template(self) -> Template:
        functions = [self._function(name) for name in self._of_type("AWS::Serverless::Function")]
        return Template(
            functions={function.name: function for function in functions},
            queues={name: self._queue(name) for name in self._of_type("AWS::SQS::Queue")},
        )

    def _section(self, name: str) -> dict[str, Node]:
        return _mapping(self.document.get(name) or {}, name)

    def _of_type(self, kind: str) -> list[str]:
        return [name for name, resource in self.resources.items() if resource.get("Type") == kind]

    def _properties(self, name: str) -> dict[str, Node]:
        return _mapping(self.resources[name].get("Properties") or {}, name)

    def _function(self, logical_id: str) -> LambdaFunction:
        shared = _mapping(self._section("Globals").get("Function") or {}, "Globals.Function")
        properties = _merged(shared, self._properties(logical_id))
        # Name and schedules first: they tell whom an error in the rest concerns.
        full_name = self._physical(logical_id, "FunctionName")
        variables = _mapping(
            _mapping(properties.get("Environment") or {}, logical_id).get("Variables") or {}, logical_id
        )
        url = self._optional_mapping(properties.get("FunctionUrlConfig"))
        invoke = self._optional_mapping(properties.get("EventInvokeConfig"))
        build = _mapping(self.resources[logical_id].get("Metadata") or {}, logical_id).get("BuildProperties")
        packages = _mapping(build or {}, logical_id).get("ParentPackages")
        reserved = self.resolve(properties.get("ReservedConcurrentExecutions"))
        events = _mapping(properties.get("Events") or {}, logical_id)
        return LambdaFunction(
            logical_id=logical_id,
            name=full_name.removeprefix(f"{STACK_NAME}-"),
            full_name=full_name,
            handler=self._string(properties.get("Handler")),
            timeout_s=float(self._string(properties.get("Timeout", 3))),
            memory_mb=int(self._string(properties.get("MemorySize", 128))),
            environment={
                name: _text(value)
                for name, node in variables.items()
                if not isinstance(value := self._maybe(node), _NoValue)
            },
            code=self.root / self._string(properties.get("CodeUri", ".")),
            parent_packages=None if packages is None else self._string(packages),
            layers=tuple(self._layers(properties.get("Layers"), logical_id)),
            reserved_concurrency=None if reserved is None else int(_text(reserved)),
            url_auth=None if url is None else _text(url.get("AuthType", "NONE")),
            cors=None if url is None else _cors(url.get("Cors")),
            schedules=tuple(self._schedules(logical_id, events)),
            async_retries=int(_text((invoke or {}).get("MaximumRetryAttempts", 2))),
            async_max_age_s=int(_text((invoke or {}).get("MaximumEventAgeInSeconds", SIX_HOURS_S))),
        )

    def _layers(self, node: Node, where: str) -> list[Path]:
        paths: list[Path] = []
        for layer in _sequence(self._without_refs(node), where):
            logical_id = _mapping(layer, where).get("Ref") if isinstance(layer, dict) else None
            resource = self.resources.get(str(logical_id), {})
            if resource.get("Type") != "AWS::Serverless::LayerVersion":
                continue  # somebody else's layer, by ARN: an extension that this machine does not have
            content = self.root / self._string(self._properties(str(logical_id)).get("ContentUri"))
            # A layer that SAM builds for Python lands in /opt/python; any other in /opt, as it is.
            built = _mapping(resource.get("Metadata") or {}, where).get("BuildMethod") is not None
            paths.append(content if built else content / "python")
        return paths

    def _without_refs(self, node: Node) -> Node:
        """A list with its conditional members chosen, and its references left to look up."""
        if isinstance(node, dict) and "Fn::If" in node:
            name, yes, no = _sequence(node["Fn::If"], "Fn::If")
            return self._without_refs(yes if self._holds(_text(name)) else no)
        if isinstance(node, list):
            return [self._without_refs(member) for member in node]
        return [] if node is None else node

    def _schedules(self, logical_id: str, events: dict[str, Node]) -> list[Schedule]:
        found: list[Schedule] = []
        for name, event in events.items():
            kind = _mapping(event, name).get("Type")
            if kind not in {"ScheduleV2", "Schedule"}:
                continue
            properties = _mapping(self.resolve(_mapping(event, name).get("Properties")), name)
            payload = properties.get("Input")
            found.append(
                Schedule(
                    name=f"{logical_id}{name}",
                    expression=_text(properties.get("ScheduleExpression", properties.get("Schedule"))),
                    timezone=_text(properties.get("ScheduleExpressionTimezone", "UTC")),
                    payload=None if payload is None else _text(payload),
                    enabled=_text(properties.get("State", "ENABLED")) == "ENABLED"
                    and properties.get("Enabled") is not False,
                )
            )
        return found

    def _queue(self, logical_id: str) -> dict[str, str]:
        attributes = {"name": self._physical(logical_id, "QueueName")}
        for name, node in self._properties(logical_id).items():
            if name in {"QueueName", "Tags"}:
                continue
            value = self.resolve(node)
            attributes[name] = json.dumps(value) if isinstance(value, dict) else _text(value)
        return attributes

    def _physical(self, logical_id: str, naming_property: str) -> str:
        named = self._properties(logical_id).get(naming_property)
        return self._string(named) if named is not None else f"{STACK_NAME}-{logical_id}"

    def _reference(self, logical_id: str, attribute: str | None) -> Node:
        """What `Ref` and `GetAtt` return for a resource."""
        kind = self.resources[logical_id].get("Type")
        if kind == "AWS::Serverless::Function":
            name = self._physical(logical_id, "FunctionName")
            return f"arn:aws:lambda:{REGION}:{ACCOUNT}:function:{name}" if attribute == "Arn" else name
        if kind == "AWS::SQS::Queue":
            name = self._physical(logical_id, "QueueName")
            url = f"{self.aws_endpoint_url}/{ACCOUNT}/{name}"
            return {"Arn": f"arn:aws:sqs:{REGION}:{ACCOUNT}:{name}", "QueueName": name}.get(
                attribute or "", url
            )
        return logical_id if attribute is None else f"{logical_id}.{attribute}"

    def _string(self, node: Node) -> str:
        return _text(self.resolve(node))

    def _optional_mapping(self, node: Node) -> dict[str, Node] | None:
        value = self.resolve(node)
        return None if value is None else _mapping(value, "a property")

    def resolve(self, node: Node) -> Node:
        """The node with every intrinsic function replaced by its value."""
        value = self._maybe(node)
        return None if isinstance(value, _NoValue) else value

    def _maybe(self, node: Node) -> Node | _NoValue:
        if isinstance(node, list):
            return [value for member in node if not isinstance(value := self._maybe(member), _NoValue)]
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
            if not isinstance(value := self._maybe(member), _NoValue)
        }

    def _intrinsics(self) -> dict[str, Callable[[Node], Node | _NoValue]]:
        return {
            "Ref": lambda node: self._ref(_text(node)),
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
        name, attribute = (_text(part) for part in _sequence(node, "Fn::GetAtt"))
        if name not in self.resources:
            raise TemplateError(f"nothing is called {name}")
        return self._reference(name, attribute)

    def _sub(self, node: Node) -> Node:
        own: dict[str, Node] = {}
        if isinstance(node, list):
            node, own = node[0], _mapping(self.resolve(node[1]), "Fn::Sub")

        def value(match: re.Match[str]) -> str:
            name = match[1].strip()
            if name.startswith("!"):
                return "${" + name[1:] + "}"
            if name in own:
                return _text(own[name])
            if "." in name:
                return _text(self._get_attribute(list(name.split(".", 1))))
            return _text(self._ref(name))

        return re.sub(r"\$\{([^}]+)\}", value, _text(node))

    def _if(self, node: Node) -> Node | _NoValue:
        name, yes, no = _sequence(node, "Fn::If")
        return self._maybe(yes if self._holds(_text(name)) else no)

    def _join(self, node: Node) -> Node:
        separator, parts = _sequence(node, "Fn::Join")
        return _text(separator).join(_text(part) for part in _sequence(self.resolve(parts), "Fn::Join"))

    def _select(self, node: Node) -> Node:
        index, members = _sequence(node, "Fn::Select")
        return _sequence(self.resolve(members), "Fn::Select")[int(_text(self.resolve(index)))]

    def _split(self, node: Node) -> Node:
        separator, text = _sequence(node, "Fn::Split")
        return list(self._string(text).split(_text(separator)))

    def _find_in_map(self, node: Node) -> Node:
        name, first, second = (self._string(part) for part in _sequence(node, "Fn::FindInMap"))
        return _mapping(_mapping(self._section("Mappings").get(name), name).get(first), name)[second]

    def _holds(self, condition: str) -> bool:
        if condition not in self.conditions:
            raise TemplateError(f"no condition is called {condition}")
        return self._truth(self.conditions[condition])

    def _truth(self, node: Node) -> bool:
        ((name, argument),) = _mapping(node, "a condition").items()
        if name == "Condition":
            return self._holds(_text(argument))
        members = _sequence(argument, name)
        if name == "Fn::Equals":
            first, second = (self._string(member) for member in members)
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


def _merged(shared: dict[str, Node], own: dict[str, Node]) -> dict[str, Node]:
    """As SAM merges Globals: mappings by key, lists one after the other, anything else replaced."""
    merged = dict(shared)
    for name, value in own.items():
        before = merged.get(name)
        if (
            isinstance(before, dict)
            and isinstance(value, dict)
            and not _is_intrinsic(before)
            and not _is_intrinsic(value)
        ):
            merged[name] = _merged(before, value)
        elif isinstance(before, list) and isinstance(value, list):
            merged[name] = [*before, *value]
        else:
            merged[name] = value
    return merged


def _is_intrinsic(node: dict[str, Node]) -> bool:
    return len(node) == 1 and next(iter(node)).startswith(("Fn::", "Ref"))


def _cors(node: Node) -> Cors | None:
    if node is None:
        return None
    config = _mapping(node, "Cors")

    def texts(name: str) -> tuple[str, ...]:
        return tuple(_text(member) for member in _sequence(config.get(name) or [], name))

    age = config.get("MaxAge")
    return Cors(
        origins=texts("AllowOrigins"),
        methods=texts("AllowMethods"),
        headers=texts("AllowHeaders"),
        exposed=texts("ExposeHeaders"),
        credentials=_text(config.get("AllowCredentials", False)) == "true",
        max_age_s=None if age is None else int(_text(age)),
    )


def _mapping(node: Node, where: str) -> dict[str, Node]:
    if not isinstance(node, dict):
        raise TemplateError(f"{where}: a mapping was expected")
    return node


def _sequence(node: Node, where: str) -> list[Node]:
    if not isinstance(node, list):
        raise TemplateError(f"{where}: a list was expected")
    return node


def _text(node: Node) -> str:
    """A scalar as CloudFormation hands it on; a list as its members between commas."""
    if isinstance(node, bool):
        return "true" if node else "false"
    if isinstance(node, list):
        return ",".join(_text(member) for member in node)
    if isinstance(node, dict):
        raise TemplateError(f"a text was expected, not {json.dumps(node)}")
    return "" if node is None else str(node)
