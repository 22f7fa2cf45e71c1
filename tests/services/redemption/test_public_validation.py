"""Validation by publishable keys: yes or no, nothing that tells one no from another, and an end to guessing."""

import asyncio
import uuid
from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Any

import asyncpg
import pytest

from services.redemption.domain.guesses import BUDGET, WINDOW
from shared.database.pool import Database as Pool
from tests.services.redemption.conftest import Decider, Reply, Shop, open_shop
from tests.services.redemption.merchant import NOW, Merchant, checkout

DAY = timedelta(days=1)
ORDER = {"currency": "USD", "subtotal": 5000, "items": [{"product_id": "card", "amount": 5000}]}
CUSTOMER = {"id": "customer-1", "email": "sarah@example.com", "is_first_order": False}
# Those that a request makes for itself, whatever is asked.
OWN_HEADERS = {"x-request-id", "date"}
REASONS = {
    "code_unknown",
    "code_inactive",
    "code_expired",
    "code_not_started",
    "code_used",
    "code_held",
    "coupon_inactive",
    "coupon_exhausted",
    "coupon_held",
    "partner_not_active",
    "customer_mismatch",
    "partner_only",
    "first_order_only",
    "minimum_not_met",
    "currency_mismatch",
    "product_not_eligible",
    "period_limit_reached",
    "budget_exhausted",
}


@pytest.fixture
async def public_key(shop: Shop, merchant: Merchant) -> str:
    return await merchant.key(shop.program_id, "validate", kind="publishable")


@pytest.fixture
async def replica(pool: Pool, shop: Shop, decider: Decider) -> AsyncIterator[Shop]:
    """Another process behind a proxy of ours."""
    async with open_shop(pool, shop.program_id, shop.key, decider, trusted_proxies=1) as opened:
        yield opened


