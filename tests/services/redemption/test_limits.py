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

DAY = timedelta(days=1)
USD = {"currency": "USD", "subtotal": 2500}
ANNA = {"id": "anna"}


class TestRestrictions:
    @pytest.mark.parametrize(
        ("coupon", "code", "asked", "reason"),
        [
            (
                {},
                {"is_limited_to_customer": True, "customer_id": "anna"},
                {"customer": {"id": "bob"}},
                "customer_mismatch",
            ),
            ({}, {"is_limited_to_customer": True, "customer_id": "anna"}, {}, "customer_mismatch"),
            ({}, {"is_limited_to_partner": True}, {"customer": {"email": "else@acme.example"}}, "partner_only"),
            ({}, {"is_first_order_only": True}, {"customer": ANNA}, "first_order_only"),
            (
                {"is_first_order_only": True},
                {},
                {"customer": {"id": "anna", "is_first_order": False}},
                "first_order_only",
            ),
            ({"customer_redemption_limit": 1}, {}, {}, "customer_required"),
            ({"minimum_minor": 2501, "minimum_currency": "USD"}, {}, {"order": USD}, "minimum_not_met"),
            ({"minimum_minor": 1, "minimum_currency": "EUR"}, {}, {"order": USD}, "currency_mismatch"),
            ({"minimum_minor": 1, "minimum_currency": "USD"}, {}, {}, "order_required"),
            ({}, {"minimum_minor": 2501, "minimum_currency": "USD"}, {"order": USD}, "minimum_not_met"),
            ({"product_ids": ["p1"]}, {}, {"order": USD}, "order_items_required"),
            ({"product_ids": ["p1"]}, {}, {"order": USD | {"items": [{"product_id": "p2"}]}}, "product_not_eligible"),
            ({"budget_minor": 2499, "budget_currency": "USD"}, {}, {"order": USD}, "budget_exhausted"),
            ({"budget_minor": 2499, "budget_currency": "EUR"}, {}, {"order": USD}, "currency_mismatch"),
            ({"budget_minor": 2499, "budget_currency": "USD"}, {}, {}, "order_required"),
            ({"max_discount_minor": 1, "currency": "EUR"}, {}, {"order": USD}, "currency_mismatch"),
        ],
    )
    async def test_each_refuses_with_its_reason(
        self,
        decider: Decider,
        merchant: Merchant,
        coupon: dict[str, Any],
        code: dict[str, Any],
        asked: dict[str, Any],
        reason: str,
    ) -> None:
        program = await merchant.program()
        made = await merchant.coupon(program)
        if coupon:
            await merchant.restrict_coupon(made, **coupon)
        text = await merchant.code(program, made, "PLAIN", partner_id=await merchant.partner(program))
        if code:
            await merchant.restrict_code(text, **code)
        assert told(await decider.take(checkout(program, "PLAIN", **asked))) == [reason]

    @pytest.mark.parametrize(
        ("coupon", "code", "asked"),
        [
            ({}, {"is_limited_to_customer": True, "customer_id": "anna"}, {"customer": ANNA}),
            ({}, {"is_first_order_only": True}, {"customer": {"is_first_order": True}}),
            ({"minimum_minor": 2500, "minimum_currency": "USD"}, {}, {"order": USD}),
            (
                {"product_ids": ["p1", "7"]},
                {},
                {"order": USD | {"items": [{"sku": 1}, {"product_id": 7, "amount": 100}]}},
            ),
            ({"budget_minor": 2500, "budget_currency": "USD"}, {}, {"order": USD}),
        ],
    )
    async def test_what_is_just_inside_is_redeemed(
        self,
        decider: Decider,
        merchant: Merchant,
        coupon: dict[str, Any],
        code: dict[str, Any],
        asked: dict[str, Any],
    ) -> None:
        program = await merchant.program()
        made = await merchant.coupon(program)
        if coupon:
            await merchant.restrict_coupon(made, **coupon)
        text = await merchant.code(program, made, "PLAIN")
        if code:
            await merchant.restrict_code(text, **code)
        assert told(await decider.take(checkout(program, "PLAIN", **asked))) == ["code.redeemed"]

    async def test_a_code_without_a_limit_has_the_one_that_its_coupon_sets_for_each(
        self, decider: Decider, merchant: Merchant
    ) -> None:
        program = await merchant.program()
        made = await merchant.coupon(program)
        await merchant.restrict_coupon(made, code_redemption_limit=1)
        for text in ("FIRST", "SECOND"):
            await merchant.code(program, made, text, limit=None)
        await merchant.code(program, made, "THIRD", limit=2)
        orders = [
            checkout(program, text, order_ref=f"{text}{n}") for text in ("FIRST", "SECOND", "THIRD") for n in (1, 2)
        ]
        done, used = "code.redeemed", "code_used"
        assert told(await decider.take(*orders)) == [done, used, done, used, done, done]

    @pytest.mark.parametrize("by", ["id", "email"])
    async def test_a_partners_own_code_is_for_the_partner_known_by_id_or_address(
        self, decider: Decider, merchant: Merchant, admin: "Connection[asyncpg.Record]", by: str
    ) -> None:
        program = await merchant.program()
        partner = await merchant.partner(program)
        await admin.execute("UPDATE codes.partners SET email_canonical = 'dev@acme.example'")
        code = await merchant.code(program, await merchant.coupon(program), "MINE", partner_id=partner)
        await merchant.restrict_code(code, is_limited_to_partner=True)
        customer = {"id": str(partner)} if by == "id" else {"email": " Dev@ACME.example"}
        assert told(await decider.take(checkout(program, "MINE", customer=customer))) == ["code.redeemed"]


