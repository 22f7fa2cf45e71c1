"""What a signed-in person does to its own sessions: sign out, switch, confirm, end others."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from uuid import UUID

from services.dashboard.domain.accounts import Membership, Session, Viewer
from services.dashboard.domain.errors import NothingThere, PasswordWrong
from services.dashboard.domain.throttle import sign_in_counters
from services.dashboard.store import sessions, throttle
from services.dashboard.usecases.passwords import Passwords
from services.dashboard.usecases.throttling import admit
from services.dashboard.usecases.tokens import digest, new_token
from services.dashboard.usecases.visits import Actor, Visit, note
from shared.clock import Clock
from shared.database.pool import Database


@dataclass(frozen=True, slots=True)
class ManageSessions:
    """The sessions of one account; what gives other rights also gives the session another secret."""

    database: Database
    clock: Clock
    new_id: Callable[[], UUID]
    passwords: Passwords

    async def sign_out(self, viewer: Viewer, visit: Visit) -> None:
        """End this session."""
        now = self.clock()
        async with self.database.transaction() as connection:
            await sessions.end_session(connection, viewer.account.id, viewer.session.id, now)
            await note(connection, now, visit, Actor.of(viewer), "sign_out")

    async def switch(self, viewer: Viewer, membership_id: UUID, visit: Visit) -> tuple[str, Membership]:
        """Act by another membership from now on; return the session's new secret. Raises NothingThere."""
        found = next((each for each in viewer.others if each.id == membership_id), None)
        if found is None:
            raise NothingThere
        session = replace(viewer.session, membership_id=found.id)
        return await self._renewed(viewer, session, visit, "switch"), found

    async def confirm(self, viewer: Viewer, password: str, visit: Visit) -> str:
        """Confirm the password for what is destructive; return the session's new secret.

        Raises PasswordWrong, TooManyTries and TooBusy.
        """
        await self.check(viewer, password, visit)
        return await self._renewed(viewer, replace(viewer.session, confirmed_at=self.clock()), visit, "confirm")

    async def renew(self, viewer: Viewer, visit: Visit) -> str:
        """Give the session another secret, after a change of the password; return it."""
        return await self._renewed(viewer, replace(viewer.session, confirmed_at=self.clock()), visit, "renew")

    async def check(self, viewer: Viewer, password: str, visit: Visit) -> None:
        """Check the password of a signed-in account, under the same throttle as signing in."""
        now = self.clock()
        counters = sign_in_counters(viewer.account.email.casefold(), visit.network, is_known_device=True)
        async with self.database.transaction() as connection:
            await admit(connection, counters, now)
        if not await self.passwords.check(password, viewer.account.password_hash):
            async with self.database.transaction() as connection:
                await note(connection, now, visit, Actor.of(viewer), "confirm", result="refused")
            raise PasswordWrong
        own, *others = (counter.key for counter in counters)
        async with self.database.transaction() as connection:
            await throttle.forgive(connection, own, others)

    async def list(self, viewer: Viewer) -> list[Session]:
        """Return the live sessions of the account, the newest first."""
        async with self.database.connection() as connection:
            return await sessions.list_sessions(connection, viewer.account.id, self.clock())

    async def end(self, viewer: Viewer, session_id: UUID, visit: Visit) -> None:
        """End one of the account's sessions; raises NothingThere."""
        now = self.clock()
        async with self.database.transaction() as connection:
            if not await sessions.end_session(connection, viewer.account.id, session_id, now):
                raise NothingThere
            await note(connection, now, visit, Actor.of(viewer), "end_session", str(session_id))

    async def end_others(self, viewer: Viewer, visit: Visit) -> None:
        """End all of the account's sessions but this one."""
        now = self.clock()
        async with self.database.transaction() as connection:
            await sessions.end_sessions(connection, viewer.account.id, now, but=viewer.session.id)
            await note(connection, now, visit, Actor.of(viewer), "end_other_sessions")

    async def _renewed(self, viewer: Viewer, session: Session, visit: Visit, action: str) -> str:
        token, now = new_token(), self.clock()
        async with self.database.transaction() as connection:
            await sessions.end_session(connection, viewer.account.id, viewer.session.id, now)
            await sessions.insert_session(connection, digest(token), replace(session, id=self.new_id(), seen_at=now))
            await note(connection, now, visit, Actor.of(viewer), action)
        return token
