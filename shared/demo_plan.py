"""The history of a demo, from a seed: which codes are minted when, and how customers use them. Pure.

Each service plays its own part of it, so all of them must get the same plan: it has no clock and no other randomness.
"""

import json
import random
import uuid
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, Final

from shared.times import format_milliseconds

HOUR: Final = timedelta(hours=1)
# Name, prefix, share of the codes.
PARTNERS: Final = (("Demo partner", "DEMO", 0.55), ("Northwind Gifts", "NORTH", 0.30), ("Lumen Books", "LUMEN", 0.15))
# A coupon with many uses, of which each partner has one code: what customers pay, and partners earn, comes from these.
WELCOME_COUPON: Final = "demo-welcome"
WELCOME_PERCENT, WELCOME_COMMISSION_PERCENT = 15, 10
LIFETIME: Final = timedelta(hours=48)
SOURCE: Final = "https://aurora.example/checkout"
HELD_ORDER: Final = "demo-held"

_WEEKDAYS: Final = (0.9, 0.95, 1.0, 1.05, 1.3, 1.25, 0.7)
_HOURS: Final = (1, 0, 0, 0, 0, 1, 2, 4, 7, 9, 10, 11, 12, 11, 10, 10, 11, 12, 13, 14, 13, 9, 5, 3)
_CAMPAIGN: Final = (0.55, 0.62)
_PRICES: Final = (2900, 4900, 4900, 9800)
_OCCASIONS: Final = ("birthday", "mother", "wedding", "thanks")
_NAMES: Final = ("Sarah", "Ben", "Mia", "Noah", "Lea", "Emil", "Ida", "Jonas", "Clara", "Paul")


class DemoRefused(Exception):
    """There is no such program, or it is not a demo: only `POST /v1/programs` with `is_demo` makes one."""

    def __str__(self) -> str:
        """Return the message; by default it is the docstring's."""
        return super().__str__() or (self.__doc__ or "")


@dataclass(frozen=True, slots=True)
class DemoAsk:
    """What a demo's history is to be: `codes` minted in the `days` before `until`, in a program that is a demo."""

    program_id: uuid.UUID
    until: datetime
    days: int = 90
    codes: int = 4000
    seed: int = 1


@dataclass(frozen=True, slots=True)
class PlannedMint:
    """A code that a partner mints."""

    at: datetime
    prefix: str
    code: str
    code_id: uuid.UUID


@dataclass(frozen=True, slots=True)
class PlannedCheckout:
    """An event that the shop publishes."""

    at: datetime
    body: bytes


@dataclass
class DemoPlan:
    """The whole history in the order of time. `held` is the code that an order holds at the end."""

    mints: list[PlannedMint] = field(default_factory=list)
    checkouts: list[PlannedCheckout] = field(default_factory=list)
    held: str | None = None

    def mints_by_hour(self) -> Iterator[list[PlannedMint]]:
        """Yield mints that share their moment."""
        group: list[PlannedMint] = []
        for mint in self.mints:
            if group and mint.at != group[0].at:
                yield group
                group = []
            group.append(mint)
        if group:
            yield group

    def checkouts_within(self, span: timedelta) -> Iterator[list[PlannedCheckout]]:
        """Yield checkouts in batches that take no longer than a span."""
        batch: list[PlannedCheckout] = []
        for checkout in self.checkouts:
            if batch and checkout.at - batch[0].at > span:
                yield batch
                batch = []
            batch.append(checkout)
        if batch:
            yield batch


def plan(ask: DemoAsk) -> DemoPlan:
    """Return the plan; the same for the same ask."""
    chance = random.Random(ask.seed)  # noqa: S311 - it has to be the same in every process, and guards nothing
    made = DemoPlan()
    for at, number in _mints_by_hour(ask, chance):
        for _ in range(number):
            made.mints.append(_mint(at, chance))
    shop = _Shop(ask, chance)
    for mint in made.mints:
        shop.redeem_or_not(mint)
    open_codes = [mint.code for mint in made.mints if mint.code not in shop.touched and ask.until - mint.at < LIFETIME]
    made.held = open_codes[-1] if open_codes else None
    made.checkouts = sorted(shop.checkouts, key=lambda checkout: (checkout.at, checkout.body))
    return made


def is_down(ask: DemoAsk, at: datetime) -> bool:
    """Return whether receivers are down at a time: for one night, three tenths of the days before the end."""
    evening = (ask.until - timedelta(days=ask.days * 0.3)).replace(hour=17, minute=40, second=0, microsecond=0)
    return evening <= at < evening + timedelta(hours=13)


