"""Servers that are not there, in the ways in which servers are not there."""

import socket
from collections.abc import Generator
from contextlib import contextmanager


@contextmanager
def nobody_listens() -> Generator[int]:
    """A port that refuses."""
    yield 9


@contextmanager
def packets_are_dropped() -> Generator[int]:
    """A listener whose line is full: the kernel drops whoever knocks, as a firewall does."""
    with socket.create_server(("127.0.0.1", 0), backlog=0) as full:
        line = [socket.socket() for _ in range(4)]
        try:
            for waiting in line:
                waiting.setblocking(False)
                waiting.connect_ex(full.getsockname())
            yield full.getsockname()[1]
        finally:
            for waiting in line:
                waiting.close()
