"""`/v1/commission-statements`: who sees what, as JSON and as tables, and how payments are entered and taken back."""

import asyncio
import csv
import hashlib
import json
import uuid
from datetime import UTC, datetime, timedelta
from io import StringIO
from typing import Any

import pytest

from services.redemption.domain.commission_statements import closes_at, open_month
from shared.database.pool import Database as Pool
from shared.modes import in_mode
from tests.modes import leaks
from tests.services.redemption.commission_life import Life
from tests.services.redemption.conftest import Reply, Shop
from tests.services.redemption.merchant import Merchant, checkout
from tests.services.redemption.test_accounts import token

EUR = {"currency": "EUR", "subtotal": 1_000}
PAYMENT: dict[str, Any] = {"amount_minor": 90, "currency": "EUR", "reference": "transfer-1"}


@pytest.fixture
async def life(shop: Shop, merchant: Merchant, pool: Pool) -> Life:
    made = Life(shop, merchant, pool, 1)
    await made.stock()
    return made


@pytest.fixture
async def march(life: Life) -> dict[str, Any]:
    """The closed statement of a partner with two redemptions; in April it is open again."""
    for nth in range(2):
        await life.shop.redeem("CODE-0", ref=f"=order-{nth}", order=EUR, customer={"id": "c-1", "email": "a@b.example"})
    life.shop.decider.now = datetime(2026, 4, 5, tzinfo=UTC)
    await life.books()
    await life.shop.redeem("CODE-0", ref="april", order=EUR)
    found: dict[str, Any] = (await life.ask(month="2026-03")).data[0]
    return found


async def pay(life: Life, statement: dict[str, Any], path: str = "payment", *, key: str = "", **body: Any) -> Reply:
    url = f"/v1/commission-statements/{statement['id']}/{path}"
    return await life.shop.send("POST", url, body, key=key or life.manage)


class TestPayments:
    async def test_a_closed_statement_is_paid_once_and_names_who_did_it(
        self, life: Life, march: dict[str, Any]
    ) -> None:
        account = uuid.uuid4()
        first = await pay(life, march, key=token(life.shop, account_id=account), **PAYMENT)
        assert (first.status, first.data["state"]) == (201, "paid")
        [payment] = first.data["payments"]
        assert payment["actor"] == f"account {account}"
        assert {name: payment[name] for name in PAYMENT} == PAYMENT
        assert payment["paid_at"] == payment["created_at"]
        again = await pay(life, march, **PAYMENT)
        assert (again.status, again.data) == (200, first.data)
        for other in ({**PAYMENT, "amount_minor": 91}, {**PAYMENT, "reference": "transfer-2"}):
            refused = await pay(life, march, **other)
            assert (refused.status, refused.body["code"]) == (409, "already_paid")
        assert (await life.ask(month="2026-03")).data[0]["state"] == "paid"

    async def test_what_is_paid_was_not_paid_in_the_future(self, life: Life, march: dict[str, Any]) -> None:
        now = life.shop.decider.now
        late = await pay(life, march, paid_at=(now + timedelta(seconds=61)).isoformat(), **PAYMENT)
        assert (late.status, list(late.body["errors"])) == (422, ["paid_at"])
        assert (await life.ask(month="2026-03")).data[0]["state"] == "closed"
        clocks_differ = await pay(life, march, paid_at=(now + timedelta(seconds=60)).isoformat(), **PAYMENT)
        assert (clocks_differ.status, clocks_differ.data["state"]) == (201, "paid")

    async def test_a_payment_is_taken_back_with_a_reason_and_stays_on_record(
        self, life: Life, march: dict[str, Any]
    ) -> None:
        assert (await pay(life, march, "payment/take-back", reason="never")).body["code"] == "not_paid"
        await pay(life, march, paid_at="2026-04-02T10:00:00+02:00", **PAYMENT)
        for reason in ("It came back.", "Said again."):
            back = await pay(life, march, "payment/take-back", reason=reason)
            assert (back.status, back.data["state"]) == (200, "closed")
        [payment] = back.data["payments"]
        assert (payment["reason"], payment["paid_at"]) == ("It came back.", "2026-04-02T08:00:00.000000Z")
        assert payment["taken_back_by"].startswith("key ")
        second = await pay(life, march, **{**PAYMENT, "reference": "transfer-2"})
        assert (second.status, second.data["state"]) == (201, "paid")
        assert [each["reference"] for each in second.data["payments"]] == ["transfer-2", "transfer-1"]

    async def test_two_payments_at_one_time_leave_one(self, life: Life, march: dict[str, Any]) -> None:
        asks = [pay(life, march, **{**PAYMENT, "reference": f"transfer-{nth % 2}"}) for nth in range(8)]
        statuses = sorted([reply.status for reply in await asyncio.gather(*asks)])
        assert statuses == [200, 200, 200, 201, 409, 409, 409, 409]
        assert len((await life.ask(f"/{march['id']}")).data["payments"]) == 1

    async def test_an_idempotency_key_answers_a_repeat_alike(self, life: Life, march: dict[str, Any]) -> None:
        url = f"/v1/commission-statements/{march['id']}/payment"
        replies = [await life.shop.send("POST", url, PAYMENT, key=life.manage, idempotency="once") for _ in range(2)]
        assert [reply.status for reply in replies] == [201, 201]
        assert replies[1].headers["Idempotent-Replayed"] == "true"

    async def test_what_cannot_be_paid_is_refused(self, life: Life, march: dict[str, Any], merchant: Merchant) -> None:
        other = await pay(life, march, **{**PAYMENT, "currency": "USD"})
        assert (other.status, list(other.body["errors"])) == (422, ["currency"])
        april = (await life.ask(month="2026-04")).data[0]
        assert (await pay(life, april, **PAYMENT)).body["code"] == "statement_open"
        assert (await pay(life, {"id": uuid.uuid4()}, **PAYMENT)).status == 404
        for key in (life.shop.key, token(life.shop, grade="look")):
            assert (await pay(life, march, key=key, **PAYMENT)).status == 403
        stranger = await merchant.key(await merchant.program(), "manage")
        assert (await pay(life, march, key=stranger, **PAYMENT)).status == 404
        assert (await pay(life, march, "payment/take-back", key=stranger, reason="mine")).status == 404


