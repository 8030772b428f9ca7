"""Prints the whole story of a reservation, in order, by any id of it: ID=; with ARGS=--json as JSON.

The id of the reservation, of its payment, booking or refund, or Stripe's of an intent, a session, a refund, a dispute or an
event. One line an entry: when, what, money in minor units, seats or credits, who, the request id, and what it is about.
"""

import argparse
import json
import os
import sys
from typing import Any

from database.trace import tell_story
from scripts.owner import connect_as_owner


def main() -> int:
    """Returns the exit status."""
    parser = argparse.ArgumentParser(prog="make trace", description=__doc__)
    parser.add_argument("--json", action="store_true", help="one JSON object instead of lines")
    arguments = parser.parse_args()
    known_id = (os.environ.get("ID") or "").strip()
    if not known_id:
        print("say whose: ID=, of a reservation, payment, booking, refund or event", file=sys.stderr)
        return 2
    with connect_as_owner() as owner:
        story = tell_story(owner, known_id)
    if not story["entries"]:
        print(f"nobody here knows {known_id}", file=sys.stderr)
        return 1
    if arguments.json:
        json.dump(story, sys.stdout, ensure_ascii=False, indent=2)
        print()
    else:
        for entry in story["entries"]:
            print(line(entry))
    return 0


def line(entry: dict[str, Any]) -> str:
    """The entry as a line of columns."""
    worth = [f"{entry['amount']} {entry['currency']}"] if "amount" in entry else []
    worth += [f"{name} {entry[name]}" for name in ("seats", "credits") if name in entry]
    about = [entry[name] for name in ("subject", "event_id", "detail") if entry.get(name)]
    return (
        f"{entry['at']}  {entry['what']:<36}  {', '.join(worth):<22}  {entry['who']:<28}  "
        f"{entry.get('request_id') or '-':<36}  {'  '.join(dict.fromkeys(about))}"
    )


if __name__ == "__main__":
    sys.exit(main())
