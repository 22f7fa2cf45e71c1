"""The checkout API over a real socket: validate, reserve, redeem, take back and look up."""

import asyncio
from datetime import timedelta
from urllib.parse import quote

import asyncpg
import pytest

from tests.services.redemption.conftest import Reply, Shop
from tests.services.redemption.merchant import NOW, Merchant, checkout, taken_back

MINUTE = timedelta(minutes=1)
USD = {"currency": "USD", "subtotal": 2500}


class TestRedeeming:
    async def test_answers_with_the_redemption_and_announces_it(self, shop: Shop, merchant: Merchant) -> None:
        partner = await merchant.partner(shop.program_id)
        coupon = await merchant.coupon(shop.program_id, percent=2000)
        await merchant.restrict_coupon(coupon, commission_hundredths=1000)
        code = await merchant.code(shop.program_id, coupon, "ACME-1", partner_id=partner)
        answer = await shop.redeem("acme1", order=USD, customer={"id": "c-1"}, attributes={"card_id": "x"})
        assert answer.status == 201, answer.body
        (made,) = answer.data["redemptions"]
        assert (answer.data["order_ref"], made["status"], made["code_id"]) == ("order-1", "redeemed", str(code))
        assert made["discount"] == {
            "type": "percent",
            "percent_hundredths": 2000,
            "amount_minor": None,
            "currency": "USD",
            "applied_minor": 500,
            "lines": None,
        }
        assert made["commission"] == {"percent_hundredths": 1000, "amount_minor": 200, "currency": "USD"}
        (event,) = shop.announced()
        assert (event["event"], event["redemption_id"]) == ("code.redeemed", made["id"])
        assert (event["attributes"], event["customer"]["id"]) == ({"card_id": "x"}, "c-1")
        assert event["commission"] == made["commission"]

    async def test_a_repeat_about_the_order_gives_the_same_answer(self, shop: Shop, merchant: Merchant) -> None:
        await merchant.code(shop.program_id, await merchant.coupon(shop.program_id), "ONCE")
        first = await shop.redeem("ONCE")
        shop.decider.now += MINUTE
        again = await shop.redeem("on-ce")
        assert (first.status, again.status) == (201, 200)
        assert first.data == again.data
        assert len(shop.announced()) == 1

    @pytest.mark.parametrize(
        ("code", "typed"),
        [("10 % OFF", "１０%off"), ("Straße & Café!", "STRASSE&CAFÉ!"), ("#1–夏", "# I夏"), ("+5", "+5")],
    )
    async def test_codes_of_other_scripts_and_with_marks_are_redeemed_once(
        self, shop: Shop, merchant: Merchant, code: str, typed: str
    ) -> None:
        """By each door, as it is stored and as a customer types it."""
        await merchant.code(shop.program_id, await merchant.coupon(shop.program_id), code)
        assert (await shop.validate(typed, order=USD)).data["codes"][0]["valid"]
        assert (await shop.reserve(typed)).status == 201
        await shop.decider.take(checkout(shop.program_id, typed))
        (event,) = shop.announced()
        assert (event["event"], event["code"]) == ("code.redeemed", code)
        assert (await shop.redeem(code)).status == 200
        assert (await shop.redeem(code, ref="order-2")).body["code"] == "code_used"
        found = await shop.send("GET", f"/v1/redemptions?code={quote(typed, safe='')}")
        assert [each["code"] for each in found.data] == [code]

    async def test_a_refusal_names_reason_and_code_and_is_no_event(self, shop: Shop, merchant: Merchant) -> None:
        coupon = await merchant.coupon(shop.program_id)
        await merchant.code(shop.program_id, coupon, "GOOD")
        await merchant.code(shop.program_id, coupon, "OVER", expires_at=NOW)
        answer = await shop.redeem("GOOD", "OVER")
        assert (answer.status, answer.body["code"]) == (409, "code_expired")
        assert list(answer.body["errors"]) == ["codes.1"]
        assert shop.announced() == []
        assert (await shop.redeem("GOOD")).status == 201

    async def test_under_an_idempotency_key_the_answer_is_kept(self, shop: Shop, merchant: Merchant) -> None:
        await merchant.code(shop.program_id, await merchant.coupon(shop.program_id), "ONCE")
        first = await shop.redeem("ONCE", idempotency="k-1")
        again = await shop.redeem("ONCE", idempotency="k-1")
        other = await shop.redeem("ONCE", ref="order-2", idempotency="k-1")
        assert (first.status, again.status, other.status) == (201, 201, 422)
        assert (again.raw, again.headers["Idempotent-Replayed"]) == (first.raw, "true")
        assert len(shop.announced()) == 1

    async def test_events_and_requests_are_one_and_the_same(self, shop: Shop, merchant: Merchant) -> None:
        await merchant.code(shop.program_id, await merchant.coupon(shop.program_id), "ONCE")
        await shop.decider.take(checkout(shop.program_id, "ONCE"))
        assert (await shop.redeem("ONCE")).status == 200
        assert (await shop.redeem("ONCE", ref="order-2")).body["code"] == "code_used"

    async def test_of_a_hundred_at_once_as_many_win_as_there_are_uses(self, shop: Shop, merchant: Merchant) -> None:
        await merchant.code(shop.program_id, await merchant.coupon(shop.program_id), "TEN", limit=10)
        answers = await asyncio.gather(*(shop.redeem("TEN", ref=str(n)) for n in range(100)))
        assert sorted(answer.status for answer in answers) == [201] * 10 + [409] * 90
        assert {answer.body["code"] for answer in answers if answer.status == 409} == {"code_used"}

    @pytest.mark.parametrize(
        ("body", "field"),
        [
            ({"codes": [], "order_ref": "1"}, "codes"),
            ({"codes": ["A"] * 11, "order_ref": "1"}, "codes"),
            ({"codes": ["A"]}, "order_ref"),
            ({"codes": ["A"], "order_ref": ""}, "order_ref"),
            ({"codes": ["A"], "order_ref": "1", "order": {"currency": "ZZZ"}}, "order.currency"),
            ({"codes": ["A"], "order_ref": "1", "order": {"subtotal": -1}}, "order.subtotal"),
            ({"codes": ["A"], "order_ref": "1", "order": {"items": [{"amount": "x"}]}}, "order.items.0.amount"),
            ({"codes": ["A"], "order_ref": "1", "customer": {"phone": "1"}}, "customer.phone"),
            ({"codes": ["A"], "order_ref": "1", "occurred_at": "2026-03-18T12:00:00"}, "occurred_at"),
        ],
    )
    async def test_what_cannot_be_accepted_is_named(self, shop: Shop, body: dict[str, object], field: str) -> None:
        answer = await shop.send("POST", "/v1/redemptions", body)
        assert answer.status == 422
        assert field in answer.body["errors"]

    async def test_needs_the_scope(self, shop: Shop, merchant: Merchant) -> None:
        key = await merchant.key(shop.program_id, "webhooks")
        answer = await shop.send("POST", "/v1/redemptions", {"codes": ["A"], "order_ref": "1"}, key=key)
        assert (answer.status, answer.body["code"]) == (403, "scope_missing")


