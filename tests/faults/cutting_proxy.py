"""A TCP proxy before the database that cuts the connection at a message of the test's choice."""

import socket
import threading
from collections.abc import Generator
from contextlib import contextmanager, suppress
from typing import Literal

type Where = Literal["before", "after"]


class CuttingProxy:
    """Passes everything on. Armed, it cuts at the n-th thing that a client sends from then on, once.

    `before`: the database never gets it. `after`: the database gets it, does it and answers, and the answer is lost.
    """

    def __init__(self, port: int) -> None:
        self._upstream = ("127.0.0.1", port)
        self._listening = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listening.getsockname()[1]
        self._lock = threading.Lock()
        self._left = 0
        self._where: Where = "before"
        self.has_cut = False

    def arm(self, message: int, where: Where) -> None:
        """Counts from 1."""
        with self._lock:
            self._left, self._where, self.has_cut = message, where, False

    def serve(self) -> None:
        """Until `close`."""
        while True:
            try:
                client, _ = self._listening.accept()
            except OSError:
                return
            threading.Thread(target=self._pass_on, args=[client], daemon=True).start()

    def close(self) -> None:
        self._listening.shutdown(socket.SHUT_RDWR)
        self._listening.close()

    def _pass_on(self, client: socket.socket) -> None:
        with client, socket.create_connection(self._upstream) as server:
            back = threading.Thread(target=self._pump_back, args=[server, client], daemon=True)
            back.start()
            with suppress(OSError):
                while data := client.recv(1 << 16):
                    cut = self._cut()
                    if cut == "before":
                        break
                    if cut == "after":
                        # Nothing more goes back to the client; the database works on.
                        client.shutdown(socket.SHUT_RDWR)
                        server.sendall(data)
                        self._drain(server)
                        break
                    server.sendall(data)
            for end in (client, server):
                with suppress(OSError):
                    end.shutdown(socket.SHUT_RDWR)
            back.join(5)

    def _cut(self) -> Where | None:
        with self._lock:
            if self._left == 0:
                return None
            self._left -= 1
            if self._left:
                return None
            self.has_cut = True
            return self._where

    @staticmethod
    def _pump_back(server: socket.socket, client: socket.socket) -> None:
        with suppress(OSError):
            while data := server.recv(1 << 16):
                with suppress(OSError):
                    client.sendall(data)

    @staticmethod
    def _drain(server: socket.socket) -> None:
        """Lets the database finish what it was given: a terminate is only read after that."""
        with suppress(OSError):
            server.sendall(b"X\x00\x00\x00\x04")
            server.shutdown(socket.SHUT_WR)


@contextmanager
def cutting_proxy(port: int) -> Generator[CuttingProxy]:
    """A running proxy before the database on this port."""
    proxy = CuttingProxy(port)
    serving = threading.Thread(target=proxy.serve)
    serving.start()
    try:
        yield proxy
    finally:
        proxy.close()
        serving.join()
