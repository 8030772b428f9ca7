"""Secrets Manager in this process (moto), with the functions' secrets in it and a clock that can be put on."""

import time
from collections.abc import Generator
from contextlib import contextmanager

import boto3
import pytest
from moto import mock_aws

from runtime import secret_store
from tests.support.app import App

REGION = "eu-central-1"


class Vault:
    """The secrets as an operator rotates them."""

    def __init__(self, app: App, patch: pytest.MonkeyPatch) -> None:
        self._app = app
        self._patch = patch
        self._later = 0.0
        self._manager = boto3.client("secretsmanager", region_name=REGION)
        patch.setattr(secret_store.secret_store(), "_clock", lambda: time.time() + self._later)

    def hold(self, **values: str) -> None:
        """Moves these settings into Secrets Manager; the functions are told their ARNs, and read everything anew."""
        for name, value in values.items():
            arn = self._manager.create_secret(Name=f"holdfast/{name}", SecretString=value)["ARN"]
            self._app.set(**{f"{name}_ARN": arn})
            self._app.unset(name)

    def rotate(self, name: str, value: str) -> None:
        """Puts a new value in place of the one that holds; nobody tells the functions."""
        self._manager.put_secret_value(SecretId=f"holdfast/{name}", SecretString=value)

    def lose(self, name: str) -> None:
        """From now on Secrets Manager has no such secret."""
        self._manager.delete_secret(SecretId=f"holdfast/{name}", ForceDeleteWithoutRecovery=True)

    def wait(self, seconds: float) -> None:
        """Lets so much time go by, for whoever keeps secrets."""
        self._later += seconds


def forget_secrets() -> None:
    """No secret is known, and no client of Secrets Manager."""
    secret_store.secret_store.cache_clear()
    secret_store._client.cache_clear()


@contextmanager
def vault_of(app: App, patch: pytest.MonkeyPatch) -> Generator[Vault]:
    """An empty Secrets Manager."""
    patch.delenv("AWS_ENDPOINT_URL", raising=False)
    forget_secrets()
    with mock_aws():
        yield Vault(app, patch)
    forget_secrets()
