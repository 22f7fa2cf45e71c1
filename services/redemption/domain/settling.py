"""Settles an order by its facts: voids what no longer stands, and redeems again what was voided too early.

A cancellation that arrives late may show that an order was smaller than known, so that less of it was refunded.
"""

import uuid
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Final

from services.redemption.domain.basket import Basket, OrderCode
from services.redemption.domain.books import Books, OrderBook, Redemption
from services.redemption.domain.combination import exclusion, fault_of_currencies
from services.redemption.domain.commission import Earning, earn
from services.redemption.domain.limits import fault_of_limits, release
from services.redemption.domain.lines import lines_of, taken_of
from services.redemption.domain.moments import OWN_CLOCK, Moment, is_later, text_of
from services.redemption.domain.pot import Pot
from services.redemption.domain.purchase import Cancellation
from services.redemption.domain.settlement import TakenBack, frees
from services.redemption.domain.standing import Episode, Standing
from services.redemption.domain.terms import CodeTerms, discount_ends_at
from services.redemption.domain.uses import (
    Use,
    Voided,
    count,
    give_back,
    mark_voided,
    use_of,
    void,
    voided_of,
)
from shared.derived_ids import derived_id

# Part of the ids of revived redemptions.
_REVIVED: Final = uuid.UUID("0192f0a5-0c1e-7d52-8a34-52d7b6f9c3e8")


@dataclass(frozen=True, slots=True)
class Changes:
    """The changes of an order's redemptions: voided, redeemed again, and commissions of those that stand.

    `restated` were voided before, but only now is it known whether their uses are free. `late` are uses of purchases
    that were taken back, discovered by what has just arrived.
    """

    voids: tuple[Voided, ...] = ()
    revived: tuple[Use, ...] = ()
    earnings: tuple[Earning, ...] = ()
    restated: tuple[Voided, ...] = ()
    late: tuple[Voided, ...] = ()


NO_CHANGES: Final = Changes()


@dataclass(slots=True)
class _Code:
    """The redemption of each episode of one code.

    Those in `kept` were taken back and leave their uses taken. `others` are no longer needed by any episode.
    """

    canonical: str
    episodes: Sequence[Episode]
    kept: list[tuple[Episode, Redemption | None]]
    others: list[Redemption]

    @property
    def live(self) -> Episode | None:
        """The episode that has not ended."""
        return self.episodes[-1] if self.episodes and self.episodes[-1].ended_by is None else None


def settle_order(
    order: OrderBook,
    books: Books,
    *,
    by: Cancellation | None = None,
    made: frozenset[uuid.UUID] = frozenset(),
    standing: Standing | None = None,
) -> Changes:
    """Bring the redemptions of an order in line with what stands; `by` is the newly arrived cancellation or refund.

    `made` are redemptions that are new and complete.
    """
    if not order.is_taken_back:
        earnings = earn(order, books, made)
        return Changes(earnings=earnings) if earnings else NO_CHANGES
    standing = standing or Standing.of(order)
    # By code, so that all apply limits in the same order; and released uses before new ones.
    codes = [_code(canonical, order, standing, books) for canonical in sorted(standing.episodes)]
    voids = tuple(void for code in codes for void in _void_ended(code, order, books, by))
    freed = [restated for code in codes for restated in _free_others(code, books)]
    taken = [restated for code in codes for restated in _take_up(code, books)]
    late = tuple(void for code in codes for void in _make_up(code, order, books))
    for code in codes:
        _note_ends(code, books)
    revived = tuple(use for code in codes for use in _revive_standing(code, order, books, standing))
    new = made | {use.redemption.id for use in revived}
    return Changes(voids, revived, earn(order, books, new), (*freed, *taken), late)


def release_until(moment: Moment, order: OrderBook, books: Books) -> None:
    """End the reservation of an order, unless it was made later."""
    if order.reserved_at is not None and not is_later(Moment(order.reserved_at, order.reserved_at, OWN_CLOCK), moment):
        release(order, books)


def _code(canonical: str, order: OrderBook, standing: Standing, books: Books) -> _Code:
    """Find the redemption of each episode that leaves a use taken."""
    mine = [
        r for r in order.redemptions if r.canonical == canonical and (r.voided_at is None or r.is_voided_alone is False)
    ]
    if any(redemption.code_id not in books.code_counts for redemption in mine):
        # Nothing new is about this code, so it is not locked.
        return _Code(canonical, (), [], [])
    heard = {(back.happened.claimed_at, back.happened.clock) for back in order.taken_back if back.releases is not None}
    others = [r for r in mine if r.voided_at is None or (r.confirmed.claimed_at, r.confirmed.clock) in heard]
    # If a cancellation's `release` is no longer known, what it voided stays as it is.
    settled = {r.id for r in mine} - {r.id for r in others}
    kept: list[tuple[Episode, Redemption | None]] = []
    for episode in standing.episodes[canonical]:
        if not _stays_used(episode) or any(r.id in settled for r in episode.redemptions):
            continue
        owners = [r for r in others if any(r is each for each in episode.redemptions)]
        owner = min(owners, key=lambda r: (r.voided_at is None, not r.is_counted), default=None)
        others = [r for r in others if r is not owner]
        kept.append((episode, owner))
    return _Code(canonical, standing.episodes[canonical], kept, others)


def _stays_used(episode: Episode) -> bool:
    back, first = episode.ended_by, episode.redemptions[0]
    return back is not None and back.releases is not None and not frees(back, first.release_policy, first.release_until)


