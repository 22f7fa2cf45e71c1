"""What people choose for themselves: name, time zone, rows per page."""

from dataclasses import dataclass

from services.dashboard.domain.accounts import Viewer
from services.dashboard.store import accounts
from services.dashboard.usecases.visits import Actor, Visit, note
from shared.clock import Clock
from shared.database.pool import Database


@dataclass(frozen=True, slots=True)
class OwnAccount:
    """The viewer's own account."""

    database: Database
    clock: Clock

    async def save(self, viewer: Viewer, name: str, zone: str | None, rows_per_page: int, visit: Visit) -> None:
        """Store the viewer's choices."""
        async with self.database.transaction() as connection:
            await accounts.set_preferences(connection, viewer.account.id, name, zone, rows_per_page)
            await note(connection, self.clock(), visit, Actor.of(viewer), "change_account")
