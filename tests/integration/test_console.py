"""The console is one page, which anybody may have: what it shows is asked for with a token."""

from html.parser import HTMLParser

import pytest

from functions.admin.console import PAGE, console
from tests.support.app import App
from tests.support.sign_in import configure


class _Parts(HTMLParser):
    """What the page brings along, and what it would do without its script."""

    def __init__(self) -> None:
        super().__init__()
        self.foreign: list[str] = []
        self.inline: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        del tag
        self.foreign += [
            value or ""
            for name, value in attrs
            if name in ("src", "href") and not (value or "").startswith("#")
        ]
        self.inline += [name for name, _ in attrs if name.startswith("on") or name == "style"]


def test_it_is_served_to_whoever_asks(app: App, monkeypatch: pytest.MonkeyPatch) -> None:
    """It has to be there before anybody can say who they are; nobody else's page may frame it."""
    configure(monkeypatch)
    answer = app.call("admin", "GET", "/console")
    assert answer.status == 200
    assert answer.headers["Content-Type"] == "text/html; charset=utf-8"
    assert answer.text == PAGE.read_text()
    assert "frame-ancestors 'none'" in answer.headers["Content-Security-Policy"]


def test_it_brings_nothing_from_elsewhere_and_nothing_its_policy_would_refuse() -> None:
    parts = _Parts()
    parts.feed(console()[0])
    assert (parts.foreign, parts.inline) == ([], [])
