"""The fault of a code in an order, or its discount: the same rules for requests and events.

Pure: no state changes here.
"""

from dataclasses import dataclass, replace
from typing import Final, NamedTuple

from services.redemption.domain.basket import MOST_REDEMPTIONS, Basket, OrderCode
from services.redemption.domain.books import Books, OrderBook, Redemption
from services.redemption.domain.combination import fault_of_combination, fault_of_currencies, fault_of_effect
from services.redemption.domain.limits import fault_of_limits
from services.redemption.domain.lines import Taken, taken_of
from services.redemption.domain.moments import Moment, is_later
from services.redemption.domain.pot import Places, Pot, discount_minor
from services.redemption.domain.purchase import Purchase
from services.redemption.domain.reasons import TAKEN_BACK, Fault, Reason
from services.redemption.domain.restrictions import eligible_lines, fault_of_restrictions
from services.redemption.domain.self_referral import fault_of_self_referral
from services.redemption.domain.settlement import Bought, TakenBack
from services.redemption.domain.standing import (
    bought_again,
    cancelled_by,
    is_cancelled,
    is_limited,
    is_taken_back,
    known_of,
)
from services.redemption.domain.terms import UNRESTRICTED, CodeTerms, meant_code
from services.redemption.domain.validity import (
    fault_of_currency,
    fault_of_end,
    fault_of_owner,
    fault_of_start,
    fault_of_state,
)

_FULL: Final = Fault("too_many_codes", f"The order has redeemed {MOST_REDEMPTIONS:,} codes, including voided ones.")


@dataclass(frozen=True, slots=True)
class Refused:
    """The order redeems nothing; `code` is the first faulty one, as typed."""

    code: str
    terms: CodeTerms | None
    reason: Reason
    detail: str
    blocked_by: str | None = None


@dataclass(frozen=True, slots=True)
class Appraisal:
    """The discount of one code on an order, or why there is none."""

    code: str
    terms: CodeTerms | None
    fault: Fault | None
    taken: Taken | None

    @property
    def discount_minor(self) -> int | None:
        """Its total discount."""
        return None if self.taken is None else self.taken.amount_minor


class Judged(NamedTuple):
    """The fault of a code, or its discount; `drops_out_by` if only the order's codes prevent it."""

    fault: Fault | None
    amount_minor: int | None = None
    eligible: Places | None = None
    drops_out_by: Fault | None = None


def appraise(purchase: Purchase, books: Books) -> list[Appraisal]:
    """Judge each code of an order together with the good ones before it, without changing state."""
    order = books.orders.get(purchase.order)
    basket = basket_of(purchase, order, books)
    appraisals: list[Appraisal] = []
    new: dict[int, Bought] = {}
    repeated: list[Bought] = []
    for place, wanted in enumerate(purchase.codes):
        terms = meant(wanted.canonical, purchase, books)
        if terms is None:
            appraisals.append(Appraisal(wanted.text, None, unknown(purchase, books), None))
            continue
        known = None if order is None else known_of(order, terms.canonical, purchase.happened)
        if known is not None:
            appraisals.append(_appraisal_of_known(known, wanted.text, terms, purchase, order))
            repeated.append(bought_again(known, purchase.happened))
            continue
        limited = is_limited(order, terms, purchase.happened)
        judged = judge(terms, purchase, books, basket, is_limited=limited)
        taken = None
        if judged.fault is None:
            taken = basket.take(wanted.text, terms, judged.amount_minor, judged.eligible)
            new[place] = bought(terms, taken, purchase)
        appraisals.append(Appraisal(wanted.text, terms, judged.fault, taken))
    if is_taken_back(order, tuple(new.values()), repeated):
        for place in new:
            appraisals[place] = replace(appraisals[place], fault=TAKEN_BACK, taken=None)
    return appraisals


def _appraisal_of_known(
    known: Redemption, text: str, terms: CodeTerms, purchase: Purchase, order: OrderBook | None
) -> Appraisal:
    fault = TAKEN_BACK if known.voided_at is not None else fault_of_repeat(known, purchase, order)
    return Appraisal(text, terms, fault, None if fault else taken_of(known.discount_minor, known.lines))


def fault_of_repeat(known: Redemption, purchase: Purchase, order: OrderBook | None) -> Fault | None:
    """Return why a request is not a repeat of a standing purchase: it has another currency.

    A purchase that was cancelled before it was received adds nothing up; nor does one that an event reports again, of
    which only the time is recorded, since the cancellation of the first may still be on its way.
    """
    if is_cancelled(order, purchase.happened):
        return None
    return fault_of_currencies(purchase.currency, [OrderCode.of(known)])


def bought(terms: CodeTerms, taken: Taken, purchase: Purchase) -> Bought:
    """Return the purchase of one code, to be settled with the facts of its order."""
    return Bought(terms.canonical, taken.amount_minor, purchase.subtotal_minor, purchase.happened)


