"""What a batch leaves behind in a real database: redemptions, counters, refusals and events, exactly once."""

import asyncio
import json
import uuid
from datetime import timedelta
from typing import Any

import asyncpg
import pytest

from shared.events.envelope import MAX_EVENT_BYTES
from shared.events.redemption import CodeRedeemedV1, CodeRedemptionRejectedV1
from shared.faults import TransientFault
from tests.databases import Database
from tests.services.redemption.conftest import Decider, state, waiting
from tests.services.redemption.merchant import NOW, Merchant, checkout

Connection = asyncpg.Connection

DAY = timedelta(days=1)
SECOND = timedelta(seconds=1)


class TestARedemption:
    async def test_tells_everything_in_its_event(self, decider: Decider, merchant: Merchant) -> None:
        program = await merchant.program(("card_id",))
        partner = await merchant.partner(program, quota=12)
        coupon = await merchant.coupon(program)
        code = await merchant.code(program, coupon, "ACME-0OIL", partner_id=partner, expires_at=NOW + DAY)
        order = {"currency": "USD", "subtotal": 2500, "items": [{"sku": "x"}]}
        body = checkout(
            program,
            " acme 0oil",
            ref="1001",
            event="evt-1",
            customer={"id": "c-7", "email": "a@b.example", "is_first_order": True},
            attributes={"card_id": "card-1", "n": 3},
            order=order,
        )
        (event,) = await decider.take(body)
        assert event == {
            "event": "code.redeemed",
            "redemption_id": event["redemption_id"],
            "program_id": str(program),
            "partner_id": str(partner),
            "code": "ACME-0OIL",
            "code_id": str(code),
            "coupon_id": str(coupon),
            "order_ref": "1001",
            "customer": {"id": "c-7", "email": "a@b.example", "is_first_order": True},
            "discount": {
                "type": "percent",
                "percent_hundredths": 10_000,
                "amount_minor": None,
                "currency": "USD",
                "applied_minor": 2500,
            },
            "discount_ends_at": "2026-03-18T12:00:00Z",
            "commission": None,
            "order": order,
            "attributes": {"card_id": "card-1", "n": 3},
            "attributes_left_out": [],
            "details_left_out": [],
            "is_self_referral": False,
            "attribute_names": ["card_id"],
            "occurred_at": "2026-03-18T12:00:00Z",
            "codes_remaining": 12,
            "times_redeemed": 1,
            "times_redeemed_version": 1,
            "coupon_times_redeemed": None,
            "coupon_times_redeemed_version": None,
            "terms": {
                "coupon_uuid_code": coupon.hex,
                "coupon_name": "Welcome",
                "duration_type": "once",
                "duration_value": None,
                "starts_at": None,
                "expires_at": "2026-03-19T12:00:00Z",
                "redemption_limit": 1,
                "coupon_starts_at": None,
                "coupon_expires_at": None,
                "coupon_redemption_limit": None,
            },
        }
        CodeRedeemedV1.model_validate_json(json.dumps(event))

    async def test_without_partner_attributes_or_order_leaves_them_empty(
        self, decider: Decider, merchant: Merchant
    ) -> None:
        program = await merchant.program()
        await merchant.code(program, await merchant.coupon(program), "PLAIN")
        (event,) = await decider.take(checkout(program, "plain"))
        assert (event["partner_id"], event["codes_remaining"], event["order"]) == (None, None, None)
        assert (event["attributes"], event["discount"]["applied_minor"]) == ({}, None)

    @pytest.mark.parametrize(
        "line",
        [{"note": "x" * 400}, {"n": [10**15] * 25}, {"n": [10**70] * 6}],
        ids=["text", "numbers", "numbers beyond 64 bits"],
    )
    async def test_of_a_large_order_tells_it_without_its_lines(
        self, decider: Decider, merchant: Merchant, line: dict[str, Any]
    ) -> None:
        """What is added would make an event that no consumer takes, and the partner would never hear of it."""
        program = await merchant.program()
        await merchant.code(program, await merchant.coupon(program), "PLAIN")
        items = [{"product_id": f"p{n}", **line} for n in range(500)]
        order = {"currency": "USD", "subtotal": 2500, "items": items}
        whole = json.loads(checkout(program, "PLAIN", order=order))
        body = json.dumps(whole, separators=(",", ":")).replace("1000000000000000,", "1e15,").encode()
        padding = MAX_EVENT_BYTES - len(body) - len(',"padding":""')
        body = body.replace(b'"product_id":"p0"', b'"product_id":"p0","padding":"' + b"x" * padding + b'"')
        assert len(body) == MAX_EVENT_BYTES
        (event,) = await decider.take(body)
        assert event["order"] == {"currency": "USD", "subtotal": 2500, "items": None}
        assert len(decider.handed_over[0].body) < MAX_EVENT_BYTES

    async def test_writes_rows_and_pending_events_together(
        self, decider: Decider, merchant: Merchant, admin: "Connection[asyncpg.Record]"
    ) -> None:
        program = await merchant.program()
        await merchant.code(program, await merchant.coupon(program), "PLAIN")
        await decider.take(checkout(program, "PLAIN"))
        ones = ("redemptions", "events", "outbox", "inbox", "orders", "uses")
        assert await state(admin) == {"rejections": 0, **dict.fromkeys(ones, 1)}

    async def test_has_the_same_ids_however_often_it_is_decided(
        self, decider: Decider, merchant: Merchant, admin: "Connection[asyncpg.Record]"
    ) -> None:
        """A crash before the commit loses the rows; the next try must announce the same redemption."""
        program = await merchant.program()
        await merchant.code(program, await merchant.coupon(program), "PLAIN")
        body = checkout(program, "PLAIN", event="evt-1")
        await decider.take(body)
        await admin.execute("TRUNCATE redemption.inbox, redemption.redemptions, redemption.events, redemption.outbox")
        await admin.execute("TRUNCATE redemption.orders, redemption.code_counters")
        await decider.take(body)
        first, second = decider.handed_over
        assert (first.id, first.body) == (second.id, second.body)


