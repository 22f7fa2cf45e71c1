"""The decision: which orders redeem or reserve their codes, one by one in arrival order, all of an order's or none.

Pure: everything known under the locks comes in as `Books`, and deciding moves what stands in them.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Final, NamedTuple

from services.redemption.domain.basket import Basket, OrderCode
from services.redemption.domain.books import (
    Books,
    HeldCode,
    OrderBook,
    PaidBack,
    Redemption,
    Reservation,
)
from services.redemption.domain.combination import fault_of_combination, fault_of_effect
from services.redemption.domain.commission import Earning, earn
from services.redemption.domain.limits import fault_of_limits, hold
from services.redemption.domain.moments import Moment, is_later, is_newer
from services.redemption.domain.pot import Places, Pot, Taken, discount_minor, taken_of
from services.redemption.domain.purchase import HoldRequest, Purchase
from services.redemption.domain.reasons import Fault, Reason
from services.redemption.domain.restrictions import eligible_lines, fault_of_restrictions
from services.redemption.domain.self_referral import commission_rate, fault_of_self_referral, is_partner
from services.redemption.domain.terms import (
    UNRESTRICTED,
    CodeTerms,
    discount_ends_at,
    meant_code,
)
from services.redemption.domain.validity import (
    fault_of_currency,
    fault_of_end,
    fault_of_owner,
    fault_of_start,
    fault_of_state,
)

# Those that were taken back count too: every decision about an order reads all of them.
MOST_REDEMPTIONS: Final = 1_000
_FULL: Final = "The order has redeemed a thousand codes, those that were taken back included."


@dataclass(frozen=True, slots=True)
class Use:
    """One code redeemed by an order, with the counts just after it."""

    redemption: Redemption
    terms: CodeTerms
    times_redeemed: int
    version: int
    coupon_times_redeemed: int | None
    coupon_version: int | None


@dataclass(frozen=True, slots=True)
class Redeemed:
    """The order redeems these codes; none if it already had all of them, which are `repeated`.

    Those that only its other codes stand in the way of drop out, and `earnings` are commissions that it changed.
    """

    uses: tuple[Use, ...]
    repeated: tuple[Redemption, ...] = ()
    skipped: tuple["Refused", ...] = ()
    earnings: tuple[Earning, ...] = ()


@dataclass(frozen=True, slots=True)
class RedeemedLate:
    """The order was taken back before its purchase was heard of: recorded as voided, and nothing is used."""

    uses: tuple[Use, ...]
    repeated: tuple[Redemption, ...] = ()


@dataclass(frozen=True, slots=True)
class Refused:
    """The order redeems nothing; `code` is the first at fault, as it was typed."""

    code: str
    terms: CodeTerms | None
    reason: Reason
    detail: str
    blocked_by: str | None = None


@dataclass(frozen=True, slots=True)
class Reserved:
    """The order holds its codes; `is_extended` if it held codes before."""

    reservation: Reservation
    is_extended: bool


@dataclass(frozen=True, slots=True)
class Appraisal:
    """What one code would take off an order, or why it would not."""

    code: str
    terms: CodeTerms | None
    fault: Fault | None
    taken: Taken | None

    @property
    def discount_minor(self) -> int | None:
        """What it takes off in all."""
        return None if self.taken is None else self.taken.amount_minor


class _Choice(NamedTuple):
    terms: CodeTerms
    taken: Taken


class _Judged(NamedTuple):
    """What is wrong with a code, or what it takes off; `drops_out_by` if only the order's codes are in its way."""

    fault: Fault | None
    amount_minor: int | None = None
    eligible: Places | None = None
    drops_out_by: Fault | None = None