class TestValidating:
    async def test_tells_each_code_and_the_totals_and_changes_nothing(
        self, shop: Shop, merchant: Merchant, admin: "asyncpg.Connection[asyncpg.Record]"
    ) -> None:
        coupon = await merchant.coupon(shop.program_id, percent=4000, limit=2)
        for text in ("G1", "G2", "G3"):
            await merchant.code(shop.program_id, coupon, text)
        answer = await shop.validate("G1", "g2", "G3", "NONE", order=USD)
        assert answer.status == 200
        assert [(c["valid"], c["reason"]) for c in answer.data["codes"]] == [
            (True, None),
            (True, None),
            (False, "coupon_exhausted"),
            (False, "code_unknown"),
        ]
        assert [c["discount"] and c["discount"]["applied_minor"] for c in answer.data["codes"]][:2] == [1000, 1000]
        assert answer.data["valid"] is False
        assert answer.data["order"] == {"currency": "USD", "subtotal": 2500, "discount": 2000, "total": 500}
        assert await admin.fetchval("SELECT count(*) FROM redemption.orders") == 0
        assert await admin.fetchval("SELECT count(*) FROM redemption.code_counters") == 0

    async def test_an_orders_own_reservation_is_not_in_its_way(self, shop: Shop, merchant: Merchant) -> None:
        await merchant.code(shop.program_id, await merchant.coupon(shop.program_id), "ONCE")
        await shop.reserve("ONCE", ref="a")
        own, other = await shop.validate("ONCE", order_ref="a"), await shop.validate("ONCE", order_ref="b")
        assert (own.data["valid"], other.data["codes"][0]["reason"]) == (True, "code_held")


