"""Whether the database is there and as this code expects it."""

from database.connection import Connection, call


def latest_migration(conn: Connection) -> str | None:
    """The name of the newest numbered migration that has been applied."""
    return call(conn, "SELECT max(name) FROM schema_migrations WHERE name ~ '^[0-9]{4}_'")