def decide(purchase: Purchase, books: Books, *, is_reported: bool = True) -> Redeemed | RedeemedLate | Refused:
    """Judge one order and, if it may redeem, count its uses in the books.

    One that is reported was paid already: a code drops out alone if only the order's other codes are in its way, and
    the first is one of those that were paid with, even if it takes nothing off.
    """
    order = books.orders.get(purchase.order)
    basket = _basket(purchase, order, books)
    is_late = order is not None and order.cancelled is not None and not is_later(purchase.happened, order.cancelled)
    chosen: list[_Choice] = []
    repeated: list[Redemption] = []
    skipped: list[Refused] = []
    for wanted in purchase.codes:
        if order is not None and (known := _known(order, wanted.canonical, purchase.happened)) is not None:
            repeated.append(known)
            continue
        terms = _meant(wanted.canonical, purchase, books)
        if terms is None:
            return Refused(wanted.text, None, *_unknown(purchase, books))
        if order is not None and len(order.redemptions) + len(chosen) >= MOST_REDEMPTIONS:
            return Refused(wanted.text, terms, "too_many_codes", _FULL)
        is_first = is_reported and wanted is purchase.codes[0]
        judged = (
            _Judged(None)
            if is_late
            else _judge(terms, purchase, books, basket, may_be_idle=is_first, is_reported=is_reported)
        )
        if judged.fault is not None:
            if not is_reported or judged.drops_out_by is None:
                return Refused(wanted.text, terms, *judged.fault)
            skipped.append(Refused(wanted.text, terms, *judged.drops_out_by))
            continue
        chosen.append(_Choice(terms, basket.take(wanted.text, terms, judged.amount_minor, judged.eligible)))
    if order is not None and chosen and (back := _taken_back(order, purchase, basket, is_cancelled=is_late)):
        return _record_late(purchase, chosen, repeated, back, books)
    if is_late:
        return RedeemedLate((), tuple(repeated))
    redeemed = _redeem(purchase, chosen, repeated, basket, books)
    return replace(redeemed, skipped=tuple(skipped)) if skipped else redeemed


def reserve(request: HoldRequest, books: Books) -> Reserved | Refused:
    """Judge a reservation as if the order were paid now and, if it may, hold the uses for it in the books."""
    purchase = request.purchase
    order = books.order(purchase.order)
    basket = _basket(purchase, order, books)
    held: list[HeldCode] = []
    has_ended = False
    for wanted in purchase.codes:
        terms = _meant(wanted.canonical, purchase, books)
        if terms is None or wanted.canonical is None:
            return Refused(wanted.text, None, *_unknown(purchase, books))
        if order.redeemed(wanted.canonical) is not None:
            return Refused(wanted.text, terms, "code_used", "The order has redeemed the code already.")
        judged = _judge(terms, purchase, books, basket)
        if judged.fault is not None:
            return Refused(wanted.text, terms, *judged.fault)
        taken = basket.take(wanted.text, terms, judged.amount_minor, judged.eligible)
        has_ended = has_ended or fault_of_end(terms, purchase.occurred_at) is not None
        held.append(
            HeldCode(
                terms.canonical,
                terms.code,
                terms.code_id,
                terms.coupon_id,
                purchase.buyer.key,
                taken.amount_minor,
                purchase.currency,
                taken.as_text,
                purchase.buyer.mailbox_key,
            )
        )
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
    """Return until when a reservation holds that is `held` so far, if it is live, and is asked for again.

    It never gets shorter; once a code of it has ended it does not get longer either, or it could outlive its end for
    ever.
    """
    if held is None:
        return asked
    return held if has_ended else max(asked, held)


def appraise(purchase: Purchase, books: Books) -> list[Appraisal]:
    """Judge each code of an order beside those before it that are good, and change nothing that is kept."""
    order = books.orders.get(purchase.order)
    basket = _basket(purchase, order, books)
    appraisals = []
    for wanted in purchase.codes:
        terms = _meant(wanted.canonical, purchase, books)
        if terms is None:
            appraisals.append(Appraisal(wanted.text, None, _unknown(purchase, books), None))
            continue
        if order is not None and (known := order.redeemed(terms.canonical)) is not None:
            appraisals.append(Appraisal(wanted.text, terms, None, taken_of(known.discount_minor, known.lines)))
            continue
        judged = _judge(terms, purchase, books, basket)
        taken = None
        if judged.fault is None:
            taken = basket.take(wanted.text, terms, judged.amount_minor, judged.eligible)
        appraisals.append(Appraisal(wanted.text, terms, judged.fault, taken))
    return appraisals


