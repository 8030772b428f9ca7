"""SQS and Secrets Manager: moto's server, with the template's queues and the functions' secrets in it.

Run as a process of its own: `python -m local.aws --port PORT --template template.yaml --secrets FILE`. Its memory is
all it has: started again, it has the queues and secrets, and no messages.
"""

import argparse
import json
import logging
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from moto.moto_server.werkzeug_app import DomainDispatcherApplication, create_backend_app
from werkzeug.serving import make_server
from werkzeug.test import Client

from local.cloudformation import ACCOUNT, REGION, STACK_NAME
from local.template import Template, load_template


def create_resources(client: Client, base_url: str, template: Template, secrets: Mapping[str, str]) -> None:
    """Queues and secrets, by the calls that CloudFormation would make."""
    # A queue may name another one as its dead-letter queue, which then must be there first.
    for queue in sorted(template.queues.values(), key=lambda attributes: "RedrivePolicy" in attributes):
        attributes = {name: value for name, value in queue.items() if name != "name"}
        body = {"QueueName": queue["name"], "Attributes": attributes}
        _call(client, base_url, "sqs", "AmazonSQS.CreateQueue", body)
    for name, value in secrets.items():
        body = {"Name": f"{STACK_NAME}/{name}", "SecretString": value}
        _call(client, base_url, "secretsmanager", "secretsmanager.CreateSecret", body)


def _call(client: Client, base_url: str, service: str, target: str, body: dict[str, Any]) -> None:
    scope = f"{ACCOUNT}/20260101/{REGION}/{service}/aws4_request"  # this is how moto tells services apart
    headers = {"X-Amz-Target": target, "Authorization": f"AWS4-HMAC-SHA256 Credential={scope}"}
    response = client.post(
        "/",
        base_url=base_url,
        data=json.dumps(body),
        headers=headers,
        content_type="application/x-amz-json-1.0",
    )
    if response.status_code >= 400:
        raise RuntimeError(f"{target} {body}: {response.get_data(as_text=True)}")


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m local.aws", description=__doc__)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--template", type=Path, required=True)
    parser.add_argument("--secrets", type=Path, help="a JSON object of names and values")
    arguments = parser.parse_args()
    logging.getLogger("werkzeug").setLevel(logging.WARNING)
    base_url = f"http://127.0.0.1:{arguments.port}"
    template = load_template(arguments.template, aws_endpoint_url=base_url)
    secrets: dict[str, str] = json.loads(arguments.secrets.read_text()) if arguments.secrets else {}
    application = DomainDispatcherApplication(create_backend_app)
    create_resources(Client(application), base_url, template, secrets)
    server = make_server("127.0.0.1", arguments.port, application, threaded=True)
    print(f"ready {base_url}", flush=True)
    server.serve_forever()


if __name__ == "__main__":
    sys.exit(main())