class TestReservations:
    async def test_keep_a_code_from_others_until_they_expire(self, shop: Shop, merchant: Merchant) -> None:
        await merchant.code(shop.program_id, await merchant.coupon(shop.program_id), "ONCE")
        held = await shop.reserve("ONCE", ref="a", ttl_seconds=60)
        assert (held.status, held.data["status"]) == (201, "live")
        assert held.data["expires_at"] == "2026-03-18T12:01:00.000000Z"
        assert (await shop.redeem("ONCE", ref="b")).body["code"] == "code_held"
        shop.decider.now += MINUTE
        shown = await shop.send("GET", f"/v1/reservations/{held.data['id']}")
        assert shown.data == held.data | {"status": "expired"}
        assert (await shop.redeem("ONCE", ref="b")).status == 201

    async def test_the_same_order_extends_its_own(self, shop: Shop, merchant: Merchant) -> None:
        await merchant.code(shop.program_id, await merchant.coupon(shop.program_id), "ONCE")
        first = await shop.reserve("ONCE")
        shop.decider.now += MINUTE
        again = await shop.reserve("ONCE")
        assert (first.status, again.status) == (201, 200)
        assert again.data["id"] == first.data["id"]
        assert again.data["expires_at"] > first.data["expires_at"]

    async def test_ones_own_never_blocks_ones_own_redemption(self, shop: Shop, merchant: Merchant) -> None:
        coupon = await merchant.coupon(shop.program_id, limit=1)
        await merchant.code(shop.program_id, coupon, "ONCE")
        held = await shop.reserve("ONCE")
        assert (await shop.redeem("ONCE")).status == 201
        assert (await shop.send("GET", f"/v1/reservations/{held.data['id']}")).status == 404

    async def test_made_under_another_reference_is_named_by_its_id(self, shop: Shop, merchant: Merchant) -> None:
        await merchant.code(shop.program_id, await merchant.coupon(shop.program_id), "ONCE")
        held = await shop.reserve("ONCE", ref="cart-1")
        assert (await shop.redeem("ONCE", ref="4711")).status == 409
        assert (await shop.redeem("ONCE", ref="4711", reservation_id=held.data["id"])).status == 201

    async def test_honour_what_expires_while_they_live(self, shop: Shop, merchant: Merchant) -> None:
        await merchant.code(
            shop.program_id, await merchant.coupon(shop.program_id), "SOON", limit=None, expires_at=NOW + MINUTE
        )
        await shop.reserve("SOON", ref="a")
        shop.decider.now += 2 * MINUTE
        assert (await shop.redeem("SOON", ref="b")).body["code"] == "code_expired"
        assert (await shop.redeem("SOON", ref="a")).status == 201

    async def test_can_be_ended(self, shop: Shop, merchant: Merchant) -> None:
        await merchant.code(shop.program_id, await merchant.coupon(shop.program_id), "ONCE")
        held = await shop.reserve("ONCE", ref="a")
        path = f"/v1/reservations/{held.data['id']}"
        assert [(await shop.send("DELETE", path)).status for _ in range(2)] == [204, 404]
        assert (await shop.redeem("ONCE", ref="b")).status == 201

    async def test_all_codes_or_none(self, shop: Shop, merchant: Merchant) -> None:
        await merchant.code(shop.program_id, await merchant.coupon(shop.program_id), "ONCE")
        assert (await shop.reserve("ONCE", "NONE", ref="a")).body["code"] == "code_unknown"
        assert (await shop.reserve("ONCE", ref="b")).status == 201


