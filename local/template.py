"""Reads template.yaml as CloudFormation and SAM would, as far as running its functions on this machine needs."""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from local.cloudformation import ACCOUNT, REGION, STACK_NAME, Document, Node, NoValue, mapping, sequence, text

SIX_HOURS_S = 6 * 3600
# https://docs.aws.amazon.com/lambda/latest/dg/services-sqs-scaling.html
FIRST_POLLERS = 5


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
class QueueSource:
    """An SQS queue whose messages a function gets, in batches, so many of them at once."""

    queue_name: str
    batch_size: int
    concurrency: int
    reports_failures: bool


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
    queue_sources: tuple[QueueSource, ...] = ()

    @property
    def arn(self) -> str:
        """The function's ARN on this machine."""
        return f"arn:aws:lambda:{REGION}:{ACCOUNT}:function:{self.full_name}"


@dataclass(frozen=True)
class Template:
    """What the template holds that this machine plays: functions by public name, queues by logical id."""

    functions: Mapping[str, LambdaFunction]
    queues: Mapping[str, Mapping[str, str]] = field(default_factory=dict[str, Mapping[str, str]])


def load_template(
    path: Path, *, parameters: Mapping[str, str] | None = None, aws_endpoint_url: str = "http://127.0.0.1"
) -> Template:
    """Read and resolve `path`; `parameters` override its defaults, queue URLs start with `aws_endpoint_url`."""
    return _Reader(Document(path, parameters or {}, aws_endpoint_url), path.parent.resolve()).template()


