"""Quota: what moves it, who may, and that counters and ledger always say the same."""

import asyncio
import uuid
from typing import Any

from shared.events.envelope import decode_envelope
from tests.services.codes.conftest import Owner, Service

SUMS = """
SELECT kind, sum(amount)::bigint AS amount, sum(cardinality(code_ids))::bigint AS codes
FROM quota_ledger WHERE partner_id = $1 GROUP BY kind
"""
CODES = "SELECT count(*) FROM promotion_codes WHERE partner_id = $1"


async def ledger_sums(service: Service, partner: Owner) -> dict[str, int]:
    async with service.pool.connection() as connection:
        return {row["kind"]: row["amount"] for row in await connection.fetch(SUMS, uuid.UUID(partner.id))}


async def test_every_movement_is_in_the_ledger_and_the_sums_agree(
    service: Service, program: Owner, partner: Owner
) -> None:
    path = f"/v1/partners/{partner.id}/quota"
    assert (await service.generate(partner)).status == 200
    assert (await service.generate(partner)).status == 200
    await service.send("POST", path, program.key, {"amount": -3, "kind": "adjustment", "reason": "Typing mistake"})
    last = await service.send("POST", path, json={"amount": 1, "kind": "refund"})
    assert last.status == 201
    assert last.data == {"granted": 10, "adjusted": -3, "minted": 2, "refunded": 1, "remaining": 6, "is_test": False}
    assert (await service.send("GET", path, program.key)).data == last.data
    assert await ledger_sums(service, partner) == {"grant": 10, "adjustment": -3, "mint": 2, "refund": 1}
    ledger = (await service.send("GET", f"{path}/ledger", program.key)).data
    assert [(entry["kind"], entry["amount"]) for entry in ledger] == [
        ("refund", 1),
        ("adjustment", -3),
        ("mint", 1),
        ("mint", 1),
        ("grant", 10),
    ]
    assert [entry["actor"] for entry in ledger] == [
        "operator",
        f"key {program.key_id}",
        f"key {partner.key_id}",
        f"key {partner.key_id}",
        "operator",
    ]
    assert [len(entry["code_ids"]) for entry in ledger] == [0, 0, 1, 1, 0]
    assert ledger[1]["reason"] == "Typing mistake"


async def test_the_ledger_is_read_in_pages(service: Service, program: Owner, partner: Owner) -> None:
    for amount in (1, 2, 3):
        await service.move(partner.id, amount=amount)
    path = f"/v1/partners/{partner.id}/quota/ledger?limit=3"
    first = await service.send("GET", path, program.key)
    rest = await service.send("GET", f"{path}&cursor={first.body['meta']['next_cursor']}", program.key)
    assert [entry["amount"] for entry in first.data + rest.data] == [3, 2, 1, 10]


async def test_a_quota_never_becomes_negative(service: Service, program: Owner, partner: Owner) -> None:
    path = f"/v1/partners/{partner.id}/quota"
    await service.generate(partner)
    refused = await service.send("POST", path, program.key, {"amount": -10, "kind": "adjustment"})
    assert (refused.status, refused.body["code"]) == (409, "quota_would_be_negative")
    assert (await service.send("POST", path, program.key, {"amount": -9, "kind": "adjustment"})).status == 201
    exhausted = await service.generate(partner)
    assert (exhausted.status, exhausted.body) == (
        403,
        {"ok": False, "error": "No codes remaining", "error_code": "quota_exhausted"},
    )


