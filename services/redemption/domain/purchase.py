"""The requests about an order: to redeem its codes, to hold them, to take it back."""

import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import NamedTuple

from services.redemption.domain.customers import Erased
from services.redemption.domain.moments import Moment, moment
from shared.derived_ids import derived_id
from shared.mailboxes import mailbox

LATEST_REPORT = timedelta(hours=24)

# Part of every redemption's id: with another namespace, a repeated event would create another redemption.
_REDEMPTIONS = uuid.UUID("0192e4b6-7f3c-7c11-9d0a-6f1f5a0c2e41")

OrderKey = tuple[uuid.UUID, str]


class WantedCode(NamedTuple):
    """A code as the customer typed it; `canonical` is None if the text cannot be a code."""

    text: str
    canonical: str | None


@dataclass(frozen=True, slots=True)
class Buyer:
    """The customer, if the checkout names one. `erased` are the plain keys that were erased."""

    id: str | None = None
    email: str | None = None
    is_first_order: bool | None = None
    erased: Mapping[str, Erased] = field(default_factory=dict, compare=False)

    @property
    def key(self) -> str | None:
        """The customer's key: the id, else the mailbox; if it was erased since, its placeholder."""
        return self._kept(self.id_key if self.id is not None else self.email_key)

    @property
    def mailbox_key(self) -> str | None:
        """The second key: the mailbox of a customer with an id."""
        return None if self.id is None else self._kept(self.email_key)

    @property
    def keys(self) -> tuple[str | None, str | None]:
        """Both."""
        return self.key, self.mailbox_key

    @property
    def kept_id(self) -> str | None:
        """The id in stored form."""
        return self._kept(self.id_key) if self._is_past(self.id_key) else self.id

    @property
    def kept_email(self) -> str | None:
        """The address in stored form."""
        return self._kept(self.email_key) if self._is_past(self.email_key) else self.email

    @property
    def is_past(self) -> bool:
        """Whether it was erased after this purchase, so that nothing else about it is stored either."""
        return self._is_past(self.id_key if self.id is not None else self.email_key)

    def is_known_as(self, customer_id: str | None) -> bool:
        """Whether an id, or its placeholder, is this buyer's."""
        if self.id is None or customer_id is None or customer_id == self.id:
            return self.id == customer_id
        found = self.erased.get(f"id:{self.id}")
        return found is not None and customer_id in (found.digest, *found.others)

    @property
    def id_key(self) -> str | None:
        """The key of its id, in plain text."""
        return None if self.id is None else f"id:{self.id}"

    @property
    def email_key(self) -> str | None:
        """The key of its mailbox, in plain text."""
        return f"email:{mailbox(self.email)}" if self.email is not None and self.email.strip() else None

    def _is_past(self, key: str | None) -> bool:
        return key is not None and (found := self.erased.get(key)) is not None and found.is_past

    def _kept(self, key: str | None) -> str | None:
        return self.erased[key].digest if key is not None and self._is_past(key) else key


NOBODY = Buyer()


class Line(NamedTuple):
    """One line of an order: its product, and its price in minor units, if the checkout gives them."""

    product_id: str | None
    amount_minor: int | None


# Not frozen, for the same reason as `CodeTerms`.
@dataclass(slots=True)
class Purchase:
    """One order with its codes, paid or about to be; no two codes have the same canonical form.

    `reserved_ref` is the order reference of the reservation that it names, if there is one. `traceparent` is its trace,
    for the events about it. `occurred_at` decides whether a code was valid; `happened` decides what was later, by the
    clock of its sender.
    """

    program_id: uuid.UUID
    source: str
    event_id: str
    order_ref: str
    codes: tuple[WantedCode, ...]
    occurred_at: datetime
    subtotal_minor: int | None
    currency: str | None
    buyer: Buyer = NOBODY
    lines: tuple[Line, ...] | None = None
    reservation_id: uuid.UUID | None = None
    reserved_ref: str | None = None
    traceparent: str | None = None
    claimed_at: datetime | None = None
    clock: str = ""

    @property
    def happened(self) -> Moment:
        """When it happened, for comparing."""
        return moment(self.claimed_at, self.occurred_at, self.clock)

    @property
    def said_at(self) -> datetime:
        """The earliest time that it can have happened: the sender's, however old, but not after it was received."""
        return self.occurred_at if self.claimed_at is None else min(self.claimed_at, self.occurred_at)

    @property
    def order(self) -> OrderKey:
        """The key of the order."""
        return self.program_id, self.order_ref

    def redemption_id(self, canonical: str) -> uuid.UUID:
        """Return the id of the redemption of one code by this event, the same for every decision."""
        return derived_id(_REDEMPTIONS, str(self.program_id), self.source, self.event_id, canonical)

    @property
    def rejection_id(self) -> uuid.UUID:
        """The id of the refusal of this event."""
        return derived_id(_REDEMPTIONS, str(self.program_id), self.source, self.event_id)


@dataclass(frozen=True, slots=True)
class HoldRequest:
    """Codes to hold for an order until a time."""

    purchase: Purchase
    reservation_id: uuid.UUID
    expires_at: datetime


@dataclass(frozen=True, slots=True)
class Cancellation:
    """An order is taken back, or `amount_minor` of its payment. `release` is None if it was not given.

    `happened` decides which purchases are affected, and whether their uses become free again.
    """

    id: uuid.UUID
    program_id: uuid.UUID
    order_ref: str
    occurred_at: datetime
    reason: str | None = None
    amount_minor: int | None = None
    release: bool | None = None
    traceparent: str | None = None
    claimed_at: datetime | None = None
    clock: str = ""

    @property
    def happened(self) -> Moment:
        """When it happened, for comparing."""
        return moment(self.claimed_at, self.occurred_at, self.clock)

    @property
    def order(self) -> OrderKey:
        """The key of the order."""
        return self.program_id, self.order_ref


@dataclass(frozen=True, slots=True)
class VoidRequest:
    """One redemption is taken back, independent of the rest of its order."""

    program_id: uuid.UUID
    order_ref: str
    redemption_id: uuid.UUID
    occurred_at: datetime
    reason: str | None = None
    release: bool | None = None
    traceparent: str | None = None

    @property
    def order(self) -> OrderKey:
        """The key of the order."""
        return self.program_id, self.order_ref


@dataclass(frozen=True, slots=True)
class VoidById:
    """One redemption is to be taken back; its order has yet to be found."""

    program_id: uuid.UUID
    redemption_id: uuid.UUID
    occurred_at: datetime
    reason: str | None = None
    release: bool | None = None
    traceparent: str | None = None

    def within(self, order_ref: str) -> VoidRequest:
        """Return the same with the order of the redemption."""
        return VoidRequest(
            program_id=self.program_id,
            order_ref=order_ref,
            redemption_id=self.redemption_id,
            occurred_at=self.occurred_at,
            reason=self.reason,
            release=self.release,
            traceparent=self.traceparent,
        )


def effective_time(claimed_at: datetime, first_received_at: datetime) -> datetime:
    """Return the time of a purchase: the sender's, within the 24 hours before we first received it."""
    return min(max(claimed_at, first_received_at - LATEST_REPORT), first_received_at)
