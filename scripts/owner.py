"""The database as its owner: DATABASE_OWNER_URL's if set, else the running cloud's (STATE)."""

import json
import os
import sys
from pathlib import Path
from typing import Any

import psycopg


def connect_as_owner() -> psycopg.Connection[tuple[Any, ...]]:
    """A connection on which each statement is a transaction until one is begun; ends the program where there is none."""
    state = Path(os.environ.get("STATE") or ".local")
    try:
        url = (
            os.environ.get("DATABASE_OWNER_URL")
            or json.loads((state / "stack.json").read_text())["database_admin_url"]
        )
        return psycopg.connect(url, autocommit=True, connect_timeout=10)
    except FileNotFoundError:
        sys.exit(f"no cloud runs in {state}: make up, or name a database by DATABASE_OWNER_URL")
    except psycopg.OperationalError as failure:
        sys.exit(f"the database is not to be reached: {failure}")
