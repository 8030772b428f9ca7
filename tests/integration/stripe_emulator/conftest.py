"""Stripe's emulator, one a module."""

from collections.abc import Generator

import pytest
import stripe

from tests.emulator_process import Emulator, emulator


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Generator[Emulator]:
    with emulator(tmp_path_factory.mktemp("stripe")) as started:
        yield started


@pytest.fixture
def running(shared: Emulator) -> Emulator:
    """The emulator, where nothing goes wrong, and nothing ends before a test says so."""
    shared.faults(settle_s=3600)
    return shared


@pytest.fixture
def client(running: Emulator) -> stripe.StripeClient:
    return running.client()