class TestReading:
    async def test_a_partner_sees_its_own_and_nothing_of_customers(
        self, life: Life, march: dict[str, Any], merchant: Merchant
    ) -> None:
        await life.shop.redeem("CODE-1", ref="theirs", order=EUR)
        await pay(life, march, **PAYMENT)
        own, other = (token(life.shop, "partner", "look", partner_id=partner) for partner in life.partners)
        seen = await life.pages(key=own)
        assert [(each["month"], each["partner_id"]) for each in seen] == [
            ("2026-04", str(life.partners[0])),
            ("2026-03", str(life.partners[0])),
        ]
        assert await life.pages(key=own, partner_id=life.partners[1]) == []
        assert [each["month"] for each in await life.pages(key=other)] == ["2026-04"]
        for path in ("", "/lines", "/export"):
            assert (await life.ask(f"/{march['id']}{path}", other)).status == 404
        shown = (await life.ask(f"/{march['id']}", own)).data
        [payment] = shown["payments"]
        assert (payment["reference"], payment["actor"], payment["reason"]) == ("transfer-1", None, None)
        lines = await life.pages(f"/{march['id']}/lines", own)
        assert [line["order_ref"] for line in lines] == ["=order-0", "=order-1"]
        assert "c-1" not in json.dumps([shown, lines])
        assert (
            await pay(life, march, key=token(life.shop, "partner", partner_id=life.partners[0]), **PAYMENT)
        ).status == 403

    async def test_another_program_sees_nothing(self, life: Life, march: dict[str, Any], merchant: Merchant) -> None:
        stranger = await merchant.key(await merchant.program(), "manage")
        assert await life.pages(key=stranger) == []
        assert await life.pages(key=stranger, partner_id=life.partners[0]) == []
        april = (await life.ask(month="2026-04")).data[0]
        for statement in (march, april):
            for path in ("", "/lines", "/export"):
                assert (await life.ask(f"/{statement['id']}{path}", stranger)).status == 404

    async def test_test_mode_is_apart(self, life: Life, march: dict[str, Any], merchant: Merchant, admin: Any) -> None:
        program, partner = (in_mode(each, test=True) for each in (life.shop.program_id, life.partners[0]))
        coupon = await merchant.coupon(program, percent=1_000)
        await merchant.restrict_coupon(coupon, commission_hundredths=1_000)
        await merchant.code(program, coupon, "TRIAL", partner_id=partner, limit=None)
        live = await life.pages()
        for nth in range(2):
            order = {"currency": "EUR" if nth else "USD", "subtotal": 1_000}
            await life.shop.decider.take(
                checkout(
                    life.shop.program_id, "TRIAL", ref=f"t-{nth}", mode="test", time=life.shop.decider.now, order=order
                )
            )
        assert await life.pages() == live
        key = await merchant.key(program, "manage")
        seen = await life.pages(key=key)
        assert [(each["is_test"], each["total_minor"], each["partner_id"]) for each in seen] == [
            (True, 90, str(life.partners[0]))
        ] * 2
        assert not leaks(seen)
        assert (await life.ask(f"/{march['id']}", key)).status == 404

    async def test_tables_say_the_same_and_numbers_stay_numbers(self, life: Life, march: dict[str, Any]) -> None:
        await life.shop.void_order("=order-0")
        await life.books()
        listed = await table(life, "?limit=1")
        assert [row["month"] for row in listed] == ["2026-04"]
        [april] = (await life.ask(month="2026-04")).data
        assert listed[0]["total_minor"] == str(april["total_minor"])
        rows = await table(life, f"/{april['id']}/lines")
        # A negative amount is a number to a spreadsheet; a text that looks like a formula is not one.
        assert [(row["kind"], row["amount_minor"], row["order_ref"]) for row in rows] == [
            ("redemption", "45", "april"),
            ("reversal", "-45", "'=order-0"),
        ]

    @pytest.mark.parametrize("kind", ["csv", "ndjson"])
    async def test_the_file_of_a_statement_has_every_line_and_can_be_checked(
        self, life: Life, march: dict[str, Any], kind: str
    ) -> None:
        headers = {"Authorization": f"Bearer {life.manage}"}
        path = f"/v1/commission-statements/{march['id']}/export?format={kind}"
        async with life.shop.http.get(path, headers=headers) as response:
            raw = await response.read()
            assert f"statement-{march['id']}.{kind}" in response.headers["Content-Disposition"]
        *lines, last = raw.splitlines(keepends=True)
        sha256 = hashlib.sha256(b"".join(lines)).hexdigest()
        assert f"{sha256}" in last.decode()
        assert len(lines) == 2 + (kind == "csv")
        if kind == "ndjson":
            assert [json.loads(line)["amount_minor"] for line in lines] == [45, 45]

    @pytest.mark.parametrize(
        "query", ["month=2026-13", "month=March", "month=0000-01", "cursor=abc", "partner_id=x", "limit=0"]
    )
    async def test_what_cannot_be_read_is_named(self, life: Life, query: str) -> None:
        reply = await life.shop.send("GET", f"/v1/commission-statements?{query}", key=life.manage)
        assert (reply.status, list(reply.body["errors"])) == (422, [query.partition("=")[0]])


async def table(life: Life, path: str) -> list[dict[str, str]]:
    headers = {"Authorization": f"Bearer {life.manage}", "Accept": "text/csv"}
    async with life.shop.http.get(f"/v1/commission-statements{path}", headers=headers) as response:
        assert response.headers["Content-Type"].startswith("text/csv")
        assert ("limit" in path) == ("Link" in response.headers)
        return list(csv.DictReader(StringIO(await response.text())))


@pytest.mark.parametrize("zone", ["UTC", "Asia/Kathmandu", "America/St_Johns", "Pacific/Kiritimati"])
def test_the_open_month_is_the_one_whose_end_is_an_hour_ahead(zone: str) -> None:
    for month in range(1, 13):
        moment = datetime(2026, month, 15, tzinfo=UTC)
        first = open_month(moment, zone)
        closes = closes_at(first, zone)
        assert open_month(closes, zone) > first
        assert open_month(closes - datetime.resolution, zone) == first
