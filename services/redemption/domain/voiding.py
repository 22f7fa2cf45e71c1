"""Taking redemptions back: which ones a cancellation or a refund voids, and whether a use becomes free again.

A redemption is voided once. What comes before its purchase is heard of stays on the order and meets it there.
"""

import uuid
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from services.redemption.domain.books import Books, OrderBook, Redemption, Refund
from services.redemption.domain.commission import Earning, earn
from services.redemption.domain.decision import release
from services.redemption.domain.errors import RefundReused
from services.redemption.domain.moments import OWN_CLOCK, Moment, is_later, is_newer
from services.redemption.domain.purchase import Cancellation, VoidRequest

# Every decision about an order reads all of them.
MOST_REFUNDS: Final = 1_000
_FULL: Final = "The order has had a thousand refunds, so this one is not recorded and took nothing back."
_OLDER: Final = "The order was bought after it was taken back, by the times of the events, so the purchase stands."


@dataclass(frozen=True, slots=True)
class Voided:
    """One redemption that was just voided, with the counts just after it."""

    redemption: Redemption
    is_released: bool
    times_redeemed: int
    version: int
    coupon_times_redeemed: int | None
    coupon_version: int | None


@dataclass(frozen=True, slots=True)
class Cancelled:
    """What a cancellation came to: the voids, all redemptions of the order, and the refund to be recorded."""

    voids: tuple[Voided, ...]
    redemptions: tuple[Redemption, ...]
    refund: Refund | None = None
    earnings: tuple[Earning, ...] = ()
    is_full: bool = False

    @property
    def notice(self) -> str | None:
        """What to say where nothing was taken back."""
        if self.is_full:
            return _FULL
        if self.voids:
            return None
        if not self.redemptions:
            return "Nothing of the order is known yet; purchases that were made before are recorded as taken back."
        if all(redemption.voided_at is not None for redemption in self.redemptions):
            return None
        if self.refund is not None:
            return "The refund is recorded and took nothing back: less went back since the purchase than was paid."
        return _OLDER


def cancel(cancellation: Cancellation, books: Books) -> Cancelled:
    """Void what stands of the purchases made until then; where only a part of what was paid goes back, record it.

    The part that makes up for all that was paid voids the purchase too.

    A refund that is recorded already does nothing again; raises RefundReused if it was of another amount.
    """
    order = books.order(cancellation.order)
    if (known := next((refund for refund in order.refunds if refund.id == cancellation.id), None)) is not None:
        if known.amount_minor != cancellation.amount_minor:
            raise RefundReused
        return Cancelled((), tuple(order.redemptions))
    if cancellation.amount_minor is None:
        voids = _take_back(cancellation, order, books)
        return Cancelled(voids, tuple(order.redemptions), earnings=earn(order, books) if voids else ())
    if len(order.refunds) >= MOST_REFUNDS:
        return Cancelled((), tuple(order.redemptions), is_full=True)
    refund = Refund(cancellation.id, cancellation.amount_minor, cancellation.happened)
    order.refunds = (*order.refunds, refund)
    order.is_moved = True
    take_back = _take_back if cancellation.release is True else _pay_back
    voids = take_back(cancellation, order, books)
    return Cancelled(voids, tuple(order.redemptions), refund, earn(order, books))


def void_one(request: VoidRequest, books: Books) -> Cancelled:
    """Void one redemption, if it stands."""
    order = books.order(request.order)
    found = find(order, request.redemption_id)
    if found is None:
        return Cancelled((), ())
    if found.voided_at is not None:
        return Cancelled((), (found,))
    # Whoever asks means what he sees: a purchase that was reported with a later time is taken back too.
    by = Moment(request.occurred_at, request.occurred_at, OWN_CLOCK)
    by = by if by.claimed_at >= found.confirmed.claimed_at else found.confirmed
    voids = (void(found, request.occurred_at, by, request.reason, request.release, books),)
    return Cancelled(voids, (found,), earnings=earn(order, books))


