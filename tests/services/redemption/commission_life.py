"""A program whose partners earn in two currencies over months, and whether its statements say what they earned."""

import random
from collections import Counter
from datetime import timedelta
from typing import Any
from urllib.parse import urlencode

from services.redemption.app import build_customer_runner
from services.redemption.usecases.book_commissions import BookCommissions
from shared.database.customer_parts import Outside
from shared.database.pool import Database as Pool
from tests.services.redemption.conftest import DIGESTS, Reply, Shop
from tests.services.redemption.merchant import Merchant, checkout, taken_back

# What each partner earned in each currency, by the redemptions that stand.
EARNED = """
SELECT partner_id, coalesce(currency, '') AS currency, sum(commission_minor)::bigint AS earned
FROM redemption.redemptions WHERE program_id = $1 AND voided_at IS NULL AND partner_id IS NOT NULL
GROUP BY partner_id, currency
"""
UNACCOUNTED = """
SELECT count(*) FROM redemption.redemptions
WHERE partner_id IS NOT NULL
  AND accounted_minor IS DISTINCT FROM CASE WHEN voided_at IS NULL THEN commission_minor ELSE 0 END
"""
Totals = Counter[tuple[str, str | None]]


class Life:
    """A program in which anything happens, at odd times; its statements are read with a key of its own."""

    def __init__(self, shop: Shop, merchant: Merchant, pool: Pool, seed: int) -> None:
        self.shop, self.merchant, self.pool = shop, merchant, pool
        self.random = random.Random(seed)  # noqa: S311 - plays a shop
        self.orders: list[str] = []
        self.closed: dict[str, Any] = {}
        self.manage = ""

    async def stock(self, zone: str = "Europe/Berlin") -> None:
        program, merchant = self.shop.program_id, self.merchant
        self.manage = await merchant.key(program, "manage")
        await merchant.restrict_program(program, timezone=zone)
        self.partners = [await merchant.partner(program) for _ in range(2)]
        self.codes = []
        for nth, partner in enumerate((*self.partners, self.partners[0], None)):
            coupon = await merchant.coupon(program, percent=1_000)
            await merchant.restrict_coupon(coupon, commission_hundredths=500)
            await merchant.code(program, coupon, f"CODE-{nth}", partner_id=partner, limit=None)
            self.codes.append(f"CODE-{nth}")

    @property
    def books(self) -> BookCommissions:
        return BookCommissions(self.pool, lambda: self.shop.decider.now)

    async def go_on(self, steps: int) -> None:
        for _ in range(steps):
            self.shop.decider.now += timedelta(minutes=self.random.choice((0, 1, 44, 700, 9_000)))
            await self.step()

    async def step(self) -> None:
        shop, choice = self.shop, self.random.choice
        late = shop.decider.now - timedelta(minutes=choice((0, 3, 900, 1_400, 50_000)))
        codes = self.random.sample(self.codes, k=choice((1, 1, 2)))
        order = {"currency": choice(("USD", "EUR")), "subtotal": choice((1_000, 20_000))}
        new, program = f"order-{len(self.orders)}", shop.program_id
        customer = {"id": f"c-{self.random.randrange(3)}"}
        match self.random.randrange(8):
            case 0 | 1:
                self.orders.append(new)
                await shop.redeem(*codes, ref=new, order=order, customer=customer)
            case 2:
                self.orders.append(new)
                await shop.decider.handle(checkout(program, *codes, ref=new, time=late, order=order))
            case 3 if self.orders:
                # One more code of an order, which takes of what the others earned.
                again = choice(self.orders)
                await shop.decider.handle(checkout(program, choice(self.codes), ref=again, time=late, order=order))
            case 4 if self.orders:
                await shop.decider.handle(taken_back(program, ref=choice(self.orders), time=late))
            case 5 | 6 if self.orders:
                money: dict[str, Any] = {"amount": choice((100, 500, 900)), "currency": "USD"}
                await shop.decider.handle(taken_back(program, "refunded", ref=choice(self.orders), time=late, **money))
            case 7:
                # The purchase and the void of one batch.
                self.orders.append(new)
                await shop.decider.handle(
                    checkout(program, *codes, ref=new, time=late, order=order), taken_back(program, ref=new, time=late)
                )

    async def erase(self, customer: str) -> None:
        asked = await self.shop.send("POST", "/v1/customers/erase", {"customer_id": customer}, key=self.manage)
        assert asked.status == 202

        async def no_letters(_: object) -> int:
            return 0

        outside = Outside(no_letters, "dead_letters")
        await build_customer_runner(self.pool, lambda: self.shop.decider.now, DIGESTS, outside)()

    async def ask(self, path: str = "", key: str | None = None, **query: Any) -> Reply:
        asked = f"/v1/commission-statements{path}{(query and '?' + urlencode(query)) or ''}"
        return await self.shop.send("GET", asked, key=key or self.manage)

    async def pages(self, path: str = "", key: str | None = None, **query: Any) -> list[dict[str, Any]]:
        """Return all items of a list."""
        found: list[dict[str, Any]] = []
        cursor: dict[str, str] = {}
        while True:
            reply = await self.ask(path, key, limit=self.random.choice((1, 2, 7)), **query, **cursor)
            assert reply.status == 200, reply.body
            found += reply.data
            if (following := reply.body["meta"]["next_cursor"]) is None:
                return found
            cursor = {"cursor": following}

    async def is_exact(self, admin: Any) -> list[dict[str, Any]]:
        """Check that all statements together are what the redemptions earned, and return them."""
        statements = await self.pages()
        totals: Totals = Counter()
        for each in statements:
            totals[each["partner_id"], each["currency"]] += each["total_minor"]
            await self._adds_up(each)
            if each["id"] in self.closed:
                assert self.closed[each["id"]] == each, "a closed statement has changed"
            if each["state"] != "open":
                self.closed[each["id"]] = each
        earned = {
            (str(row["partner_id"]), row["currency"]): row["earned"]
            for row in await admin.fetch(EARNED, self.shop.program_id)
        }
        assert {key: total for key, total in totals.items() if total} == {k: v for k, v in earned.items() if v}
        assert self.closed.keys() <= {each["id"] for each in statements}
        months = [(each["month"], each["partner_id"], each["currency"]) for each in statements]
        assert months == sorted(set(months), reverse=True)
        assert await admin.fetchval(UNACCOUNTED) == 0
        return statements

    async def _adds_up(self, statement: dict[str, Any]) -> None:
        lines = await self.pages(f"/{statement['id']}/lines")
        for kind in ("redemption", "reversal", "adjustment"):
            amounts = [line["amount_minor"] for line in lines if line["kind"] == kind]
            assert statement[f"{kind}s"] == {"count": len(amounts), "amount_minor": sum(amounts)}
        assert {line["currency"] for line in lines} == {statement["currency"]}