class _Reader:
    """Reads functions and queues out of a document."""

    def __init__(self, document: Document, root: Path) -> None:
        self.document = document
        self.root = root

    def template(self) -> Template:
        functions = [self._function(name) for name in self.document.of_type("AWS::Serverless::Function")]
        return Template(
            functions={function.name: function for function in functions},
            queues={name: self._queue(name) for name in self.document.of_type("AWS::SQS::Queue")},
        )

    def _function(self, logical_id: str) -> LambdaFunction:
        shared = mapping(self.document.section("Globals").get("Function") or {}, "Globals.Function")
        properties = _merged(shared, self.document.properties(logical_id))
        full_name = self.document.physical(logical_id, "FunctionName")
        variables = mapping(
            mapping(properties.get("Environment") or {}, logical_id).get("Variables") or {}, logical_id
        )
        url = self.document.optional_mapping(properties.get("FunctionUrlConfig"))
        invoke = self.document.optional_mapping(properties.get("EventInvokeConfig"))
        build = mapping(self.document.resources[logical_id].get("Metadata") or {}, logical_id).get(
            "BuildProperties"
        )
        packages = mapping(build or {}, logical_id).get("ParentPackages")
        reserved = self.document.resolve(properties.get("ReservedConcurrentExecutions"))
        events = mapping(properties.get("Events") or {}, logical_id)
        return LambdaFunction(
            logical_id=logical_id,
            name=full_name.removeprefix(f"{STACK_NAME}-"),
            full_name=full_name,
            handler=self.document.string(properties.get("Handler")),
            timeout_s=float(self.document.string(properties.get("Timeout", 3))),
            memory_mb=int(self.document.string(properties.get("MemorySize", 128))),
            environment={
                name: text(value)
                for name, node in variables.items()
                if not isinstance(value := self.document.resolve_member(node), NoValue)
            },
            code=self.root / self.document.string(properties.get("CodeUri", ".")),
            parent_packages=None if packages is None else self.document.string(packages),
            layers=tuple(self._layers(properties.get("Layers"), logical_id)),
            reserved_concurrency=None if reserved is None else int(text(reserved)),
            url_auth=None if url is None else text(url.get("AuthType", "NONE")),
            cors=None if url is None else _cors(url.get("Cors")),
            schedules=tuple(self._schedules(logical_id, events)),
            queue_sources=tuple(self._queue_sources(logical_id)),
            async_retries=int(text((invoke or {}).get("MaximumRetryAttempts", 2))),
            async_max_age_s=int(text((invoke or {}).get("MaximumEventAgeInSeconds", SIX_HOURS_S))),
        )

    def _layers(self, node: Node, where: str) -> list[Path]:
        paths: list[Path] = []
        for layer in sequence(self._without_refs(node), where):
            logical_id = mapping(layer, where).get("Ref") if isinstance(layer, dict) else None
            resource = self.document.resources.get(str(logical_id), {})
            if resource.get("Type") != "AWS::Serverless::LayerVersion":
                continue  # somebody else's layer, by ARN: an extension that this machine does not have
            content = self.root / self.document.string(
                self.document.properties(str(logical_id)).get("ContentUri")
            )
            # A layer that SAM builds for Python lands in /opt/python; any other in /opt, as it is.
            built = mapping(resource.get("Metadata") or {}, where).get("BuildMethod") is not None
            paths.append(content if built else content / "python")
        return paths

    def _without_refs(self, node: Node) -> Node:
        """A list with its conditional members chosen, and its references left to look up."""
        if isinstance(node, dict) and "Fn::If" in node:
            name, yes, no = sequence(node["Fn::If"], "Fn::If")
            return self._without_refs(yes if self.document.holds(text(name)) else no)
        if isinstance(node, list):
            return [self._without_refs(member) for member in node]
        return [] if node is None else node

    def _schedules(self, logical_id: str, events: dict[str, Node]) -> list[Schedule]:
        found: list[Schedule] = []
        for name, event in events.items():
            kind = mapping(event, name).get("Type")
            if kind not in {"ScheduleV2", "Schedule"}:
                continue
            properties = mapping(self.document.resolve(mapping(event, name).get("Properties")), name)
            payload = properties.get("Input")
            found.append(
                Schedule(
                    name=f"{logical_id}{name}",
                    expression=text(properties.get("ScheduleExpression", properties.get("Schedule"))),
                    timezone=text(properties.get("ScheduleExpressionTimezone", "UTC")),
                    payload=None if payload is None else text(payload),
                    enabled=text(properties.get("State", "ENABLED")) == "ENABLED"
                    and properties.get("Enabled") is not False,
                )
            )
        return found

    def _queue_sources(self, logical_id: str) -> Iterator[QueueSource]:
        for name in self.document.of_type("AWS::Lambda::EventSourceMapping"):
            properties = dict(self.document.properties(name))
            # `!Ref Function`, or SAM's `!Ref Function.Alias`, which nothing but SAM resolves.
            function = mapping(properties.pop("FunctionName"), name).get("Ref")
            if text(function).partition(".")[0] != logical_id:
                continue
            properties = mapping(self.document.resolve(properties), name)
            scaling = mapping(properties.get("ScalingConfig") or {}, name)
            yield QueueSource(
                queue_name=text(properties.get("EventSourceArn")).rpartition(":")[2],
                batch_size=int(text(properties.get("BatchSize", 10))),
                concurrency=int(text(scaling.get("MaximumConcurrency", FIRST_POLLERS))),
                reports_failures="ReportBatchItemFailures"
                in sequence(properties.get("FunctionResponseTypes") or [], name),
            )

    def _queue(self, logical_id: str) -> dict[str, str]:
        attributes = {"name": self.document.physical(logical_id, "QueueName")}
        for name, node in self.document.properties(logical_id).items():
            if name in {"QueueName", "Tags"}:
                continue
            value = self.document.resolve(node)
            attributes[name] = json.dumps(value) if isinstance(value, dict) else text(value)
        return attributes


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
    config = mapping(node, "Cors")

    def texts(name: str) -> tuple[str, ...]:
        return tuple(text(member) for member in sequence(config.get(name) or [], name))

    age = config.get("MaxAge")
    return Cors(
        origins=texts("AllowOrigins"),
        methods=texts("AllowMethods"),
        headers=texts("AllowHeaders"),
        exposed=texts("ExposeHeaders"),
        credentials=text(config.get("AllowCredentials", False)) == "true",
        max_age_s=None if age is None else int(text(age)),
    )
