"""What the outside world has heard it does not forget."""

import asyncio
import socket
from pathlib import Path

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
