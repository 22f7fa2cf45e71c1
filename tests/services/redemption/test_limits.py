"""Every limit and restriction on a real database: its reason, and that no interleaving passes it."""

import asyncio
import json
from collections.abc import Sequence
from datetime import timedelta
from typing import Any

import asyncpg
import pytest

from services.redemption.app import open_database
from tests.databases import Database
from tests.services.redemption.conftest import Decider, Shop, told, waiting
from tests.services.redemption.merchant import NOW, Merchant, checkout, taken_back

Connection = asyncpg.Connection

USD = {"currency": "USD", "subtotal": 2500}
ANNA = {"id": "anna"}


class TestUsesPerCustomer:
    @pytest.mark.parametrize("limits", [(), (1, None)], ids=["for the first time", "again"])
    async def test_a_limit_set_while_a_purchase_without_it_is_under_way_waits_for_that(
        self,
        database: Database,
        merchant: Merchant,
        admin: "Connection[asyncpg.Record]",
        limits: tuple[int | None, ...],
    ) -> None:
        """The purchase is not committed when the first one under the limit counts what its customer has used."""
        program = await merchant.program()
        coupon = await merchant.coupon(program)
        for n in range(3):
            await merchant.code(program, coupon, f"C{n}", limit=None)
        blocker = await asyncpg.connect(database.admin)
        async with open_database(database.redemption, 4) as pool:
            early, late = Decider(pool), Decider(pool)
            for limit in limits:
                await merchant.restrict_coupon(coupon, customer_redemption_limit=limit)
                await late.take(checkout(program, "C2", ref=str(limit), customer={"id": "bob"}))
            # Holds up the first decider between its decision and its commit.
            await blocker.execute("BEGIN; LOCK TABLE redemption.events IN EXCLUSIVE MODE")
            first = asyncio.create_task(early.take(checkout(program, "C0", ref="a", customer=ANNA)))
            await waiting(admin, 1)
            await merchant.restrict_coupon(coupon, customer_redemption_limit=1)
            second = asyncio.create_task(late.take(checkout(program, "C1", ref="b", customer=ANNA)))
            await waiting(admin, 2)
            await blocker.close()
            assert told(await first) == ["code.redeemed"]
            assert told(await second) == ["customer_limit_reached"]

    async def test_a_limit_set_while_others_wait_for_its_first_purchase_holds_for_them_too(
        self, database: Database, merchant: Merchant, admin: "Connection[asyncpg.Record]"
    ) -> None:
        """They saw no limit before they had their locks, and one when they read under them: they start again."""
        program = await merchant.program()
        coupon = await merchant.coupon(program)
        await merchant.code(program, coupon, "MANY", limit=None)
        blocker = await asyncpg.connect(database.admin)
        async with open_database(database.redemption, 4) as pool:
            early, late = Decider(pool), Decider(pool)
            await blocker.execute("BEGIN; LOCK TABLE redemption.events IN EXCLUSIVE MODE")
            first = asyncio.create_task(early.take(checkout(program, "MANY", ref="a", customer=ANNA)))
            await waiting(admin, 1)
            second = asyncio.create_task(late.take(checkout(program, "MANY", ref="b", customer=ANNA)))
            await waiting(admin, 2)
            await merchant.restrict_coupon(coupon, customer_redemption_limit=1)
            await blocker.close()
            assert told(await first) == ["code.redeemed"]
            assert told(await second) == ["customer_limit_reached"]

    async def test_are_counted_by_id_or_else_by_mailbox(self, decider: Decider, merchant: Merchant) -> None:
        program = await merchant.program()
        coupon = await merchant.coupon(program)
        await merchant.restrict_coupon(coupon, customer_redemption_limit=1)
        await merchant.code(program, coupon, "MANY", limit=None)
        customers = (
            ANNA,
            {"id": "anna", "email": "new@b.example"},
            {"email": "Anna@b.example"},
            {"email": "anna+2@B.example"},
        )
        bodies = [checkout(program, "MANY", ref=str(n), customer=customer) for n, customer in enumerate(customers)]
        assert told(await decider.take(*bodies)) == ["code.redeemed", "customer_limit_reached"] * 2

    async def test_an_address_that_is_blank_names_nobody(self, decider: Decider, merchant: Merchant) -> None:
        """Shops send one for their guests, who are not one customer."""
        program = await merchant.program()
        coupon = await merchant.coupon(program)
        await merchant.restrict_coupon(coupon, customer_redemption_limit=1)
        await merchant.code(program, coupon, "MANY", limit=None)
        guests = [{"email": email} for email in (" ", "\t\u00a0")]
        bodies = [checkout(program, "MANY", ref=str(nth), customer=guest) for nth, guest in enumerate(guests)]
        assert told(await decider.take(*bodies)) == ["customer_required"] * 2

    async def test_span_the_codes_of_a_coupon_and_come_back_with_a_void(
        self, decider: Decider, merchant: Merchant
    ) -> None:
        program = await merchant.program()
        coupon = await merchant.coupon(program)
        await merchant.restrict_coupon(coupon, customer_redemption_limit=1)
        for text in ("C1", "C2"):
            await merchant.code(program, coupon, text)
        both = await decider.take(checkout(program, "C1", "C2", ref="a", customer=ANNA))
        first = await decider.take(taken_back(program, ref="a"))
        one = await decider.take(checkout(program, "C1", ref="b", customer=ANNA))
        two = await decider.take(checkout(program, "C2", ref="c", customer=ANNA))
        back = await decider.take(taken_back(program, ref="b"))
        again = await decider.take(checkout(program, "C2", ref="c", customer=ANNA))
        assert [told(events) for events in (both, first, one, two, back, again)] == [
            ["code.redeemed", "customer_limit_reached"],
            ["code.redemption_voided"],
            ["code.redeemed"],
            ["customer_limit_reached"],
            ["code.redemption_voided"],
            ["code.redeemed"],
        ]

    async def test_hold_over_two_deciders(
        self, database: Database, merchant: Merchant, admin: "Connection[asyncpg.Record]"
    ) -> None:
        program = await merchant.program()
        coupon = await merchant.coupon(program)
        await merchant.restrict_coupon(coupon, customer_redemption_limit=3)
        for n in range(24):
            await merchant.code(program, coupon, f"C{n}")
        bodies = [
            checkout(program, f"C{n}", ref=str(n), customer={"id": "anna" if n % 2 else "bob"}) for n in range(24)
        ]
        reasons = await race(database, bodies)
        assert sorted(reasons) == ["code.redeemed"] * 6 + ["customer_limit_reached"] * 18
        rows = await admin.fetch("SELECT customer_key, uses FROM redemption.customer_counters ORDER BY 1")
        assert [tuple(row) for row in rows] == [("id:anna", 3), ("id:bob", 3)]


