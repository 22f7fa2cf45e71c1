"""Idempotency-Key: one effect and one answer, however often and however simultaneously a request comes."""

import asyncio
import uuid
from collections.abc import Awaitable, Callable
from datetime import timedelta

from shared.database import retention
from tests.services.codes.conftest import OPERATOR_TOKEN, Owner, Reply, Service
from tests.services.codes.coupon_requests import SHORTEST

KEPT = "SELECT route, status, body, is_encrypted FROM idempotency_keys ORDER BY route"
ADVISORY_LOCKS = """
SELECT count(*) FROM pg_locks WHERE locktype = 'advisory'
  AND database = (SELECT oid FROM pg_database WHERE datname = current_database())
"""
PARTNERS = "SELECT count(*) FROM partners WHERE program_id = $1"


async def test_a_repeat_gets_the_same_bytes_and_has_no_effect(service: Service, program: Owner) -> None:
    body = {"name": "Acme"}
    first = await service.send("POST", "/v1/partners", program.key, body, idempotency="a")
    service.clock.advance(hours=71, minutes=59)
    again = await service.send("POST", "/v1/partners", program.key, body, idempotency="a")
    assert (again.status, again.raw) == (201, first.raw)
    assert "Idempotent-Replayed" not in first.headers
    assert again.headers["Idempotent-Replayed"] == "true"
    assert again.headers["Content-Type"] == first.headers["Content-Type"]
    async with service.pool.connection() as connection:
        assert await connection.fetchval(PARTNERS, uuid.UUID(program.id)) == 1


async def test_after_three_days_the_key_is_free_again(service: Service, program: Owner) -> None:
    first = await service.send("POST", "/v1/partners", program.key, {"name": "One"}, idempotency="a")
    service.clock.advance(hours=72)
    second = await service.send("POST", "/v1/partners", program.key, {"name": "Two"}, idempotency="a")
    assert (second.status, second.data["name"]) == (201, "Two")
    assert first.data["id"] != second.data["id"]
    again = await service.send("POST", "/v1/partners", program.key, {"name": "Two"}, idempotency="a")
    assert again.raw == second.raw


async def test_another_body_or_path_under_the_same_key_is_refused(
    service: Service, program: Owner, partner: Owner
) -> None:
    await service.send("POST", "/v1/partners", program.key, {"name": "One"}, idempotency="a")
    other = await service.send("POST", "/v1/partners", program.key, {"name": "Two"}, idempotency="a")
    assert (other.status, other.body["code"]) == (422, "idempotency_key_reused")
    sibling = await service.partner(program, name="Sibling")
    path = "/v1/partners/{}/suspend"
    assert (await service.send("POST", path.format(partner.id), program.key, idempotency="b")).status == 200
    other = await service.send("POST", path.format(sibling.id), program.key, idempotency="b")
    assert (other.status, other.body["code"]) == (422, "idempotency_key_reused")


async def test_no_body_and_one_without_members_are_one_request(
    service: Service, program: Owner, partner: Owner
) -> None:
    """A client that writes `{}` only when it repeats must not be refused."""
    routes = (("/api/partners/codes/generate", partner.key), (f"/v1/partners/{partner.id}/suspend", program.key))
    for path, key in routes:
        header = "X-Partner-Key" if path.startswith("/api") else "Authorization"
        headers = {header: key if header == "X-Partner-Key" else f"Bearer {key}", "Idempotency-Key": "k"}
        headers["Content-Type"] = "application/json"
        answers = []
        for sent in (b"", b"{}", b" { }\n"):
            async with service.http.post(path, data=sent, headers=headers) as answer:
                answers.append((answer.status, await answer.read()))
        assert answers[0][0] == 200, answers
        assert answers == [answers[0]] * 3


async def test_owners_and_routes_do_not_share_keys(service: Service, program: Owner, partner: Owner) -> None:
    other = await service.program(name="Other")
    for owner in (program, other):
        made = await service.send("POST", "/v1/partners", owner.key, {"name": "Same"}, idempotency="a")
        assert (made.status, "Idempotent-Replayed" in made.headers) == (201, False)
    granted = await service.send(
        "POST", f"/v1/partners/{partner.id}/quota", program.key, {"amount": 1}, idempotency="a"
    )
    assert (granted.status, "Idempotent-Replayed" in granted.headers) == (201, False)


