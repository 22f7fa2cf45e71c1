"""New passwords: by a link, or by the old one; and a new address, by a link to it."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final, Literal
from uuid import UUID

from services.dashboard.domain import mails
from services.dashboard.domain.accounts import Account, Viewer, email_key
from services.dashboard.domain.errors import AddressTaken, LinkInvalid, NothingThere, PasswordRefused
from services.dashboard.domain.passwords import fault_of
from services.dashboard.domain.throttle import link_counters
from services.dashboard.store import accounts, links, sessions
from services.dashboard.store.links import Link
from services.dashboard.usecases.invitations import MadeLink
from services.dashboard.usecases.passwords import Passwords
from services.dashboard.usecases.post_office import PostOffice
from services.dashboard.usecases.throttling import admit
from services.dashboard.usecases.tokens import digest, new_token
from services.dashboard.usecases.visits import Actor, Visit, note
from shared.clock import Clock
from shared.database.pool import Connection, Database

LIFE: Final = timedelta(minutes=30)
ADDRESS_LIFE: Final = timedelta(hours=24)


@dataclass(frozen=True, slots=True)
class Resets:
    """Makes and takes links for passwords and addresses; each ends the sessions that it concerns."""

    database: Database
    clock: Clock
    new_id: Callable[[], UUID]
    passwords: Passwords
    post: PostOffice
    public_url: str

    async def ask(self, email: str, visit: Visit) -> None:
        """Send a link to an address if it has an account; the caller cannot tell. Raises TooManyTries."""
        now = self.clock()
        async with self.database.transaction() as connection:
            await admit(connection, link_counters(email_key(email), visit.network), now)
            account = await accounts.find_account(connection, email)
            if account is None or account.disabled_at is not None or not self.post.is_open:
                return
            url, expires_at = await self._link(connection, account, "reset", account.email, account.email, LIFE)
            await note(connection, now, visit, Actor.account(account), "ask_reset")
        self.post.post(account.email, mails.reset(url, expires_at))

    async def make(self, account_id: UUID, actor: Actor, visit: Visit, *, is_mailed: bool) -> MadeLink:
        """Make a link for an account, as somebody who may; raises NothingThere."""
        now = self.clock()
        async with self.database.transaction() as connection:
            account = await accounts.read_account(connection, account_id)
            if account is None or account.disabled_at is not None:
                raise NothingThere
            url, expires_at = await self._link(connection, account, "reset", account.email, actor.name, LIFE)
            await note(connection, now, visit, actor, "make_reset", account.email)
        sent = is_mailed and await self.post.send(account.email, mails.reset(url, expires_at))
        return MadeLink(url, expires_at, sent)

    async def find(self, token: str, kind: Literal["reset", "address"] = "reset") -> Link:
        """Return an open link; raises LinkInvalid."""
        async with self.database.connection() as connection:
            link = await links.find_link(connection, digest(token), kind, self.clock())
        if link is None:
            raise LinkInvalid
        return link

    async def take(self, token: str, password: str, visit: Visit) -> None:
        """Set a new password by a link, and end every session of the account.

        Raises LinkInvalid, PasswordRefused and TooBusy.
        """
        link = await self.find(token)
        if fault := fault_of(password, link.email):
            raise PasswordRefused(fault)
        hashed, now = await self.passwords.hash(password), self.clock()
        async with self.database.transaction() as connection:
            taken = await links.take_link(connection, digest(token), "reset", now)
            if taken is None or taken.account_id is None:
                raise LinkInvalid
            account = await accounts.read_account(connection, taken.account_id)
            if account is None or account.disabled_at is not None:
                raise LinkInvalid
            await accounts.set_password(connection, account.id, hashed)
            await links.end_links_of(connection, "reset", account.id, now)
            await sessions.end_sessions(connection, account.id, now)
            await note(connection, now, visit, Actor.account(account), "reset_password")
        self.post.post(account.email, mails.password_changed())

    async def change(self, viewer: Viewer, password: str, visit: Visit) -> None:
        """Set a new password for the viewer, whose old one was checked, and end all other sessions.

        Raises PasswordRefused and TooBusy.
        """
        if fault := fault_of(password, viewer.account.email):
            raise PasswordRefused(fault)
        hashed, now = await self.passwords.hash(password), self.clock()
        async with self.database.transaction() as connection:
            await accounts.set_password(connection, viewer.account.id, hashed)
            await links.end_links_of(connection, "reset", viewer.account.id, now)
            await sessions.end_sessions(connection, viewer.account.id, now, but=viewer.session.id)
            await note(connection, now, visit, Actor.of(viewer), "change_password")
        self.post.post(viewer.account.email, mails.password_changed())

    async def ask_address(self, viewer: Viewer, email: str, visit: Visit) -> None:
        """Send a link to a new address of the viewer."""
        now = self.clock()
        async with self.database.transaction() as connection:
            account = viewer.account
            url, expires_at = await self._link(connection, account, "address", email, account.email, ADDRESS_LIFE)
            await note(connection, now, visit, Actor.of(viewer), "ask_address", email)
        self.post.post(email, mails.new_address(url, expires_at))

    async def take_address(self, token: str, visit: Visit) -> None:
        """Give an account the address that its link was sent to; raises LinkInvalid and AddressTaken."""
        now = self.clock()
        async with self.database.transaction() as connection:
            taken = await links.take_link(connection, digest(token), "address", now)
            account = None
            if taken is not None and taken.account_id is not None:
                account = await accounts.read_account(connection, taken.account_id)
            if taken is None or account is None:
                raise LinkInvalid
            if not await accounts.set_email(connection, account.id, taken.email):
                raise AddressTaken
            await note(connection, now, visit, Actor.account(account), "change_address", taken.email)
        self.post.post(account.email, mails.address_changed(taken.email))

    async def _link(
        self,
        connection: Connection,
        account: Account,
        kind: Literal["reset", "address"],
        email: str,
        made_by: str,
        life: timedelta,
    ) -> tuple[str, datetime]:
        token, now = new_token(), self.clock()
        link = Link(
            id=self.new_id(),
            kind=kind,
            account_id=account.id,
            email=email,
            grade=None,
            owner=None,
            made_by=made_by,
            created_at=now,
            expires_at=now + life,
        )
        await links.end_links_of(connection, kind, account.id, now)
        await links.insert_link(connection, digest(token), link)
        path = "resets" if kind == "reset" else "addresses"
        return f"{self.public_url}/{path}/{token}", link.expires_at
