"""`sam local` over a built template, with this machine's settings."""

import json
import os
import subprocess
import sys
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from copy import deepcopy
from pathlib import Path
from signal import SIGINT
from typing import Any

import yaml

from local.child import bound_command, free_port
from tests.build.artefacts import FUNCTION_TYPE, HERE, Built
from tests.sam_local.engine import base_image_is_there
from tests.sam_local.serving import LOOPBACK, serving

TIMEOUT_S = 120


class Sam:
    """The built functions, as whoever types `sam local` has them."""

    def __init__(self, built: Built, environments: Mapping[str, Mapping[str, str]], folder: Path) -> None:
        """`environments` are the functions' variables by logical id."""
        self.folder = folder
        self._template = built.folder / "sam-local.yaml"
        self._template.write_text(yaml.safe_dump(_declaring(built, environments)))
        self._variables = folder / "variables.json"
        self._variables.write_text(json.dumps(environments))

    def invoke(self, logical_id: str, event: Path) -> Any:
        """`sam local invoke`: the answer, its body read where it is an HTTP answer; AssertionError where there is none."""
        command = self._command("invoke", logical_id, "--event", str(event))
        done = subprocess.run(
            bound_command(command, death_signal=SIGINT),  # at a SIGTERM it would leave its container behind
            cwd=self.folder,
            env=self._environment(),
            capture_output=True,
            text=True,
            check=False,
        )
        try:
            answer = json.loads(done.stdout)
        except ValueError:
            answer = None
        assert answer is not None, f"{logical_id}: {done.stdout}\n{done.stderr}"
        return read(answer)

    @contextmanager
    def serving(self) -> Generator[str]:
        """`sam local start-lambda`: the URL of its Invoke API; each function keeps its container until the end."""
        port = free_port()
        command = self._command(
            "start-lambda", "--warm-containers", "LAZY", "--no-watch", "--port", str(port)
        )
        log = self.folder / "start-lambda.log"
        with serving(command, port, environment=self._environment(), folder=self.folder, log=log):
            yield f"http://{LOOPBACK}:{port}"

    def _command(self, *arguments: str) -> list[str]:
        pull = ["--skip-pull-image"] if base_image_is_there() else []
        given = ["--template", str(self._template), "--env-vars", str(self._variables)]
        given += ["--parameter-overrides", f"Architecture={HERE}"]
        return [sys.executable, "-m", "samcli", "local", *arguments, *given, *pull]

    def _environment(self) -> dict[str, str]:
        """Without the caller's AWS account: SAM would hand its keys on to the functions."""
        ours = {name: value for name, value in os.environ.items() if not name.startswith("AWS_")}
        nowhere = str(self.folder / "no-aws-account")
        return ours | {
            "SAM_CLI_TELEMETRY": "0",
            "__SAM_CLI_APP_DIR": str(self.folder / "settings"),
            "AWS_CONFIG_FILE": nowhere,
            "AWS_SHARED_CREDENTIALS_FILE": nowhere,
            "AWS_EC2_METADATA_DISABLED": "true",
            "AWS_DEFAULT_REGION": "us-east-1",
        }


def read(answer: Any) -> Any:
    """A function's answer, with the body of an HTTP answer read as JSON."""
    if isinstance(answer, dict) and "statusCode" in answer:
        return answer | {"body": json.loads(answer["body"])}
    return answer


def _declaring(built: Built, environments: Mapping[str, Mapping[str, str]]) -> dict[str, Any]:
    """The built template, its functions declaring our variables: --env-vars sets what is declared, and nothing else.

    So a secret is given plainly, as NAME; the built template knows it as NAME_ARN alone. And time limits are for
    Lambda's machines: here every call starts a container, beside whatever else the machine does.
    """
    template = deepcopy(built.template)
    for logical_id, resource in template["Resources"].items():
        if resource["Type"] == FUNCTION_TYPE:
            declared = {"Variables": dict.fromkeys(environments[logical_id], "")}
            resource["Properties"] |= {"Environment": declared, "Timeout": TIMEOUT_S}
    return template