class TestDiscounts:
    @pytest.mark.parametrize(
        ("made", "coupon", "order", "applied"),
        [
            ({"percent": 5000}, {"max_discount_minor": 300, "currency": "USD"}, USD, 300),
            ({"amount": 500, "currency": "USD"}, {"amounts_by_currency": '{"EUR": 450}'}, USD, 500),
            (
                {"amount": 500, "currency": "USD"},
                {"amounts_by_currency": '{"EUR": 450}'},
                {"currency": "EUR", "subtotal": 2500},
                450,
            ),
            (
                {"percent": 5000},
                {"product_ids": ["p1"]},
                USD | {"items": [{"product_id": "p1", "amount": 1000}, {"product_id": "p2", "amount": 1500}]},
                500,
            ),
            (
                {"amount": 2000, "currency": "USD"},
                {"product_ids": ["p1"]},
                USD | {"items": [{"product_id": "p1", "amount": 1000}]},
                1000,
            ),
        ],
    )
    async def test_caps_currencies_and_products(
        self,
        decider: Decider,
        merchant: Merchant,
        made: dict[str, Any],
        coupon: dict[str, Any],
        order: dict[str, Any],
        applied: int,
    ) -> None:
        program = await merchant.program()
        coupon_id = await merchant.coupon(program, **made)
        await merchant.restrict_coupon(coupon_id, **coupon)
        await merchant.code(program, coupon_id, "PLAIN")
        (event,) = await decider.take(checkout(program, "PLAIN", order=order))
        assert (event["event"], event["discount"]["applied_minor"]) == ("code.redeemed", applied)
        assert event["discount"]["currency"] == order["currency"]

    async def test_a_currency_in_which_the_code_takes_nothing_off_is_refused(
        self, decider: Decider, merchant: Merchant
    ) -> None:
        program = await merchant.program()
        await merchant.code(program, await merchant.coupon(program, amount=500, currency="USD"), "FIVE")
        order = {"currency": "EUR", "subtotal": 2500}
        assert told(await decider.take(checkout(program, "FIVE", order=order))) == ["currency_mismatch"]

    @pytest.mark.parametrize(
        ("kind", "value", "ends_at"),
        [
            ("once", None, "2026-03-18T12:00:00Z"),
            ("hours", 48, "2026-03-20T12:00:00Z"),
            ("days", 1, "2026-03-19T12:00:00Z"),
            ("months", 3, "2026-06-18T12:00:00Z"),
            ("years", 1, "2027-03-18T12:00:00Z"),
            ("lifetime", None, None),
        ],
    )
    async def test_a_redemption_tells_how_long_its_discount_is_granted(
        self, decider: Decider, merchant: Merchant, kind: str, value: int | None, ends_at: str | None
    ) -> None:
        program = await merchant.program()
        coupon = await merchant.coupon(program)
        await merchant.restrict_coupon(coupon, duration_type=kind, duration_value=value)
        await merchant.code(program, coupon, "PLAIN")
        (event,) = await decider.take(checkout(program, "PLAIN"))
        assert event["discount_ends_at"] == ends_at


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
        bodies = [checkout(program, "MANY", ref=email, customer={"email": email}) for email in (" ", "\t\u00a0")]
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
    """Let two deciders take the events at once, a few per batch, and return what became of them."""
    async with open_database(database.redemption, 4) as one, open_database(database.redemption, 4) as two:
        deciders = [Decider(one), Decider(two)]
        batches = [bodies[n::8] for n in range(8)]
        await asyncio.gather(*(deciders[n % 2].handle(*batch) for n, batch in enumerate(batches)))
    events = [{"event": e.type, **json.loads(e.body)["data"]} for d in deciders for e in d.handed_over]
    return told(events)
