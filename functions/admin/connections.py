"""The database, for all that administrators do."""

from functools import cache

from database.connection import Database
from runtime.settings import StripeSettings, credential


@cache
def admin_database() -> Database:
    """The one connection of this execution environment."""
    return Database(credential(StripeSettings, "database_url"))
