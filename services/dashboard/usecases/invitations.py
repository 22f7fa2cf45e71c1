"""Invitations: a link that gives an address a membership, once, for three days."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final
from uuid import UUID, uuid4

from services.dashboard.domain import mails
from services.dashboard.domain.accounts import Account, Owner
from services.dashboard.domain.errors import AddressTaken, LinkInvalid, NothingThere, PasswordRefused, PasswordWrong
from services.dashboard.domain.passwords import fault_of
from services.dashboard.store import accounts, links
from services.dashboard.store.links import Link
from services.dashboard.usecases.passwords import Passwords
from services.dashboard.usecases.post_office import PostOffice
from services.dashboard.usecases.tokens import digest, new_token
from services.dashboard.usecases.visits import Actor, Visit, note
from shared.accounts import Grade
from shared.clock import Clock
from shared.database.pool import Database

LIFE: Final = timedelta(hours=72)


@dataclass(frozen=True, slots=True)
class MadeLink:
    """A new link: its address is known to nobody but the caller and, if it was mailed, the addressee."""

    url: str
    expires_at: datetime
    is_mailed: bool


@dataclass(frozen=True, slots=True)
class Invitations:
    """Makes, shows, ends and takes invitations."""

    database: Database
    clock: Clock
    new_id: Callable[[], UUID]
    passwords: Passwords
    post: PostOffice
    public_url: str

    async def invite(self, email: str, grade: Grade, owner: Owner, actor: Actor, visit: Visit) -> MadeLink:
        """Invite an address to an owner's team; an earlier invitation to it ends."""
        token, now = new_token(), self.clock()
        link = Link(
            id=self.new_id(),
            kind="invitation",
            account_id=None,
            email=email,
            grade=grade,
            owner=owner,
            made_by=actor.name,
            created_at=now,
            expires_at=now + LIFE,
        )
        async with self.database.transaction() as connection:
            await links.end_invitations(connection, owner, email, now)
            await links.insert_link(connection, digest(token), link)
            await note(connection, now, visit, actor, "invite", email)
        url = f"{self.public_url}/invitations/{token}"
        written = mails.invitation(owner, grade, actor.name, url, link.expires_at)
        return MadeLink(url, link.expires_at, await self.post.send(email, written))

    async def find(self, token: str) -> tuple[Link, bool]:
        """Return an open invitation, and whether its address has an account; raises LinkInvalid."""
        async with self.database.connection() as connection:
            link = await links.find_link(connection, digest(token), "invitation", self.clock())
            if link is None:
                raise LinkInvalid
            return link, await accounts.find_account(connection, link.email) is not None

    async def accept(self, token: str, name: str, password: str, visit: Visit) -> None:
        """Take an invitation: create the account, or with its password let the one that there is join.

        Raises LinkInvalid, PasswordRefused, PasswordWrong and TooBusy; the invitation stays open then.
        """
        link, _ = await self.find(token)
        async with self.database.connection() as connection:
            account = await accounts.find_account(connection, link.email)
        hashed = await self._checked(account, link.email, password)
        now = self.clock()
        async with self.database.transaction() as connection:
            taken = await links.take_link(connection, digest(token), "invitation", now)
            if taken is None or taken.owner is None or taken.grade is None:
                raise LinkInvalid
            account_id = uuid4() if account is None else account.id
            if account is None and not await accounts.insert_account(
                connection, account_id, link.email, name, hashed, now
            ):
                raise AddressTaken
            await accounts.insert_membership(connection, self.new_id(), account_id, taken.grade, taken.owner, now)
            await note(connection, now, visit, Actor(link.email, account_id, taken.owner), "accept_invitation")

    async def _checked(self, account: Account | None, email: str, password: str) -> str | None:
        if account is not None:
            if account.disabled_at is not None or not await self.passwords.check(password, account.password_hash):
                raise PasswordWrong
            return None
        if fault := fault_of(password, email):
            raise PasswordRefused(fault)
        return await self.passwords.hash(password)

    async def list(self, owner: Owner) -> list[Link]:
        """Return the open invitations to an owner's team."""
        async with self.database.connection() as connection:
            return await links.list_invitations(connection, owner, self.clock())

    async def end(self, link_id: UUID, owner: Owner, actor: Actor, visit: Visit) -> None:
        """End an open invitation of an owner; raises NothingThere."""
        now = self.clock()
        async with self.database.transaction() as connection:
            found = await links.list_invitations(connection, owner, now)
            link = next((each for each in found if each.id == link_id), None)
            if link is None or not await links.end_link(connection, link_id, now):
                raise NothingThere
            await note(connection, now, visit, actor, "end_invitation", link.email)
