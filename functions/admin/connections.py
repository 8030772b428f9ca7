"""The database, for all that administrators do."""

from functools import cache

from database.connection import Database
from runtime.settings import StripeSettings, load


@cache
def admin_database() -> Database:
    """The one connection of this execution environment."""
    return Database(load(StripeSettings).database_url)