def _void_ended(code: _Code, order: OrderBook, books: Books, by: Cancellation | None) -> Iterator[Voided]:
    for episode, owner in code.kept:
        if owner is not None and owner.voided_at is None:
            yield _void(owner, episode.ended_by, order, books, by, is_free=False)
    if code.live is not None:
        return
    for redemption in code.others:
        if redemption.voided_at is not None:
            continue
        for episode in reversed(code.episodes):
            if (back := episode.ended_by) is not None and any(redemption is each for each in episode.redemptions):
                # If an episode leaves a use taken, another redemption has it.
                is_free = back.releases is not None or frees(back, redemption.release_policy, redemption.release_until)
                yield _void(redemption, back, order, books, by, is_free=is_free)
                break


def _void(
    redemption: Redemption,
    back: TakenBack | None,
    order: OrderBook,
    books: Books,
    by: Cancellation | None,
    *,
    is_free: bool,
) -> Voided:
    if back is None:
        raise ValueError("Without a cancellation it stands.")
    release_until(back.happened, order, books)
    at = by.occurred_at if by is not None and by.happened == back.happened else back.happened.known_at
    return void(redemption, at, back.happened, None if by is None else by.reason, books, is_free=is_free)


def _free_others(code: _Code, books: Books) -> Iterator[Voided]:
    """Release the uses that are no longer taken."""
    for redemption in code.others:
        if redemption.voided_at is not None and redemption.is_counted:
            give_back(redemption, books)
            books.changed[redemption.id] = redemption
            yield voided_of(redemption, books, is_released=True)


def _take_up(code: _Code, books: Books) -> Iterator[Voided]:
    """Count uses again that were released too early, if limits allow."""
    for _, owner in code.kept:
        if owner is not None and not owner.is_counted and _fits(owner, books):
            count(owner, books)
            books.changed[owner.id] = owner
            yield voided_of(owner, books, is_released=False)


def _note_ends(code: _Code, books: Books) -> None:
    """Record with voided redemptions what took them back first, as known by now."""
    ends = [(owner, episode.ended_by) for episode, owner in code.kept if owner is not None]
    for redemption in code.others:
        mine = [each for each in code.episodes if any(redemption is r for r in each.redemptions)]
        ends += [(redemption, each.ended_by) for each in mine[-1:]]
    for redemption, back in ends:
        if redemption.voided_at is not None and back is not None and redemption.confirmed != back.happened:
            redemption.confirm(back.happened)
            books.changed[redemption.id] = redemption


def _make_up(code: _Code, order: OrderBook, books: Books) -> Iterator[Voided]:
    """Record the uses of purchases that had counted as repeats but were new, if limits allow."""
    for episode, owner in code.kept:
        terms = _terms(episode.redemptions[0], books)
        if owner is not None or terms is None or (back := episode.ended_by) is None:
            continue
        made = _again(episode.redemptions[0], episode, episode.bought[-1], terms)
        if _fits(made, books):
            count(made, books)
            mark_voided(made, order, back.happened.known_at, back.happened, None)
            order.redemptions.append(made)
            yield voided_of(made, books, is_released=False)


def _revive_standing(code: _Code, order: OrderBook, books: Books, standing: Standing) -> Iterator[Use]:
    """Redeem a voided code again that stands, unless its limits or the order's other codes now forbid it."""
    voided = [r for r in order.redemptions if r.canonical == code.canonical and r.is_voided_alone is False]
    if code.live is None or not voided or any(r.voided_at is None for r in code.others):
        return
    like = next((r for r in reversed(voided) if r.bought[0] in code.live.bought), voided[-1])
    terms = _terms(like, books)
    if terms is None or not _fits_beside_others(like, order):
        return
    made = _again(like, code.live, standing.live[code.canonical], terms)
    if _fits(made, books):
        order.redemptions.append(made)
        count(made, books)
        yield use_of(made, terms, books)


def _again(like: Redemption, episode: Episode, happened: Moment, terms: CodeTerms) -> Redemption:
    """Return a redemption like a voided one, with its own id, for a possibly different episode."""
    first = episode.bought[0]
    is_same = like.bought[0] == first
    at = like.occurred_at if is_same else first.known_at
    made = replace(
        like,
        id=derived_id(_REVIVED, f"{like.id} {(like.voided_at or at).isoformat()} {at.isoformat()}"),
        voided_at=None,
        void_reason=None,
        is_voided_alone=None,
        is_counted=False,
        commission_minor=None,
        commission_version=0,
        occurred_at=at,
        discount_ends_at=like.discount_ends_at if is_same else discount_ends_at(terms, at),
        purchases=text_of(episode.bought) if len(episode.bought) > 1 else None,
    )
    made.confirm(happened)
    return made


def _terms(redemption: Redemption, books: Books) -> CodeTerms | None:
    candidates = books.candidates.get((redemption.program_id, redemption.canonical), ())
    return next((each for each in candidates if each.code_id == redemption.code_id), None)


def _fits_beside_others(voided: Redemption, order: OrderBook) -> bool:
    """Whether a code still fits into its order: others may have been redeemed since it was judged."""
    others = [OrderCode.of(redemption) for redemption in order.redemptions if redemption.voided_at is None]
    if any(exclusion(voided.coupon_id, voided.combination, other) is not None for other in others):
        return False
    if fault_of_currencies(voided.currency, others) is not None:
        return False
    pot = Pot.of(lines_of(voided.prices), voided.subtotal_minor, [other.before for other in others])
    return pot.has_left(taken_of(voided.discount_minor, voided.lines))


def _fits(voided: Redemption, books: Books) -> bool:
    terms = _terms(voided, books)
    if terms is None:
        return False
    customer = voided.customer_key, voided.mailbox_key
    if terms.restrictions.customer_limit is not None and not books.knows_customer(voided.coupon_id, *customer):
        return False
    basket = Basket(Pot.of(None, None, ()), ())
    return fault_of_limits(terms, customer, voided.occurred_at, voided.discount_minor, books, basket) is None