def _mints_by_hour(ask: DemoAsk, chance: random.Random) -> Iterator[tuple[datetime, int]]:
    """Spread the codes over the hours: a curve per day and week, growth, and a campaign."""
    hours = [ask.until - HOUR * (ask.days * 24 - index) for index in range(ask.days * 24)]
    weights = [_weight(at, index / len(hours)) for index, at in enumerate(hours)]
    total, before, sofar = sum(weights) or 1, 0, 0.0
    for at, weight in zip(hours, weights, strict=True):
        sofar += weight
        upto = round(ask.codes * sofar / total)
        if upto > before:
            yield at + timedelta(seconds=chance.randrange(3_500)), upto - before
        before = upto


def _weight(at: datetime, place: float) -> float:
    bump = 2.4 if _CAMPAIGN[0] <= place < _CAMPAIGN[1] else 1.0
    return _WEEKDAYS[at.weekday()] * _HOURS[at.hour] * (0.7 + 0.5 * place) * bump


def _mint(at: datetime, chance: random.Random) -> PlannedMint:
    [(_, prefix, _)] = chance.choices(PARTNERS, [share for _, _, share in PARTNERS])
    return PlannedMint(at, prefix, f"{prefix}-{chance.getrandbits(32):08X}", id_at(at, chance))


def id_at(at: datetime, chance: random.Random) -> uuid.UUID:
    """Return a UUIDv7 of a moment."""
    milliseconds = round(at.timestamp() * 1000)
    return uuid.UUID(int=milliseconds << 80 | 7 << 76 | chance.getrandbits(12) << 64 | 2 << 62 | chance.getrandbits(62))


class _Shop:
    """Decides what customers do with each code, and writes the shop's events about it."""

    def __init__(self, ask: DemoAsk, chance: random.Random) -> None:
        self._ask = ask
        self._chance = chance
        self._orders = 0
        self.checkouts: list[PlannedCheckout] = []
        self.touched: set[str] = set()

    def redeem_or_not(self, mint: PlannedMint) -> None:
        """Plan the life of one minted code."""
        lot = self._chance.random()
        soon = mint.at + min(timedelta(hours=self._chance.expovariate(1 / 9), minutes=2), timedelta(hours=47))
        if lot < 0.66:
            ref = self._completed(soon, [mint.code])
            if lot < 0.03:
                self._taken_back(soon, "checkout.cancelled", ref, {"reason": "The customer changed their mind."})
            elif lot < 0.05:
                self._completed(soon + timedelta(hours=self._chance.uniform(1, 30)), [mint.code])
        elif lot < 0.70:
            # Too late.
            self._completed(mint.at + LIFETIME + timedelta(hours=self._chance.uniform(1, 90)), [mint.code])
        elif lot < 0.72:
            self._completed(soon, [f"{mint.prefix}-{self._chance.getrandbits(24):06X}"])
        elif lot < 0.86:
            self._sell_with_welcome(soon, mint.prefix, lot)

    def _sell_with_welcome(self, at: datetime, prefix: str, lot: float) -> None:
        ref = self._completed(at, [f"{prefix}-WELCOME"])
        if lot < 0.74:
            amount = {"amount": self._chance.randrange(500, 1500, 50), "reason": "The print had a scratch."}
            self._taken_back(at, "checkout.refunded", ref, amount)

    def _completed(self, at: datetime, codes: list[str]) -> str:
        self._orders += 1
        ref = f"demo-{self._orders:06}"
        buyer = self._chance.randrange(1, max(2, self._ask.codes // 3))
        data = {
            "codes": codes,
            "customer": {"id": f"demo-customer-{buyer}", "email": f"customer-{buyer}@mail.example"},
            "order": {"currency": "EUR", "subtotal": self._chance.choice(_PRICES)},
            "attributes": {
                "card_id": ref,
                "recipient_name": self._chance.choice(_NAMES),
                "occasion": self._chance.choice(_OCCASIONS),
            },
        }
        self._publish(at, "checkout.completed", ref, data)
        return ref

    def _taken_back(self, bought_at: datetime, kind: str, ref: str, data: Mapping[str, Any]) -> None:
        self._publish(bought_at + timedelta(hours=self._chance.uniform(1, 72)), kind, ref, data)

    def _publish(self, at: datetime, kind: str, ref: str, data: Mapping[str, Any]) -> None:
        at = at.replace(microsecond=at.microsecond // 1000 * 1000)
        if at > self._ask.until - timedelta(minutes=1):
            return
        self.touched.update(data.get("codes", ()))
        event = {
            "specversion": "1.0",
            "id": f"{ref}-{kind}",
            "source": SOURCE,
            "type": kind,
            "time": format_milliseconds(at),
            "data": {"program_id": str(self._ask.program_id), "order_ref": ref, **data},
        }
        self.checkouts.append(PlannedCheckout(at, json.dumps(event).encode()))
