"""A partner's own names for codes: the same name is the same code, at once, later, and in another process."""

import asyncio
from typing import Any

import asyncpg
import pytest

from tests.databases import Database
from tests.services.codes.bulk import work_through
from tests.services.codes.conftest import Owner, Reply, Service

GENERATE = "/api/partners/codes/generate"
REFERENCED = "SELECT count(*) FROM codes.promotion_codes WHERE reference IS NOT NULL"


async def mint(service: Service, partner: Owner, reference: str | None, idempotency: str | None = None) -> Reply:
    body = {} if reference is None else {"reference": reference}
    return await service.send("POST", GENERATE, partner.key, body, idempotency=idempotency)


async def minted(service: Service, partner: Owner) -> tuple[int, int]:
    quota = (await service.send("GET", "/api/partners/quota", partner.key)).body
    return quota["minted"], quota["codes_remaining"]


async def limited(service: Service, program: Owner, partner: Owner, limit: int) -> None:
    path = f"/v1/partners/{partner.id}/keys/{partner.key_id}"
    assert (await service.send("PATCH", path, program.key, {"rate_limit_per_minute": limit})).status == 200


async def test_the_answer_adds_to_the_documented_one_at_its_end(service: Service, partner: Owner) -> None:
    """Who says nothing is answered as ever."""
    named = await mint(service, partner, "order-1")
    assert list(named.body) == ["ok", "code", "url", "expires_at", "reference", "codes_remaining"]
    assert (named.body["reference"], named.body["codes_remaining"]) == ("order-1", 9)
    for unnamed in (None, {"reference": None}):
        answer = await service.send("POST", GENERATE, partner.key, unnamed)
        assert list(answer.body) == ["ok", "code", "url", "expires_at"]


async def test_the_same_reference_is_the_same_code_and_charges_nothing(
    service: Service, second: Service, program: Owner, partner: Owner
) -> None:
    await limited(service, program, partner, 2)
    first = await mint(service, partner, "order-1")
    assert "RateLimit" in first.headers
    for process in (service, second) * 3:
        again = await mint(process, partner, "order-1")
        assert (again.status, again.body) == (200, first.body)
        assert "RateLimit" not in again.headers
    assert (await mint(second, partner, "order-2")).status == 200
    assert (await mint(service, partner, "order-3")).status == 429
    assert await minted(service, partner) == (2, 8)
    assert (await mint(service, partner, "order-1")).body == {**first.body, "codes_remaining": 8}


async def test_it_is_the_same_code_whatever_has_become_of_it(service: Service, program: Owner, partner: Owner) -> None:
    code = (await mint(service, partner, "order-1")).body["code"]
    service.clock.advance(hours=49)
    assert (await mint(service, partner, "order-1")).body["code"] == code
    path = f"/v1/promotion-codes/{code}"
    assert (await service.send("PATCH", path, program.key, {"active": False})).status == 200
    assert (await mint(service, partner, "order-1")).body["code"] == code
    await service.move(partner.id, amount=-9, kind="adjustment")
    assert (await mint(service, partner, "order-1")).body == {
        **(await mint(service, partner, "order-1")).body,
        "code": code,
        "codes_remaining": 0,
    }
    assert (await mint(service, partner, "order-2")).body["error"] == "No codes remaining"
    assert (await service.send("DELETE", path, program.key)).status == 200
    await service.move(partner.id, amount=1)
    assert (await mint(service, partner, "order-1")).body["code"] != code


@pytest.mark.parametrize("idempotency", [None, "order-1", "other"])
@pytest.mark.parametrize("reference", [None, "order-1"])
async def test_a_partner_that_is_not_active_gets_no_code_again(
    service: Service, second: Service, program: Owner, partner: Owner, reference: str | None, idempotency: str | None
) -> None:
    """Whatever it repeats, in any process and group; no refusal is kept, and the code is there once it is active."""
    path = f"/v1/partners/{partner.id}"
    first = await mint(service, partner, reference, "order-1")
    assert first.status == 200
    assert (await service.send("POST", f"{path}/suspend", program.key)).status == 200
    for process in (service, second):
        replies = [await mint(process, partner, reference, idempotency)]
        replies += await asyncio.gather(*(mint(process, partner, reference) for _ in range(10)))
        for refused in replies:
            assert (refused.status, refused.body["error"]) == (403, "Partner account is not active")
            assert "Idempotent-Replayed" not in refused.headers
    assert await minted(service, partner) == (1, 9)
    assert (await service.send("POST", f"{path}/approve", program.key)).status == 200
    again = await mint(service, partner, reference, idempotency)
    assert again.status == 200
    assert (again.body == first.body) == (reference is not None or idempotency == "order-1")
    assert ("Idempotent-Replayed" in again.headers) == (idempotency == "order-1")


