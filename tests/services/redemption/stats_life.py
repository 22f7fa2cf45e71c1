"""A program in which anything happens, what statistics say of it, and what the raw tables say."""

import asyncio
import random
import uuid
from collections import Counter
from collections.abc import Mapping
from datetime import timedelta
from typing import Any
from urllib.parse import urlencode

import asyncpg

from tests.clocks import step_of
from tests.services.redemption.conftest import Shop
from tests.services.redemption.merchant import Merchant, checkout, taken_back

ZONES = ("UTC", "Europe/Berlin", "Asia/Kolkata", "Asia/Kathmandu", "America/St_Johns")
ORDER = {"currency": "USD", "subtotal": 1_000}
RAW = """
SELECT 'redemption' AS what, occurred_at AS at, partner_id, coupon_id, NULL AS reason, currency,
       coalesce(discount_minor, 0) AS discount, coalesce(commission_minor, 0) AS commission, 1::bigint AS times
FROM redemption.redemptions WHERE program_id = $1
UNION ALL
SELECT 'void', voided_at, partner_id, coupon_id, NULL, currency, coalesce(discount_minor, 0),
       coalesce(commission_minor, 0), 1
FROM redemption.redemptions WHERE program_id = $1 AND voided_at IS NOT NULL
UNION ALL
SELECT 'refusal', r.occurred_at, p.partner_id, p.coupon_id, r.reason, NULL, 0, 0, r.times
FROM redemption.rejections r LEFT JOIN codes.promotion_codes p ON p.id = r.code_id WHERE r.program_id = $1
"""
Figures = Counter[tuple[str, str | None, str | None, str]]


async def ask(shop: Shop, key: str | None = None, **query: Any) -> dict[str, Any]:
    answer = await shop.send("GET", f"/v1/stats/redemptions?{urlencode(query)}", key=key)
    assert answer.status == 200, answer.body
    found: dict[str, Any] = answer.data
    return found


def shown(data: Mapping[str, Any]) -> Figures:
    """Return what an answer says, as (step, group, currency, measure)."""
    found: Figures = Counter()
    for series in data["series"]:
        for point in series["points"]:
            at, key = point["at"][:19], series["key"]
            found[at, key, None, "refusals"] += point["refusals"]
            assert point["redemptions"] == sum(each["redemptions"] for each in point["amounts"])
            assert point["voids"] == sum(each["voids"] for each in point["amounts"])
            for each in point["amounts"]:
                for measure, value in each.items():
                    if measure != "currency":
                        found[at, key, each["currency"], measure] += value
    return +found


def expected(rows: list[asyncpg.Record], data: Mapping[str, Any], group_by: str | None, **only: Any) -> Figures:
    """Add up the raw rows in the steps of an answer, by the clocks of the zone."""
    found: Figures = Counter()
    for row in rows:
        at = step_of(row["at"], data)
        if at is None or any(row[name] != value for name, value in only.items()):
            continue
        if group_by == "reason" and row["what"] != "refusal":
            continue
        key = None if group_by is None or row[group_by] is None else str(row[group_by])
        if row["what"] == "refusal":
            found[at, key, None, "refusals"] += row["times"]
            continue
        count, money = ("redemptions", "") if row["what"] == "redemption" else ("voids", "voided_")
        found[at, key, row["currency"], count] += 1
        found[at, key, row["currency"], f"{money}discount_minor"] += row["discount"]
        found[at, key, row["currency"], f"{money}commission_minor"] += row["commission"]
    return +found


class Life:
    """A program in which anything happens, at odd times."""

    def __init__(self, shop: Shop, merchant: Merchant, seed: int) -> None:
        self.shop, self.merchant, self.random = shop, merchant, random.Random(seed)  # noqa: S311 - plays a shop
        self.orders: list[str] = []

    async def stock(self) -> None:
        program, merchant = self.shop.program_id, self.merchant
        self.partners = [await merchant.partner(program) for _ in range(2)]
        self.coupons = [await merchant.coupon(program, percent=percent) for percent in (1_000, 3_000)]
        for coupon in self.coupons:
            await merchant.restrict_coupon(coupon, commission_hundredths=500)
        self.codes = []
        for nth, (coupon, partner) in enumerate(
            (coupon, partner) for coupon in self.coupons for partner in (*self.partners, None)
        ):
            await merchant.code(program, coupon, f"CODE-{nth}", partner_id=partner, limit=self.random.choice((3, None)))
            self.codes.append(f"CODE-{nth}")

    async def go_on(self, steps: int) -> None:
        for _ in range(steps):
            self.shop.decider.now += timedelta(minutes=self.random.choice((0, 1, 7, 44, 700)))
            await self._step()

    async def _step(self) -> None:
        shop, choice = self.shop, self.random.choice
        late = shop.decider.now - timedelta(minutes=choice((0, 3, 20, 900, 2_000)))
        codes = self.random.sample([*self.codes, "NONE"], k=choice((1, 1, 2)))
        new = f"order-{len(self.orders)}"
        match self.random.randrange(8):
            case 0 | 1:
                self.orders.append(new)
                await shop.redeem(*codes, ref=new, order=ORDER)
            case 2:
                self.orders.append(new)
                await shop.decider.handle(checkout(shop.program_id, *codes, ref=new, time=late, order=ORDER))
            case 3:
                asks = [shop.redeem(choice(self.codes), ref=f"bulk-{new}-{n}", order=ORDER) for n in range(5)]
                self.orders.append(new)
                await asyncio.gather(*asks)
            case 4:
                await shop.redeem("NONE", ref="often")
            case 5 if self.orders:
                await shop.void_order(choice(self.orders))
            case 6 if self.orders:
                await shop.decider.handle(taken_back(shop.program_id, ref=choice(self.orders), time=late))
            case 7 if self.orders:
                money: dict[str, Any] = {"amount": choice((100, 500)), "currency": "USD"}
                refund = taken_back(shop.program_id, "refunded", ref=choice(self.orders), time=late, **money)
                await shop.decider.handle(refund)


async def is_exact(life: Life, admin: Any, **query: Any) -> None:
    rows = await admin.fetch(RAW, life.shop.program_id)
    for step, span in (("15m", 2), ("1h", 20), ("1d", 60)):
        for group_by in (None, "coupon_id", "partner_id", "reason"):
            until = life.shop.decider.now + timedelta(hours=1)
            asked = {"step": step, "from": (until - timedelta(days=span)).isoformat(), "to": until.isoformat()}
            groups: dict[str, Any] = (
                {} if group_by is None else {"group_by": group_by, "groups": 12 if step == "1d" else 8}
            )
            data = await ask(life.shop, zone=life.random.choice(ZONES), **asked, **groups, **query)
            only = {name: uuid.UUID(str(value)) for name, value in query.items()}
            assert shown(data) == expected(rows, data, group_by, **only)
