"""Makes an order what its facts say: voids what does not stand any more, and redeems again what was voided too early.

A cancellation that is heard of late may say that an order was smaller than was known, so that less of it went back.
"""

import uuid
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Final

from services.redemption.domain.basket import Basket, OrderCode
from services.redemption.domain.books import Books, OrderBook, Redemption
from services.redemption.domain.combination import exclusion
from services.redemption.domain.commission import Earning, earn
from services.redemption.domain.limits import fault_of_limits
from services.redemption.domain.moments import OWN_CLOCK, Moment, is_later
from services.redemption.domain.pot import Pot, lines_of, taken_of
from services.redemption.domain.purchase import Cancellation
from services.redemption.domain.standing import Standing
from services.redemption.domain.terms import CodeTerms
from services.redemption.domain.uses import Use, Voided, count, release, use_of, void

# Part of the ids of redemptions that were revived.
_REVIVED: Final = uuid.UUID("0192f0a5-0c1e-7d52-8a34-52d7b6f9c3e8")


@dataclass(frozen=True, slots=True)
class Changes:
    """What became of an order's redemptions: voided, redeemed again, and commissions of those that stand."""

    voids: tuple[Voided, ...] = ()
    revived: tuple[Use, ...] = ()
    earnings: tuple[Earning, ...] = ()


NO_CHANGES: Final = Changes()


def settle_order(
    order: OrderBook,
    books: Books,
    *,
    by: Cancellation | None = None,
    made: frozenset[uuid.UUID] = frozenset(),
    standing: Standing | None = None,
) -> Changes:
    """Bring the redemptions of an order in line with what stands; `by` is what was just heard, if it takes back.

    `made` are redemptions that are new with all that there is to say of them.
    """
    if not order.is_taken_back:
        return Changes(earnings=earn(order, books, made))
    standing = standing or Standing.of(order)
    voids = tuple(_void_ended(order, books, standing, by))
    revived = tuple(_revive_standing(order, books, standing))
    new = made | {use.redemption.id for use in revived}
    return Changes(voids, revived, earn(order, books, new))


def release_until(moment: Moment, order: OrderBook, books: Books) -> None:
    """End the reservation of an order, unless it was made later."""
    if order.reserved_at is not None and not is_later(Moment(order.reserved_at, order.reserved_at, OWN_CLOCK), moment):
        release(order, books)


def _void_ended(order: OrderBook, books: Books, standing: Standing, by: Cancellation | None) -> Iterator[Voided]:
    for redemption in order.redemptions:
        back = standing.ended.get(redemption.id)
        if redemption.voided_at is not None or redemption.canonical in standing.live or back is None:
            continue
        release_until(back.happened, order, books)
        at = by.occurred_at if by is not None and by.happened == back.happened else back.happened.known_at
        reason, wish = (None, None) if by is None else (by.reason, by.release)
        yield void(redemption, at, back.happened, reason, wish, books)


def _revive_standing(order: OrderBook, books: Books, standing: Standing) -> Iterator[Use]:
    # By code, so that limits are met in the same order by all.
    for canonical in sorted(standing.live):
        voided = [r for r in order.redemptions if r.canonical == canonical and r.is_voided_alone is False]
        if order.redeemed(canonical) is None and voided:
            use = _revive(voided[-1], standing.live[canonical], order, books)
            if use is not None:
                yield use


def _revive(voided: Redemption, happened: Moment, order: OrderBook, books: Books) -> Use | None:
    """Redeem a code again that was voided and stands, under an id of its own.

    None if by now its limits forbid it, or the order's other codes do.
    """
    candidates = books.candidates.get((voided.program_id, voided.canonical), ())
    terms = next((each for each in candidates if each.code_id == voided.code_id), None)
    if terms is None or voided.voided_at is None or not _fits_beside_others(voided, order):
        return None
    if not (voided.is_counted or _fits(voided, terms, books)):
        return None
    identity = uuid.uuid5(_REVIVED, f"{voided.id} {voided.voided_at.isoformat()}")
    made = replace(
        voided,
        id=identity,
        voided_at=None,
        void_reason=None,
        is_voided_alone=None,
        is_counted=False,
        commission_minor=None,
        commission_version=0,
    )
    made.confirm(happened)
    order.redemptions.append(made)
    # What was voided and kept its use has it still.
    if not voided.is_counted:
        count(made, books)
    return use_of(made, terms, books)


def _fits_beside_others(voided: Redemption, order: OrderBook) -> bool:
    """Whether a code still fits into its order: others that it was not judged beside may have been redeemed since."""
    standing = [redemption for redemption in order.redemptions if redemption.voided_at is None]
    others = [OrderCode(r.code, r.coupon_id, r.combination, taken_of(r.discount_minor, r.lines)) for r in standing]
    if any(exclusion(voided.coupon_id, voided.combination, other) is not None for other in others):
        return False
    pot = Pot.of(lines_of(voided.prices), voided.subtotal_minor, (other.taken for other in others))
    return pot.has_left(taken_of(voided.discount_minor, voided.lines))


def _fits(voided: Redemption, terms: CodeTerms, books: Books) -> bool:
    customer = voided.customer_key, voided.mailbox_key
    if terms.restrictions.customer_limit is not None and not books.knows_customer(voided.coupon_id, *customer):
        return False
    basket = Basket(Pot.of(None, None, ()), ())
    return fault_of_limits(terms, customer, voided.occurred_at, voided.discount_minor, books, basket) is None
