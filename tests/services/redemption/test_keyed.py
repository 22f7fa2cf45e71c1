"""Redemptions and reservations under an Idempotency-Key, many in one transaction: each key one effect, one answer."""

import asyncio
import random
import uuid
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from typing import Any

import asyncpg
import pytest

from services.redemption.app import open_database
from tests.databases import Database
from tests.services.redemption.conftest import Decider, Reply, Shop, open_shop
from tests.services.redemption.merchant import Merchant

KEPT = "SELECT count(*) FROM redemption.idempotency_keys"
USES = "SELECT uses FROM redemption.code_counters"
END_THE_OTHERS = """
SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity
WHERE usename = 'mintwire_redemption' AND datname = current_database()
"""


@pytest.fixture
async def replicas(database: Database, merchant: Merchant) -> AsyncIterator[list[Shop]]:
    program = await merchant.program()
    key = await merchant.key(program, "checkout")
    async with open_database(database.redemption, 4) as one, open_database(database.redemption, 4) as two:
        first, second = Decider(one), Decider(two)
        async with open_shop(one, program, key, first) as here, open_shop(two, program, key, second) as there:
            yield [here, there]


async def redeem(shop: Shop, code: str, ref: str, key: str, **body: Any) -> Reply:
    return await shop.redeem(code, ref=ref, idempotency=key, **body)


async def reserve(shop: Shop, code: str, ref: str, key: str) -> Reply:
    return await shop.send("POST", "/v1/reservations", {"codes": [code], "order_ref": ref}, idempotency=key)


def counted(replies: Sequence[Reply]) -> Counter[tuple[int, str]]:
    return Counter(
        (reply.status, "replayed" if "Idempotent-Replayed" in reply.headers else reply.body.get("code", "fresh"))
        for reply in replies
    )


async def test_a_group_of_all_kinds_answers_each_by_its_key(replicas: list[Shop], merchant: Merchant) -> None:
    shop, other = replicas
    coupon = await merchant.coupon(shop.program_id, percent=1000)
    for text in ("ONE", "TWO", "GONE"):
        await merchant.code(shop.program_id, coupon, text, limit=1)
    assert (await shop.redeem("GONE", ref="first")).status == 201
    first = await asyncio.gather(
        redeem(shop, "ONE", "order-1", "a"),
        redeem(shop, "ONE", "order-1", "a"),
        reserve(shop, "TWO", "order-2", "a"),
        redeem(shop, "GONE", "order-3", "b"),
        shop.redeem("GONE", ref="order-4"),
    )
    assert counted(first) == {
        (201, "fresh"): 2,
        (409, "idempotency_in_progress"): 1,
        (409, "code_used"): 2,
    } or counted(first) == {(201, "fresh"): 2, (201, "replayed"): 1, (409, "code_used"): 2}
    again = await asyncio.gather(
        redeem(other, "ONE", "order-1", "a"),
        redeem(other, "TWO", "order-1", "a"),
        reserve(other, "TWO", "order-2", "a"),
        redeem(other, "GONE", "order-3", "b"),
        redeem(other, "TWO", "order-2", "c"),
    )
    assert [reply.status for reply in again] == [201, 422, 201, 409, 201]
    assert [reply.raw for reply in (again[0], again[2])] == [first[0].raw, first[2].raw]
    # What was refused, and did nothing, is judged again, and nothing of it was kept.
    assert again[1].body["code"] == "idempotency_key_reused"
    assert "Idempotent-Replayed" not in again[3].headers
    assert "Idempotent-Replayed" not in again[4].headers


async def until_answered(replicas: list[Shop], chance: random.Random, code: str, ref: str, key: str) -> Reply:
    """Ask until there is an answer, as a careful shop does."""
    for _ in range(1000):
        shop = chance.choice(replicas)
        ask = reserve if ref.startswith("held") else redeem
        reply = await ask(shop, code, ref, key)
        if reply.status != 503 and (reply.status, reply.body.get("code")) != (409, "idempotency_in_progress"):
            return reply
        await asyncio.sleep(chance.uniform(0, 0.02))
    raise AssertionError("no answer came")


