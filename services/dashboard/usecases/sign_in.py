"""Signing in: admitted by the throttle, checked at the same cost for every address, and a new session at the end."""

from collections.abc import Callable
from dataclasses import dataclass
from uuid import UUID

from services.dashboard.domain.accounts import Account, Membership, Session, email_key
from services.dashboard.domain.errors import SignInRefused, TooManyTries
from services.dashboard.domain.throttle import Counter, sign_in_counters
from services.dashboard.store import accounts, sessions, throttle
from services.dashboard.usecases.passwords import Passwords
from services.dashboard.usecases.throttling import admit
from services.dashboard.usecases.tokens import digest, new_token
from services.dashboard.usecases.visits import Actor, Visit, note
from shared.clock import Clock
from shared.database.pool import Database


@dataclass(frozen=True, slots=True)
class SignedIn:
    """The secrets for the browser's cookies, and where to go."""

    session_token: str
    device_token: str
    membership: Membership


@dataclass(frozen=True, slots=True)
class SignIn:
    """Checks e-mail and password, and begins a session."""

    database: Database
    clock: Clock
    new_id: Callable[[], UUID]
    passwords: Passwords

    async def __call__(self, email: str, password: str, visit: Visit, device_token: str | None) -> SignedIn:
        """Return the new session; raises SignInRefused, TooManyTries and TooBusy."""
        now = self.clock()
        async with self.database.transaction() as connection:
            account = await accounts.find_account(connection, email)
            is_known = (
                device_token is not None
                and account is not None
                and await sessions.is_known_device(connection, digest(device_token), account.id)
            )
            counters = sign_in_counters(email_key(email), visit.network, is_known_device=is_known)
            blocked_until = await admit(connection, counters, now)
            members = await accounts.memberships_of(connection, [account.id]) if account else []
        is_open = account is not None and account.disabled_at is None and bool(members)
        stored = account.password_hash if account and is_open else None
        if not await self.passwords.check(password, stored) or account is None:
            await self._refused(email, account, visit)
            if blocked_until is not None:
                raise TooManyTries(blocked_until)
            raise SignInRefused
        if stored is not None and self.passwords.is_outdated(stored):
            await self._rehash(account, stored, password)
        return await self._begin(account, members[0], visit, device_token or new_token(), counters)

    async def _refused(self, email: str, account: Account | None, visit: Visit) -> None:
        actor = Actor(email_key(email)[:255]) if account is None else Actor.account(account)
        async with self.database.transaction() as connection:
            await note(connection, self.clock(), visit, actor, "sign_in", result="refused")

    async def _rehash(self, account: Account, stored: str, password: str) -> None:
        renewed = await self.passwords.hash(password)
        async with self.database.connection() as connection:
            await accounts.set_hash(connection, account.id, stored, renewed)

    async def _begin(
        self, account: Account, member: Membership, visit: Visit, device_token: str, counters: tuple[Counter, ...]
    ) -> SignedIn:
        token, now = new_token(), self.clock()
        session = Session(
            id=self.new_id(),
            account_id=account.id,
            membership_id=member.id,
            created_at=now,
            seen_at=now,
            confirmed_at=now,
            device=visit.device,
            network=visit.network,
        )
        own, *others = (counter.key for counter in counters)
        async with self.database.transaction() as connection:
            await throttle.forgive(connection, own, others)
            await sessions.insert_session(connection, digest(token), session)
            await sessions.remember_device(connection, digest(device_token), account.id, now)
            await note(connection, now, visit, Actor.account(account, member), "sign_in")
        return SignedIn(token, device_token, member)