async def test_an_archived_partner_gets_no_code_again(service: Service, program: Owner, partner: Owner) -> None:
    """Its keys may be cached for some seconds."""
    for reference, idempotency in ((None, "a"), ("order-1", None)):
        assert (await mint(service, partner, reference, idempotency)).status == 200
    assert (await service.send("DELETE", f"/v1/partners/{partner.id}", program.key)).status == 200
    for reference, idempotency in ((None, "a"), ("order-1", None)):
        assert (await mint(service, partner, reference, idempotency)).status in (401, 403)
    service.clock.advance(seconds=6)
    for reference, idempotency in ((None, "a"), ("order-1", None)):
        assert (await mint(service, partner, reference, idempotency)).status == 401


async def test_partners_do_not_share_references(service: Service, program: Owner, partner: Owner) -> None:
    sibling = await service.partner(program, name="Sibling", quota=1)
    codes = {(await mint(service, each, "order-1")).body["code"] for each in (partner, sibling)}
    assert len(codes) == 2
    found = await service.send("GET", "/api/partners/codes?reference=order-1", sibling.key)
    assert [code["reference"] for code in found.body["codes"]] == ["order-1"]
    assert {code["code"] for code in found.body["codes"]} < codes


async def test_of_many_at_once_over_replicas_each_name_has_one_code(
    service: Service, second: Service, program: Owner, partner: Owner
) -> None:
    """Within one group, across processes, beside mints without a name, and under Idempotency-Keys."""
    await service.move(partner.id, amount=90)
    asks = []
    for n in range(40):
        process = (service, second)[n % 2]
        asks.append(mint(process, partner, f"order-{n // 8}"))
        asks.append(mint(process, partner, None))
        if n % 4 == 0:
            asks.append(mint(process, partner, f"order-{n // 8}", idempotency=f"k-{n}"))
    replies = await asyncio.gather(*asks)
    assert {reply.status for reply in replies} == {200}
    by_name: dict[str, set[str]] = {}
    unnamed = []
    for reply in replies:
        if "reference" in reply.body:
            by_name.setdefault(reply.body["reference"], set()).add(reply.body["code"])
        else:
            unnamed.append(reply.body["code"])
    assert {name: len(codes) for name, codes in by_name.items()} == {f"order-{n}": 1 for n in range(5)}
    assert len(set(unnamed)) == 40
    assert await minted(service, partner) == (45, 55)
    events = [event for process in (service, second) for event in process.handed_over]
    assert len({event.id for event in events}) == len(events)


async def test_a_refusal_of_one_is_judged_again_for_another_key(
    service: Service, program: Owner, partner: Owner
) -> None:
    """In one group, the key that has used up its window is refused, however often; the partner's other key mints."""
    other = await service.with_key(f"/v1/partners/{partner.id}", purpose="other")
    await limited(service, program, partner, 1)
    assert (await service.generate(partner)).status == 200
    replies = await asyncio.gather(
        *(mint(service, each, "order-1") for each in (partner, partner, other, partner, other))
    )
    refused = [reply.status for reply in replies].count(429)
    assert {reply.body["code"] for reply in replies if reply.status == 200} == {
        (await mint(service, other, "order-1")).body["code"]
    }
    assert refused >= 1
    assert (await minted(service, partner))[0] == 2


async def test_an_exhausted_quota_refuses_all_of_a_name_and_charges_one(
    service: Service, program: Owner, partner: Owner
) -> None:
    empty = await service.partner(program, name="Empty")
    replies = await asyncio.gather(*(mint(service, empty, "order-1") for _ in range(20)))
    assert {(reply.status, reply.body["error"]) for reply in replies} == {(403, "No codes remaining")}
    assert (await mint(service, partner, "order-1")).status == 200


