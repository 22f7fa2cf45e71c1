"""How often a code may be used: each limit against its count, the holds of others, and the order's own uses."""

from collections.abc import Iterable, Iterator
from datetime import datetime
from functools import partial

from services.redemption.domain.basket import Basket
from services.redemption.domain.books import Books, Count, HeldCode, OrderBook
from services.redemption.domain.customers import is_one
from services.redemption.domain.reasons import Fault
from services.redemption.domain.terms import UNRESTRICTED, CodeTerms


def fault_of_limits(
    terms: CodeTerms,
    customer: tuple[str | None, str | None],
    moment: datetime,
    amount_minor: int | None,
    books: Books,
    basket: Basket,
) -> Fault | None:
    """Return the limit that one more use by a customer, given by both keys, would exceed.

    The order's own holds are never in its way.
    """
    fault = _fault_of_code(terms, books, basket) or _fault_of_coupon(terms, books, basket)
    if fault is not None or terms.restrictions is UNRESTRICTED:
        return fault
    return (
        _fault_of_customer(terms, customer, books, basket)
        or _fault_of_periods(terms, moment, books, basket)
        or _fault_of_budget(terms, amount_minor, books, basket)
    )


def hold(held: Iterable[HeldCode], books: Books, *, sign: int = 1) -> None:
    """Hold these uses, or release them with `sign` -1."""
    for each in held:
        for count in counts_of_hold(each, books):
            count.held += sign
        budget = books.budgets.get(each.coupon_id)
        if budget is not None and budget.currency == each.currency:
            budget.held_minor += sign * (each.discount_minor or 0)


def release(book: OrderBook, books: Books) -> None:
    """End the reservation of an order and release its holds."""
    if book.reservation_id is None:
        return
    if book.is_holding:
        hold(book.held, books, sign=-1)
    book.is_holding, book.held = False, ()
    book.reservation_id = book.reserved_at = book.reserved_until = None
    book.is_moved = True


def counts_of_hold(held: HeldCode, books: Books) -> Iterator[Count]:
    """Yield every count of which a hold takes one."""
    counts = [books.code_counts.get(held.code_id), books.coupon_counts.get(held.coupon_id)]
    yield from (count for count in counts if count is not None)
    yield from books.customer(held.coupon_id, held.customer_key, held.mailbox_key)


def _fault_of_code(terms: CodeTerms, books: Books, basket: Basket) -> Fault | None:
    if terms.code_limit is None:
        return None
    count = books.code_counts[terms.code_id]
    if count.uses >= terms.code_limit:
        return Fault("code_used", f"The code has reached its limit of uses ({terms.code_limit}).")
    if count.held and count.uses + _others(count, (h.code_id == terms.code_id for h in basket.holds())) >= (
        terms.code_limit
    ):
        return Fault("code_held", "The remaining uses of the code are currently reserved by other orders.")
    return None


def _fault_of_coupon(terms: CodeTerms, books: Books, basket: Basket) -> Fault | None:
    if terms.coupon_limit is None:
        return None
    count = books.coupon_counts[terms.coupon_id]
    uses = count.uses + _uses_of(terms, basket)
    if uses >= terms.coupon_limit:
        return Fault("coupon_exhausted", f"The coupon has reached its limit of uses ({terms.coupon_limit}).")
    if count.held and uses + _others(count, _own_of_coupon(terms, basket)) >= terms.coupon_limit:
        return Fault("coupon_held", "The remaining uses of the coupon are currently reserved by other orders.")
    return None


def _fault_of_customer(
    terms: CodeTerms, customer: tuple[str | None, str | None], books: Books, basket: Basket
) -> Fault | None:
    limit, (key, mailbox_key) = terms.restrictions.customer_limit, customer
    if limit is None or key is None:
        return None
    uses, held = books.customer_uses(terms.coupon_id, key, mailbox_key)
    name = partial(books.aliases, terms.coupon_id)
    keys = name(key), name(mailbox_key)
    if held:
        own = (h for h in basket.holds() if h.coupon_id == terms.coupon_id)
        held -= sum(is_one((name(h.customer_key), name(h.mailbox_key)), keys) for h in own)
    uses += len(basket.added_of(terms.coupon_id))
    passed_over = basket.passed_over_of(terms.coupon_id)
    uses -= sum(is_one((name(r.customer_key), name(r.mailbox_key)), keys) for r in passed_over)
    if uses + held >= limit:
        return Fault("customer_limit_reached", f"The customer has reached the limit of uses of the coupon ({limit}).")
    return None


def _fault_of_periods(terms: CodeTerms, moment: datetime, books: Books, basket: Basket) -> Fault | None:
    limits = terms.restrictions.period_limits
    if not limits:
        return None
    counts = books.periods(terms.coupon_id, moment)
    # A hold may be redeemed in this period or the next, so it counts in both.
    held = _others(books.coupon_counts[terms.coupon_id], _own_of_coupon(terms, basket))
    taken = len(basket.added_of(terms.coupon_id)) + held
    passed_over = [books.periods(r.coupon_id, r.occurred_at) for r in basket.passed_over_of(terms.coupon_id)]
    for period, limit in limits.items():
        own = sum(periods.get(period) is counts[period] for periods in passed_over)
        if counts[period].uses - own + taken >= limit:
            return Fault("period_limit_reached", f"The coupon has reached its limit of uses per {period} ({limit}).")
    return None


def _fault_of_budget(terms: CodeTerms, amount_minor: int | None, books: Books, basket: Basket) -> Fault | None:
    most = terms.restrictions.budget_minor
    if most is None:
        return None
    budget = books.budgets[terms.coupon_id]
    own = sum(
        h.discount_minor or 0
        for h in basket.holds()
        if h.coupon_id == terms.coupon_id and h.currency == budget.currency
    )
    own += sum(r.discount_minor or 0 for r in basket.passed_over_of(terms.coupon_id) if r.currency == budget.currency)
    added = sum(code.taken.amount_minor or 0 for code in basket.added_of(terms.coupon_id))
    if budget.spent_minor + budget.held_minor - own + added + (amount_minor or 0) > most:
        return Fault("budget_exhausted", "The coupon's budget does not cover the discount.")
    return None


def _uses_of(terms: CodeTerms, basket: Basket) -> int:
    """Return how many uses the order's codes add to the coupon's count."""
    return len(basket.added_of(terms.coupon_id)) - len(basket.passed_over_of(terms.coupon_id))


def _own_of_coupon(terms: CodeTerms, basket: Basket) -> Iterator[bool]:
    return (h.coupon_id == terms.coupon_id for h in basket.holds())


def _others(count: Count, own: Iterable[bool]) -> int:
    return count.held - sum(own) if count.held else 0
