"""What is asked of Docker: where containers reach this machine, which images are there, and what still runs."""

import json
import socket
import socketserver
import subprocess
import threading
from collections.abc import Generator, Iterable
from contextlib import ExitStack, contextmanager, suppress
from ipaddress import ip_network
from pathlib import Path
from typing import Any

from tests.build.artefacts import HERE
from tests.sam_local.serving import LOOPBACK

BASE_IMAGE = f"public.ecr.aws/lambda/python:3.13-{HERE}"
# Docker Desktop runs containers in a machine of its own, where this name leads to our loopback,
# https://docs.docker.com/desktop/features/networking/#i-want-to-connect-from-a-container-to-a-service-on-the-host.
DESKTOP_HOST = "host.docker.internal"


def docker(*arguments: str) -> str:
    """What the command prints; raises AssertionError with Docker's words."""
    answer = subprocess.run(
        ["/usr/bin/env", "docker", *arguments], capture_output=True, text=True, check=False
    )
    assert answer.returncode == 0, f"docker {' '.join(arguments)}: {answer.stderr.strip()}"
    return answer.stdout


def base_image_is_there() -> bool:
    """Whether SAM need not pull the image that all functions run in."""
    return bool(docker("image", "ls", "--quiet", BASE_IMAGE).strip())


def host_address() -> str:
    """The name under which containers of the default network reach this machine."""
    (network,) = json.loads(docker("network", "inspect", "bridge"))
    config = next(each for each in network["IPAM"]["Config"] if ":" not in each["Subnet"])
    # Where the gateway is not told, Docker takes the first address.
    gateway: str = config.get("Gateway") or str(next(ip_network(config["Subnet"]).hosts()))
    with socket.socket() as probe:
        try:
            probe.bind((gateway, 0))
        except OSError:
            return DESKTOP_HOST
    return gateway


def containers_over(folder: Path) -> list[dict[str, Any]]:
    """Docker's account of every container, running or not, that sees anything of a folder."""
    if not (ids := docker("ps", "--all", "--quiet").split()):
        return []
    found: list[dict[str, Any]] = json.loads(docker("inspect", *ids))
    return [
        container
        for container in found
        if any(Path(mount["Source"]).is_relative_to(folder) for mount in container["Mounts"])
    ]


@contextmanager
def reachable(host: str, ports: Iterable[int]) -> Generator[None]:
    """Lets containers reach these ports of loopback as `host`; a server itself stays on loopback alone."""
    with ExitStack() as open_ports:
        if host != DESKTOP_HOST:
            for port in ports:
                open_ports.enter_context(_forwarded(host, port))
        yield


@contextmanager
def _forwarded(host: str, port: int) -> Generator[None]:
    class Connection(socketserver.BaseRequestHandler):
        def handle(self) -> None:
            with suppress(OSError), socket.create_connection((LOOPBACK, port)) as server:
                back = threading.Thread(target=_pump, args=[server, self.request], daemon=True)
                back.start()
                _pump(self.request, server)
                back.join()

    with socketserver.ThreadingTCPServer((host, port), Connection, bind_and_activate=False) as forwarder:
        forwarder.daemon_threads = True
        forwarder.allow_reuse_address = True
        forwarder.server_bind()
        forwarder.server_activate()
        thread = threading.Thread(target=forwarder.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        try:
            yield
        finally:
            forwarder.shutdown()
            thread.join()


def _pump(source: socket.socket, sink: socket.socket) -> None:
    with suppress(OSError):
        while data := source.recv(1 << 16):
            sink.sendall(data)
    with suppress(OSError):
        sink.shutdown(socket.SHUT_WR)