class TestTakingBack:
    async def test_a_void_gives_the_use_back_once_and_answers_the_same(self, shop: Shop, merchant: Merchant) -> None:
        await merchant.code(shop.program_id, await merchant.coupon(shop.program_id), "ONCE")
        made = (await shop.redeem("ONCE")).data["redemptions"][0]
        path = f"/v1/redemptions/{made['id']}/void"
        shop.decider.now += MINUTE
        first, again = [await shop.send("POST", path, {"reason": "fraud"}) for _ in range(2)]
        assert (first.status, again.status) == (200, 200)
        assert first.raw == again.raw
        assert (first.data["status"], first.data["void_reason"], first.data["is_counted"]) == ("voided", "fraud", False)
        _, voided = shop.announced()
        assert (voided["event"], voided["is_released"], voided["times_redeemed"]) == ("code.redemption_voided", True, 0)
        assert voided["times_redeemed_version"] == 2
        assert (await shop.redeem("ONCE", ref="order-2")).status == 201

    async def test_a_hundred_voids_at_once_are_one_release(
        self, shop: Shop, merchant: Merchant, admin: "asyncpg.Connection[asyncpg.Record]"
    ) -> None:
        coupon = await merchant.coupon(shop.program_id, limit=5)
        await merchant.code(shop.program_id, coupon, "MANY", limit=5)
        made = (await shop.redeem("MANY", ref="a")).data["redemptions"][0]
        await shop.redeem("MANY", ref="b")
        shop.decider.now += MINUTE
        path = f"/v1/redemptions/{made['id']}/void"

        async def void() -> Reply:
            # On a busy machine there may be no connection to be had in time.
            while (answer := await shop.send("POST", path)).status == 503:
                assert answer.headers["Retry-After"] == "1"
            return answer

        answers = await asyncio.gather(*(void() for _ in range(100)))
        assert {answer.status for answer in answers} == {200}
        assert len({answer.raw for answer in answers}) == 1
        assert [event["event"] for event in shop.announced()].count("code.redemption_voided") == 1
        assert await admin.fetchval("SELECT uses FROM redemption.code_counters") == 1
        assert await admin.fetchval("SELECT uses FROM redemption.coupon_counters") == 1

    async def test_an_order_that_is_taken_back_before_it_is_known(self, shop: Shop, merchant: Merchant) -> None:
        await merchant.code(shop.program_id, await merchant.coupon(shop.program_id), "ONCE")
        made = (await shop.void_order("4711", reason="cancel")).data
        assert (made["order_ref"], made["redemptions"], "unknown so far" in made["notice"]) == ("4711", [], True)
        late = await shop.decider.take(checkout(shop.program_id, "ONCE", ref="4711", time=NOW - MINUTE))
        assert [(e["event"], e["was_counted"], e["times_redeemed"]) for e in late] == [
            ("code.redemption_voided", False, 0)
        ]
        (shown,) = (await shop.void_order("4711")).data["redemptions"]
        assert (shown["status"], shown["is_counted"]) == ("voided", False)
        shop.decider.now += MINUTE
        assert (await shop.redeem("ONCE", ref="4711")).status == 201

    async def test_of_another_program_it_is_missing(self, shop: Shop, merchant: Merchant) -> None:
        other = await merchant.program()
        await merchant.code(other, await merchant.coupon(other), "ONCE")
        (event,) = await shop.decider.take(checkout(other, "ONCE"))
        for method, suffix in (("GET", ""), ("POST", "/void")):
            answer = await shop.send(method, f"/v1/redemptions/{event['redemption_id']}{suffix}")
            assert (answer.status, answer.body["code"]) == (404, "not_found")

    async def test_a_reservation_of_another_program_is_missing_and_stays(self, shop: Shop, merchant: Merchant) -> None:
        other = await merchant.program()
        for program in (other, shop.program_id):
            await merchant.code(program, await merchant.coupon(program), "ONCE")
        theirs = await merchant.key(other, "checkout")
        body = {"codes": ["ONCE"], "order_ref": "cart"}
        held = await shop.send("POST", "/v1/reservations", body, key=theirs)
        path = f"/v1/reservations/{held.data['id']}"
        for method in ("GET", "DELETE"):
            assert (await shop.send(method, path)).status == 404
        assert (await shop.redeem("ONCE", ref="4711", reservation_id=held.data["id"])).status == 201
        assert (await shop.send("GET", path, key=theirs)).data == held.data


class TestRefundsOfParts:
    async def test_a_repeat_with_the_same_name_counts_once(self, shop: Shop, merchant: Merchant) -> None:
        """Two halves of what was paid take the order back, the same half twice does not."""
        coupon = await merchant.coupon(shop.program_id, percent=5_000)
        await merchant.code(shop.program_id, coupon, "HALF")
        await shop.redeem("HALF", order={"currency": "USD", "subtotal": 2000})
        shop.decider.now += MINUTE
        for _ in range(3):
            answer = await shop.void_order(amount=500, refund_ref="first")
            assert [each["status"] for each in answer.data["redemptions"]] == ["redeemed"]
        assert await merchant.connection.fetchval("SELECT count(*) FROM redemption.refunds") == 1
        other = await shop.void_order(amount=501, refund_ref="first")
        assert (other.status, other.body["code"], list(other.body["errors"])) == (
            409,
            "refund_ref_reused",
            ["refund_ref"],
        )
        answer = await shop.void_order(amount=500, refund_ref="second")
        assert [each["status"] for each in answer.data["redemptions"]] == ["voided"]

    async def test_of_repeats_at_once_one_is_recorded(self, shop: Shop, merchant: Merchant) -> None:
        answers = await asyncio.gather(*(shop.void_order(amount=500, refund_ref="r") for _ in range(8)))
        assert {answer.status for answer in answers} == {200}
        assert await merchant.connection.fetchval("SELECT sum(amount_minor) FROM redemption.refunds") == 500

    async def test_an_amount_that_could_be_counted_twice_is_refused(self, shop: Shop) -> None:
        for body in ({"amount": 500}, {"refund_ref": "r"}):
            refused = await shop.void_order(**body)
            assert (refused.status, list(refused.body["errors"])) == (422, ["refund_ref"])


