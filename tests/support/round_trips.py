"""A proxy in front of PostgreSQL: counts round trips, and cuts connections where it hurts."""

import contextlib
import re
import socket
import threading
from collections.abc import Generator
from contextlib import contextmanager
from typing import Literal
from urllib.parse import urlsplit, urlunsplit

type Cut = Literal["before", "after"]
# ReadyForQuery ends an answer, https://www.postgresql.org/docs/current/protocol-message-formats.html; a part of one may
# come by itself.
END_OF_ANSWER = re.compile(rb"Z\x00\x00\x00\x05[ITE]\Z")
# psycopg ends a pipeline with it, at times when the answer is there already; nobody waits for one of its own.
FLUSH = b"H\x00\x00\x00\x04"


class Proxy:
    """Passes bytes between its clients and the server."""

    def __init__(self, host: str, port: int) -> None:
        self._server = (host, port)
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self.round_trips = 0
        self.cuts = 0
        self._armed: tuple[Cut, bytes, int] | None = None
        self._threads: list[threading.Thread] = []
        self._sockets: list[socket.socket] = []
        self._start(self._accept)

    def count(self) -> int:
        """The round trips since the last time: bursts of the client that follow an answer of the server."""
        counted, self.round_trips = self.round_trips, 0
        return counted

    def cut(self, when: Cut, marker: bytes, *, times: int = 1) -> None:
        """Cuts the connection at the next burst that contains `marker`.

        before: the server never hears it. after: the server does the work, and its answer is lost.
        """
        self._armed = (when, marker, times)

    def close(self) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for connection in list(self._sockets):
            _end(connection)
        for thread in list(self._threads):
            thread.join(5)

    def _start(self, act: "object", *args: object) -> None:
        thread = threading.Thread(target=act, args=args, daemon=True)  # pyright: ignore[reportArgumentType] - any callable
        self._threads.append(thread)
        thread.start()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                server = socket.create_connection(self._server)
                for connection in (client, server):
                    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                    self._sockets.append(connection)
                _Pair(self, client, server)

    def strikes(self, burst: bytes) -> Cut | None:
        """What happens to the connection at this burst."""
        if self._armed is None or self._armed[1] not in burst:
            return None
        when, marker, times = self._armed
        self._armed = (when, marker, times - 1) if times > 1 else None
        self.cuts += 1
        return when


class _Pair:
    """One client and its connection to the server."""

    def __init__(self, proxy: Proxy, client: socket.socket, server: socket.socket) -> None:
        self._proxy = proxy
        self._client = client
        self._to_server = server
        self._answered = True
        self._losing = False
        proxy._start(self._requests)
        proxy._start(self._answers)

    def _requests(self) -> None:
        with contextlib.suppress(OSError):
            while burst := self._client.recv(1 << 20):
                if self._answered and burst != FLUSH:
                    self._answered = False
                    self._proxy.round_trips += 1
                match self._proxy.strikes(burst):
                    case "before":
                        break
                    case "after":
                        self._losing = True  # the answer ends both sides
                        self._to_server.sendall(burst)
                    case None:
                        self._to_server.sendall(burst)
        self._end()

    def _answers(self) -> None:
        with contextlib.suppress(OSError):
            while burst := self._to_server.recv(1 << 20):
                if self._losing:
                    break
                if END_OF_ANSWER.search(burst):
                    self._answered = True
                self._client.sendall(burst)
        self._end()

    def _end(self) -> None:
        _end(self._client)
        _end(self._to_server)


def _end(connection: socket.socket) -> None:
    with contextlib.suppress(OSError):
        connection.shutdown(socket.SHUT_RDWR)
    connection.close()


@contextmanager
def proxied(database_url: str) -> Generator[tuple[Proxy, str]]:
    """A proxy in front of the database, and the address of the database behind it."""
    parts = urlsplit(database_url)
    assert parts.hostname is not None
    assert parts.port is not None
    proxy = Proxy(parts.hostname, parts.port)
    try:
        netloc = f"{parts.username}@127.0.0.1:{proxy.port}"
        yield proxy, urlunsplit(parts._replace(netloc=netloc))
    finally:
        proxy.close()
