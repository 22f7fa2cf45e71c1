"""Which migration of the service came last."""

from shared.database.pool import Database

NEWEST_MIGRATION = "SELECT newest_migration()"


class SchemaVersion:
    """The version of the service's schema."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def __call__(self) -> str | None:
        """Return the name of the migration that was applied last."""
        async with self._database.connection() as connection:
            name: str | None = await connection.fetchval(NEWEST_MIGRATION)
        return name