def basket_of(purchase: Purchase, order: OrderBook | None, books: Books) -> Basket:
    """Return the order's codes before those of this purchase.

    If it was cancelled before it was received, these are the codes that it had until then: including those taken back
    since the purchase, and none bought later. A code that takes up one more use is not judged beside itself.
    """
    own: tuple[OrderBook, ...] = () if order is None else (order,)
    if purchase.reserved_ref is not None and purchase.reserved_ref != purchase.order_ref:
        reserved = books.order((purchase.program_id, purchase.reserved_ref))
        # It may have ended since it was found, and its order may have another one now, which the request does not name.
        own += (reserved,) if reserved.reservation_id == purchase.reservation_id else ()
    earlier: tuple[OrderCode, ...] = ()
    if order is not None and order.redemptions:
        ended_by = cancelled_by(order, purchase.happened)
        again = _taken_again(purchase, order)
        beside = [
            r
            for r in order.redemptions
            if r.canonical not in again
            and (r.voided_at is None if ended_by is None else _stood_beside(r, purchase.happened, ended_by))
        ]
        # A code that was redeemed again after a void is in its order once.
        once = {r.canonical: r for r in reversed(beside)}
        earlier = tuple(OrderCode.of(redemption) for redemption in beside if once[redemption.canonical] is redemption)
    pot = Pot.of(purchase.lines, purchase.subtotal_minor, [code.before for code in earlier])
    return Basket(pot, own, earlier, redeemed=0 if order is None else len(order.redemptions))


def _taken_again(purchase: Purchase, order: OrderBook) -> set[str]:
    """Return the codes that the order has redeemed and of which this purchase takes up another use."""
    if not order.is_taken_back:
        return set()
    asked = {wanted.canonical for wanted in purchase.codes if wanted.canonical is not None}
    return {code for code in asked if known_of(order, code, purchase.happened) is None}


def _stood_beside(redemption: Redemption, purchase: Moment, ended_by: TakenBack) -> bool:
    if redemption.voided_at is not None and (
        redemption.is_voided_alone is not False or is_later(purchase, redemption.confirmed)
    ):
        return False
    return not is_later(redemption.bought[0], ended_by.happened)


def meant(canonical: str | None, purchase: Purchase, books: Books) -> CodeTerms | None:
    """Return the code that a string means for a purchase."""
    if canonical is None:
        return None
    return meant_code(books.candidates.get((purchase.program_id, canonical), ()), purchase.occurred_at)


def unknown(purchase: Purchase, books: Books) -> Fault:
    """Return the fault of a string without a code."""
    if purchase.program_id in books.known_programs:
        return Fault("code_unknown", "The program has no such code.")
    return Fault("program_unknown", "There is no such program.")


def judge(
    terms: CodeTerms,
    purchase: Purchase,
    books: Books,
    basket: Basket,
    *,
    may_be_idle: bool = False,
    is_reported: bool = False,
    is_limited: bool = True,
) -> Judged:
    """Return the fault of the code, or its discount; limits do not apply if no use is taken up."""
    if basket.is_full:
        return Judged(_FULL)
    fault = _fault_of_code(terms, purchase, basket, is_reported=is_reported)
    fault = fault or _fault_of_order(purchase, basket, is_reported=is_reported)
    eligible, price = None, purchase.subtotal_minor
    if fault is None and terms.restrictions is not UNRESTRICTED:
        eligible = eligible_lines(terms.restrictions, purchase.lines)
        price = basket.pot.price_minor(eligible)
        fault = fault_of_restrictions(terms, purchase, eligible, price)
    if fault is not None:
        return Judged(fault)
    amount = discount_minor(terms, price, purchase.currency, basket.pot.left_of(eligible))
    by = purchase.buyer.keys, purchase.occurred_at
    limit = fault_of_limits(terms, *by, amount, books, basket) if is_limited else None
    blocked = fault_of_combination(terms, basket.codes)
    if blocked is None and not may_be_idle:
        blocked = fault_of_effect(terms, purchase.currency, amount, price, basket.codes)
    if limit is None:
        return Judged(blocked, amount, eligible, blocked)
    # A limit that is reached without the order's other codes comes first: then these are not the cause.
    if basket.codes:
        alone = basket.without_codes()
        amount = discount_minor(terms, price, purchase.currency, alone.pot.left_of(eligible))
        fault = fault_of_limits(terms, *by, amount, books, alone)
        if fault is None:
            fault = blocked or _taken_up(limit, terms, basket)
            return Judged(fault, drops_out_by=fault)
        limit = fault
    return Judged(limit)


def _fault_of_order(purchase: Purchase, basket: Basket, *, is_reported: bool) -> Fault | None:
    """Return why the purchase cannot belong to its order: it has another currency.

    For a request, the order's reservation has a currency too; a reservation is no purchase, so it never stops a paid
    one.
    """
    fault = fault_of_currencies(purchase.currency, basket.earlier)
    if fault is not None or is_reported:
        return fault
    for held in basket.holds():
        if purchase.currency is not None and held.currency not in (None, purchase.currency):
            detail = f"The order has reserved {held.code} in {held.currency}, and is not in {purchase.currency}."
            return Fault("currency_mismatch", detail, held.code)
    return None


def _taken_up(limit: Fault, terms: CodeTerms, basket: Basket) -> Fault:
    """Name the code of the same order without which a limit would leave room."""
    taker = next(code for code in reversed(basket.codes) if code.coupon_id == terms.coupon_id)
    detail = f"{limit.detail} Without {taker.text}, which the order has, there would be room."
    return Fault(limit.reason, detail, taker.text)


def _fault_of_code(terms: CodeTerms, purchase: Purchase, basket: Basket, *, is_reported: bool) -> Fault | None:
    moment = purchase.occurred_at
    fault = fault_of_state(terms, moment) or fault_of_start(terms, moment)
    if fault is None and not (basket.own and any(book.had_reserved(terms.canonical, moment) for book in basket.own)):
        fault = fault_of_end(terms, moment)
    fault = fault or fault_of_owner(terms, moment) or fault_of_currency(terms, purchase)
    return fault or (None if is_reported else fault_of_self_referral(terms, purchase.buyer))