@pytest.fixture
def statements(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What is asked of the database, in order."""
    seen: list[str] = []
    execute = asyncpg.Connection._execute  # type: ignore[attr-defined]  # every way to ask goes through it

    async def noting(self: Any, query: str, *arguments: Any, **more: Any) -> Any:
        seen.append(query)
        return await execute(self, query, *arguments, **more)

    monkeypatch.setattr(asyncpg.Connection, "_execute", noting)
    return seen


async def validate(shop: Shop, key: str, *codes: str, **body: Any) -> Reply:
    return await shop.send("POST", "/v1/validations", {"codes": list(codes), **body}, key=key)


async def make_refused(shop: Shop, merchant: Merchant) -> None:
    """Make a code for every reason there is; each bears its reason as its name."""
    program = shop.program_id
    plain = await merchant.coupon(program)

    async def code(reason: str, coupon: uuid.UUID = plain, **terms: Any) -> uuid.UUID:
        return await merchant.code(program, coupon, reason.replace("_", "-"), **terms)

    async def restricted(reason: str, limit: int | None = None, **columns: Any) -> None:
        coupon = await merchant.coupon(program, limit=limit)
        await merchant.restrict_coupon(coupon, **columns)
        await code(reason, coupon, limit=None)

    await code("code_inactive", is_active=False)
    await code("code_expired", expires_at=NOW - DAY)
    await code("code_not_started", starts_at=NOW + DAY)
    for reason in ("code_used", "code_held"):
        await code(reason)
    await code("coupon_inactive", await merchant.coupon(program, is_active=False))
    for reason in ("coupon_exhausted", "coupon_held"):
        await code(reason, await merchant.coupon(program, limit=1), limit=None)
    await code("partner_not_active", partner_id=await merchant.partner(program, "suspended"))
    mismatched = await code("customer_mismatch")
    await merchant.restrict_code(mismatched, is_limited_to_customer=True, customer_id="somebody-else")
    bound = await code("partner_only", partner_id=await merchant.partner(program))
    await merchant.restrict_code(bound, is_limited_to_partner=True)
    await code("currency_mismatch", await merchant.coupon(program, amount=500, currency="EUR"))
    await restricted("first_order_only", is_first_order_only=True)
    await restricted("minimum_not_met", minimum_minor=100_000, minimum_currency="USD")
    await restricted("product_not_eligible", product_ids=["another"])
    await restricted("period_limit_reached", daily_redemption_limit=1)
    await restricted("budget_exhausted", budget_minor=5000, budget_currency="USD")
    for reason in (
        "code_used",
        "coupon_exhausted",
        "period_limit_reached",
        "budget_exhausted",
    ):
        used = await shop.redeem(reason.replace("_", "-"), ref=f"used-{reason}", order=ORDER, customer=CUSTOMER)
        assert used.status == 201, used.body
    for reason in ("code_held", "coupon_held"):
        assert (await shop.reserve(reason.replace("_", "-"), ref=f"held-{reason}")).status == 201


async def test_no_refusal_can_be_told_from_another(
    shop: Shop, merchant: Merchant, public_key: str, admin: Any, statements: list[str]
) -> None:
    """By status, body, headers or what is asked of the database; the merchant is told which is which.

    Nor does it matter whether the order is named that has used the code, or holds it, or one that nobody has seen.
    """
    await make_refused(shop, merchant)
    await validate(shop, public_key, "warm-up", order=ORDER, customer=CUSTOMER)
    seen: dict[tuple[str, str | None], tuple[int, bytes, list[tuple[str, str]], tuple[str, ...]]] = {}
    for reason in [*sorted(REASONS), "no code at all: ¿?"]:
        code = reason.replace("_", "-")
        told = (await shop.validate(code, order=ORDER, customer=CUSTOMER)).data["codes"][0]
        assert told["reason"] == (reason if reason in REASONS else "code_unknown")
        for ref in (None, f"used-{reason}", f"held-{reason}", "order-of-nobody"):
            await admin.execute("DELETE FROM redemption.guesses")
            statements.clear()
            refused = await validate(shop, public_key, code, order=ORDER, customer=CUSTOMER, order_ref=ref)
            headers = sorted(
                (name, value) for name, value in refused.headers.items() if name.lower() not in OWN_HEADERS
            )
            seen[reason, ref] = refused.status, refused.raw, headers, tuple(statements)
    first = seen["code_unknown", None]
    assert first[0] == 200
    assert first[1] == (
        b'{"data":{"valid":false,"codes":[],"order":{"currency":null,"subtotal":null,"discount":null,"total":null},'
        b'"are_histories_counted":false}}'
    )
    for asked, answer in seen.items():
        assert answer == first, asked


async def test_nobody_s_history_answers_a_publishable_key(
    shop: Shop, merchant: Merchant, public_key: str, statements: list[str]
) -> None:
    """An address would say whether it has bought, an order's reference that a code is good and what it took off."""
    coupon = await merchant.coupon(shop.program_id, percent=1000)
    await merchant.restrict_coupon(coupon, customer_redemption_limit=1)
    await merchant.code(shop.program_id, coupon, "WELCOME", limit=None)
    askers = [
        {"order": ORDER, "order_ref": ref, "customer": customer}
        for ref in (None, "order-1", "order-2", "order-3")
        for customer in (CUSTOMER, {"email": "Sarah+shop@example.com"}, {"id": "customer-1"}, {"id": "another"})
    ]

    async def answers() -> list[tuple[bytes, tuple[str, ...]]]:
        found = []
        for body in askers:
            statements.clear()
            found.append(((await validate(shop, public_key, "welcome", **body)).raw, tuple(statements)))
        return found

    await answers()
    before = await answers()
    assert len(set(before)) == 1
    sold = {**ORDER, "subtotal": 9900}
    assert (await shop.redeem("welcome", ref="order-1", order=sold, customer=CUSTOMER)).status == 201
    by_mail = await shop.redeem("welcome", ref="order-2", order=sold, customer={"email": "sarah@example.com"})
    assert by_mail.body["code"] == "customer_limit_reached"
    assert (await shop.reserve("welcome", ref="order-3", customer={"id": "another"})).status == 201
    assert (await shop.validate("welcome", order=ORDER, customer=CUSTOMER)).data["codes"][0]["reason"] == (
        "customer_limit_reached"
    )
    assert await answers() == before


async def test_an_answer_says_whether_histories_are_counted(shop: Shop, merchant: Merchant, public_key: str) -> None:
    await merchant.code(shop.program_id, await merchant.coupon(shop.program_id), "SPRING")
    assert (await shop.validate("spring")).data["are_histories_counted"] is True
    for code in ("spring", "unknown"):
        assert (await validate(shop, public_key, code)).data["are_histories_counted"] is False


async def test_a_code_that_lacks_only_a_customer_says_so_and_is_no_guess(
    shop: Shop, merchant: Merchant, public_key: str
) -> None:
    """A guest's cart asks again with every change, and would lock its address out before anybody could sign in."""
    coupon = await merchant.coupon(shop.program_id, percent=1000)
    await merchant.restrict_coupon(coupon, customer_redemption_limit=1)
    await merchant.code(shop.program_id, coupon, "WELCOME", limit=None)
    await merchant.code(shop.program_id, await merchant.coupon(shop.program_id, percent=2000), "SPRING")
    for _ in range(BUDGET + 5):
        answer = await validate(shop, public_key, "welcome", "spring", order=ORDER)
        assert (answer.status, answer.data["valid"]) == (200, False)
    lacking, good = answer.data["codes"]
    assert (lacking["valid"], lacking["reason"], lacking["discount"]) == (False, "customer_required", None)
    assert (good["valid"], good["reason"], good["discount"]["applied_minor"]) == (True, None, 1000)
    assert {code[name] for code in (lacking, good) for name in ("code_id", "coupon_id", "partner_id")} == {None}
    signed_in = await validate(shop, public_key, "welcome", "spring", order=ORDER, customer={"id": "sarah"})
    assert signed_in.data["valid"]


async def test_a_code_that_lacks_more_than_a_customer_is_refused_as_any(
    shop: Shop, merchant: Merchant, public_key: str, admin: Any
) -> None:
    """Otherwise a guest would be told of codes that are used up, and could try strings beside one for free."""
    alike = (await validate(shop, public_key, "unknown", order=ORDER)).raw
    for name, columns in (("MINIMUM", {"minimum_minor": 100_000, "minimum_currency": "USD"}), ("PLAIN", {})):
        coupon = await merchant.coupon(shop.program_id)
        await merchant.restrict_coupon(coupon, customer_redemption_limit=1, **columns)
        await merchant.code(shop.program_id, coupon, name, limit=1)
    await shop.redeem("plain", ref="order-1", order=ORDER, customer=CUSTOMER)
    coupon = await merchant.coupon(shop.program_id)
    await merchant.restrict_coupon(coupon, customer_redemption_limit=1)
    await merchant.code(shop.program_id, coupon, "LACKING", limit=None)
    await admin.execute("DELETE FROM redemption.guesses")
    tries = (("minimum",), ("plain",), ("lacking", "unknown"), ("unknown", "lacking"), ("lacking", "minimum"))
    for number, codes in enumerate(tries, 1):
        assert (await validate(shop, public_key, *codes, order=ORDER)).raw == alike, codes
        assert await admin.fetchval("SELECT charged FROM redemption.guesses") == number, codes
    assert (await validate(shop, public_key, "lacking", order=ORDER)).data["codes"][0]["reason"] == "customer_required"
    assert await admin.fetchval("SELECT charged FROM redemption.guesses") == len(tries)


async def test_a_good_code_is_told_with_what_it_takes_off_and_without_the_merchants_ids(
    shop: Shop, merchant: Merchant, public_key: str
) -> None:
    coupon = await merchant.coupon(shop.program_id, percent=2500)
    await merchant.code(shop.program_id, coupon, "SPRING")
    answer = await validate(shop, public_key, "spring", order=ORDER)
    [code] = answer.data["codes"]
    assert (answer.data["valid"], answer.data["order"]["total"], code["discount"]["applied_minor"]) == (
        True,
        3750,
        1250,
    )
    assert (code["code_id"], code["coupon_id"], code["partner_id"]) == (None, None, None)
    mixed = await validate(shop, public_key, "spring", "unknown", order=ORDER)
    assert (mixed.data["valid"], mixed.data["codes"]) == (False, [])


async def test_refusals_use_up_a_budget_and_good_codes_do_not(
    shop: Shop, merchant: Merchant, public_key: str, decider: Decider
) -> None:
    await merchant.code(shop.program_id, await merchant.coupon(shop.program_id), "SPRING")
    for _ in range(BUDGET + 5):
        assert (await validate(shop, public_key, "spring")).data["valid"]
    for number in range(BUDGET):
        assert (await validate(shop, public_key, f"guess-{number}")).status == 200
    decider.now += timedelta(minutes=4)
    good, bad = await validate(shop, public_key, "spring"), await validate(shop, public_key, "guess")
    for late in (good, bad):
        assert (late.status, late.body["code"], late.headers["Retry-After"]) == (429, "too_many_guesses", "360")
    assert (await shop.validate("spring")).data["valid"]
    decider.now += WINDOW - timedelta(minutes=4)
    assert (await validate(shop, public_key, "spring")).data["valid"]


async def test_a_rush_over_replicas_gets_no_further_than_the_budget(shop: Shop, replica: Shop, public_key: str) -> None:
    """Guesses that are under way at once must not all be looked at before the first has failed."""
    body = {"codes": ["guess"]}
    asks = [shop.send("POST", "/v1/validations", body, key=public_key) for _ in range(BUDGET)]
    asks += [
        replica.send("POST", "/v1/validations", body, key=public_key, forwarded_for="6.6.6.6, 127.0.0.1")
        for _ in range(BUDGET)
    ]
    statuses = [reply.status for reply in await asyncio.gather(*asks)]
    assert (statuses.count(200), statuses.count(429)) == (BUDGET, BUDGET)
    other = await replica.send("POST", "/v1/validations", body, key=public_key, forwarded_for="198.51.100.9")
    assert other.status == 200


async def test_a_publishable_key_opens_nothing_else(shop: Shop, merchant: Merchant, public_key: str) -> None:
    code_id = await merchant.code(shop.program_id, await merchant.coupon(shop.program_id), "SPRING")
    body = {"codes": ["SPRING"], "order_ref": "order-1"}
    for method, path, sent in (
        ("POST", "/v1/redemptions", body),
        ("POST", "/v1/reservations", body),
        ("GET", "/v1/redemptions", None),
        ("POST", "/v1/orders/order-1/void", {}),
        ("GET", f"/v1/redemptions/{code_id}", None),
    ):
        refused = await shop.send(method, path, sent, key=public_key)
        assert (refused.status, refused.body["code"]) == (403, "scope_missing"), path


async def test_a_page_may_ask(shop: Shop, public_key: str) -> None:
    async with shop.http.options("/v1/validations", headers={"Origin": "https://shop.example"}) as asked:
        assert (asked.status, asked.headers["Access-Control-Allow-Methods"]) == (204, "POST")
    answer = await validate(shop, public_key, "guess")
    assert answer.headers["Access-Control-Allow-Origin"] == "*"
    assert "Retry-After" in answer.headers["Access-Control-Expose-Headers"]


async def test_validation_does_not_change_what_others_may_use(
    shop: Shop, merchant: Merchant, public_key: str, decider: Decider
) -> None:
    await merchant.code(shop.program_id, await merchant.coupon(shop.program_id, limit=1), "SPRING")
    assert (await validate(shop, public_key, "spring")).data["valid"]
    events = await decider.take(checkout(shop.program_id, "spring", ref="order-9"))
    assert [event["event"] for event in events] == ["code.redeemed", "coupon.exhausted"]
