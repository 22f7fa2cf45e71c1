"""Refused tries: kept at every door that refuses, counted where they repeat, listed, and shown with their order."""

import asyncio
import uuid
from collections.abc import Sequence
from datetime import timedelta
from typing import Any

import asyncpg
import pytest

from tests.services.redemption.conftest import Reply, Shop
from tests.services.redemption.merchant import NOW, Merchant, checkout, taken_back

MINUTE = timedelta(minutes=1)
USD = {"currency": "USD", "subtotal": 2500}


async def refusals(shop: Shop, query: str = "") -> list[dict[str, Any]]:
    answer = await shop.send("GET", f"/v1/rejections?count=bounded{query and '&' + query}")
    assert answer.status == 200, answer.body
    found: list[dict[str, Any]] = answer.data
    meta = answer.body["meta"]
    assert meta["count_is_exact"] is True
    # What is counted is the whole list, and not the page.
    assert meta["count"] == len(found) or "cursor" in query or "limit" in query or meta["next_cursor"] is not None
    return found


def short(rows: Sequence[dict[str, Any]]) -> list[tuple[str, str, str, int]]:
    return [(row["door"], row["order_ref"], row["reason"], row["times"]) for row in rows]


class TestKeeping:
    async def test_each_door_keeps_what_it_refuses(self, shop: Shop, merchant: Merchant) -> None:
        """An event's refusal is an event besides; over HTTP nobody is told but who asked."""
        partner = await merchant.partner(shop.program_id)
        coupon = await merchant.coupon(shop.program_id)
        code = await merchant.code(shop.program_id, coupon, "OVER-1", expires_at=NOW, partner_id=partner)
        assert (await shop.redeem("over 1")).status == 409
        shop.decider.now += MINUTE
        assert (await shop.reserve("OVER-1")).status == 409
        shop.decider.now += MINUTE
        assert shop.announced() == []
        event = checkout(shop.program_id, "OVER-1", event="e-1", time=shop.decider.now)
        assert [each["event"] for each in await shop.decider.take(event)] == ["code.redemption_rejected"]
        rows = await refusals(shop)
        assert short(rows) == [
            ("event", "order-1", "code_expired", 1),
            ("reservation", "order-1", "code_expired", 1),
            ("redemption", "order-1", "code_expired", 1),
        ]
        assert {(row["code_id"], row["partner_id"]) for row in rows} == {(str(code), str(partner))}
        assert [(row["source"], row["event_id"]) for row in rows] == [("/shop", "e-1"), (None, None), (None, None)]
        assert (rows[2]["code"], rows[2]["detail"]) == ("over 1", (await shop.redeem("over 1")).body["detail"])

    async def test_a_repeat_over_http_raises_the_count(self, shop: Shop, merchant: Merchant) -> None:
        """However it is spelled, and also under an Idempotency-Key, which keeps no refusal."""
        for n, spelled in enumerate(("no-such", "NOSUCH", "no such", "nosuch")):
            refused = await shop.redeem(spelled, idempotency="k" if n == 0 else None)
            assert refused.body["code"] == "code_unknown"
            shop.decider.now += MINUTE
        await shop.redeem("other")
        await shop.redeem("no-such", ref="order-2")
        rows = await refusals(shop, "order_ref=order-1")
        assert short(rows) == [
            ("redemption", "order-1", "code_unknown", 1),
            ("redemption", "order-1", "code_unknown", 4),
        ]
        assert (rows[1]["code"], rows[1]["occurred_at"][:16], rows[1]["last_occurred_at"][:16]) == (
            "no-such",
            "2026-03-18T12:00",
            "2026-03-18T12:03",
        )

    async def test_of_many_at_once_none_is_lost_and_none_stands_in_the_way(
        self, shop: Shop, merchant: Merchant
    ) -> None:
        """Refused and accepted requests share transactions; the same refusal comes several times in one of them."""
        await merchant.code(shop.program_id, await merchant.coupon(shop.program_id), "TEN", limit=10)
        asks = [shop.redeem("TEN", ref=f"order-{n}") for n in range(10)]
        asks += [shop.redeem("NONE", ref="same") for _ in range(30)]
        asks += [shop.redeem("NONE", ref=f"other-{n}", idempotency=f"k-{n}") for n in range(10)]
        answers: list[Reply] = await asyncio.gather(*asks)
        assert [answer.status for answer in answers] == [201] * 10 + [409] * 40
        rows = await refusals(shop)
        assert sum(row["times"] for row in rows) == 40
        assert {row["times"] for row in rows if row["order_ref"] == "same"} == {30}
        assert len(rows) == 11

    async def test_what_cannot_be_a_code_is_found_by_its_text(self, shop: Shop) -> None:
        await shop.redeem("???")
        assert [row["code"] for row in await refusals(shop, "code=%3F%3F%3F")] == ["???"]

    async def test_validations_are_not_kept(self, shop: Shop, merchant: Merchant) -> None:
        """Anybody may ask with the key that stands in a page: what they guess must not fill the table."""
        public = await merchant.key(shop.program_id, "validate", kind="publishable")
        for key in (None, public):
            asked = {"codes": ["NONE"], "order_ref": "order-1"}
            assert (await shop.send("POST", "/v1/validations", asked, key=key)).status == 200
        assert await refusals(shop) == []
        assert (await shop.send("GET", "/v1/orders/order-1")).status == 404
        assert (await shop.send("GET", "/v1/rejections", key=public)).body["code"] == "scope_missing"

    async def test_what_a_process_of_the_release_before_writes_is_shown(
        self, shop: Shop, admin: "asyncpg.Connection[asyncpg.Record]"
    ) -> None:
        await admin.execute(
            "INSERT INTO redemption.rejections (id, program_id, order_ref, code, reason, detail, source, event_id, "
            "occurred_at, decided_at) VALUES (gen_random_uuid(), $1, 'o', 'C', 'code_used', '', '/shop', 'e', $2, $2)",
            shop.program_id,
            NOW,
        )
        [row] = await refusals(shop, "order_ref=o")
        assert (row["door"], row["times"], row["last_occurred_at"]) == ("event", 1, row["occurred_at"])


