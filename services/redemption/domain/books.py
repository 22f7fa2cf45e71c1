"""The state under the locks: counts with their holds, and the orders so far.

Decisions change this state, so that the next request of a batch is judged by the result of the earlier ones.
"""

import uuid
from collections.abc import Collection, Iterator, Mapping, MutableMapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Final

from services.redemption.domain.customers import Aliases, CustomerKey, keys_counted
from services.redemption.domain.moments import CLOCK_ALLOWANCE, Moment, is_later, is_newer, moments_of, text_of
from services.redemption.domain.purchase import OrderKey
from services.redemption.domain.settlement import TakenBack
from services.redemption.domain.terms import CodeTerms, Combination, DiscountType, ReleasePolicy

# The number of purchases kept per redemption, and of cancellations per order.
MOST_PURCHASES: Final = 20
MOST_CANCELLATIONS: Final = 20

PeriodKey = tuple[uuid.UUID, str, datetime]


def quarter(moment: datetime) -> datetime:
    """Return the quarter of an hour of a time: in no time zone does a period begin within one."""
    return moment.replace(minute=moment.minute // 15 * 15, second=0, microsecond=0)


@dataclass(slots=True)
class Count:
    """How often something was used; `version` grows with every change and orders the counts in events.

    `held` are the uses that live holds keep for their orders; `is_raised` says that a use was counted just now.
    """

    uses: int
    version: int
    is_moved: bool = False
    is_raised: bool = False
    held: int = 0

    def move(self) -> None:
        """Count one more use."""
        self.uses += 1
        self.version += 1
        self.is_moved = self.is_raised = True

    def give_back(self) -> None:
        """Count one use less."""
        self.uses -= 1
        self.version += 1
        self.is_moved = True


@dataclass(slots=True)
class Budget:
    """The discounts of a coupon's uses so far, and of live holds."""

    currency: str
    spent_minor: int
    held_minor: int = 0
    is_moved: bool = False
    is_raised: bool = False

    def spend(self, amount_minor: int) -> None:
        """Add the discount of one more use, or return it with a negative amount."""
        self.spent_minor += amount_minor
        self.is_moved = True
        self.is_raised = self.is_raised or amount_minor > 0


@dataclass(slots=True)
class Redemption:
    """One code redeemed by one order, with what was granted and the terms that a void needs, as they were.

    `confirmed` is its latest known purchase: a cancellation of an earlier one does not affect it. All of them are in
    `purchases`, which is None while there is only one. If it is voided, `confirmed` is what took it back, and
    `is_voided_alone` tells that this was no event of its order; None means unknown.
    `is_counted` tells whether it takes up a use, `terms` are for people, as JSON, `lines` the discount per line of the
    order, and `prices` the prices of its lines when it was judged.
    """

    id: uuid.UUID
    program_id: uuid.UUID
    order_ref: str
    canonical: str
    code: str
    code_id: uuid.UUID
    coupon_id: uuid.UUID
    partner_id: uuid.UUID | None
    customer_id: str | None
    customer_key: str | None
    discount_type: DiscountType
    percent_hundredths: int | None
    amount_minor: int | None
    discount_minor: int | None
    currency: str | None
    subtotal_minor: int | None
    commission_hundredths: int | None
    commission_minor: int | None
    discount_ends_at: datetime | None
    release_policy: ReleasePolicy
    release_until: datetime | None
    occurred_at: datetime
    confirmed_at: datetime
    is_counted: bool
    voided_at: datetime | None = None
    void_reason: str | None = None
    terms: str = "{}"
    claimed_at: datetime | None = None
    clock: str | None = None
    lines: str | None = None
    combination: Combination = "any"
    commission_cap_hundredths: int = 10_000
    commission_version: int = 0
    is_self_referral: bool = False
    mailbox_key: str | None = None
    purchases: str | None = None
    is_voided_alone: bool | None = None
    prices: str | None = None

    @property
    def confirmed(self) -> Moment:
        """Its latest known purchase; if it is voided, what took it back."""
        return Moment(self.claimed_at or self.confirmed_at, self.confirmed_at, self.clock)

    def confirm(self, moment: Moment) -> None:
        """Record another such moment."""
        self.confirmed_at, self.claimed_at, self.clock = moment.known_at, moment.claimed_at, moment.clock

    @property
    def bought(self) -> tuple[Moment, ...]:
        """Its purchases, if they are kept: those of one voided long ago are not."""
        if self.purchases is not None:
            return moments_of(self.purchases)
        if self.voided_at is not None:
            return (Moment(self.occurred_at, self.occurred_at, None),)
        return (self.confirmed,)

    @property
    def voided_alone(self) -> Moment | None:
        """When it was voided for another reason than a cancellation or refund of its order, or for an unknown one."""
        return self.confirmed if self.voided_at is not None and self.is_voided_alone is not False else None

    def add_purchase(self, moment: Moment) -> bool:
        """Record one more purchase of it; return whether that is new."""
        bought = self.bought
        if any((each.claimed_at, each.clock) == (moment.claimed_at, moment.clock) for each in bought):
            return False
        kept = sorted((*bought, moment), key=lambda each: each.claimed_at)
        # The first, and the latest: one between two others matters only to cancellations between them.
        self.purchases = text_of(kept if len(kept) <= MOST_PURCHASES else [kept[0], *kept[1 - MOST_PURCHASES :]])
        if self.voided_at is None and is_newer(moment, self.confirmed):
            self.confirm(moment)
        return True


@dataclass(frozen=True, slots=True)
class HeldCode:
    """One use kept for an order."""

    canonical: str
    code: str
    code_id: uuid.UUID
    coupon_id: uuid.UUID
    customer_key: str | None
    discount_minor: int | None
    currency: str | None
    lines: str | None = None
    mailbox_key: str | None = None


@dataclass(frozen=True, slots=True)
class Reservation:
    """The codes that an order holds, or held until then."""

    id: uuid.UUID
    order_ref: str
    held: tuple[HeldCode, ...]
    reserved_at: datetime
    expires_at: datetime
    is_live: bool


@dataclass(frozen=True, slots=True)
class Refund:
    """A partial refund; `releases` as in `TakenBack`."""

    id: uuid.UUID
    amount_minor: int
    happened: Moment
    reason: str | None = None
    releases: bool | None = None


@dataclass(slots=True)
class OrderBook:
    """An order so far. Its reservation, if any, holds the codes in `held`, which others may not have while
    `is_holding`. Its cancellations are newest first; the reason is that of the newest.
    """

    cancellations: tuple[TakenBack, ...] = ()
    cancel_reason: str | None = None
    reservation_id: uuid.UUID | None = None
    reserved_at: datetime | None = None
    reserved_until: datetime | None = None
    redemptions: list[Redemption] = field(default_factory=list)
    refunds: tuple[Refund, ...] = ()
    held: tuple[HeldCode, ...] = ()
    is_holding: bool = False
    is_moved: bool = False

    @property
    def cancelled(self) -> Moment | None:
        """The newest cancellation."""
        return self.cancellations[0].happened if self.cancellations else None

    @property
    def taken_back(self) -> tuple[TakenBack, ...]:
        """Its cancellations, and its partial refunds."""
        parts = (TakenBack(each.happened, each.amount_minor, each.releases) for each in self.refunds)
        return *self.cancellations, *parts

    @property
    def is_taken_back(self) -> bool:
        """Whether anything of it was taken back."""
        return bool(self.cancellations) or bool(self.refunds)

    def cancel(self, back: TakenBack, reason: str | None) -> None:
        """Record a cancellation."""
        same = back.happened.claimed_at, back.happened.clock
        if any((each.happened.claimed_at, each.happened.clock) == same for each in self.cancellations):
            return
        newest = sorted((back, *self.cancellations), key=lambda each: each.happened.known_at, reverse=True)
        if newest[0] is back:
            self.cancel_reason = reason
        # The latest ones decide what stands, and the first one whether the uses before it are free.
        few = len(newest) <= MOST_CANCELLATIONS
        self.cancellations = tuple(newest if few else [*newest[: MOST_CANCELLATIONS - 1], newest[-1]])
        self.is_moved = True

    def redeemed(self, canonical: str) -> Redemption | None:
        """Return the redemption of a code that stands."""
        for redemption in self.redemptions:
            if redemption.canonical == canonical and redemption.voided_at is None:
                return redemption
        return None

    def had_reserved(self, canonical: str, moment: datetime) -> bool:
        """Whether the order had reserved a code then."""
        if self.reserved_at is None or self.reserved_until is None:
            return False
        if not self.reserved_at - CLOCK_ALLOWANCE <= moment < self.reserved_until:
            return False
        return any(held.canonical == canonical for held in self.held)

    def refunded_since(self, since: Moment) -> int:
        """Return the amount refunded since a purchase."""
        return sum(refund.amount_minor for refund in self.refunds if not is_later(since, refund.happened))

    def unused_moment(self, canonical: str, moment: datetime) -> datetime:
        """Return the moment, or the next one at which no redemption of the same code was voided, for a unique key."""
        taken = {r.voided_at for r in self.redemptions if r.canonical == canonical}
        while moment in taken:
            moment += timedelta.resolution
        return moment


@dataclass(frozen=True, slots=True)
class Books:
    """Everything that decides.

    Coupons without a count have no limit. Customers are counted by key if the coupon has a limit per customer, erased
    ones by digest; periods by (coupon, period, its start), and `period_starts` has the periods of a quarter of an
    hour, by coupon. `changed` are the redemptions that have changed since.
    """

    candidates: Mapping[tuple[uuid.UUID, str], Sequence[CodeTerms]]
    code_counts: Mapping[uuid.UUID, Count]
    coupon_counts: Mapping[uuid.UUID, Count]
    orders: MutableMapping[OrderKey, OrderBook] = field(default_factory=dict)
    known_programs: Collection[uuid.UUID] = field(default=frozenset())
    customer_counts: Mapping[CustomerKey, Count] = field(default_factory=dict)
    period_counts: Mapping[PeriodKey, Count] = field(default_factory=dict)
    period_starts: Mapping[tuple[uuid.UUID, datetime], Mapping[str, datetime]] = field(default_factory=dict)
    budgets: Mapping[uuid.UUID, Budget] = field(default_factory=dict)
    aliases: Aliases = field(default_factory=Aliases)
    changed: dict[uuid.UUID, Redemption] = field(default_factory=dict)

    def order(self, key: OrderKey) -> OrderBook:
        """Return an order's state, to be changed."""
        found = self.orders.get(key)
        if found is None:
            found = self.orders[key] = OrderBook()
        return found

    def customer(self, coupon_id: uuid.UUID, key: str | None, mailbox_key: str | None) -> Iterator[Count]:
        """Yield the counts that one more use of a customer changes."""
        for each in keys_counted(coupon_id, self.aliases(coupon_id, key), self.aliases(coupon_id, mailbox_key)):
            if (count := self.customer_counts.get(each)) is not None:
                yield count

    def knows_customer(self, coupon_id: uuid.UUID, key: str | None, mailbox_key: str | None) -> bool:
        """Whether the uses of a customer were counted."""
        keys = keys_counted(coupon_id, self.aliases(coupon_id, key), self.aliases(coupon_id, mailbox_key))
        return all(each in self.customer_counts for each in keys)

    def customer_uses(self, coupon_id: uuid.UUID, key: str | None, mailbox_key: str | None) -> tuple[int, int]:
        """Return how often a customer has used a coupon, and how often it is held for the customer."""
        keys = keys_counted(coupon_id, self.aliases(coupon_id, key), self.aliases(coupon_id, mailbox_key))
        counts = [self.customer_counts[each] for each in keys]
        # A use with both keys is in both of their counts.
        signs = (1, 1, -1)[: len(counts)]
        return (
            sum(sign * count.uses for sign, count in zip(signs, counts, strict=True)),
            sum(sign * count.held for sign, count in zip(signs, counts, strict=True)),
        )

    def periods(self, coupon_id: uuid.UUID, moment: datetime) -> Mapping[str, Count]:
        """Return the counts of the periods that contain a time."""
        starts = self.period_starts.get((coupon_id, quarter(moment)), {})
        return {period: self.period_counts[coupon_id, period, start] for period, start in starts.items()}
