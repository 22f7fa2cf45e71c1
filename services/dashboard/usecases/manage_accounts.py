"""Accounts as the operator manages them: create, list, switch off and on."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID, uuid4

from services.dashboard.domain.accounts import Account, Membership, Owner
from services.dashboard.domain.errors import AddressTaken, NothingThere, PasswordRefused
from services.dashboard.domain.passwords import fault_of
from services.dashboard.store import accounts, sessions
from services.dashboard.usecases.owners import FindOwner
from services.dashboard.usecases.passwords import Passwords
from services.dashboard.usecases.visits import Actor, Visit, note
from shared.accounts import Grade
from shared.clock import Clock
from shared.database.pool import Database


@dataclass(frozen=True, slots=True)
class ListedAccount:
    """An account with what it may act for."""

    account: Account
    memberships: tuple[Membership, ...]


@dataclass(frozen=True, slots=True)
class ManageAccounts:
    """Every change ends the sessions that it concerns and leaves a row of activity."""

    database: Database
    clock: Clock
    new_id: Callable[[], UUID]
    passwords: Passwords
    find_owner: FindOwner

    async def create(
        self, actor: Actor, visit: Visit, *, email: str, name: str, password: str, grade: Grade, owner: Owner
    ) -> UUID:
        """Create an account with a password and a membership; return its id.

        Raises PasswordRefused, AddressTaken, OwnerUnknown, ServiceDown and TooBusy.
        """
        if fault := fault_of(password, email):
            raise PasswordRefused(fault)
        found = await self.find_owner(owner, visit.request_id)
        hashed = await self.passwords.hash(password)
        # A random id: no account can pass for an API key.
        account_id, now = uuid4(), self.clock()
        async with self.database.transaction() as connection:
            if not await accounts.insert_account(connection, account_id, email, name, hashed, now):
                raise AddressTaken
            await accounts.insert_membership(connection, self.new_id(), account_id, grade, found, now)
            await note(connection, now, visit, actor, "create_account", email)
        return account_id

    async def list(self, before: tuple[datetime, UUID], limit: int) -> list[ListedAccount]:
        """Return accounts with their memberships, the newest first."""
        async with self.database.connection() as connection:
            found = await accounts.list_accounts(connection, before, limit)
            members = await accounts.memberships_of(connection, [each.id for each in found])
        return [
            ListedAccount(account, tuple(each for each in members if each.account_id == account.id))
            for account in found
        ]

    async def find(self, account_id: UUID) -> ListedAccount:
        """Return an account with its memberships; raises NothingThere."""
        async with self.database.connection() as connection:
            account = await accounts.read_account(connection, account_id)
            members = await accounts.memberships_of(connection, [account_id])
        if account is None:
            raise NothingThere
        return ListedAccount(account, tuple(members))

    async def find_by_email(self, email: str) -> ListedAccount | None:
        """Return the account of an address."""
        async with self.database.connection() as connection:
            account = await accounts.find_account(connection, email)
            members = await accounts.memberships_of(connection, [account.id]) if account else []
        return ListedAccount(account, tuple(members)) if account else None

    async def disable(self, account_id: UUID, actor: Actor, visit: Visit) -> None:
        """Switch an account off and end its sessions; raises NothingThere."""
        now = self.clock()
        async with self.database.transaction() as connection:
            account = await accounts.read_account(connection, account_id)
            if account is None:
                raise NothingThere
            await accounts.set_disabled(connection, account_id, now)
            await sessions.end_sessions(connection, account_id, now)
            await note(connection, now, visit, actor, "disable_account", account.email)

    async def enable(self, account_id: UUID, actor: Actor, visit: Visit) -> None:
        """Switch an account on again; raises NothingThere."""
        now = self.clock()
        async with self.database.transaction() as connection:
            account = await accounts.read_account(connection, account_id)
            if account is None:
                raise NothingThere
            await accounts.set_disabled(connection, account_id, None)
            await note(connection, now, visit, actor, "enable_account", account.email)

    async def end_sessions(self, account_id: UUID, actor: Actor, visit: Visit) -> None:
        """End every session of an account; raises NothingThere."""
        now = self.clock()
        async with self.database.transaction() as connection:
            account = await accounts.read_account(connection, account_id)
            if account is None:
                raise NothingThere
            await sessions.end_sessions(connection, account_id, now)
            await note(connection, now, visit, actor, "end_sessions", account.email)
