"""Taking redemptions back: which ones a cancellation or a refund voids, and whether a use becomes free again.

A redemption is voided once. A cancellation that arrives before its purchase stays on the order and applies later.
"""

import uuid
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final

from services.redemption.domain.books import Books, OrderBook, Redemption, Refund
from services.redemption.domain.errors import RefundReused
from services.redemption.domain.moments import OWN_CLOCK, Moment
from services.redemption.domain.purchase import Cancellation, VoidRequest
from services.redemption.domain.settlement import TakenBack, may_release
from services.redemption.domain.settling import NO_CHANGES, Changes, release_until, settle_order
from services.redemption.domain.uses import Voided, void

# Every decision about an order reads all of them.
MOST_REFUNDS: Final = 1_000
_FULL: Final = "The order has had a thousand refunds, so this one was not recorded and took nothing back."
_OLDER: Final = "The order was bought after it was taken back, by the times of the events, so the purchase stands."
_AWAITED: Final = "The order is unknown so far; earlier purchases will be recorded as taken back."
_KEPT: Final = "The order is unknown so far; the refund is recorded and applies to earlier purchases."

_UNPRICED: Final = "The order's subtotal is unknown, so refunds of an amount take nothing back; a cancellation does."
_FREE: Final = (
    "Nothing was paid for the order, so the refund concerns something else, such as shipping, and takes nothing back."
)


@dataclass(frozen=True, slots=True)
class Cancelled:
    """The result of a cancellation: the voids, all redemptions of the order, and the refund to be recorded.

    `is_part` tells that less than the whole order was taken back, even if that was recorded before.
    """

    redemptions: tuple[Redemption, ...]
    changes: Changes = NO_CHANGES
    refund: Refund | None = None
    is_part: bool = False
    is_full: bool = False

    @property
    def voids(self) -> tuple[Voided, ...]:
        """What was voided just now."""
        return self.changes.voids

    @property
    def notice(self) -> str | None:
        """The notice if nothing was taken back."""
        if self.is_full:
            return _FULL
        if self.voids:
            return None
        if not self.redemptions:
            return _KEPT if self.is_part else _AWAITED
        if all(redemption.voided_at is not None for redemption in self.redemptions):
            return None
        if self.is_part:
            return _unpayable(self.redemptions) or (
                "The refund was recorded and took nothing back: the refunds since the purchase are less than the "
                "payment."
            )
        return _OLDER


def cancel(cancellation: Cancellation, books: Books) -> Cancelled:
    """Void standing purchases made until then; record a partial refund.

    A refund that completes the payment voids the purchase too.

    A repeat of a recorded refund does nothing; raises RefundReused if its amount differs.
    """
    order = books.order(cancellation.order)
    if (known := next((refund for refund in order.refunds if refund.id == cancellation.id), None)) is not None:
        if known.amount_minor != cancellation.amount_minor:
            raise RefundReused
        return Cancelled(tuple(order.redemptions), is_part=cancellation.release is not True)
    if cancellation.amount_minor is not None and len(order.refunds) >= MOST_REFUNDS:
        return Cancelled(tuple(order.redemptions), is_full=True)
    refund = None
    if cancellation.amount_minor is not None:
        refund = Refund(
            cancellation.id,
            cancellation.amount_minor,
            cancellation.happened,
            releases=cancellation.release is not False,
        )
        order.refunds = (*order.refunds, refund)
        order.is_moved = True
    if refund is None or cancellation.release is True:
        back = TakenBack(cancellation.happened, releases=cancellation.release is not False)
        order.cancel(back, cancellation.reason)
        release_until(cancellation.happened, order, books)
    changes = settle_order(order, books, by=cancellation)
    is_part = refund is not None and cancellation.release is not True
    return Cancelled(tuple(order.redemptions), changes, refund, is_part=is_part)


def void_one(request: VoidRequest, books: Books) -> Cancelled:
    """Void one redemption, if it stands."""
    order = books.order(request.order)
    found = find(order, request.redemption_id)
    if found is None:
        return Cancelled(())
    if found.voided_at is not None:
        return Cancelled((found,))
    # The caller means the displayed redemption: a purchase reported with a later time is taken back too.
    by = Moment(request.occurred_at, request.occurred_at, OWN_CLOCK)
    by = by if by.claimed_at >= found.confirmed.claimed_at else found.confirmed
    is_free = request.release is not False
    is_free = is_free and may_release(found.release_policy, found.release_until, request.occurred_at)
    alone = void(found, request.occurred_at, by, request.reason, books, is_free=is_free, is_alone=True)
    changes = settle_order(order, books)
    return Cancelled((found,), replace(changes, voids=(alone, *changes.voids)))


def notice(order: OrderBook) -> str | None:
    """Return the notice for a cancelled or refunded order of which something stands, or nothing is known yet."""
    if not order.redemptions and order.is_taken_back:
        return _AWAITED if order.cancelled is not None else _KEPT
    standing = [redemption for redemption in order.redemptions if redemption.voided_at is None]
    if not standing:
        return None
    if order.cancelled is not None:
        return _OLDER
    if order.refunds:
        return _unpayable(standing) or (
            "The refunds since the purchase are less than the payment, so they took nothing back."
        )
    return None


def _unpayable(redemptions: Sequence[Redemption]) -> str | None:
    """Return why no refund can complete the payment of what stands, if so."""
    standing = [redemption for redemption in redemptions if redemption.voided_at is None]
    subtotals = [redemption.subtotal_minor for redemption in standing if redemption.subtotal_minor is not None]
    if not subtotals:
        return _UNPRICED
    return _FREE if max(subtotals) <= sum(redemption.discount_minor or 0 for redemption in standing) else None


def find(order: OrderBook, redemption_id: uuid.UUID) -> Redemption | None:
    """Return one redemption of an order."""
    return next((r for r in order.redemptions if r.id == redemption_id), None)
