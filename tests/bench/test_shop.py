"""The bare programs that the product is measured beside: their tables fit the product's, and they keep its promises."""

import json
import uuid
from datetime import UTC, datetime
from typing import Any

import asyncpg
import pytest

from bench.bare import mint, shop_sql
from bench.bare.checkout import Refused, decoded, order_of
from bench.bare.shop import Ask, decide
from tests.databases import Database

PROGRAM = COUPON = uuid.UUID(int=1)
PARTNER = uuid.UUID(int=2)
_FILL = """
WITH program AS (INSERT INTO bare.shop_programs VALUES ($1, 10, 10000, true, '{}')),
     partner AS (INSERT INTO bare.shop_partners VALUES ($2, 'active', 'p@partner.example', 100, 0)),
     coupon AS (INSERT INTO bare.shop_coupons (id, uuid_code, name, is_active, percent, combination, release_policy,
                                               commission, customer_limit, use_limit)
                VALUES ($1, 'c', 'C', true, 1000, 'any', 'always', 1500, 2, 5))
INSERT INTO bare.shop_codes (id, program_id, coupon_id, partner_id, code, canonical, is_active, use_limit, created_at)
SELECT gen_random_uuid(), $1, $1, $2, c, c, true, 1, now() FROM unnest('{A1,B1,C1,D1}'::text[]) AS c
"""


@pytest.fixture
async def shop(database: Database) -> Any:
    connection = await asyncpg.connect(database.admin)
    await connection.execute(shop_sql.SCHEMA)
    await connection.execute(_FILL, PROGRAM, PARTNER)
    yield connection
    await connection.close()


def ask(kind: str, order_ref: str, *codes: str, **members: Any) -> Ask:
    items = [{"product_id": "x", "amount": 333}, {"product_id": "y", "amount": 667}]
    order = {"currency": "EUR", "subtotal": 1000, "items": items}
    body = {"codes": list(codes), "order_ref": order_ref, "order": order, "customer": {"id": order_ref}, **members}
    return Ask(kind, uuid.uuid4(), PROGRAM, order_of(body), datetime.now(UTC))


def voiding(redemption_id: str) -> Ask:
    order = {"id": uuid.UUID(redemption_id), "reason": "fraud", "release": None, "customer": None}
    return Ask("void", uuid.uuid4(), PROGRAM, order, datetime.now(UTC))


async def answer(shop: Any, *asks: Ask) -> list[Any]:
    async with shop.transaction():
        answers, _ = await decide(shop, asks)
    return answers


async def test_the_bare_shop_redeems_once_spreads_the_discount_and_pays_a_commission(shop: Any) -> None:
    """A bare program that skipped this would make the product look slower than it is, or faster."""
    [(status, made)] = await answer(shop, ask("redeem", "1", "A1"))
    [(again, same)] = await answer(shop, ask("redeem", "1", "A1"))
    [(refused, reason)] = await answer(shop, ask("redeem", "2", "A1"))
    [redemption] = made["redemptions"]
    assert (status, again, refused, reason) == (201, 200, 409, "code_used")
    assert same["redemptions"][0]["id"] == redemption["id"]
    assert [line["discount_minor"] for line in redemption["discount"]["lines"]] == [33, 67]
    assert redemption["commission"]["amount_minor"] == 135
    assert await shop.fetchval("SELECT sum(commission_minor) FROM bare.shop_stats") == 135
    assert await shop.fetchval("SELECT count(*) FROM bare.shop_outbox") == 1


async def test_the_bare_shop_holds_and_gives_back(shop: Any) -> None:
    held, other = await answer(shop, ask("hold", "1", "B1"), ask("redeem", "2", "B1"))
    [(own, made)] = await answer(shop, ask("redeem", "1", "B1"))
    assert (held[0], other, own) == (201, (409, "code_held"), 201)
    redemption_id = made["redemptions"][0]["id"]
    [(status, voided)] = await answer(shop, voiding(redemption_id))
    assert (status, voided["status"], voided["is_counted"]) == (200, "voided", False)
    [(_, again)] = await answer(shop, voiding(redemption_id))
    assert (again["voided_at"], again["is_counted"]) == (voided["voided_at"], False)
    assert await shop.fetchval("SELECT sum(uses) FROM bare.shop_counters") == 0
    assert (await answer(shop, ask("redeem", "3", "B1")))[0][0] == 201


async def test_the_bare_shop_knows_a_customer_by_id_and_mailbox(shop: Any) -> None:
    whole = {"id": "7", "email": "a@b.example"}
    first = await answer(shop, ask("redeem", "1", "A1", customer=whole), ask("redeem", "2", "B1", customer=whole))
    assert [status for status, _ in first] == [201, 201]
    for customer in (whole, {"id": "7"}, {"email": "A@b.example"}):
        assert await answer(shop, ask("redeem", "3", "C1", customer=customer)) == [(409, "customer_limit_reached")]
    assert (await answer(shop, ask("redeem", "4", "D1", customer={"id": "8"})))[0][0] == 201


@pytest.mark.parametrize(
    "raw", ['{"codes": ["A"], "codes": ["B"]}', '{"codes": [1]}', '{"codes": [NaN]}', '{"codes": []}']
)
def test_the_bare_shop_checks_a_body(raw: str) -> None:
    with pytest.raises(Refused):
        order_of(decoded(raw.encode()))


async def test_the_bare_mint_writes_what_a_mint_leaves(database: Database) -> None:
    connection = await asyncpg.connect(database.admin)
    await connection.execute(mint.SCHEMA)
    key, partner = uuid.uuid4(), uuid.uuid4()
    await connection.execute("INSERT INTO bare.whole_partners VALUES ($1, 'P', true, 2)", partner)
    await connection.execute("INSERT INTO bare.whole_keys VALUES ($1, 'h', $2, '{codes:generate}', 10)", key, partner)

    async def minted(*parts: str) -> list[Any]:
        new = [uuid.uuid4() for _ in parts]
        of_key = [[key], [uuid.uuid4()], [uuid.uuid4()]]
        return await connection.fetch(mint.WHOLE, [key] * len(parts), new, parts, *of_key, PROGRAM, datetime.now(UTC))

    rows = await minted("AAAA", "BBBB")
    assert [row["code"] for row in rows if row["code"] is not None] == ["P-AAAA", "P-BBBB"]
    [event] = [json.loads(row["body"]) for row in rows if row["body"] is not None]
    assert (event["data"]["codes"], event["data"]["codes_remaining"]) == (["AAAA", "BBBB"], 0)
    assert await connection.fetchval("SELECT minted FROM bare.mint_stats") == 2
    assert await connection.fetchval("SELECT cardinality(code_ids) FROM bare.ledger") == 2
    assert await minted("CCCC") == []
    await connection.close()