async def test_a_code_is_found_by_its_reference(service: Service, program: Owner, partner: Owner) -> None:
    made = (await mint(service, partner, "Order 1/ä")).body
    await mint(service, partner, "order-2")

    async def found(query: str) -> list[Any]:
        answer = await service.send("GET", f"/api/partners/codes?{query}", partner.key)
        assert (answer.status, answer.body["next_cursor"]) == (200, None)
        return [code["code"] for code in answer.body["codes"]]

    assert await found("reference=Order%201%2F%C3%A4") == [made["code"]]
    assert await found("reference=Order%201%2F%C3%A4&status=redeemed") == []
    assert await found("reference=none") == []
    shown = await service.send("GET", f"/api/partners/codes/{made['code']}", partner.key)
    assert shown.body["reference"] == "Order 1/ä"
    for path in (f"/v1/promotion-codes/{made['code']}", "/v1/promotion-codes"):
        listed = (await service.send("GET", path, program.key)).data
        one = listed if isinstance(listed, dict) else next(each for each in listed if each["code"] == made["code"])
        assert one["reference"] == "Order 1/ä"


@pytest.mark.parametrize("door", ["patch", "bulk"])
async def test_a_code_that_goes_to_another_partner_leaves_its_name_behind(
    service: Service, program: Owner, partner: Owner, door: str
) -> None:
    """It would stand in the way of the other's own name, or show one partner what another calls things."""
    sibling = await service.partner(program, name="Sibling", quota=1)
    mine, theirs = [(await mint(service, each, "order-1")).body["code"] for each in (partner, sibling)]
    if door == "patch":
        kept = {"limit_to_specific_partner": True, "coupon_specific_partners": {"id": partner.id}}
        for members in (kept, {**kept, "coupon_specific_partners": {"id": sibling.id}}):
            assert (await mint(service, partner, "order-1")).body["code"] == mine
            moved = await service.send("PATCH", f"/v1/promotion-codes/{mine}", program.key, members)
            assert moved.status == 200, moved.body
            assert moved.data["reference"] == ("order-1" if members == kept else None)
    else:
        body = {"action": "assign", "partner_id": sibling.id, "filter": {"partner_id": partner.id}}
        assert (await service.send("POST", "/v1/promotion-codes/bulk", program.key, body)).status in (200, 202)
        await work_through(service)
    assert (await mint(service, sibling, "order-1")).body["code"] == theirs
    shown = await service.send("GET", f"/api/partners/codes/{mine}", sibling.key)
    assert shown.body["reference"] is None
    assert (await mint(service, partner, "order-1")).body["code"] not in (mine, theirs)


@pytest.mark.parametrize("reference", ["", " \t", "x" * 256, 7.5, True, ["a"], {}])
async def test_what_cannot_be_a_reference_is_named(service: Service, partner: Owner, reference: Any) -> None:
    refused = await service.send("POST", GENERATE, partner.key, {"reference": reference})
    assert (refused.status, list(refused.body["errors"])) == (422, ["reference"])
    assert await minted(service, partner) == (0, 10)


async def test_the_database_has_one_live_code_per_name(service: Service, partner: Owner, database: Database) -> None:
    """The guard behind the statements."""
    made = (await mint(service, partner, "order-1")).body["code"]
    other = (await service.generate(partner)).body["code"]
    connection = await asyncpg.connect(database.admin)
    try:
        with pytest.raises(asyncpg.UniqueViolationError, match="promotion_codes_reference"):
            await connection.execute("UPDATE codes.promotion_codes SET reference = 'order-1' WHERE code = $1", other)
        await connection.execute("UPDATE codes.promotion_codes SET archived_at = now() WHERE code = $1", made)
        await connection.execute("UPDATE codes.promotion_codes SET reference = 'order-1' WHERE code = $1", other)
        assert await connection.fetchval(REFERENCED) == 2
    finally:
        await connection.close()
    assert (await mint(service, partner, "order-1")).body["code"] == other
