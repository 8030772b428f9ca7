"""Has Stripe's events done again: EVENT=evt_..., or those of STATUS= (and TYPE=, SINCE=), with DRY_RUN=1 only named.

Asks the `admin` function of the running cloud (STATE=), or the one at ADMIN_URL with the token ADMIN_TOKEN. One line an
event; exit status 1 where one has failed again.
"""

import json
import os
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

type Json = dict[str, Any]

SECONDS = 60


def main() -> int:
    """Returns the exit status."""
    given = {
        name.lower(): value
        for name in ("EVENT", "STATUS", "TYPE", "SINCE")
        if (value := os.environ.get(name))
    }
    dry_run = os.environ.get("DRY_RUN", "") not in ("", "0")
    if ("event" in given) == ("status" in given) or (dry_run and "event" in given):
        print(
            "say EVENT=evt_..., or STATUS= one of parked, failed, dead, quarantined (and DRY_RUN=1)",
            file=sys.stderr,
        )
        return 2
    failed = False
    try:
        for event in _replay(given, dry_run=dry_run):
            failed |= event.get("outcome") == "failed"
            print(
                " ".join(str(event[name]) for name in ("id", "type", "status", "outcome") if name in event),
                flush=True,
            )
    except urllib.error.HTTPError as answer:
        problem = json.load(answer)
        print(f"{answer.code} {problem.get('errors') or problem['detail']}", file=sys.stderr)
        return 1
    except (urllib.error.URLError, FileNotFoundError) as failure:
        print(f"admin is not to be reached: {failure}", file=sys.stderr)
        return 1
    return int(failed)


def _replay(given: Json, *, dry_run: bool) -> Iterator[Json]:
    if "event" in given:
        yield _ask(f"/webhook-events/{given['event']}/replay", {})
        return
    wanted: Json = given | {"dry_run": dry_run}
    while True:
        answer = _ask("/webhook-events/replay", wanted)
        yield from answer["events"]
        if "next" not in answer:
            return
        wanted["cursor"] = answer["next"]


def _ask(path: str, body: Json) -> Json:
    url, token = os.environ.get("ADMIN_URL"), os.environ.get("ADMIN_TOKEN")
    if not (url and token):
        stack = json.loads(Path(os.environ.get("STATE") or ".local", "stack.json").read_text())
        url, token = stack["functions"]["admin"], stack["admin_token"]
    request = urllib.request.Request(  # noqa: S310 - the address is the operator's own
        url.rstrip("/") + path,
        data=json.dumps(body).encode(),
        headers={"Content-Type": "application/json", "Authorization": f"Bearer {token}"},
        method="POST",
    )
    with urllib.request.urlopen(request, timeout=SECONDS) as answer:  # noqa: S310 - as above
        return json.load(answer)


if __name__ == "__main__":
    sys.exit(main())