async def test_an_adjustment_to_the_threshold_or_to_nothing_is_told_once_like_a_mint(
    service: Service, program: Owner
) -> None:
    """Under an idempotency key the repeat moves and tells nothing; a refusal tells nothing either."""
    partner = await service.partner(program, quota=10, quota_low_threshold=4)
    path = f"/v1/partners/{partner.id}/quota"
    told: list[list[str]] = []
    for amount in (-5, -1, -1, -3, -1, 5, -2, 2, -5):
        service.handed_over.clear()
        for _ in range(2):
            body = {"amount": amount, "kind": "adjustment"}
            await service.send("POST", path, program.key, body, idempotency=f"{len(told)}")
        told.append([event.type for event in service.handed_over])
    low, none = "quota.low", "quota.exhausted"
    assert told == [[], [low], [], [none], [], [], [low], [], [low, none]]
    about = {"program_id": program.id, "partner_id": partner.id}
    data = [decode_envelope(event.body).data for event in service.handed_over]
    assert data == [about | {"codes_remaining": 0, "threshold": 4}, about]
    async with service.pool.connection() as connection:
        pending = await connection.fetchval("SELECT count(*) FROM outbox JOIN events ON id = event_id")
    assert pending == 5


async def test_refunds_are_the_operator_s_and_never_exceed_the_mints(
    service: Service, program: Owner, partner: Owner
) -> None:
    path = f"/v1/partners/{partner.id}/quota"
    await service.generate(partner)
    refused = await service.send("POST", path, program.key, {"amount": 1, "kind": "refund"})
    assert (refused.status, refused.body["code"]) == (403, "operator_only")
    assert (await service.move(partner.id, amount=1, kind="refund")).status == 201
    again = await service.move(partner.id, amount=1, kind="refund")
    assert (again.status, again.body["code"]) == (409, "refund_exceeds_mints")


async def test_an_amount_that_cannot_be_is_named(service: Service, partner: Owner) -> None:
    for amount in (0, -1, 1.5, "5", True, 10**18, None):
        refused = await service.move(partner.id, amount=amount)
        assert (refused.status, list(refused.body["errors"])) == (422, ["amount"]), amount
    for kind, amount in (("refund", -1), ("adjustment", 0)):
        refused = await service.move(partner.id, amount=amount, kind=kind)
        assert (refused.status, list(refused.body["errors"])) == (422, ["amount"]), kind


async def test_grants_and_adjustments_at_once_lose_nothing(service: Service, second: Service, partner: Owner) -> None:
    moves: list[dict[str, Any]] = [{"amount": 5}, {"amount": -2, "kind": "adjustment"}] * 5
    replies = await asyncio.gather(
        *(process.move(partner.id, **move) for move in moves for process in (service, second))
    )
    assert [reply.status for reply in replies] == [201] * 20
    quota = (await service.send("GET", f"/v1/partners/{partner.id}/quota")).data
    assert quota == {"granted": 60, "adjusted": -20, "minted": 0, "refunded": 0, "remaining": 40, "is_test": False}
    assert await ledger_sums(service, partner) == {"grant": 60, "adjustment": -20}


async def test_mints_and_adjustments_at_once_share_what_there_is(
    service: Service, second: Service, partner: Owner
) -> None:
    """Ten codes remain; ten mints and five adjustments by -2 ask for twenty."""
    moves = [service.move(partner.id, amount=-2, kind="adjustment") for _ in range(5)]
    mints = [process.generate(partner) for process in (service, second) for _ in range(5)]
    replies = await asyncio.gather(*moves, *mints)
    quota = (await service.send("GET", f"/v1/partners/{partner.id}/quota")).data
    assert quota["remaining"] >= 0
    assert quota["minted"] == sum(reply.status == 200 for reply in replies)
    assert quota["adjusted"] == -2 * sum(reply.status == 201 for reply in replies)
    sums = await ledger_sums(service, partner)
    assert {"grant": sums.get("grant", 0), "adjustment": sums.get("adjustment", 0), "mint": sums.get("mint", 0)} == {
        "grant": quota["granted"],
        "adjustment": quota["adjusted"],
        "mint": quota["minted"],
    }
    async with service.pool.connection() as connection:
        assert await connection.fetchval(CODES, uuid.UUID(partner.id)) == quota["minted"]
