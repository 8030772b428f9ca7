"""Ports of this machine: a service gets one that nobody listens on and nobody else was given."""

import socket
import subprocess
import sys

from local.child import free_port

ASK = "import sys; from local.child import free_port; print(free_port(int(sys.argv[1])))"


def given_elsewhere(preferred: int) -> int:
    """The port that another process is given."""
    answer = subprocess.run(
        [sys.executable, "-c", ASK, str(preferred)], check=True, capture_output=True, text=True
    )
    return int(answer.stdout)


def test_no_two_processes_are_given_one_port() -> None:
    """From being given on, though seconds pass before the service binds it."""
    port = free_port()
    assert given_elsewhere(port) != port
    assert free_port() != port


def test_a_service_that_is_started_again_keeps_its_port() -> None:
    """Its own process is given it again, and so is another once that one has ended."""
    port = free_port()
    assert free_port(port) == port
    once = given_elsewhere(port)
    assert given_elsewhere(once) == once


def test_a_port_that_somebody_listens_on_is_not_given() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        assert free_port(server.getsockname()[1]) != server.getsockname()[1]