@pytest.mark.parametrize("is_killed", [False, True], ids=["undisturbed", "connections killed"])
async def test_64_requests_of_16_keys_have_one_effect_and_one_answer_each(
    replicas: list[Shop], merchant: Merchant, admin: "asyncpg.Connection[asyncpg.Record]", *, is_killed: bool
) -> None:
    """Every answer for a key is the same, even if no client learned of the first commit."""
    coupon = await merchant.coupon(replicas[0].program_id, percent=1000)
    await merchant.code(replicas[0].program_id, coupon, "MANY", limit=1000)
    chance = random.Random(17)  # noqa: S311 - when to kill is no secret

    async def kill() -> None:
        for _ in range(5 if is_killed else 0):
            await asyncio.sleep(chance.uniform(0, 0.03))
            await admin.execute(END_THE_OTHERS)

    for turn in range(4):
        wanted = [f"{kind}-{turn}-{number}" for kind in ("held", "order") for number in range(8)] * 4
        chance.shuffle(wanted)
        asks = [until_answered(replicas, chance, "MANY", ref, f"key of {ref}") for ref in wanted]
        replies, _ = await asyncio.gather(asyncio.gather(*asks), kill())
        assert {reply.status for reply in replies} == {201}
        by_ref: dict[str, set[bytes]] = {}
        for ref, reply in zip(wanted, replies, strict=True):
            by_ref.setdefault(ref, set()).add(reply.raw)
        assert [len(raw) for raw in by_ref.values()] == [1] * 16
        assert len({reply.raw for reply in replies}) == 16
        assert sum("Idempotent-Replayed" not in reply.headers for reply in replies) <= 16
        assert await admin.fetchval(USES) == (turn + 1) * 8
        assert await admin.fetchval(KEPT) == (turn + 1) * 16


async def test_a_void_of_what_is_not_there_is_404_and_leaves_its_neighbours_alone(
    replicas: list[Shop], merchant: Merchant
) -> None:
    """The orders of what is to be voided are found for the whole group, so one that has none must not fail the rest."""
    shop, _ = replicas
    coupon = await merchant.coupon(shop.program_id, percent=1000)
    for text in ("ONE", "TWO"):
        await merchant.code(shop.program_id, coupon, text, limit=1)
    stands = (await shop.redeem("ONE", ref="order-1")).data["redemptions"][0]["id"]
    elsewhere = await merchant.program()
    await merchant.code(elsewhere, await merchant.coupon(elsewhere, percent=1000), "FOREIGN", limit=1)
    other_key = await merchant.key(elsewhere, "checkout")
    taken = await shop.send("POST", "/v1/redemptions", {"codes": ["FOREIGN"], "order_ref": "order-1"}, key=other_key)
    foreign = taken.data["redemptions"][0]["id"]
    asked = [
        shop.send("POST", f"/v1/redemptions/{id_}/void", {}, idempotency=f"void-{id_}")
        for id_ in (stands, uuid.uuid4(), foreign)
    ]
    voided, *missing, redeemed = await asyncio.gather(*asked, shop.redeem("TWO", ref="order-2"))
    assert (voided.status, voided.data["order_ref"], redeemed.status) == (200, "order-1", 201)
    assert [(reply.status, reply.body["code"]) for reply in missing] == [(404, "not_found")] * 2
    again = await shop.send("POST", f"/v1/redemptions/{stands}/void", {}, idempotency=f"void-{stands}")
    assert (again.raw, again.headers["Idempotent-Replayed"]) == (voided.raw, "true")
    reused = await shop.send("POST", f"/v1/redemptions/{uuid.uuid4()}/void", {}, idempotency=f"void-{stands}")
    assert (reused.status, reused.body["code"]) == (422, "idempotency_key_reused")
