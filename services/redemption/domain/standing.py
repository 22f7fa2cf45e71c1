"""Which codes of an order stand, by its facts: the purchases stored with its redemptions, cancellations and refunds.

Nothing is changed here; `settling` applies the result.
"""

import uuid
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from services.redemption.domain.books import OrderBook, Redemption
from services.redemption.domain.moments import Moment, is_later, is_newer
from services.redemption.domain.settlement import Bought, Settlement, TakenBack, by_claim, by_time, frees, settle
from services.redemption.domain.terms import CodeTerms


@dataclass(slots=True)
class Episode:
    """One period in which an order had a code, which is one use: the purchases made before the first had ended.

    `ended_by` is what took back the last of them, None while one stands. `redemptions` are those with which the
    purchases are stored, each once.
    """

    ended_by: TakenBack | None
    bought: list[Moment] = field(default_factory=list)
    redemptions: list[Redemption] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Standing:
    """The newest standing purchase of each code, and what took back the newest purchase of each redemption.

    `episodes` are those of each code, in the order of their times; only the last may stand.
    """

    settlement: Settlement
    live: Mapping[str, Moment]
    ended: Mapping[uuid.UUID, TakenBack]
    episodes: Mapping[str, Sequence[Episode]]

    @classmethod
    def of(cls, order: OrderBook) -> "Standing":
        """Settle an order."""
        facts = _facts(order)
        settlement = settle([bought for bought, _ in facts], order.taken_back)
        live: dict[str, Moment] = {}
        ended: dict[uuid.UUID, TakenBack] = {}
        for place, (bought, redemption) in enumerate(facts):
            if settlement.stands(place):
                newest = live.get(bought.canonical)
                if newest is None or is_newer(bought.happened, newest):
                    live[bought.canonical] = bought.happened
            elif (back := settlement.ended_by[place]) is not None:
                # In the order of the times: the newest of several purchases of one redemption counts.
                ended[redemption.id] = back
        return cls(settlement, live, ended, _episodes(facts, settlement))


def is_cancelled(order: OrderBook | None, happened: Moment) -> bool:
    """Whether a purchase of an order was cancelled."""
    return cancelled_by(order, happened) is not None


def cancelled_by(order: OrderBook | None, happened: Moment) -> TakenBack | None:
    """Return the first cancellation of an order that applies to a purchase."""
    if order is None or not order.is_taken_back:
        return None
    backs = _enders(order, happened)
    return backs[-1] if backs and backs[-1].amount_minor is None else None


def is_limited(order: OrderBook | None, terms: CodeTerms, happened: Moment) -> bool:
    """Whether limits apply to a purchase: not if it was cancelled, so that its use is certainly free."""
    if order is None or not order.is_taken_back or not is_cancelled(order, happened):
        return True
    backs = _enders(order, happened)
    return not all(frees(back, terms.release_policy, terms.expires_at) for back in backs)


def is_taken_back(order: OrderBook | None, bought: Sequence[Bought], repeated: Sequence[Bought] = ()) -> bool:
    """Whether an order's cancellations and refunds apply to these purchases too, so that none would stand.

    `repeated` are those of the same request, for codes that the order has.
    """
    if order is None or not order.is_taken_back or not bought:
        return False
    known = [*(fact for fact, _ in _facts(order)), *repeated]
    settlement = settle([*known, *bought], order.taken_back)
    return not any(settlement.stands(place) for place in range(len(known), len(known) + len(bought)))


def bought_again(redemption: Redemption, happened: Moment) -> Bought:
    """Return one more purchase of a code that an order has, or had."""
    return Bought(redemption.canonical, redemption.discount_minor, redemption.subtotal_minor, happened)


def known_of(order: OrderBook, canonical: str, happened: Moment) -> Redemption | None:
    """Return an order's redemption of a code: a standing one, or one with which the purchase was taken back.

    None if the purchase takes up its own use: it stands, or was taken back alone and leaves its use taken.
    """
    mine = [redemption for redemption in order.redemptions if redemption.canonical == canonical]
    standing = next((redemption for redemption in mine if redemption.voided_at is None), None)
    if not mine or (standing is not None and not order.is_taken_back):
        return standing
    if standing is None:
        for redemption in mine:
            if (alone := redemption.voided_alone) is not None and not is_later(happened, alone):
                return redemption
    last = mine[-1]
    episode = _episode_of(order, last, happened)
    if episode.ended_by is None:
        return standing
    if not episode.redemptions and not frees(episode.ended_by, last.release_policy, last.release_until):
        return None
    return next((each for each in episode.redemptions if each is not standing), standing or last)


def _episode_of(order: OrderBook, like: Redemption, happened: Moment) -> Episode:
    """Return the episode of one more purchase of a code that the order had."""
    facts: list[_Fact] = [*_facts(order), (bought_again(like, happened), None)]
    facts.sort(key=_by_claim)
    settlement = settle([bought for bought, _ in facts], order.taken_back)
    return next(each for each in _episodes(facts, settlement)[like.canonical] if happened in each.bought)


def _enders(order: OrderBook | None, happened: Moment) -> list[TakenBack]:
    """Return what may take back a purchase, whatever the payment, in the order of the times, up to a cancellation."""
    found: list[TakenBack] = []
    for back in () if order is None else by_time(order.taken_back):
        if not is_later(happened, back.happened):
            found.append(back)
            if back.amount_minor is None:
                break
    return found


_Fact = tuple[Bought, Redemption | None]


def _by_claim(fact: _Fact) -> tuple[object, ...]:
    return *by_claim(fact[0].happened), fact[0].canonical


def _episodes(facts: Iterable[_Fact], settlement: Settlement) -> dict[str, list[Episode]]:
    found: dict[str, list[Episode]] = {}
    for place, (bought, redemption) in enumerate(facts):
        if bought.voided_alone is not None:
            continue
        mine, end = found.setdefault(bought.canonical, []), settlement.ended_by[place]
        last = mine[-1] if mine else None
        if last is None or (last.ended_by is not None and is_later(bought.happened, last.ended_by.happened)):
            mine.append(last := Episode(end))
        elif end is None or (last.ended_by is not None and is_newer(end.happened, last.ended_by.happened)):
            last.ended_by = end
        last.bought.append(bought.happened)
        if redemption is not None and not any(each is redemption for each in last.redemptions):
            last.redemptions.append(redemption)
    return found


def _facts(order: OrderBook) -> list[tuple[Bought, Redemption]]:
    alone: dict[str, list[Moment]] = {}
    for redemption in order.redemptions:
        if (moment := redemption.voided_alone) is not None:
            alone.setdefault(redemption.canonical, []).append(moment)
    facts = [
        (
            Bought(
                r.canonical,
                r.discount_minor,
                r.subtotal_minor,
                happened,
                next((each for each in alone.get(r.canonical, ()) if not is_later(happened, each)), None),
            ),
            r,
        )
        for r in order.redemptions
        for happened in r.bought
    ]
    return sorted(facts, key=_by_claim)