class TestListing:
    @pytest.fixture
    async def many(self, shop: Shop, merchant: Merchant) -> str:
        """Nine refusals, a minute apart; returns the partner of the middle three."""
        partner = await merchant.partner(shop.program_id)
        coupon = await merchant.coupon(shop.program_id)
        await merchant.code(shop.program_id, coupon, "OVER", expires_at=NOW, partner_id=partner)
        for n in range(3):
            await shop.redeem("NONE", ref=f"order-{n}")
            shop.decider.now += MINUTE
            await shop.reserve("OVER", ref=f"order-{n}")
            shop.decider.now += MINUTE
            await shop.decider.take(checkout(shop.program_id, "FALSE", ref=f"order-{n}", time=shop.decider.now))
            shop.decider.now += MINUTE
        return str(partner)

    @pytest.mark.parametrize(
        ("query", "count"),
        [
            ("", 9),
            ("order_ref=order-1", 3),
            ("order_ref=order-1&door=event", 1),
            ("code=ov-er", 3),
            ("code=over&order_ref=order-2", 1),
            ("reason=code_unknown", 6),
            ("door=reservation", 3),
            ("partner_id={partner}", 3),
            ("partner_id={partner}&reason=code_unknown", 0),
            ("partner_id=01920000-0000-7000-8000-000000000000", 0),
            ("from=2026-03-18T12:03:00Z&to=2026-03-18T12:06:00Z", 3),
            ("code=false&from=2026-03-18T12:05:00Z", 2),
            ("from=2026-03-18T13:03:00+01:00&to=2026-03-18T12:06:00%2B00:00", 3),
            ("order_ref=none", 0),
        ],
    )
    async def test_what_is_given_must_all_fit(self, shop: Shop, many: str, query: str, count: int) -> None:
        rows = await refusals(shop, query.format(partner=many))
        assert len(rows) == count
        assert rows == sorted(rows, key=lambda row: row["occurred_at"], reverse=True)
        paged, cursor = [], ""
        while cursor is not None:
            parts = [part for part in (query.format(partner=many), "limit=2", cursor and f"cursor={cursor}") if part]
            page = await shop.send("GET", f"/v1/rejections?{'&'.join(parts)}")
            paged += page.data
            cursor = page.body["meta"]["next_cursor"]
        assert paged == rows

    async def test_another_program_sees_none_of_them(self, shop: Shop, merchant: Merchant, many: str) -> None:
        other = await merchant.program()
        key = await merchant.key(other, "manage")
        for query in ("", "?order_ref=order-1", "?code=over", f"?partner_id={many}"):
            assert (await shop.send("GET", f"/v1/rejections{query}", key=key)).data == []
        assert (await shop.send("GET", "/v1/orders/order-1", key=key)).status == 404

    @pytest.mark.parametrize(
        "query", ["door=window", "reason=mood", "partner_id=x", "from=2026-03-18T12:00:00", "to=now", "cursor=x"]
    )
    async def test_what_cannot_be_meant_is_named(self, shop: Shop, query: str) -> None:
        answer = await shop.send("GET", f"/v1/rejections?{query}")
        assert (answer.status, list(answer.body["errors"])) == (422, [query.partition("=")[0]])