def notice(order: OrderBook) -> str | None:
    """Return what to say of an order that was taken back and of which something stands all the same."""
    standing = [redemption for redemption in order.redemptions if redemption.voided_at is None]
    if not standing:
        return None
    if order.cancelled is not None:
        return _OLDER
    if order.refunds:
        return "The refunds since the purchase are less than was paid, so they took nothing back."
    return None


def find(order: OrderBook, redemption_id: uuid.UUID) -> Redemption | None:
    """Return one redemption of an order."""
    return next((r for r in order.redemptions if r.id == redemption_id), None)


def void(
    redemption: Redemption, moment: datetime, by: Moment, reason: str | None, wish: bool | None, books: Books
) -> Voided:
    """Void a redemption that stands, and give its use back where its terms allow and nobody says otherwise.

    Purchases that are not later than `by` are taken back with it.
    """
    moment = max(moment, redemption.occurred_at)
    redemption.voided_at = books.order((redemption.program_id, redemption.order_ref)).apart(
        redemption.canonical, moment
    )
    redemption.confirm(by)
    redemption.void_reason = reason
    books.changed[redemption.id] = redemption
    is_released = redemption.is_counted and wish is not False and may_release(redemption, moment)
    if is_released:
        redemption.is_counted = False
        _give_back(redemption, books)
    code, coupon = books.code_counts[redemption.code_id], books.coupon_counts.get(redemption.coupon_id)
    return Voided(
        redemption,
        is_released,
        code.uses,
        code.version,
        coupon.uses if coupon else None,
        coupon.version if coupon else None,
    )


def may_release(redemption: Redemption, moment: datetime) -> bool:
    """Whether the terms let a use become free again then."""
    match redemption.release_policy:
        case "always":
            return True
        case "until_expiry":
            return redemption.release_until is None or moment < redemption.release_until
        case "never":
            return False


def _take_back(cancellation: Cancellation, order: OrderBook, books: Books) -> tuple[Voided, ...]:
    """Void what stands of the purchases until then, and keep the time for those that are heard of later."""
    happened = cancellation.happened
    if order.cancelled is None or is_newer(happened, order.cancelled):
        order.cancelled, order.cancel_reason = happened, cancellation.reason
        order.is_moved = True
    _release_until(happened, order, books)
    return tuple(
        void(redemption, cancellation.occurred_at, happened, cancellation.reason, cancellation.release, books)
        for redemption in order.redemptions
        if redemption.voided_at is None and not is_later(redemption.confirmed, happened)
    )


def _pay_back(cancellation: Cancellation, order: OrderBook, books: Books) -> tuple[Voided, ...]:
    """Void what stands of the purchases for which all that was paid went back since."""
    standing = [redemption for redemption in order.redemptions if redemption.voided_at is None]
    if any(redemption.discount_minor is None for redemption in standing):
        return ()
    taken_off = sum(redemption.discount_minor or 0 for redemption in standing)
    paid_back = [
        (redemption, back)
        for redemption in standing
        if redemption.subtotal_minor is not None
        and (back := order.paid_back(redemption.subtotal_minor - taken_off, redemption.confirmed)) is not None
    ]
    voids = []
    for redemption, back in paid_back:
        _release_until(back.completed, order, books)
        by, at = back.covers_until, back.completed.known_at
        voids.append(void(redemption, at, by, cancellation.reason, cancellation.release, books))
    return tuple(voids)


def _release_until(moment: Moment, order: OrderBook, books: Books) -> None:
    if order.reserved_at is not None and not is_later(Moment(order.reserved_at, order.reserved_at, OWN_CLOCK), moment):
        release(order, books)


def _give_back(redemption: Redemption, books: Books) -> None:
    books.code_counts[redemption.code_id].give_back()
    coupon = books.coupon_counts.get(redemption.coupon_id)
    if coupon is not None:
        coupon.give_back()
        for count in books.periods(redemption.coupon_id, redemption.occurred_at).values():
            count.give_back()
        budget = books.budgets.get(redemption.coupon_id)
        if budget is not None and budget.currency == redemption.currency:
            budget.spend(-(redemption.discount_minor or 0))
    for customer in books.customer(redemption.coupon_id, redemption.customer_key, redemption.mailbox_key):
        customer.give_back()