class TestBudgets:
    async def test_are_spent_and_given_back(
        self, decider: Decider, merchant: Merchant, admin: "Connection[asyncpg.Record]"
    ) -> None:
        program = await merchant.program()
        coupon = await merchant.coupon(program, percent=1000)
        await merchant.code(program, coupon, "MANY", limit=None)
        await decider.take(checkout(program, "MANY", ref="before", order=USD))
        await merchant.restrict_coupon(coupon, budget_minor=600, budget_currency="USD")
        asked = [checkout(program, "MANY", ref=ref, order=USD) for ref in ("a", "b")]
        assert told(await decider.take(*asked)) == ["code.redeemed", "budget_exhausted"]
        small = checkout(program, "MANY", ref="c", order=USD | {"subtotal": 1000})
        assert told(await decider.take(small)) == ["code.redeemed"]
        assert await admin.fetchval("SELECT spent_minor FROM redemption.coupon_counters") == 600
        await decider.take(taken_back(program, ref="before"))
        assert await admin.fetchval("SELECT spent_minor FROM redemption.coupon_counters") == 350
        assert told(await decider.take(checkout(program, "MANY", ref="d", order=USD))) == ["code.redeemed"]

    async def test_hold_over_two_deciders(
        self, database: Database, merchant: Merchant, admin: "Connection[asyncpg.Record]"
    ) -> None:
        program = await merchant.program()
        coupon = await merchant.coupon(program, percent=1000)
        await merchant.restrict_coupon(coupon, budget_minor=1000, budget_currency="USD")
        for n in range(16):
            await merchant.code(program, coupon, f"C{n}")
        reasons = await race(database, [checkout(program, f"C{n}", ref=str(n), order=USD) for n in range(16)])
        assert sorted(reasons) == ["budget_exhausted"] * 12 + ["code.redeemed"] * 4
        assert await admin.fetchval("SELECT spent_minor FROM redemption.coupon_counters") == 1000


