"""The OpenAPI document of all routes (https://spec.openapis.org/oas/v3.1.0)."""

import ast
import re
import tomllib
from collections import defaultdict
from collections.abc import Mapping
from typing import Any

from pydantic import TypeAdapter
from pydantic.json_schema import GenerateJsonSchema

from domain.refusals import Csrf, NotFound, Refusal, Unauthenticated
from local.paths import ROOT
from runtime.auth import COOKIE, SAFE_METHODS
from runtime.problems import RETRY_AFTER, STATUS, UNPROCESSABLE
from scripts.openapi.routes import Route, routes

type Schema = dict[str, Any]

HTTP_FUNCTION = "HttpFunction"
# What a route may read of a request's headers, beside those that it asks for by their names.
IDEMPOTENCY_KEY: Schema = {
    "name": "Idempotency-Key",
    "in": "header",
    "description": "Bare or quoted; X-Idempotency-Key is the same. Same key, same body: the stored answer.",
    "schema": {"type": "string", "pattern": r"^[\x21-\x7e]+$", "minLength": 1, "maxLength": 255},
}
IF_MATCH = {
    "name": "If-Match",
    "in": "header",
    "description": "The version that the caller has seen, as in ETag.",
    "schema": {"type": "string"},
}
# Said elsewhere in the document, or by the front alone.
OTHER_HEADERS = {"content-type", "if-match", "x-front-secret", "x-viewer-address"}
PROBLEM = "#/components/schemas/Problem"


class _Untitled(GenerateJsonSchema):
    """Without a title that only repeats a field's name."""

    def field_title_should_be_set(self, schema: Any) -> bool:  # noqa: ARG002 - as the parent has it
        return False


