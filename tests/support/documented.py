"""What docs/openapi.json says of an answer: every answer that a test is given is held against it."""

import json
import re
from functools import cache
from typing import Any

from jsonschema import Draft202012Validator
from referencing import Registry
from referencing.jsonschema import DRAFT202012

from local.paths import ROOT
from tests.support.lambda_events import Answer

NOT_A_ROUTE = (404, 405)


@cache
def _document() -> dict[str, Any]:
    return json.loads((ROOT / "docs" / "openapi.json").read_text())


@cache
def _operations() -> list[tuple[re.Pattern[str], str, dict[str, Any]]]:
    """Paths without a name in them first, as routing has it."""
    paths = sorted(_document()["paths"].items(), key=lambda item: item[0].count("{"))
    return [(re.compile(re.sub(r"{\w+}", "[^/]+", path)), path, methods) for path, methods in paths]


@cache
def _validator(*pointer: str) -> Draft202012Validator:
    whole = DRAFT202012.create_resource(_document())
    steps = "/".join(step.replace("~", "~0").replace("/", "~1") for step in pointer)
    registry = Registry[Any]().with_resource("urn:openapi", whole)
    return Draft202012Validator({"$ref": f"urn:openapi#/{steps}"}, registry=registry)


def hold_to_the_document(function: str, method: str, path: str, answer: Answer) -> None:
    """Fails where the document does not know this status, media type or shape of the operation."""
    known = [
        (template, methods)
        for pattern, template, methods in _operations()
        if pattern.fullmatch(f"/{function}{path}")
    ]
    operation = known[0][1].get(method.lower()) if known else None
    if operation is None:
        assert answer.status in NOT_A_ROUTE, f"{method} /{function}{path} is not documented"
        return
    status, said = str(answer.status), operation["responses"]
    if status not in said and "2XX" in said and answer.status < 300:
        return
    assert status in said, (
        f"{operation['operationId']} answered {answer.status}, which is not documented: {answer.text}"
    )
    pointer = ("paths", known[0][0], method.lower(), "responses", status)
    if "$ref" in said[status]:
        pointer = tuple(said[status]["$ref"].removeprefix("#/").split("/"))
        content = _document()["components"]["responses"][pointer[-1]]["content"]
    else:
        content = said[status]["content"]
    media = answer.headers["Content-Type"].partition(";")[0]
    assert media in content, f"{operation['operationId']} answered {media}, which is not documented"
    if "schema" in content[media] and media.endswith("json"):
        body = answer.body
        wrong = [
            error.message for error in _validator(*pointer, "content", media, "schema").iter_errors(body)
        ]
        assert not wrong, f"{operation['operationId']} {answer.status}: {wrong[:2]} in {answer.text[:500]}"