class TestRepetition:
    async def test_twenty_deliveries_leave_the_state_of_one(
        self, decider: Decider, merchant: Merchant, admin: "Connection[asyncpg.Record]"
    ) -> None:
        program = await merchant.program()
        await merchant.code(program, await merchant.coupon(program), "PLAIN", limit=None)
        body = checkout(program, "PLAIN")
        await decider.take(body)
        once = await state(admin)
        await decider.take(*[body] * 10)
        for _ in range(9):
            await decider.take(body)
        assert await state(admin) == once
        assert len(decider.handed_over) == 1

    async def test_the_same_order_and_code_under_another_event_id_is_done_and_nothing_new(
        self, decider: Decider, merchant: Merchant, admin: "Connection[asyncpg.Record]"
    ) -> None:
        program = await merchant.program()
        await merchant.code(program, await merchant.coupon(program), "PLAIN", limit=None)
        assert len(await decider.take(checkout(program, "PLAIN"), checkout(program, "pl-ain"))) == 1
        assert await decider.take(checkout(program, "PLAIN")) == []
        assert (await state(admin))["uses"] == 1

    async def test_the_same_id_with_another_body_is_a_conflict(self, decider: Decider, merchant: Merchant) -> None:
        program = await merchant.program()
        await merchant.code(program, await merchant.coupon(program), "PLAIN")
        body, other = (checkout(program, "PLAIN", event="evt-1", ref=order) for order in ("a", "b"))
        outcomes = await decider.handle(body, other, body)
        assert [outcome and outcome.reason for outcome in outcomes] == [None, "event_id_conflict", None]
        (later,) = await decider.handle(other)
        assert later is not None
        assert later.reason == "event_id_conflict"
        assert len(decider.handed_over) == 1

    async def test_a_refused_order_is_judged_anew(
        self, decider: Decider, merchant: Merchant, admin: "Connection[asyncpg.Record]"
    ) -> None:
        program = await merchant.program()
        await merchant.code(program, await merchant.coupon(program), "PLAIN", is_active=False)
        (refused,) = await decider.take(checkout(program, "PLAIN"))
        await admin.execute("UPDATE codes.promotion_codes SET is_active = true")
        (redeemed,) = await decider.take(checkout(program, "PLAIN"))
        assert (refused["reason"], redeemed["event"]) == ("code_inactive", "code.redeemed")