def document() -> Schema:
    """The whole, as JSON."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    made = _Document()
    for route in routes():
        made.add(route)
    return {
        "openapi": "3.1.0",
        "info": {"title": "Holdfast", "version": project["version"], "description": project["description"]},
        "servers": [
            {"url": "http://127.0.0.1:8787", "description": "make up"},
            {
                "url": "https://{domain}",
                "description": "Behind the front; a function's own URL has its paths without the function's name.",
                "variables": {"domain": {"default": "example.com"}},
            },
        ],
        "paths": made.paths,
        "components": {
            "schemas": dict(sorted(made.schemas.items())),
            "responses": dict(sorted(made.responses.items())),
            "headers": {
                "X-Request-Id": {
                    "description": "The request's id.",
                    "required": True,
                    "schema": {"type": "string"},
                },
                "Retry-After": {
                    "description": "In seconds.",
                    "schema": {"type": "string", "pattern": "^[0-9]+$"},
                },
            },
            "securitySchemes": {
                "bearer": {"type": "http", "scheme": "bearer", "bearerFormat": "JWT"},
                "session": {"type": "apiKey", "in": "cookie", "name": COOKIE},
                "csrf": {"type": "apiKey", "in": "header", "name": "X-CSRF-Token"},
            },
        },
    }


class _Document:
    """Paths and schemas, as far as they have been written."""

    def __init__(self) -> None:
        self.paths: dict[str, Schema] = {}
        self.schemas: dict[str, Schema] = {"Problem": _problem()}
        self.responses: dict[str, Schema] = {}

    def add(self, route: Route) -> None:
        path = f"/{route.function}{re.sub(r'<(\w+)>', r'{\1}', route.path)}"
        operation: Schema = {
            "operationId": f"{route.function}.{route.name}",
            "tags": [route.function],
            "parameters": self._parameters(route),
            **self._body(route),
            "responses": self._responses(route),
            **_security(route),
        }
        self.paths.setdefault(path, {})[route.method] = {
            k: v for k, v in operation.items() if v not in ([], {})
        }

    def _parameters(self, route: Route) -> list[Schema]:
        of_uuids = {ast.unparse(argument) for argument in route.reached.first_arguments_of("parsed_id")}
        found: list[Schema] = [
            {
                "name": name,
                "in": "path",
                "required": True,
                "schema": {
                    "type": "string",
                    **({"format": "uuid"} if name in of_uuids else {"minLength": 1}),
                },
            }
            for name in re.findall(r"<(\w+)>", route.path)
        ]
        for model in route.models("query_as"):
            schema = self._schema(route.function, model)
            properties = self.schemas.pop(schema["$ref"].rpartition("/")[2])
            required = properties.get("required", [])
            found += [
                {"name": name, "in": "query", "required": name in required, "schema": _given(parameter)}
                for name, parameter in properties["properties"].items()
            ]
        if route.uses("runtime.http", f"{HTTP_FUNCTION}.if_match"):
            found.append({**IF_MATCH, "required": True})
        elif route.uses("runtime.http", f"{HTTP_FUNCTION}.version_seen"):
            found.append(IF_MATCH)
        if route.uses("runtime.http", f"{HTTP_FUNCTION}.idempotency_key"):
            found.append(_idempotency_key(route))
        asked = {a.value for a in route.reached.first_arguments_of("header") if isinstance(a, ast.Constant)}
        found += [
            {"name": str(name).title(), "in": "header", "schema": {"type": "string"}}
            for name in sorted(asked - OTHER_HEADERS, key=str)
        ]
        return found

    def _body(self, route: Route) -> Schema:
        models = route.models("body_as")
        if not models:
            as_it_comes = route.uses("runtime.http", f"{HTTP_FUNCTION}.body")
            return (
                {"requestBody": {"required": True, "content": {"application/json": {"schema": {}}}}}
                if as_it_comes
                else {}
            )
        (model,) = models
        content = {"application/json": {"schema": self._schema(route.function, model)}}
        return {"requestBody": {"required": True, "content": content}}

    def _responses(self, route: Route) -> Schema:
        found: dict[str, Schema] = {}
        if route.answer is None:
            found["2XX"] = {"description": "Done", "headers": _headers()}
        else:
            body, statuses = route.answer
            content: Schema = (
                {"text/html": {"schema": {"type": "string"}}}
                if body is str
                else {"application/json": {"schema": self._schema(route.function, body)}}
            )
            for status in statuses:
                found[str(status)] = {
                    "description": "Done" if status < 300 else "Not now",
                    "headers": _headers() | {name: {"schema": {"type": "string"}} for name in route.headers},
                    "content": content,
                }
        refused: dict[int, list[type[Refusal]]] = defaultdict(list)
        for refusal in _refusals(route):
            refused[STATUS[refusal]].append(refusal)
        for status, refusals in refused.items():
            refusals.sort(key=lambda refusal: refusal.slug())
            problem = _refused(status, refusals)
            if success := found.get(str(status)):
                success["content"] |= problem["content"]
                continue
            name = ".".join([str(status), *(refusal.slug() for refusal in refusals)])
            self.responses[name] = problem
            found[str(status)] = {"$ref": f"#/components/responses/{name}"}
        return dict(sorted(found.items()))

    def _schema(self, function: str, model: Any) -> Schema:
        """A reference to the model's schema, which is kept with what it refers to under the function's name."""
        template = f"#/components/schemas/{function}.{{model}}"
        schema = TypeAdapter[Any](model).json_schema(ref_template=template, schema_generator=_Untitled)
        definitions: Mapping[str, Schema] = schema.pop("$defs", {})
        if "anyOf" not in schema:
            definitions = {**definitions, schema["title"]: schema}
            schema = {"$ref": template.format(model=schema["title"])}
        for name, definition in definitions.items():
            key = f"{function}.{name}"
            if self.schemas.setdefault(key, definition) != definition:
                raise ValueError(f"{key} is the name of two shapes")
        return schema


def _problem() -> Schema:
    text = {"type": "string"}
    return {
        "type": "object",
        "description": "What a caller is refused, and why (RFC 9457).",
        "properties": {
            "type": text | {"description": "/problems/ and what kind of problem this is"},
            "title": text,
            "status": {"type": "integer"},
            "detail": text,
            "instance": text | {"description": "The request's id."},
            "errors": {
                "type": "array",
                "items": {
                    "type": "object",
                    "properties": {"pointer": text | {"description": "RFC 6901"}, "detail": text},
                    "required": ["pointer", "detail"],
                },
            },
        },
        "required": ["type", "title", "status", "detail", "instance"],
    }


def _refused(status: int, refusals: list[type[Refusal]]) -> Schema:
    slugs = [f"/problems/{refusal.slug()}" for refusal in refusals]
    narrowed: Schema = {"properties": {"type": {"enum": slugs}, "status": {"const": status}}}
    if status == UNPROCESSABLE:
        narrowed["required"] = ["errors"]
    return {
        "description": " / ".join(refusal.title() for refusal in refusals),
        "headers": _headers() | _retry_after(refusals),
        "content": {"application/problem+json": {"schema": {"allOf": [{"$ref": PROBLEM}, narrowed]}}},
    }


def _refusals(route: Route) -> set[type[Refusal]]:
    """Those that its code may come to; a path with a name in it may also be none at all."""
    found = set(route.reached.refusals)
    if "<" in route.path:
        found.add(NotFound)
    if route.method.upper() in SAFE_METHODS:
        found.discard(Csrf)
    return found


def _headers() -> Schema:
    return {"X-Request-Id": {"$ref": "#/components/headers/X-Request-Id"}}


def _retry_after(refusals: list[type[Refusal]]) -> Schema:
    """There wherever a refusal has one; always where each of them has."""
    timed = [refusal for refusal in refusals if refusal in RETRY_AFTER]
    if not timed:
        return {}
    if len(timed) < len(refusals):
        return {"Retry-After": {"$ref": "#/components/headers/Retry-After"}}
    return {"Retry-After": {"required": True, "schema": {"type": "string", "pattern": "^[0-9]+$"}}}


def _idempotency_key(route: Route) -> Schema:
    lengths = [
        eval(ast.unparse(keyword.value), vars(route.handler))  # noqa: S307 - a constant of ours
        for call in route.reached.calls_of("idempotency_key")
        for keyword in call.keywords
        if keyword.arg == "at_least"
    ]
    return {**IDEMPOTENCY_KEY, "schema": IDEMPOTENCY_KEY["schema"] | {"minLength": max([1, *lengths])}}


def _given(parameter: Schema) -> Schema:
    """The schema of a query's parameter that was given: null is what was not."""
    some = [schema for schema in parameter.get("anyOf", []) if schema.get("type") != "null"]
    if len(some) == 1:
        parameter = {**parameter, **some[0]}
        del parameter["anyOf"]
    return {name: value for name, value in parameter.items() if (name, value) != ("default", None)}


def _security(route: Route) -> Schema:
    """Who has to be signed in, and how that may be said."""
    session: dict[str, list[str]] = {"session": []}
    if Csrf in _refusals(route):
        session["csrf"] = []
    ways: list[dict[str, list[str]]] = []
    if route.uses("runtime.auth", "by_bearer"):
        ways.append({"bearer": []})
    if route.uses("runtime.auth", "_by_cookie"):
        ways.append(session)
    if ways and (Unauthenticated not in _refusals(route) or route.uses("runtime.auth", "signed_in_at_all")):
        ways.append({})
    return {"security": ways}