async def test_a_conflict_that_has_passed_does_not_stand_in_the_way(
    service: Service, program: Owner, partner: Owner
) -> None:
    path = f"/v1/partners/{partner.id}/quota"
    move = {"amount": -11, "kind": "adjustment"}
    refused = await service.send("POST", path, program.key, move, idempotency="a")
    assert (refused.status, refused.body["code"]) == (409, "quota_would_be_negative")
    await service.move(partner.id, amount=5)
    moved = await service.send("POST", path, program.key, move, idempotency="a")
    assert (moved.status, "Idempotent-Replayed" in moved.headers) == (201, False)
    again = await service.send("POST", path, program.key, move, idempotency="a")
    assert (again.status, again.raw) == (201, moved.raw)


async def test_a_string_that_has_become_free_is_taken_under_the_same_key(service: Service, program: Owner) -> None:
    coupon = dict(SHORTEST, uuid_code="spring")
    first = await service.send("POST", "/v1/coupons", program.key, coupon)
    assert first.status == 201
    refused = await service.send("POST", "/v1/coupons", program.key, coupon, idempotency="a")
    assert (refused.status, refused.body["code"]) == (422, "uuid_code_taken")
    assert (await service.send("DELETE", "/v1/coupons/spring", program.key)).status < 300
    made = await service.send("POST", "/v1/coupons", program.key, coupon, idempotency="a")
    assert (made.status, "Idempotent-Replayed" in made.headers) == (201, False)


async def test_a_partner_that_is_approved_mints_under_the_key_that_was_refused(
    service: Service, program: Owner
) -> None:
    pending = await service.partner(program, name="Pending")
    await service.move(pending.id, amount=1)
    path = f"/v1/partners/{pending.id}"
    assert (await service.send("POST", f"{path}/suspend", program.key)).status == 200
    refused = await service.generate(pending, idempotency="a")
    assert (refused.status, refused.body["error_code"]) == (403, "partner_inactive")
    assert (await service.send("POST", f"{path}/approve", program.key)).status == 200
    assert (await service.generate(pending, idempotency="a")).status == 200


async def test_what_says_nothing_about_the_effect_is_judged_anew(
    service: Service, program: Owner, partner: Owner
) -> None:
    """401, 422 and 429 are not kept: the request that is put right must not meet its old refusal."""
    path = f"/v1/partners/{partner.id}/keys"
    wrong = await service.send("POST", path, program.key, {"scopes": ["manage"]}, idempotency="a")
    assert wrong.status == 422
    right = await service.send("POST", path, program.key, {"scopes": ["webhooks"]}, idempotency="a")
    assert right.status == 201
    limit = f"{path}/{partner.key_id}"
    await service.send("PATCH", limit, program.key, {"rate_limit_per_minute": 1})
    assert (await service.generate(partner)).status == 200
    assert (await service.generate(partner, idempotency="b")).status == 429
    await service.send("PATCH", limit, program.key, {"rate_limit_per_minute": None})
    minted = await service.generate(partner, idempotency="b")
    assert (minted.status, "Idempotent-Replayed" in minted.headers) == (200, False)


async def test_a_repeated_mint_gets_the_same_code_and_is_charged_nothing(
    service: Service, second: Service, program: Owner, partner: Owner
) -> None:
    path = f"/v1/partners/{partner.id}/keys/{partner.key_id}"
    await service.send("PATCH", path, program.key, {"rate_limit_per_minute": 2})
    first = await service.generate(partner, idempotency="a")
    for process in (service, second, service, second):
        again = await process.generate(partner, idempotency="a")
        assert (again.status, again.raw) == (200, first.raw)
        assert again.headers["Idempotent-Replayed"] == "true"
    assert (await service.generate(partner)).status == 200
    assert (await service.send("GET", "/api/partners/quota", partner.key)).body["minted"] == 2


async def test_after_a_grant_the_key_that_met_an_exhausted_quota_mints(
    service: Service, second: Service, program: Owner
) -> None:
    empty = await service.partner(program, name="Empty")
    for process in (service, second):
        refused = await process.generate(empty, idempotency="a")
        assert (refused.status, refused.body) == (
            403,
            {"ok": False, "error": "No codes remaining", "error_code": "quota_exhausted"},
        )
        assert "Idempotent-Replayed" not in refused.headers
    await service.move(empty.id, amount=1)
    minted = await second.generate(empty, idempotency="a")
    assert (minted.status, "Idempotent-Replayed" in minted.headers) == (200, False)
    again = await service.generate(empty, idempotency="a")
    assert (again.raw, again.headers["Idempotent-Replayed"]) == (minted.raw, "true")


