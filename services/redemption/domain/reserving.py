"""Reservations: an order holds the uses of its codes until a time, judged as if it were paid now."""

from dataclasses import dataclass
from datetime import datetime

from services.redemption.domain.books import Books, HeldCode, Reservation
from services.redemption.domain.judgement import Refused, basket_of, bought, fault_of_repeat, judge, meant, unknown
from services.redemption.domain.limits import hold, release
from services.redemption.domain.purchase import HoldRequest
from services.redemption.domain.reasons import TAKEN_BACK
from services.redemption.domain.settlement import Bought
from services.redemption.domain.standing import is_limited, is_taken_back, known_of
from services.redemption.domain.validity import fault_of_end


@dataclass(frozen=True, slots=True)
class Reserved:
    """The order holds its codes; `is_extended` if it held codes before."""

    reservation: Reservation
    is_extended: bool


def reserve(request: HoldRequest, books: Books) -> Reserved | Refused:
    """Judge a reservation as if the order were paid now and, if it may, hold the uses for it in the books."""
    purchase = request.purchase
    order = books.order(purchase.order)
    basket = basket_of(purchase, order, books)
    held: list[HeldCode] = []
    new: list[Bought] = []
    has_ended = False
    for wanted in purchase.codes:
        terms = meant(wanted.canonical, purchase, books)
        if terms is None or wanted.canonical is None:
            return Refused(wanted.text, None, *unknown(purchase, books))
        known = known_of(order, wanted.canonical, purchase.happened)
        if known is not None and known.voided_at is None:
            if (fault := fault_of_repeat(known, purchase, order)) is not None:
                return Refused(wanted.text, terms, *fault)
            return Refused(wanted.text, terms, "code_used", "The order has already redeemed the code.")
        if known is not None:
            return Refused(wanted.text, terms, *TAKEN_BACK)
        limited = is_limited(order, terms, purchase.happened)
        judged = judge(terms, purchase, books, basket, is_limited=limited)
        if judged.fault is not None:
            return Refused(wanted.text, terms, *judged.fault)
        taken = basket.take(wanted.text, terms, judged.amount_minor, judged.eligible)
        new.append(bought(terms, taken, purchase))
        has_ended = has_ended or fault_of_end(terms, purchase.occurred_at) is not None
        held.append(
            HeldCode(
                canonical=terms.canonical,
                code=terms.code,
                code_id=terms.code_id,
                coupon_id=terms.coupon_id,
                customer_key=purchase.buyer.key,
                discount_minor=taken.amount_minor,
                currency=purchase.currency,
                lines=taken.as_text,
                mailbox_key=purchase.buyer.mailbox_key,
            )
        )
    if is_taken_back(order, new):
        first = purchase.codes[0]
        return Refused(first.text, meant(first.canonical, purchase, books), *TAKEN_BACK)
    is_extended = order.is_holding
    key, since = request.reservation_id, purchase.occurred_at
    if is_extended and order.reservation_id is not None and order.reserved_at is not None:
        key, since = order.reservation_id, order.reserved_at
    until = hold_until(request.expires_at, order.reserved_until if is_extended else None, has_ended=has_ended)
    release(order, books)
    order.reservation_id, order.reserved_at, order.reserved_until = key, since, until
    order.held, order.is_holding, order.is_moved = tuple(held), True, True
    hold(held, books)
    made = Reservation(key, purchase.order_ref, order.held, since, until, is_live=True)
    return Reserved(made, is_extended)


def hold_until(asked: datetime, held: datetime | None, *, has_ended: bool) -> datetime:
    """Return the new end of a repeated reservation that is live and `held` until now.

    It never gets shorter; once one of its codes has ended it does not get longer either, or it could outlive that end
    forever.
    """
    if held is None:
        return asked
    return held if has_ended else max(asked, held)