def _basket(purchase: Purchase, order: OrderBook | None, books: Books) -> Basket:
    own: tuple[OrderBook, ...] = () if order is None else (order,)
    if purchase.reserved_ref is not None and purchase.reserved_ref != purchase.order_ref:
        reserved = books.order((purchase.program_id, purchase.reserved_ref))
        # It may have ended since it was found, and its order may have another now, which nobody named.
        own += (reserved,) if reserved.reservation_id == purchase.reservation_id else ()
    earlier: tuple[OrderCode, ...] = ()
    if order is not None and order.redemptions:
        earlier = tuple(
            OrderCode(r.code, r.coupon_id, r.combination, taken_of(r.discount_minor, r.lines))
            for r in order.redemptions
            if r.voided_at is None
        )
    return Basket(Pot.of(purchase.lines, purchase.subtotal_minor, (code.taken for code in earlier)), own, earlier)


def _known(order: OrderBook, canonical: str | None, moment: Moment) -> Redemption | None:
    """Return what the order has of a code: a redemption that stands, or one with which the moment was taken back."""
    for redemption in order.redemptions:
        if redemption.canonical == canonical and (
            redemption.voided_at is None or not is_later(moment, redemption.confirmed)
        ):
            return redemption
    return None


def _meant(canonical: str | None, purchase: Purchase, books: Books) -> CodeTerms | None:
    if canonical is None:
        return None
    return meant_code(books.candidates.get((purchase.program_id, canonical), ()), purchase.occurred_at)


def _unknown(purchase: Purchase, books: Books) -> Fault:
    if purchase.program_id in books.known_programs:
        return Fault("code_unknown", "The program has no such code.")
    return Fault("program_unknown", "There is no such program.")


def _judge(
    terms: CodeTerms,
    purchase: Purchase,
    books: Books,
    basket: Basket,
    *,
    may_be_idle: bool = False,
    is_reported: bool = False,
) -> _Judged:
    """Return what is wrong with the code, or what it takes off."""
    moment = purchase.occurred_at
    fault = fault_of_state(terms, moment) or fault_of_start(terms, moment)
    if fault is None and not (basket.own and any(book.had_reserved(terms.canonical, moment) for book in basket.own)):
        fault = fault_of_end(terms, moment)
    fault = fault or fault_of_owner(terms, moment) or fault_of_currency(terms, purchase)
    if fault is None and not is_reported:
        fault = fault_of_self_referral(terms, purchase.buyer)
    eligible, price = None, purchase.subtotal_minor
    if fault is None and terms.restrictions is not UNRESTRICTED:
        eligible = eligible_lines(terms.restrictions, purchase.lines)
        price = basket.pot.price_minor(eligible)
        fault = fault_of_restrictions(terms, purchase, eligible, price)
    if fault is not None:
        return _Judged(fault)
    amount = discount_minor(terms, price, purchase.currency, basket.pot.left_of(eligible))
    limit = fault_of_limits(terms, purchase, amount, books, basket)
    blocked = fault_of_combination(terms, basket.codes)
    if blocked is None and not may_be_idle:
        blocked = fault_of_effect(terms, purchase.currency, amount, price, basket.codes)
    if blocked is not None and fault_of_limits(terms, purchase, None, books, basket.without_codes()) is None:
        return _Judged(limit or blocked, drops_out_by=blocked)
    return _Judged(limit or blocked, amount, eligible)


def _taken_back(order: OrderBook, purchase: Purchase, basket: Basket, *, is_cancelled: bool) -> PaidBack | None:
    """Return by what the purchase was taken back before it was heard of: its cancellation, or all that was paid."""
    if is_cancelled and order.cancelled is not None:
        return PaidBack(order.cancelled, order.cancelled)
    paid = basket.paid_minor
    return None if paid is None else order.paid_back(paid, purchase.happened)


