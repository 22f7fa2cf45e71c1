"""The decision: which orders redeem their codes, one by one in order of arrival, all of an order's codes or none.

Pure: the state under the locks comes in as `Books`, and decisions change it.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from services.redemption.domain.basket import Basket
from services.redemption.domain.books import Books, Redemption
from services.redemption.domain.judgement import Refused, basket_of, fault_of_repeat, judge, meant, unknown
from services.redemption.domain.limits import release
from services.redemption.domain.lines import prices_text
from services.redemption.domain.purchase import Purchase, WantedCode
from services.redemption.domain.reasons import TAKEN_BACK
from services.redemption.domain.settlement import frees
from services.redemption.domain.settling import NO_CHANGES, Changes, settle_order
from services.redemption.domain.standing import Standing, is_cancelled, is_limited, known_of
from services.redemption.domain.uses import Choice, Use, count, mark_voided, record, use_of


@dataclass(frozen=True, slots=True)
class Redeemed:
    """The order redeems these codes; none if it already had all of them, which are `repeated`.

    Codes that only its other codes prevent drop out. `changes` are those of its earlier codes.
    """

    uses: tuple[Use, ...]
    repeated: tuple[Redemption, ...] = ()
    skipped: tuple[Refused, ...] = ()
    changes: Changes = NO_CHANGES


@dataclass(frozen=True, slots=True)
class RedeemedLate:
    """The order was taken back before its purchase was received: recorded as voided.

    Uses count if they would have stayed taken with the purchase received first.
    """

    uses: tuple[Use, ...]
    repeated: tuple[Redemption, ...] = ()
    skipped: tuple[Refused, ...] = ()
    changes: Changes = NO_CHANGES


def decide(purchase: Purchase, books: Books, *, is_reported: bool = True) -> Redeemed | RedeemedLate | Refused:
    """Judge one order and, if it may redeem, count its uses in the books.

    A reported order was already paid: a code drops out alone if only the order's other codes prevent it, and the first
    code stays even if it gives no discount.
    """
    order, happened = books.orders.get(purchase.order), purchase.happened
    basket = basket_of(purchase, order, books)
    chosen: list[Choice] = []
    repeated: list[Redemption] = []
    gone: list[WantedCode] = []
    skipped: list[Refused] = []
    for wanted in purchase.codes:
        if order is not None and wanted.canonical is not None:
            known = known_of(order, wanted.canonical, happened)
            if known is not None:
                repeated.append(known)
                if known.voided_at is not None:
                    gone.append(wanted)
                elif not is_reported and (fault := fault_of_repeat(known, purchase, order)) is not None:
                    return Refused(wanted.text, meant(wanted.canonical, purchase, books), *fault)
                continue
        terms = meant(wanted.canonical, purchase, books)
        if terms is None:
            return Refused(wanted.text, None, *unknown(purchase, books))
        is_first = is_reported and wanted is purchase.codes[0]
        limited = is_limited(order, terms, happened)
        judged = judge(
            terms, purchase, books, basket, may_be_idle=is_first, is_reported=is_reported, is_limited=limited
        )
        if judged.fault is not None:
            if not is_reported or judged.drops_out_by is None:
                return Refused(wanted.text, terms, *judged.fault)
            skipped.append(Refused(wanted.text, terms, *judged.drops_out_by))
            continue
        chosen.append(Choice(terms, basket.take(wanted.text, terms, judged.amount_minor, judged.eligible)))
    if gone and not is_reported and len(gone) < len(repeated) + len(chosen):
        return Refused(gone[0].text, meant(gone[0].canonical, purchase, books), *TAKEN_BACK)
    return _record(purchase, chosen, repeated, tuple(skipped), basket, books)


def _record(
    purchase: Purchase,
    chosen: Sequence[Choice],
    repeated: Sequence[Redemption],
    skipped: tuple[Refused, ...],
    basket: Basket,
    books: Books,
) -> Redeemed | RedeemedLate:
    """Record the purchase, and settle the order by its events."""
    is_news = False
    for redemption in repeated:
        if redemption.add_purchase(purchase.happened):
            books.changed[redemption.id] = redemption
            is_news = True
    if not chosen:
        changes = NO_CHANGES
        if is_news and (order := books.orders.get(purchase.order)) is not None and order.is_taken_back:
            changes = settle_order(order, books)
        cancelled = is_cancelled(books.orders.get(purchase.order), purchase.happened)
        if all(redemption.voided_at is not None for redemption in repeated) if repeated else cancelled:
            return RedeemedLate((), tuple(repeated), skipped, changes)
        _release(basket, books)
        return Redeemed((), tuple(repeated), skipped, changes)
    order = books.order(purchase.order)
    prices = prices_text(purchase.lines)
    made = [record(choice, purchase, prices) for choice in chosen]
    order.redemptions.extend(made)
    standing = Standing.of(order) if order.is_taken_back else None
    ids = frozenset(redemption.id for redemption in made)
    if standing is not None and all(redemption.id in standing.ended for redemption in made):
        for redemption in made:
            back = standing.ended[redemption.id]
            if not frees(back, redemption.release_policy, redemption.release_until):
                count(redemption, books)
            reason = order.cancel_reason if back.happened == order.cancelled else None
            mark_voided(redemption, order, back.happened.known_at, back.happened, reason)
        late = tuple(use_of(each, choice.terms, books) for each, choice in zip(made, chosen, strict=True))
        return RedeemedLate(late, tuple(repeated), skipped, settle_order(order, books, made=ids))
    _release(basket, books)
    uses = []
    for redemption, choice in zip(made, chosen, strict=True):
        count(redemption, books)
        uses.append(use_of(redemption, choice.terms, books))
    return Redeemed(tuple(uses), tuple(repeated), skipped, settle_order(order, books, made=ids, standing=standing))


def _release(basket: Basket, books: Books) -> None:
    for book in basket.own:
        release(book, books)