class TestSeveralCodesOfOneCoupon:
    @pytest.mark.parametrize(
        ("coupon", "reason"),
        [
            ({"redemption_limit": 2}, "coupon_exhausted"),
            ({"customer_redemption_limit": 2}, "customer_limit_reached"),
            ({"weekly_redemption_limit": 2}, "period_limit_reached"),
            ({"budget_minor": 1000, "budget_currency": "USD"}, "budget_exhausted"),
        ],
    )
    async def test_count_together_within_one_order(
        self, shop: Shop, merchant: Merchant, coupon: dict[str, Any], reason: str
    ) -> None:
        """Three codes of 500 each, where the coupon has room for two: at no door all three, at each door two."""
        made = await merchant.coupon(shop.program_id, percent=None, amount=500, currency="USD")
        await merchant.restrict_coupon(made, **coupon)
        for text in ("C1", "C2", "C3"):
            await merchant.code(shop.program_id, made, text)
        asked: dict[str, Any] = {"order": USD, "customer": ANNA}
        checked = await shop.validate("C1", "C2", "C3", **asked)
        assert [code["reason"] for code in checked.data["codes"]] == [None, None, reason]
        assert [code["blocked_by"] for code in checked.data["codes"]] == [None, None, "C2"]
        for refused in (await shop.reserve("C1", "C2", "C3", **asked), await shop.redeem("C1", "C2", "C3", **asked)):
            assert (refused.body["code"], list(refused.body["errors"])) == (reason, ["codes.2"])
            assert "Without C2" in refused.body["detail"]
        event = checkout(shop.program_id, "C1", "C2", "C3", ref="event", **asked)
        # What was paid already counts, but for the code for which the others leave no room.
        assert told(await shop.decider.take(event)) == ["code.redeemed", "code.redeemed", reason]
        assert (await shop.void_order("event")).status == 200
        assert (await shop.reserve("C1", "C2", ref="a", **asked)).status == 201
        assert (await shop.redeem("C3", ref="b", **asked)).status == 409
        assert (await shop.redeem("C1", "C2", ref="a", **asked)).status == 201
        assert (await shop.redeem("C3", ref="b", **asked)).body["code"] == reason