def _redeem(
    purchase: Purchase, chosen: Sequence[_Choice], repeated: Sequence[Redemption], basket: Basket, books: Books
) -> Redeemed:
    confirmed = [r for r in repeated if r.voided_at is None and is_newer(purchase.happened, r.confirmed)]
    for redemption in confirmed:
        redemption.confirm(purchase.happened)
        books.changed[redemption.id] = redemption
    for book in basket.own:
        release(book, books)
    if not chosen:
        order = books.orders.get(purchase.order)
        # What was paid back before is no longer paid back of what was bought later.
        earnings = earn(order, books) if order is not None and order.refunds and confirmed else ()
        return Redeemed((), tuple(repeated), earnings=earnings)
    order = books.order(purchase.order)
    uses = []
    for choice in chosen:
        redemption = _record(choice, purchase, is_counted=True)
        order.redemptions.append(redemption)
        _count(redemption, books)
        uses.append(_use(redemption, choice.terms, books))
    return Redeemed(tuple(uses), tuple(repeated), earnings=earn(order, books, {use.redemption.id for use in uses}))


def _record_late(
    purchase: Purchase,
    chosen: Sequence[_Choice],
    repeated: Sequence[Redemption],
    back: PaidBack,
    books: Books,
) -> RedeemedLate:
    order = books.order(purchase.order)
    uses = []
    for choice in chosen:
        redemption = _record(choice, purchase, is_counted=False)
        redemption.confirm(back.covers_until)
        # Never before the purchase, which is taken to be of the last day at most.
        redemption.voided_at = order.apart(redemption.canonical, max(back.completed.known_at, purchase.occurred_at))
        redemption.void_reason = order.cancel_reason if back.covers_until == order.cancelled else None
        order.redemptions.append(redemption)
        uses.append(_use(redemption, choice.terms, books))
    return RedeemedLate(tuple(uses), tuple(repeated))


def _record(choice: _Choice, purchase: Purchase, *, is_counted: bool) -> Redemption:
    terms, happened = choice.terms, purchase.happened
    return Redemption(
        purchase.redemption_id(terms.canonical),
        purchase.program_id,
        purchase.order_ref,
        terms.canonical,
        terms.code,
        terms.code_id,
        terms.coupon_id,
        terms.partner_id,
        purchase.buyer.id,
        purchase.buyer.key,
        terms.discount_type,
        terms.percent_hundredths,
        terms.amount_minor if (static := terms.static_amount(purchase.currency)) is None else static,
        choice.taken.amount_minor,
        purchase.currency or terms.currency,
        purchase.subtotal_minor,
        commission_rate(terms, purchase.buyer),
        None,
        discount_ends_at(terms, purchase.occurred_at),
        terms.release_policy,
        terms.expires_at,
        purchase.occurred_at,
        happened.known_at,
        is_counted,
        claimed_at=happened.claimed_at,
        clock=happened.clock,
        lines=choice.taken.as_text,
        combination=terms.combination,
        commission_cap_hundredths=terms.commission_cap_hundredths,
        is_self_referral=is_partner(terms, purchase.buyer),
        mailbox_key=purchase.buyer.mailbox_key,
    )


def _count(redemption: Redemption, books: Books) -> None:
    books.code_counts[redemption.code_id].move()
    for customer in books.customer(redemption.coupon_id, redemption.customer_key, redemption.mailbox_key):
        customer.move()
    coupon = books.coupon_counts.get(redemption.coupon_id)
    if coupon is None:
        return
    coupon.move()
    for count in books.periods(redemption.coupon_id, redemption.occurred_at).values():
        count.move()
    budget = books.budgets.get(redemption.coupon_id)
    if budget is not None and budget.currency == redemption.currency:
        budget.spend(redemption.discount_minor or 0)


def _use(redemption: Redemption, terms: CodeTerms, books: Books) -> Use:
    code, coupon = books.code_counts[redemption.code_id], books.coupon_counts.get(redemption.coupon_id)
    if coupon is None:
        return Use(redemption, terms, code.uses, code.version, None, None)
    return Use(redemption, terms, code.uses, code.version, coupon.uses, coupon.version)


def release(book: OrderBook, books: Books) -> None:
    """End the reservation of an order; what it held is free."""
    if book.reservation_id is None:
        return
    if book.is_holding:
        hold(book.held, books, sign=-1)
    book.is_holding, book.held = False, ()
    book.reservation_id = book.reserved_at = book.reserved_until = None
    book.is_moved = True
