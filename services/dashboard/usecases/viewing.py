"""Who looks at a page, by the cookie of a session."""

from dataclasses import dataclass
from datetime import timedelta
from typing import Final

from services.dashboard.domain.accounts import Viewer
from services.dashboard.store import accounts, sessions
from services.dashboard.usecases.tokens import digest
from shared.clock import Clock
from shared.database.pool import Database

# Written no more often than this: most requests only read.
_SEEN_EVERY: Final = timedelta(seconds=60)


@dataclass(frozen=True, slots=True)
class FindViewer:
    """Finds the account, its session and what it acts for."""

    database: Database
    clock: Clock

    async def __call__(self, token: str) -> Viewer | None:
        """Return the viewer; None if the session has ended or the account may no longer act for anybody."""
        now = self.clock()
        async with self.database.connection() as connection:
            session = await sessions.find_session(connection, digest(token), now)
            if session is None:
                return None
            account = await accounts.read_account(connection, session.account_id)
            members = await accounts.memberships_of(connection, [session.account_id])
            if now - session.seen_at >= _SEEN_EVERY:
                await sessions.touch_session(connection, session.id, now)
        if account is None or not members:
            return None
        current = next((each for each in members if each.id == session.membership_id), members[0])
        return Viewer(account, session, current, tuple(each for each in members if each.id != current.id))