class TestHolds:
    @pytest.mark.parametrize(
        ("of_code", "of_coupon", "reason"),
        [
            ({"is_active": False}, {}, "code_inactive"),
            ({"archived_at": NOW}, {}, "code_inactive"),
            ({}, {"is_active": False}, "coupon_inactive"),
            ({}, {"minimum_minor": 2501, "minimum_currency": "USD"}, "minimum_not_met"),
            ({}, {"budget_minor": 499, "budget_currency": "USD"}, "budget_exhausted"),
            ({}, {"redemption_limit": 1}, "coupon_exhausted"),
            ({"redemption_limit": 1}, {}, "code_used"),
            ({"expires_at": NOW}, {"expires_at": NOW}, None),
            ({}, {"percent_hundredths": 3000}, None),
        ],
    )
    async def test_keep_a_use_but_not_the_terms(
        self, shop: Shop, merchant: Merchant, of_code: dict[str, Any], of_coupon: dict[str, Any], reason: str | None
    ) -> None:
        """What the merchant changes in the meantime counts, but for the time at which the code ends."""
        coupon = await merchant.coupon(shop.program_id, percent=2000)
        code = await merchant.code(shop.program_id, coupon, "MANY", limit=None)
        await shop.redeem("MANY", ref="another", order=USD)
        assert (await shop.reserve("MANY", ref="a", order=USD)).status == 201
        shop.decider.now += timedelta(seconds=1)
        if of_code:
            await merchant.restrict_code(code, **of_code)
        if of_coupon:
            await merchant.restrict_coupon(coupon, **of_coupon)
        answer = await shop.redeem("MANY", ref="a", order=USD)
        if reason is not None:
            assert (answer.status, answer.body["code"]) == (409, reason)
            return
        (made,) = answer.data["redemptions"]
        assert made["discount"]["applied_minor"] == 2500 * of_coupon.get("percent_hundredths", 2000) // 10_000

    @pytest.mark.parametrize(
        ("coupon", "reason"),
        [
            ({"redemption_limit": 1}, "coupon_held"),
            ({"daily_redemption_limit": 1}, "period_limit_reached"),
            ({"budget_minor": 2500, "budget_currency": "USD"}, "budget_exhausted"),
            ({"customer_redemption_limit": 1}, "customer_limit_reached"),
        ],
    )
    async def test_keep_a_use_of_every_count(
        self, shop: Shop, merchant: Merchant, coupon: dict[str, Any], reason: str
    ) -> None:
        made = await merchant.coupon(shop.program_id)
        await merchant.restrict_coupon(made, **coupon)
        await merchant.code(shop.program_id, made, "MANY", limit=None)
        asked: dict[str, Any] = {"order": USD, "customer": ANNA}
        assert (await shop.reserve("MANY", ref="a", ttl_seconds=60, **asked)).status == 201
        assert (await shop.redeem("MANY", ref="b", **asked)).body["code"] == reason
        assert (await shop.validate("MANY", **asked)).data["codes"][0]["reason"] == reason
        assert (await shop.redeem("MANY", ref="a", **asked)).status == 201
        assert (await shop.redeem("MANY", ref="b", **asked)).status == 409

    @pytest.mark.parametrize("column", ["redemption_limit", "customer_redemption_limit", "daily_redemption_limit"])
    async def test_taken_before_the_coupon_had_a_limit_count_under_it(
        self, shop: Shop, merchant: Merchant, column: str
    ) -> None:
        coupon = await merchant.coupon(shop.program_id)
        await merchant.code(shop.program_id, coupon, "MANY", limit=None)
        await shop.reserve("MANY", ref="a", customer=ANNA)
        await merchant.restrict_coupon(coupon, **{column: 2})
        statuses = [(await shop.redeem("MANY", ref=ref, customer=ANNA)).status for ref in ("b", "c", "a")]
        assert statuses == [201, 409, 201]

    async def test_a_held_code_and_two_orders_for_it_in_one_batch(self, shop: Shop, merchant: Merchant) -> None:
        """The case that a single locking and deciding statement gets wrong."""
        await merchant.code(shop.program_id, await merchant.coupon(shop.program_id), "ONCE")
        await shop.reserve("ONCE", ref="mine", ttl_seconds=60)
        orders = ("other", "mine", "third")
        events = await shop.decider.take(*(checkout(shop.program_id, "ONCE", ref=ref) for ref in orders))
        assert told(events) == ["code_held", "code.redeemed", "code_used"]

    async def test_of_a_hundred_at_once_as_many_are_granted_as_there_are_uses(
        self, shop: Shop, merchant: Merchant
    ) -> None:
        await merchant.code(shop.program_id, await merchant.coupon(shop.program_id), "TEN", limit=10)
        answers = await asyncio.gather(*(shop.reserve("TEN", ref=str(n)) for n in range(100)))
        granted = [answer.data["order_ref"] for answer in answers if answer.status == 201]
        assert len(granted) == 10
        redeemed = await asyncio.gather(*(shop.redeem("TEN", ref=str(n)) for n in range(100)))
        assert [n for n, answer in enumerate(redeemed) if answer.status == 201] == sorted(map(int, granted))


async def race(database: Database, bodies: Sequence[bytes]) -> list[str]:
    """Let two deciders take the events at once, a few per batch, and return their outcomes."""
    async with open_database(database.redemption, 4) as one, open_database(database.redemption, 4) as two:
        deciders = [Decider(one), Decider(two)]
        batches = [bodies[n::8] for n in range(8)]
        await asyncio.gather(*(deciders[n % 2].handle(*batch) for n, batch in enumerate(batches)))
    events = [{"event": e.type, **json.loads(e.body)["data"]} for d in deciders for e in d.handed_over]
    return told(events)
