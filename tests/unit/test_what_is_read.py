"""What functions read of anybody: models that refuse what nobody asked for, and bodies that end somewhere."""

import importlib
import re
from pathlib import Path

import pytest
from pydantic import BaseModel

from runtime.http import HttpFunction
from tests.support.lambda_events import Context, url_event

ROOT = Path(__file__).resolve().parents[2]
HANDLERS = {
    path.parent.name: importlib.import_module(f"functions.{path.parent.name}.handler")
    for path in sorted(ROOT.glob("functions/*/handler.py"))
    if "HttpFunction(" in path.read_text()
}
READ = [
    (function, name)
    for function in HANDLERS
    for name in re.findall(
        r"\b(?:body|query)_as\((\w+)\)", (ROOT / "functions" / function / "handler.py").read_text()
    )
]


@pytest.mark.parametrize(("function", "name"), sorted(set(READ)))
def test_a_field_that_nobody_asked_for_is_refused(function: str, name: str) -> None:
    """Every body and every query, and all that stands in them."""
    model: type[BaseModel] = getattr(HANDLERS[function], name)
    left, seen = [model], set[type[BaseModel]]()
    while left:
        seen.add(each := left.pop())
        assert each.model_config.get("extra") == "forbid", each
        parts = re.findall(r"[\w.]+", str([field.annotation for field in each.model_fields.values()]))
        known = {f"{nested.__module__}.{nested.__name__}": nested for nested in _models(each)}
        left += [known[part] for part in parts if part in known and known[part] not in seen]


def _models(model: type[BaseModel]) -> list[type[BaseModel]]:
    found = vars(importlib.import_module(model.__module__)).values()
    return [each for each in found if isinstance(each, type) and issubclass(each, BaseModel)]


@pytest.mark.parametrize("function", sorted(HANDLERS))
def test_no_function_reads_a_body_without_end(function: str) -> None:
    """413 on every path and ahead of everything else, in base64 as well: 64 KiB, and of Stripe's 512."""
    app: HttpFunction = HANDLERS[function].app
    most = (512 if function == "stripe_webhook" else 64) * 1024
    for method, path in (
        ("POST", "/"),
        ("POST", "/reservations"),
        ("PUT", "/offerings/x"),
        ("DELETE", "/nowhere"),
    ):
        for wrapped in (False, True):
            event = url_event(method, path, "x" * (most + 1), wrapped=wrapped)
            assert app.lambda_handler(event, Context())["statusCode"] == 413
