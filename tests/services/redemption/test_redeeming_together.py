"""Redemptions that are under way at one time: one wins, and no interleaving passes a coupon's limit."""

import asyncio
import json

import asyncpg

from services.redemption.app import open_database
from tests.databases import Database
from tests.services.redemption.conftest import Decider, state, waiting
from tests.services.redemption.merchant import Merchant, checkout


class TestRaces:
    async def test_sixty_four_orders_for_one_code_over_two_deciders(
        self, database: Database, merchant: Merchant, admin: "asyncpg.Connection[asyncpg.Record]"
    ) -> None:
        program = await merchant.program()
        code = await merchant.code(program, await merchant.coupon(program), "ONCE")
        async with open_database(database.redemption, 8) as one, open_database(database.redemption, 8) as two:
            deciders = [Decider(one), Decider(two)]
            bodies = [checkout(program, "ONCE", ref=str(n)) for n in range(64)]
            await asyncio.gather(*(deciders[n % 2].handle(body) for n, body in enumerate(bodies)))
        outcomes = [json.loads(e.body)["data"].get("reason") for d in deciders for e in d.handed_over]
        assert sorted(map(str, outcomes)) == sorted(["None", *["code_used"] * 63])
        row = await admin.fetchrow("SELECT uses, version FROM redemption.code_counters WHERE code_id = $1", code)
        assert row is not None
        assert tuple(row) == (1, 1)

    async def test_forty_orders_for_what_is_left_of_a_used_code(
        self, decider: Decider, database: Database, merchant: Merchant, admin: "asyncpg.Connection[asyncpg.Record]"
    ) -> None:
        """A counter that exists already must be locked, not only waited for: two that read it alike would both win."""
        program = await merchant.program()
        await merchant.code(program, await merchant.coupon(program), "TEN", limit=10)
        await decider.take(checkout(program, "TEN", ref="first"))
        async with open_database(database.redemption, 8) as one, open_database(database.redemption, 8) as two:
            deciders = [Decider(one), Decider(two)]
            bodies = [checkout(program, "TEN", ref=str(n)) for n in range(40)]
            await asyncio.gather(*(deciders[n % 2].handle(body) for n, body in enumerate(bodies)))
        events = [event for d in deciders for event in d.handed_over if event.type == "code.redeemed"]
        assert sorted(json.loads(e.body)["data"]["times_redeemed"] for e in events) == list(range(2, 11))
        assert (await state(admin))["redemptions"] == 10

    async def test_sixty_four_orders_for_one_code_in_one_batch(self, decider: Decider, merchant: Merchant) -> None:
        program = await merchant.program()
        await merchant.code(program, await merchant.coupon(program), "ONCE")
        events = await decider.take(*(checkout(program, "ONCE", ref=str(n)) for n in range(64)))
        assert [event.get("reason") for event in events] == [None, *["code_used"] * 63]

    async def test_a_coupons_limit_holds_over_two_deciders_and_many_codes(
        self, database: Database, merchant: Merchant, admin: "asyncpg.Connection[asyncpg.Record]"
    ) -> None:
        program = await merchant.program()
        coupon = await merchant.coupon(program, limit=10)
        for n in range(40):
            await merchant.code(program, coupon, f"C{n}")
        async with open_database(database.redemption, 4) as one, open_database(database.redemption, 4) as two:
            deciders = [Decider(one), Decider(two)]
            batches = [[checkout(program, f"C{n}", ref=str(n)) for n in range(k, 40, 8)] for k in range(8)]
            await asyncio.gather(*(deciders[k % 2].handle(*batch) for k, batch in enumerate(batches)))
        counts = [json.loads(e.body)["data"] for d in deciders for e in d.handed_over if e.type != "coupon.exhausted"]
        assert sorted(c["coupon_times_redeemed"] for c in counts if "reason" not in c) == list(range(1, 11))
        assert {c["reason"] for c in counts if "reason" in c} == {"coupon_exhausted"}
        assert await admin.fetchval("SELECT uses FROM redemption.coupon_counters") == 10

    async def test_the_same_event_at_two_deciders_at_once_counts_once(
        self, database: Database, merchant: Merchant, admin: "asyncpg.Connection[asyncpg.Record]"
    ) -> None:
        program = await merchant.program()
        await merchant.code(program, await merchant.coupon(program), "MANY", limit=None)
        bodies = [checkout(program, "MANY", ref=str(n)) for n in range(20)]
        async with open_database(database.redemption, 4) as one, open_database(database.redemption, 4) as two:
            both = await asyncio.gather(Decider(one).handle(*bodies), Decider(two).handle(*reversed(bodies)))
        assert [outcome for outcomes in both for outcome in outcomes] == [None] * 40
        assert (await state(admin))["uses"] == (await state(admin))["redemptions"] == 20


class TestACouponsLimit:
    async def test_set_later_counts_what_was_redeemed_before(
        self, decider: Decider, merchant: Merchant, admin: "asyncpg.Connection[asyncpg.Record]"
    ) -> None:
        program = await merchant.program()
        coupon = await merchant.coupon(program)
        await merchant.code(program, coupon, "MANY", limit=None)
        await decider.take(*(checkout(program, "MANY", ref=str(n)) for n in range(3)))
        await admin.execute("UPDATE codes.coupons SET redemption_limit = 4")
        fourth, exhausted, fifth = await decider.take(*(checkout(program, "MANY", ref=str(n)) for n in (3, 4)))
        assert (fourth["coupon_times_redeemed"], fifth["reason"]) == (4, "coupon_exhausted")
        assert (exhausted["event"], exhausted["times_redeemed"]) == ("coupon.exhausted", 4)

    async def test_taken_away_and_set_again_has_missed_nothing(
        self, decider: Decider, merchant: Merchant, admin: "asyncpg.Connection[asyncpg.Record]"
    ) -> None:
        program = await merchant.program()
        coupon = await merchant.coupon(program, limit=2)
        await merchant.code(program, coupon, "MANY", limit=None)
        for n, limit in enumerate((2, None, None, 4, 4)):
            await admin.execute("UPDATE codes.coupons SET redemption_limit = $1", limit)
            await decider.take(checkout(program, "MANY", ref=str(n)))
        told = [json.loads(e.body)["data"].get("reason", e.type) for e in decider.handed_over]
        assert told == [*["code.redeemed"] * 4, "coupon.exhausted", "coupon_exhausted"]

    async def test_set_while_a_purchase_without_it_is_under_way_waits_for_that(
        self, database: Database, merchant: Merchant, admin: "asyncpg.Connection[asyncpg.Record]"
    ) -> None:
        """The first decision under the limit counts the redemptions so far; one uncommitted must not be missed."""
        program = await merchant.program()
        coupon = await merchant.coupon(program)
        for n in range(2):
            await merchant.code(program, coupon, f"C{n}", limit=None)
        blocker = await asyncpg.connect(database.admin)
        async with open_database(database.redemption, 4) as pool:
            early, late = Decider(pool), Decider(pool)
            # Holds up the first decider between its decision and its commit.
            await blocker.execute("BEGIN; LOCK TABLE redemption.events IN EXCLUSIVE MODE")
            first = asyncio.create_task(early.take(checkout(program, "C0", ref="a")))
            await waiting(admin, 1)
            await admin.execute("UPDATE codes.coupons SET redemption_limit = 1")
            second = asyncio.create_task(late.take(checkout(program, "C1", ref="b")))
            await waiting(admin, 2)
            await blocker.close()
            assert [e["event"] for e in await first] == ["code.redeemed"]
            assert [e.get("reason") for e in await second] == ["coupon_exhausted"]