class TestRefusals:
    @pytest.mark.parametrize(
        ("code", "coupon", "partner", "reason"),
        [
            ({"expires_at": NOW}, {}, "active", "code_expired"),
            ({"starts_at": NOW + 2 * 60 * SECOND}, {}, "active", "code_not_started"),
            ({"created_at": NOW + 2 * 60 * SECOND}, {}, "active", "code_not_started"),
            ({"is_active": False}, {}, "active", "code_inactive"),
            ({"archived_at": NOW - DAY}, {}, "active", "code_inactive"),
            ({}, {"is_active": False}, "active", "coupon_inactive"),
            ({}, {"archived_at": NOW - DAY}, "active", "coupon_inactive"),
            ({}, {"expires_at": NOW - DAY}, "active", "code_expired"),
            ({}, {}, "suspended", "partner_not_active"),
            ({}, {}, "pending", "partner_not_active"),
        ],
    )
    async def test_each_says_why_to_the_operator_and_in_its_event(
        self,
        decider: Decider,
        merchant: Merchant,
        admin: "Connection[asyncpg.Record]",
        code: dict[str, Any],
        coupon: dict[str, Any],
        partner: str,
        reason: str,
    ) -> None:
        program = await merchant.program()
        partner_id = await merchant.partner(program, partner)
        code_id = await merchant.code(
            program, await merchant.coupon(program, **coupon), "ACME-1", partner_id=partner_id, **code
        )
        (event,) = await decider.take(checkout(program, "acme1", ref="1001"))
        CodeRedemptionRejectedV1.model_validate_json(json.dumps(event))
        assert (event["event"], event["reason"]) == ("code.redemption_rejected", reason)
        assert (event["code"], event["code_id"], event["partner_id"]) == ("acme1", str(code_id), str(partner_id))
        row = await admin.fetchrow("SELECT order_ref, code, code_id, reason FROM redemption.rejections")
        assert row is not None
        assert tuple(row) == ("1001", "acme1", code_id, reason)
        assert (await state(admin))["redemptions"] == 0

    async def test_a_code_of_another_program_is_unknown(self, decider: Decider, merchant: Merchant) -> None:
        program, other = await merchant.program(), await merchant.program()
        await merchant.code(other, await merchant.coupon(other), "PLAIN")
        await merchant.code(program, await merchant.coupon(program), "MINE")
        (event,) = await decider.take(checkout(program, "PLAIN"))
        assert (event["reason"], event["code_id"], event["partner_id"]) == ("code_unknown", None, None)

    async def test_a_program_without_codes_is_known_by_its_key(
        self, decider: Decider, merchant: Merchant, admin: "Connection[asyncpg.Record]"
    ) -> None:
        program = await merchant.program()
        await admin.execute(
            "INSERT INTO codes.api_keys (id, program_id, kind, slot, scopes, digest, created_at) "
            "VALUES ($1, $2, 'secret', 1, '{manage}', $3, now())",
            uuid.uuid4(),
            program,
            bytes(32),
        )
        (known,) = await decider.take(checkout(program, "PLAIN"))
        (unknown,) = await decider.take(checkout(uuid.uuid4(), "PLAIN"))
        assert (known["reason"], unknown["reason"]) == ("code_unknown", "program_unknown")

    async def test_what_cannot_be_a_code_is_unknown(self, decider: Decider, merchant: Merchant) -> None:
        program = await merchant.program()
        await merchant.code(program, await merchant.coupon(program), "PLAIN")
        (event,) = await decider.take(checkout(program, "💥", "--"))
        assert (event["reason"], event["code"], event["codes"]) == ("code_unknown", "💥", ["💥", "--"])

    async def test_all_of_an_orders_codes_or_none(
        self, decider: Decider, merchant: Merchant, admin: "Connection[asyncpg.Record]"
    ) -> None:
        program = await merchant.program()
        coupon = await merchant.coupon(program)
        await merchant.code(program, coupon, "GOOD")
        await merchant.code(program, coupon, "BAD", is_active=False)
        (event,) = await decider.take(checkout(program, "GOOD", "BAD"))
        assert (event["reason"], event["code"], event["codes"]) == ("code_inactive", "BAD", ["GOOD", "BAD"])
        assert (await state(admin))["uses"] == 0
        assert len(await decider.take(checkout(program, "GOOD", "good"))) == 1

    async def test_two_good_codes_are_redeemed_together(self, decider: Decider, merchant: Merchant) -> None:
        program = await merchant.program()
        coupon = await merchant.coupon(program)
        for text in ("G1", "G2"):
            await merchant.code(program, coupon, text)
        redeemed = await decider.take(checkout(program, "G1", "G2"))
        assert [event["code"] for event in redeemed] == ["G1", "G2"]
        assert len({event["redemption_id"] for event in redeemed}) == 2


