"""Uses of codes: recorded and counted when an order redeems one, voided and released when it is taken back."""

from datetime import datetime
from typing import NamedTuple

from services.redemption.domain.books import Books, OrderBook, Redemption
from services.redemption.domain.lines import Taken
from services.redemption.domain.moments import Moment, text_of
from services.redemption.domain.purchase import Purchase
from services.redemption.domain.self_referral import commission_rate, is_partner
from services.redemption.domain.terms import CodeTerms, discount_ends_at


class Use(NamedTuple):
    """One code redeemed by an order, with the counts right after it."""

    redemption: Redemption
    terms: CodeTerms
    times_redeemed: int
    version: int
    coupon_times_redeemed: int | None
    coupon_version: int | None


class Voided(NamedTuple):
    """One redemption that was just voided, with the counts right after it."""

    redemption: Redemption
    is_released: bool
    times_redeemed: int
    version: int
    coupon_times_redeemed: int | None
    coupon_version: int | None


class Choice(NamedTuple):
    """A code that an order may redeem, and its discount."""

    terms: CodeTerms
    taken: Taken


def record(choice: Choice, purchase: Purchase, prices: str | None) -> Redemption:
    """Return the redemption of a code by a purchase whose lines have these prices; nothing is counted yet."""
    terms, happened = choice.terms, purchase.happened
    return Redemption(
        id=purchase.redemption_id(terms.canonical),
        program_id=purchase.program_id,
        order_ref=purchase.order_ref,
        canonical=terms.canonical,
        code=terms.code,
        code_id=terms.code_id,
        coupon_id=terms.coupon_id,
        partner_id=terms.partner_id,
        customer_id=purchase.buyer.kept_id,
        customer_key=purchase.buyer.key,
        discount_type=terms.discount_type,
        percent_hundredths=terms.percent_hundredths,
        amount_minor=terms.amount_minor if (static := terms.static_amount(purchase.currency)) is None else static,
        discount_minor=choice.taken.amount_minor,
        currency=purchase.currency or terms.currency,
        subtotal_minor=purchase.subtotal_minor,
        commission_hundredths=commission_rate(terms, purchase.buyer),
        commission_minor=None,
        discount_ends_at=discount_ends_at(terms, purchase.occurred_at),
        release_policy=terms.release_policy,
        release_until=terms.expires_at,
        occurred_at=purchase.occurred_at,
        confirmed_at=happened.known_at,
        is_counted=False,
        claimed_at=happened.claimed_at,
        clock=happened.clock,
        lines=choice.taken.as_text,
        combination=terms.combination,
        commission_cap_hundredths=terms.commission_cap_hundredths,
        is_self_referral=is_partner(terms, purchase.buyer),
        mailbox_key=purchase.buyer.mailbox_key,
        prices=prices,
    )


def count(redemption: Redemption, books: Books) -> None:
    """Count a redemption under every limit that it falls under."""
    redemption.is_counted = True
    books.code_counts[redemption.code_id].move()
    for customer in books.customer(redemption.coupon_id, redemption.customer_key, redemption.mailbox_key):
        customer.move()
    coupon = books.coupon_counts.get(redemption.coupon_id)
    if coupon is None:
        return
    coupon.move()
    for each in books.periods(redemption.coupon_id, redemption.occurred_at).values():
        each.move()
    budget = books.budgets.get(redemption.coupon_id)
    if budget is not None and budget.currency == redemption.currency:
        budget.spend(redemption.discount_minor or 0)


def use_of(redemption: Redemption, terms: CodeTerms, books: Books) -> Use:
    """Return a redemption with the present counts."""
    code, coupon = books.code_counts[redemption.code_id], books.coupon_counts.get(redemption.coupon_id)
    if coupon is None:
        return Use(redemption, terms, code.uses, code.version, None, None)
    return Use(redemption, terms, code.uses, code.version, coupon.uses, coupon.version)


def void(
    redemption: Redemption,
    moment: datetime,
    by: Moment,
    reason: str | None,
    books: Books,
    *,
    is_free: bool,
    is_alone: bool = False,
) -> Voided:
    """Void a standing redemption, and release its use if it becomes free.

    `by` is what took it back; `is_alone` if that was not an event of its order.
    """
    mark_voided(redemption, books.order((redemption.program_id, redemption.order_ref)), moment, by, reason)
    redemption.is_voided_alone = is_alone
    books.changed[redemption.id] = redemption
    is_released = redemption.is_counted and is_free
    if is_released:
        give_back(redemption, books)
    return voided_of(redemption, books, is_released=is_released)


def voided_of(redemption: Redemption, books: Books, *, is_released: bool) -> Voided:
    """Return a voided redemption with the present counts."""
    code, coupon = books.code_counts[redemption.code_id], books.coupon_counts.get(redemption.coupon_id)
    return Voided(
        redemption,
        is_released,
        code.uses,
        code.version,
        coupon.uses if coupon else None,
        coupon.version if coupon else None,
    )


def mark_voided(redemption: Redemption, order: OrderBook, moment: datetime, by: Moment, reason: str | None) -> None:
    """Record when and by what a redemption was taken back; never before its purchase, and within the last day."""
    redemption.purchases = text_of(redemption.bought)
    redemption.voided_at = order.unused_moment(redemption.canonical, max(moment, redemption.occurred_at))
    redemption.confirm(by)
    redemption.void_reason = reason
    redemption.is_voided_alone = False


def give_back(redemption: Redemption, books: Books) -> None:
    """Take a redemption out of every count that includes it."""
    redemption.is_counted = False
    books.code_counts[redemption.code_id].give_back()
    coupon = books.coupon_counts.get(redemption.coupon_id)
    if coupon is not None:
        coupon.give_back()
        for each in books.periods(redemption.coupon_id, redemption.occurred_at).values():
            each.give_back()
        budget = books.budgets.get(redemption.coupon_id)
        if budget is not None and budget.currency == redemption.currency:
            budget.spend(-(redemption.discount_minor or 0))
    for customer in books.customer(redemption.coupon_id, redemption.customer_key, redemption.mailbox_key):
        customer.give_back()
