"""The decision: which orders redeem their codes, one by one in arrival order, all of an order's codes or none.

Pure: everything known under the locks comes in as `Books`, and deciding moves the counts in them, so that the next
order of a batch is judged by what the earlier ones left.
"""

import uuid
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Literal

from services.redemption.domain.purchase import Purchase
from services.redemption.domain.terms import CodeTerms, discount_minor, meant_code

# A checkout's clock may be this far behind when a code has just been made or has just started.
CLOCK_ALLOWANCE = timedelta(seconds=60)

Reason = Literal[
    "code_unknown",
    "code_inactive",
    "code_expired",
    "code_not_started",
    "code_used",
    "coupon_inactive",
    "coupon_exhausted",
    "partner_not_active",
    "program_unknown",
]
OrderCode = tuple[uuid.UUID, str, str]


@dataclass(slots=True)
class Count:
    """How often something was used; `version` grows with every change and orders the counts in events."""

    uses: int
    version: int
    is_moved: bool = False

    def move(self) -> None:
        """Count one more use."""
        self.uses += 1
        self.version += 1
        self.is_moved = True


@dataclass(frozen=True, slots=True)
class Books:
    """What is known under the locks.

    Coupons without a count are those without a limit. `redeemed` holds (program, order_ref, canonical).
    """

    candidates: Mapping[tuple[uuid.UUID, str], Sequence[CodeTerms]]
    code_counts: Mapping[uuid.UUID, Count]
    coupon_counts: Mapping[uuid.UUID, Count]
    redeemed: set[OrderCode]
    known_programs: Collection[uuid.UUID] = field(default=frozenset())


@dataclass(frozen=True, slots=True)
class Use:
    """One code redeemed by an order, with the counts just after it."""

    terms: CodeTerms
    discount_minor: int | None
    times_redeemed: int
    version: int
    coupon_times_redeemed: int | None
    coupon_version: int | None


@dataclass(frozen=True, slots=True)
class Redeemed:
    """The order redeems these codes; none if it already had all of them."""

    uses: tuple[Use, ...]


@dataclass(frozen=True, slots=True)
class Refused:
    """The order redeems nothing; `code` is the first at fault, as it was typed."""

    code: str
    terms: CodeTerms | None
    reason: Reason
    detail: str


NOTHING_NEW = Redeemed(())


def decide(purchase: Purchase, books: Books) -> Redeemed | Refused:
    """Judge one order and, if it may redeem, count its uses in the books."""
    chosen: list[CodeTerms] = []
    of_coupon: dict[uuid.UUID, int] = {}
    for wanted in purchase.codes:
        if wanted.canonical is None:
            return Refused(wanted.text, None, *_unknown(purchase, books))
        if (purchase.program_id, purchase.order_ref, wanted.canonical) in books.redeemed:
            continue
        terms = meant_code(books.candidates.get((purchase.program_id, wanted.canonical), ()), purchase.occurred_at)
        if terms is None:
            return Refused(wanted.text, None, *_unknown(purchase, books))
        fault = _fault(terms, purchase.occurred_at, books, of_coupon.get(terms.coupon_id, 0))
        if fault is not None:
            return Refused(wanted.text, terms, *fault)
        of_coupon[terms.coupon_id] = of_coupon.get(terms.coupon_id, 0) + 1
        chosen.append(terms)
    return _redeem(purchase, chosen, books) if chosen else NOTHING_NEW


def _unknown(purchase: Purchase, books: Books) -> tuple[Reason, str]:
    if purchase.program_id in books.known_programs:
        return "code_unknown", "The program has no such code."
    return "program_unknown", "There is no such program."


def _fault(terms: CodeTerms, moment: datetime, books: Books, taken_of_coupon: int) -> tuple[Reason, str] | None:
    return (
        _fault_of_state(terms, moment)
        or _fault_of_time(terms, moment)
        or _fault_of_limit(terms, books, taken_of_coupon)
        or _fault_of_owner(terms, moment)
    )


def _fault_of_state(terms: CodeTerms, moment: datetime) -> tuple[Reason, str] | None:
    if terms.code_archived_at is not None and moment >= terms.code_archived_at:
        return "code_inactive", "The code was deleted before the purchase."
    if not terms.code_is_active:
        return "code_inactive", "The code is switched off."
    return None


def _fault_of_time(terms: CodeTerms, moment: datetime) -> tuple[Reason, str] | None:
    latest_start = moment + CLOCK_ALLOWANCE
    if latest_start < terms.code_created_at:
        return "code_not_started", "The code was made after the purchase."
    if terms.code_starts_at is not None and latest_start < terms.code_starts_at:
        return "code_not_started", "The code was not valid yet at the time of the purchase."
    if terms.coupon_starts_at is not None and latest_start < terms.coupon_starts_at:
        return "code_not_started", "The code's coupon was not valid yet at the time of the purchase."
    if terms.code_expires_at is not None and moment >= terms.code_expires_at:
        return "code_expired", "The code had expired at the time of the purchase."
    if terms.coupon_expires_at is not None and moment >= terms.coupon_expires_at:
        return "code_expired", "The code's coupon had expired at the time of the purchase."
    return None


def _fault_of_limit(terms: CodeTerms, books: Books, taken_of_coupon: int) -> tuple[Reason, str] | None:
    if terms.code_limit is not None and books.code_counts[terms.code_id].uses >= terms.code_limit:
        return "code_used", f"The code has been used as often as it may be ({terms.code_limit})."
    if terms.coupon_limit is not None:
        uses = books.coupon_counts[terms.coupon_id].uses + taken_of_coupon
        if uses >= terms.coupon_limit:
            return "coupon_exhausted", f"The coupon has been used as often as it may be ({terms.coupon_limit})."
    return None


def _fault_of_owner(terms: CodeTerms, moment: datetime) -> tuple[Reason, str] | None:
    if terms.partner_id is not None and terms.partner_status != "active":
        return "partner_not_active", "The code's partner is not active."
    if not terms.coupon_is_active:
        return "coupon_inactive", "The code's coupon is switched off."
    if terms.coupon_archived_at is not None and moment >= terms.coupon_archived_at:
        return "coupon_inactive", "The code's coupon was deleted before the purchase."
    return None


def _redeem(purchase: Purchase, chosen: Sequence[CodeTerms], books: Books) -> Redeemed:
    left = purchase.subtotal_minor
    uses = []
    for terms in chosen:
        code_count = books.code_counts[terms.code_id]
        code_count.move()
        coupon_count = books.coupon_counts.get(terms.coupon_id)
        if coupon_count is not None:
            coupon_count.move()
        amount = discount_minor(terms, purchase.subtotal_minor, purchase.currency, left)
        left = None if left is None or amount is None else left - amount
        books.redeemed.add((purchase.program_id, purchase.order_ref, terms.canonical))
        uses.append(
            Use(
                terms,
                amount,
                code_count.uses,
                code_count.version,
                coupon_count.uses if coupon_count else None,
                coupon_count.version if coupon_count else None,
            )
        )
    return Redeemed(tuple(uses))