class TestTime:
    @pytest.mark.parametrize(
        ("claimed", "occurred_at"),
        [
            (NOW + DAY, NOW),
            (NOW - timedelta(hours=30), NOW - timedelta(hours=24)),
            (NOW - timedelta(hours=3), NOW - timedelta(hours=3)),
        ],
    )
    async def test_the_time_claimed_counts_within_the_day_before_receipt(
        self, decider: Decider, merchant: Merchant, claimed: Any, occurred_at: Any
    ) -> None:
        program = await merchant.program()
        await merchant.code(program, await merchant.coupon(program), "PLAIN")
        (event,) = await decider.take(checkout(program, "PLAIN", time=claimed))
        assert event["occurred_at"] == occurred_at.isoformat().replace("+00:00", "Z")

    async def test_an_outage_does_not_void_a_purchase_made_in_time(self, decider: Decider, merchant: Merchant) -> None:
        program = await merchant.program()
        await merchant.code(program, await merchant.coupon(program), "PLAIN", expires_at=NOW)
        decider.now = NOW + timedelta(days=30)
        body = checkout(program, "PLAIN", time=NOW - SECOND)
        (event,) = await decider.take(body, received_at=NOW + timedelta(hours=20))
        assert event["event"] == "code.redeemed"

    async def test_an_archived_code_that_was_live_then_is_the_one_meant(
        self, decider: Decider, merchant: Merchant
    ) -> None:
        program = await merchant.program()
        coupon = await merchant.coupon(program)
        old = await merchant.code(program, coupon, "SPRING", archived_at=NOW - timedelta(hours=2))
        new = await merchant.code(program, coupon, "spring", created_at=NOW - timedelta(hours=1))
        (before,) = await decider.take(checkout(program, "SPRING", ref="a", time=NOW - timedelta(hours=3)))
        (between,) = await decider.take(checkout(program, "SPRING", ref="b", time=NOW - timedelta(minutes=60)))
        (after,) = await decider.take(checkout(program, "SPRING", ref="c"))
        assert (before["code_id"], between["code_id"]) == (str(old), str(new))
        assert after["reason"] == "code_used"


class TestFaults:
    async def test_a_lost_database_is_a_fault_to_wait_out_and_leaves_nothing(
        self, decider: Decider, database: Database, merchant: Merchant, admin: "Connection[asyncpg.Record]"
    ) -> None:
        program = await merchant.program()
        await merchant.code(program, await merchant.coupon(program), "PLAIN")
        await admin.execute("BEGIN; LOCK TABLE redemption.events IN EXCLUSIVE MODE")
        body = checkout(program, "PLAIN")
        other = await asyncpg.connect(database.admin)
        try:
            deciding = asyncio.create_task(decider.handle(body))
            await waiting(other, 1)
            await other.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
                "WHERE datname = current_database() AND wait_event_type = 'Lock'"
            )
            with pytest.raises(TransientFault):
                await deciding
        finally:
            await other.close()
        await admin.execute("ROLLBACK")
        assert set((await state(admin)).values()) == {0}
        assert decider.handed_over == []
        assert len(await decider.take(body)) == 1

    async def test_the_counters_guard_the_limit_by_themselves(
        self, decider: Decider, merchant: Merchant, admin: "Connection[asyncpg.Record]"
    ) -> None:
        program = await merchant.program()
        await merchant.code(program, await merchant.coupon(program), "ONCE")
        await decider.take(checkout(program, "ONCE"))
        with pytest.raises(asyncpg.CheckViolationError):
            await admin.execute("UPDATE redemption.code_counters SET uses = 2")