async def test_of_twins_at_once_one_acts_and_none_waits(
    service: Service, second: Service, program: Owner, partner: Owner
) -> None:
    async def race(send: Callable[[Service], Awaitable[Reply]]) -> None:
        replies = await asyncio.gather(*(send(process) for process in (service, second) for _ in range(4)))
        done = [reply for reply in replies if reply.status < 300]
        assert len({reply.raw for reply in done}) == 1
        assert sum("Idempotent-Replayed" not in reply.headers for reply in done) == 1
        for reply in replies:
            if reply.status >= 300:
                assert (reply.status, reply.headers["Retry-After"]) == (409, "1")
                assert "idempotency_in_progress" in (reply.body.get("error_code"), reply.body.get("code"))

    await race(lambda process: process.generate(partner, idempotency="a"))
    await race(lambda process: process.send("POST", "/v1/partners", program.key, {"name": "Twin"}, idempotency="a"))
    assert (await service.send("GET", "/api/partners/quota", partner.key)).body["minted"] == 1


async def test_a_twin_under_way_is_told_so_at_once(service: Service, second: Service, program: Owner) -> None:
    """The first request is held up by a lock on its program's row; the second with its key must not wait for it."""
    path = f"/v1/programs/{program.id}/keys"
    async with service.pool.transaction() as blocker:
        await blocker.execute("SELECT 1 FROM programs WHERE id = $1 FOR UPDATE", uuid.UUID(program.id))
        first = asyncio.create_task(second.send("POST", path, OPERATOR_TOKEN, {"purpose": "b"}, idempotency="a"))
        async with asyncio.timeout(30):
            while not await blocker.fetchval(ADVISORY_LOCKS):  # noqa: ASYNC110 - the event is in the server
                await asyncio.sleep(0.01)
        twin = await service.send("POST", path, OPERATOR_TOKEN, {"purpose": "b"}, idempotency="a")
        assert (twin.status, twin.body["code"]) == (409, "idempotency_in_progress")
    made = await first
    assert made.status == 201
    again = await service.send("POST", path, OPERATOR_TOKEN, {"purpose": "b"}, idempotency="a")
    assert again.raw == made.raw


async def test_an_answer_with_a_secret_is_kept_sealed(service: Service, partner: Owner) -> None:
    path = f"/v1/partners/{partner.id}/keys"
    made = await service.send("POST", path, idempotency="a")
    async with service.pool.connection() as connection:
        rows = await connection.fetch(KEPT)
    assert [(row["route"], row["status"], row["is_encrypted"]) for row in rows] == [
        ("POST /v1/partners/{partner_id}/keys", 201, True)
    ]
    assert made.data["key"].encode() not in rows[0]["body"]
    assert b"mw_sk_" not in rows[0]["body"]
    assert (await service.send("POST", path, idempotency="a")).raw == made.raw


async def test_a_sealed_answer_opens_nowhere_else(service: Service, partner: Owner) -> None:
    path = f"/v1/partners/{partner.id}/keys"
    await service.send("POST", path, idempotency="a")
    async with service.pool.connection() as connection:
        await connection.execute("UPDATE idempotency_keys SET key = 'b'")
    moved = await service.send("POST", path, idempotency="b")
    assert (moved.status, b"mw_sk_" in moved.raw) == (503, False)


async def test_a_malformed_key_is_refused(service: Service, program: Owner) -> None:
    for key in ("x" * 256, "ä"):
        refused = await service.send("POST", "/v1/partners", program.key, {"name": "X"}, idempotency=key)
        assert (refused.status, refused.body["code"]) == (400, "invalid_idempotency_key")


async def test_old_answers_are_removed_and_young_ones_stay(service: Service, program: Owner) -> None:
    await service.send("POST", "/v1/partners", program.key, {"name": "Old"}, idempotency="old")
    service.clock.advance(hours=71)
    await service.send("POST", "/v1/partners", program.key, {"name": "Young"}, idempotency="young")
    service.clock.advance(hours=1)
    for removal in retention.removals(service.pool, service.clock, timedelta(days=35), timedelta(days=36)):
        assert await removal() == (removal.table == "idempotency_keys")
    again = await service.send("POST", "/v1/partners", program.key, {"name": "Young"}, idempotency="young")
    assert again.headers["Idempotent-Replayed"] == "true"