class TestIdempotencyKeys:
    @pytest.mark.parametrize(
        ("path", "body", "other"),
        [
            ("/v1/redemptions", {"codes": ["MANY"], "order_ref": "b"}, {"codes": ["MANY"], "order_ref": "c"}),
            ("/v1/reservations", {"codes": ["MANY"], "order_ref": "b"}, {"codes": ["MANY"], "order_ref": "c"}),
            ("/v1/redemptions/{}/void", {"reason": "fraud"}, {"reason": "test"}),
            ("/v1/orders/a/void", {"amount": 5}, {"amount": 6}),
            ("/v1/orders/a/void", {}, {"release": False}),
        ],
    )
    async def test_every_write_is_done_once_and_answered_the_same(
        self, shop: Shop, merchant: Merchant, path: str, body: dict[str, object], other: dict[str, object]
    ) -> None:
        """Concurrent requests with one key, a repeat, another body, another program: none of them writes anything."""
        await merchant.code(shop.program_id, await merchant.coupon(shop.program_id), "MANY", limit=None)
        made = (await shop.redeem("MANY", ref="a", order=USD)).data["redemptions"][0]
        shop.decider.now += MINUTE
        path = path.format(made["id"])
        twins = await asyncio.gather(*(shop.send("POST", path, body, idempotency="k") for _ in range(8)))
        for twin in twins:
            assert twin.status < 409 or twin.body["code"] == "idempotency_in_progress"
        state = await written(merchant)
        shop.decider.now += MINUTE
        again = await shop.send("POST", path, body, idempotency="k")
        assert again.headers["Idempotent-Replayed"] == "true"
        assert again.raw in {twin.raw for twin in twins}
        refused = await shop.send("POST", path, other, idempotency="k")
        assert (refused.status, refused.body["code"]) == (422, "idempotency_key_reused")
        assert await written(merchant) == state

    @pytest.mark.parametrize("path", ["/v1/redemptions", "/v1/reservations"])
    async def test_a_refusal_that_has_passed_does_not_stand_in_the_way(
        self, shop: Shop, merchant: Merchant, path: str
    ) -> None:
        """A code that is held by another order is free again once that order lets it go, under the same key too."""
        coupon = await merchant.coupon(shop.program_id)
        await merchant.code(shop.program_id, coupon, "ONCE")
        held = await shop.reserve("ONCE", ref="other")
        asked = {"codes": ["ONCE"], "order_ref": "mine"}
        for _ in range(2):
            refused = await shop.send("POST", path, asked, idempotency="k")
            assert (refused.status, refused.body["code"]) == (409, "code_held")
            assert "Idempotent-Replayed" not in refused.headers
        assert (await shop.send("DELETE", f"/v1/reservations/{held.data['id']}")).status == 204
        granted = await shop.send("POST", path, asked, idempotency="k")
        assert (granted.status, "Idempotent-Replayed" in granted.headers) == (201, False)
        again = await shop.send("POST", path, asked, idempotency="k")
        assert (again.raw, again.headers["Idempotent-Replayed"]) == (granted.raw, "true")

    async def test_a_purchase_that_was_recorded_as_taken_back_is_answered_so_again(
        self, shop: Shop, merchant: Merchant
    ) -> None:
        """That refusal did something: judged again later, the same request would be a purchase of its own."""
        await merchant.code(shop.program_id, await merchant.coupon(shop.program_id), "ONCE")
        await shop.decider.take(taken_back(shop.program_id))
        refused = await shop.redeem("ONCE", idempotency="k")
        assert (refused.status, refused.body["code"]) == (409, "order_cancelled")
        shop.decider.now += 10 * MINUTE
        again = await shop.redeem("ONCE", idempotency="k")
        assert (again.status, again.raw, again.headers["Idempotent-Replayed"]) == (409, refused.raw, "true")


