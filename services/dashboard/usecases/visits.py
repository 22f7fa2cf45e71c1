"""Where a request comes from, and what it leaves in the activity."""

import uuid
from dataclasses import dataclass
from datetime import datetime
from typing import Literal

from services.dashboard.domain.accounts import Account, Membership, Owner, Viewer, device_of, shortened
from services.dashboard.store.activity import Entry, insert_entry
from shared.database.pool import Connection
from shared.ids import new_id


@dataclass(frozen=True, slots=True)
class Visit:
    """One request: its id, the client's network, and its user agent."""

    request_id: str
    network: str
    user_agent: str = ""

    @property
    def device(self) -> str:
        """The browser in words."""
        return device_of(self.user_agent)


@dataclass(frozen=True, slots=True)
class Actor:
    """Who acts: an account by a membership, or the operator's token, which has no account."""

    name: str
    account_id: uuid.UUID | None = None
    owner: Owner | None = None

    @classmethod
    def of(cls, viewer: Viewer) -> "Actor":
        """Return the viewer of a page as an actor."""
        return cls(viewer.account.email, viewer.account.id, viewer.membership.owner)

    @classmethod
    def account(cls, account: Account, membership: Membership | None = None) -> "Actor":
        """Return an account as an actor."""
        return cls(account.email, account.id, membership.owner if membership else None)


OPERATOR = Actor("operator")


async def note(
    connection: Connection,
    now: datetime,
    visit: Visit,
    actor: Actor,
    action: str,
    thing: str = "",
    result: Literal["done", "refused"] = "done",
) -> None:
    """Record what an actor did, in the transaction of the change."""
    owner = actor.owner
    await insert_entry(
        connection,
        Entry(
            id=new_id(),
            at=now,
            action=action,
            result=result,
            account_id=actor.account_id,
            actor=actor.name,
            role=owner.role if owner else None,
            program_id=owner.program_id if owner else None,
            partner_id=owner.partner_id if owner else None,
            thing=thing,
            request_id=visit.request_id,
            network=shortened(visit.network),
        ),
    )