class TestAnOrder:
    async def test_shows_all_that_is_known_of_it(self, shop: Shop, merchant: Merchant) -> None:
        partner = await merchant.partner(shop.program_id)
        tenth = await merchant.coupon(shop.program_id, percent=1000)
        await merchant.restrict_coupon(tenth, commission_hundredths=1000)
        await merchant.code(shop.program_id, tenth, "TENTH", partner_id=partner)
        fifth = await merchant.coupon(shop.program_id, percent=2000)
        await merchant.code(shop.program_id, fifth, "FIFTH")
        order = {**USD, "items": [{"product_id": "a", "amount": 1500}, {"product_id": "b", "amount": 1000}]}
        assert (await shop.redeem("TENTH", "NONE", order=order)).status == 409
        await shop.redeem("TENTH", "FIFTH", order=order, attributes={"card_id": "x", "gift": True, "bad": []})
        shop.decider.now += MINUTE
        await shop.void_order(amount=500, reason="late", refund_ref="re-1")
        shown = (await shop.send("GET", "/v1/orders/order-1")).data
        assert shown["codes"] == ["FIFTH", "TENTH"] or shown["codes"] == ["TENTH", "FIFTH"]
        taken = 250 + 500
        commission = sum(each["commission"]["amount_minor"] for each in shown["redemptions"] if each["commission"])
        assert shown["totals"] == {
            "currency": "USD",
            "subtotal_minor": 2500,
            "discount_minor": taken,
            "total_minor": 2500 - taken,
            "refunded_minor": 500,
            "commission_minor": commission,
        }
        assert [(each["line"], each["product_id"], each["discount_minor"]) for each in shown["lines"]] == [
            (0, "a", taken * 3 // 5),
            (1, "b", taken * 2 // 5),
        ]
        assert shown["attributes"] == {"card_id": "x", "gift": True}
        assert [(each["amount"], each["reason"]) for each in shown["refunds"]] == [(500, "late")]
        assert short(shown["rejections"]) == [("redemption", "order-1", "code_unknown", 1)]
        assert (shown["reservation"], shown["rejections_cursor"]) == (None, None)

    async def test_what_was_to_be_paid_stays_beside_what_went_back(self, shop: Shop, merchant: Merchant) -> None:
        """A total without the codes looked as if a part of the payment had been kept."""
        await merchant.code(shop.program_id, await merchant.coupon(shop.program_id, percent=1000), "ONE", limit=None)
        await merchant.code(shop.program_id, await merchant.coupon(shop.program_id, percent=2000), "TWO", limit=None)
        order = {"currency": "USD", "subtotal": 1000}
        await shop.redeem("ONE", "TWO", order=order)
        shop.decider.now += MINUTE
        await shop.void_order(amount=700, refund_ref="re-1")
        shown = (await shop.send("GET", "/v1/orders/order-1")).data
        money = {name: shown["totals"][f"{name}_minor"] for name in ("subtotal", "discount", "total", "refunded")}
        assert (shown["codes"], money) == ([], {"subtotal": 1000, "discount": 0, "total": 700, "refunded": 700})
        (made,) = (await shop.redeem("ONE", ref="order-2", order=order)).data["redemptions"]
        assert (await shop.send("POST", f"/v1/redemptions/{made['id']}/void", {})).status == 200
        # The code was taken back, not the purchase: its price is the one without it.
        assert (await shop.send("GET", "/v1/orders/order-2")).data["totals"]["total_minor"] == 1000

    async def test_one_that_was_only_refused_is_known_by_that(self, shop: Shop) -> None:
        assert (await shop.send("GET", "/v1/orders/order-1")).status == 404
        await shop.redeem("NONE")
        shown = (await shop.send("GET", "/v1/orders/order-1")).data
        assert (shown["codes"], shown["redemptions"], len(shown["rejections"])) == ([], [], 1)
        assert set(shown["totals"].values()) == {None, 0}

    async def test_refused_tries_beyond_a_hundred_are_listed(self, shop: Shop) -> None:
        await asyncio.gather(*(shop.redeem(f"N{n:03}") for n in range(101)))
        shown = (await shop.send("GET", "/v1/orders/order-1")).data
        rest = await refusals(shop, f"order_ref=order-1&cursor={shown['rejections_cursor']}")
        codes = [row["code"] for row in (*shown["rejections"], *rest)]
        assert (len(shown["rejections"]), sorted(codes)) == (100, [f"N{n:03}" for n in range(101)])

    async def test_the_latest_purchase_says_what_it_is_about(self, shop: Shop, merchant: Merchant) -> None:
        """By event too, and what was taken back counts no more."""
        coupon = await merchant.coupon(shop.program_id, percent=1000)
        for text in ("ONE", "TWO"):
            await merchant.code(shop.program_id, coupon, text)
        await shop.decider.take(checkout(shop.program_id, "ONE", order=USD, attributes={"n": 1}))
        await shop.decider.take(taken_back(shop.program_id, time=NOW + MINUTE))
        shop.decider.now += 5 * MINUTE
        time = shop.decider.now
        await shop.decider.take(checkout(shop.program_id, "TWO", order={**USD, "subtotal": 900}, time=time))
        shown = (await shop.send("GET", "/v1/orders/order-1")).data
        assert (shown["attributes"], shown["codes"]) == ({"n": 1}, ["TWO"])
        assert (shown["totals"]["subtotal_minor"], shown["totals"]["total_minor"]) == (900, 810)
        held = await shop.reserve("NONE", ref="order-2")
        assert held.status == 409

    async def test_shows_what_it_holds(self, shop: Shop, merchant: Merchant) -> None:
        await merchant.code(shop.program_id, await merchant.coupon(shop.program_id), "ONCE")
        held = await shop.reserve("ONCE", order=USD)
        shown = (await shop.send("GET", "/v1/orders/order-1")).data
        assert (shown["reservation"], shown["codes"]) == (held.data, [])


async def test_the_same_refused_event_is_kept_once(shop: Shop) -> None:
    """A redelivery changes nothing; another event about the same order is another try."""
    body = checkout(shop.program_id, "NONE", event="e-1")
    await shop.decider.take(body)
    await shop.decider.take(body)
    await shop.decider.take(checkout(shop.program_id, "NONE", event=str(uuid.uuid4())))
    assert short(await refusals(shop)) == [("event", "order-1", "code_unknown", 1)] * 2