async def written(merchant: Merchant) -> list[int]:
    """Count what requests leave behind."""
    row = await merchant.connection.fetchrow("""
        SELECT (SELECT count(*) FROM redemption.redemptions), (SELECT count(*) FROM redemption.redemptions
                WHERE voided_at IS NOT NULL), (SELECT count(*) FROM redemption.refunds),
               (SELECT count(*) FROM redemption.holds), (SELECT count(*) FROM redemption.events)
    """)
    assert row is not None
    return list(row)


class TestLookingUp:
    async def test_lists_by_filter_and_page(self, shop: Shop, merchant: Merchant) -> None:
        coupon = await merchant.coupon(shop.program_id)
        other = await merchant.coupon(shop.program_id)
        partner = await merchant.partner(shop.program_id)
        await merchant.code(shop.program_id, coupon, "MANY", limit=None, partner_id=partner)
        await merchant.code(shop.program_id, other, "ELSE", limit=None)
        for n in range(5):
            shop.decider.now += MINUTE
            await shop.redeem("MANY", ref=f"m{n}", customer={"email": "Ann@Example.com"} if n else {"id": "ann"})
        await shop.redeem("ELSE", ref="e")
        await shop.decider.take(taken_back(shop.program_id, ref="m1", time=shop.decider.now))
        counts = {}
        for query in (
            "",
            "code=ma-ny",
            "code=none",
            f"coupon_id={other}",
            "customer_id=ann",
            "customer_email=ann%40example.com",
            f"partner_id={partner}",
            "order_ref=m3",
            "status=voided",
            "status=redeemed",
            f"partner_id={partner}&status=redeemed",
            "occurred_from=2026-03-18T12:05:00Z",
            "occurred_before=2026-03-18T12:02:00Z",
        ):
            listed = await shop.send("GET", f"/v1/redemptions?{query}{query and '&'}count=bounded")
            counts[query.partition("=")[0] if "&" not in query else "both"] = len(listed.data)
            meta = listed.body["meta"]
            assert (meta["count"], meta["count_is_exact"]) == (len(listed.data), True)
        assert counts.pop("status") == 5
        assert counts == {
            "": 6,
            "code": 0,
            "coupon_id": 1,
            "customer_id": 1,
            "customer_email": 4,
            "partner_id": 5,
            "order_ref": 1,
            "both": 4,
            "occurred_from": 2,
            "occurred_before": 1,
        }
        both = await shop.send("GET", "/v1/redemptions?customer_id=ann&customer_email=ann%40example.com")
        blank = await shop.send("GET", "/v1/redemptions?customer_email=%20")
        for refused in (both, blank):
            assert (refused.status, list(refused.body["errors"])) == (422, ["customer_email"])
        seen: list[str] = []
        cursor = ""
        while cursor is not None:
            page = await shop.send("GET", f"/v1/redemptions?code=MANY&limit=2{cursor and f'&cursor={cursor}'}")
            seen += [redemption["order_ref"] for redemption in page.data]
            cursor = page.body["meta"]["next_cursor"]
        assert seen == ["m4", "m3", "m2", "m1", "m0"]
        assert (await shop.send("GET", "/v1/redemptions?cursor=x")).status == 422

    async def test_a_coupon_is_named_by_its_uuid_code_too(self, shop: Shop, merchant: Merchant) -> None:
        """An archived coupon leaves its uuid_code to a new one: that is meant then."""
        old = await merchant.coupon(shop.program_id)
        await merchant.code(shop.program_id, old, "OLD")
        await shop.redeem("OLD", ref="first")
        named = f"/v1/redemptions?coupon_id={old.hex}"
        assert [each["order_ref"] for each in (await shop.send("GET", named)).data] == ["first"]
        await merchant.connection.execute("UPDATE codes.coupons SET archived_at = now() WHERE id = $1", old)
        await merchant.connection.execute(
            "UPDATE codes.promotion_codes SET archived_at = now() WHERE coupon_id = $1", old
        )
        assert [each["order_ref"] for each in (await shop.send("GET", named)).data] == ["first"]
        new = await merchant.coupon(shop.program_id)
        await merchant.connection.execute("UPDATE codes.coupons SET uuid_code = $2 WHERE id = $1", new, old.hex)
        await merchant.code(shop.program_id, new, "NEW")
        await shop.redeem("NEW", ref="second")
        assert [each["order_ref"] for each in (await shop.send("GET", named)).data] == ["second"]
        assert (await shop.send("GET", "/v1/redemptions?coupon_id=none")).data == []
