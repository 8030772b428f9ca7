"""Brings the database of DATABASE_OWNER_URL up to date from this checkout, as `migrate` does from the cloud."""

import json
import os
from pathlib import Path

from functions.migrate.service import apply_migrations

MIGRATIONS = Path(__file__).resolve().parent.parent / "migrations"

if __name__ == "__main__":
    print(json.dumps(apply_migrations(os.environ["DATABASE_OWNER_URL"], MIGRATIONS)))
