"""What the outside world has heard it does not forget."""

import asyncio
import socket
from pathlib import Path
from typing import Any

from aiohttp import ClientSession

from local.sinks import Sink


async def tell(memory: Path, body: str) -> list[str]:
    """Tells a sink with this memory something; the bodies that it remembers then."""
    sink = Sink(memory)
    listening = socket.create_server(("127.0.0.1", 0))
    await sink.open(listening)
    url = f"http://127.0.0.1:{listening.getsockname()[1]}"
    try:
        async with ClientSession() as http:
            await (await http.post(f"{url}/told", data=body)).read()
            async with http.get(f"{url}/_requests") as answer:
                return [request["body"] for request in await answer.json()]
    finally:
        await sink.close()


def test_a_sink_remembers_what_it_heard_before_it_was_started_again(tmp_path: Path) -> None:
    """The oldest first."""
    memory = tmp_path / "told.jsonl"
    assert asyncio.run(tell(memory, "first\nline")) == ["first\nline"]
    assert asyncio.run(tell(memory, "second")) == ["first\nline", "second"]
    assert [file.name for file in tmp_path.iterdir()] == ["told.jsonl"]


async def close_an_issue(memory: Path) -> list[tuple[int, Any]]:
    """What a GitHub with this memory answers to a short story of one issue."""
    sink = Sink(memory, github=True)
    listening = socket.create_server(("127.0.0.1", 0))
    await sink.open(listening)
    issues = f"http://127.0.0.1:{listening.getsockname()[1]}/repos/me/shop/issues"
    answers: list[tuple[int, Any]] = []
    try:
        async with ClientSession() as http:
            for method, path, body in (
                ("GET", "?labels=error-1&state=all", None),
                ("POST", "", {"title": "t", "labels": ["error-1"]}),
                ("PATCH", "/1", {"state": "closed"}),
                ("POST", "/1/comments", {"body": "seen again"}),
                ("GET", "?labels=error-1", None),
                ("GET", "?labels=error-1,other&state=all", None),
                ("GET", "?labels=error-1&state=closed", None),
                ("POST", "", {"title": "t", "labels": ["x" * 51]}),
                ("GET", "/99", None),
            ):
                async with http.request(method, issues + path, json=body) as answer:
                    answers.append((answer.status, await answer.json()))
    finally:
        await sink.close()
    return answers


def test_a_sink_keeps_issues_as_github_does(tmp_path: Path) -> None:
    """Listed by label and state, closed, commented; too long a label is refused; remembered when it is started again."""
    memory = tmp_path / "github.jsonl"
    none, made, closed, comment, opened, others, found, refused, missing = asyncio.run(close_an_issue(memory))
    assert none == opened == others == (200, [])
    assert (made[0], made[1]["number"], made[1]["labels"]) == (201, 1, [{"name": "error-1"}])
    assert (closed[1]["state"], closed[1]["closed_at"] is None) == ("closed", False)
    assert comment[0] == 201
    assert [issue["comments"] for issue in found[1]] == [1]
    assert (refused[0], missing[0]) == (422, 404)
    again = asyncio.run(close_an_issue(memory))
    assert [issue["number"] for issue in again[0][1]] == [1]
    assert again[1][1]["number"] == 2
