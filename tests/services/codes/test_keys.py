"""API keys: shown once, at most two alive per owner and purpose, gone everywhere within five seconds."""

import asyncio
import uuid

from shared import api_keys
from tests.services.codes.conftest import Owner, Service

NOT_GRANTABLE: list[tuple[str, dict[str, object], str]] = [
    ("programs", {"scopes": ["codes:generate"]}, "scopes"),
    ("programs", {"scopes": ["manage", "validate"]}, "scopes"),
    ("programs", {"scopes": []}, "scopes"),
    ("programs", {"kind": "publishable", "scopes": ["manage"]}, "scopes"),
    ("partners", {"scopes": ["manage"]}, "scopes"),
    ("partners", {"scopes": ["validate"]}, "scopes"),
    ("partners", {"kind": "publishable"}, "kind"),
    ("partners", {"rate_limit_per_minute": 0}, "rate_limit_per_minute"),
    ("partners", {"purpose": ""}, "purpose"),
]
STORED_KEY = "SELECT digest, to_jsonb(k)::text AS everything FROM api_keys k WHERE id = $1"
LIVE_KEYS = "SELECT count(*) FROM api_keys WHERE coalesce(partner_id, program_id) = $1 AND revoked_at IS NULL"


async def test_a_key_is_shown_once_and_stored_as_a_digest(service: Service, program: Owner) -> None:
    async with service.pool.connection() as connection:
        row = await connection.fetchrow(STORED_KEY, uuid.UUID(program.key_id))
    assert row is not None
    assert row["digest"] == api_keys.digest(program.key)
    assert program.key not in row["everything"]
    listed = await service.send("GET", f"/v1/programs/{program.id}/keys", program.key)
    assert program.key.encode() not in listed.raw
    assert [key["id"] for key in listed.data] == [program.key_id]


async def test_without_wishes_a_key_gets_all_scopes_of_its_owner(
    service: Service, program: Owner, partner: Owner
) -> None:
    of_program = (await service.send("GET", f"/v1/programs/{program.id}/keys")).data[0]
    assert (of_program["scopes"], of_program["rate_limit_per_minute"]) == (["checkout", "manage", "webhooks"], None)
    of_partner = (await service.send("GET", f"/v1/partners/{partner.id}/keys")).data[0]
    assert (of_partner["scopes"], of_partner["rate_limit_per_minute"]) == (
        ["codes:generate", "codes:read", "webhooks"],
        100,
    )
    public = await service.send("POST", f"/v1/programs/{program.id}/keys", json={"kind": "publishable"})
    assert (public.data["scopes"], public.data["key"][:6]) == (["validate"], "mw_pk_")


async def test_a_key_gets_no_more_than_its_owner_has(service: Service, program: Owner, partner: Owner) -> None:
    for owner, draft, field in NOT_GRANTABLE:
        owner_id = program.id if owner == "programs" else partner.id
        made = await service.send("POST", f"/v1/{owner}/{owner_id}/keys", json=draft)
        assert (made.status, list(made.body["errors"])) == (422, [field]), draft


async def test_a_third_key_of_one_purpose_is_refused(service: Service, partner: Owner) -> None:
    path = f"/v1/partners/{partner.id}/keys"
    assert (await service.send("POST", path)).status == 201
    third = await service.send("POST", path)
    assert (third.status, third.body["code"]) == (409, "too_many_live_keys")
    assert (await service.send("POST", path, json={"purpose": "staging"})).status == 201
    assert (await service.send("DELETE", f"{path}/{partner.key_id}")).status == 200
    assert (await service.send("POST", path)).status == 201


async def test_of_many_that_ask_at_once_two_get_a_key(service: Service, second: Service, program: Owner) -> None:
    made = await service.send("POST", "/v1/partners", program.key, {"name": "Racy"})
    path = f"/v1/partners/{made.data['id']}/keys"
    replies = await asyncio.gather(*(process.send("POST", path) for process in (service, second) for _ in range(5)))
    assert sorted(reply.status for reply in replies) == [201] * 2 + [409] * 8
    async with service.pool.connection() as connection:
        assert await connection.fetchval(LIVE_KEYS, uuid.UUID(made.data["id"])) == 2


async def test_of_two_rotations_at_once_one_wins(service: Service, second: Service, program: Owner) -> None:
    path = f"/v1/programs/{program.id}/keys/{program.key_id}/rotate"
    replies = await asyncio.gather(service.send("POST", path), second.send("POST", path))
    assert sorted(reply.status for reply in replies) == [201, 409]
    async with service.pool.connection() as connection:
        assert await connection.fetchval(LIVE_KEYS, uuid.UUID(program.id)) == 2


async def test_a_rotation_hands_everything_down_and_leaves_the_old_key_alive(
    service: Service, program: Owner, partner: Owner
) -> None:
    draft = {"purpose": "shop", "name": "Shop", "scopes": ["codes:generate"], "rate_limit_per_minute": 7}
    old = (await service.send("POST", f"/v1/partners/{partner.id}/keys", program.key, draft)).data
    new = await service.send("POST", f"/v1/partners/{partner.id}/keys/{old['id']}/rotate", program.key)
    assert new.status == 201
    for member in ("purpose", "name", "scopes", "rate_limit_per_minute", "kind"):
        assert new.data[member] == old[member]
    for key in (old, new.data):
        assert (await service.generate(Owner(partner.id, key["key"], key["id"]))).status == 200


async def test_a_revoked_key_cannot_be_rotated(service: Service, partner: Owner) -> None:
    path = f"/v1/partners/{partner.id}/keys/{partner.key_id}"
    await service.send("DELETE", path)
    refused = await service.send("POST", f"{path}/rotate")
    assert (refused.status, refused.body["code"]) == (409, "key_revoked")


async def test_a_revoked_key_cannot_be_changed(service: Service, partner: Owner) -> None:
    path = f"/v1/partners/{partner.id}/keys/{partner.key_id}"
    await service.send("DELETE", path)
    refused = await service.send("PATCH", path, json={"name": "Late"})
    assert (refused.status, refused.body["code"]) == (409, "key_revoked")
    missing = await service.send("PATCH", f"/v1/partners/{partner.id}/keys/{uuid.uuid4()}", json={"name": "Late"})
    assert missing.status == 404


async def test_revoking_again_keeps_the_first_time(service: Service, partner: Owner) -> None:
    path = f"/v1/partners/{partner.id}/keys/{partner.key_id}"
    first = await service.send("DELETE", path)
    service.clock.advance(seconds=9)
    again = await service.send("DELETE", path)
    assert (first.status, again.status) == (200, 200)
    assert first.data["revoked_at"] == again.data["revoked_at"] is not None


async def test_a_revocation_reaches_every_process_within_five_seconds(
    service: Service, second: Service, partner: Owner
) -> None:
    """The other process holds the key in its cache; five seconds later it must not."""
    assert (await second.send("GET", "/api/partners/quota", partner.key)).status == 200
    await service.send("DELETE", f"/v1/partners/{partner.id}/keys/{partner.key_id}")
    service.clock.advance(seconds=5.001)
    refused = await second.send("GET", "/api/partners/quota", partner.key)
    assert (refused.status, refused.body) == (401, {"ok": False, "error": "Invalid API key"})


async def test_a_revocation_stops_the_next_mint_in_every_process(
    service: Service, second: Service, partner: Owner
) -> None:
    """A mint reads the key's row, so it need not wait for the cache."""
    assert (await second.generate(partner)).status == 200
    await service.send("DELETE", f"/v1/partners/{partner.id}/keys/{partner.key_id}")
    refused = await second.generate(partner)
    assert (refused.status, refused.body) == (401, {"ok": False, "error": "Invalid API key"})


async def test_who_sets_a_rate_limit(service: Service, program: Owner, partner: Owner) -> None:
    of_partner = f"/v1/partners/{partner.id}/keys/{partner.key_id}"
    for limit in (5, None):
        changed = await service.send("PATCH", of_partner, program.key, {"rate_limit_per_minute": limit})
        assert (changed.status, changed.data["rate_limit_per_minute"]) == (200, limit)
    of_program = f"/v1/programs/{program.id}/keys/{program.key_id}"
    refused = await service.send("PATCH", of_program, program.key, {"rate_limit_per_minute": 5})
    assert (refused.status, refused.body["code"]) == (403, "operator_only")
    refused = await service.send("POST", f"/v1/programs/{program.id}/keys", program.key, {"rate_limit_per_minute": 5})
    assert (refused.status, refused.body["code"]) == (403, "operator_only")
    changed = await service.send("PATCH", of_program, json={"rate_limit_per_minute": 5})
    assert changed.data["rate_limit_per_minute"] == 5
    named = await service.send("PATCH", of_program, program.key, {"name": "Main"})
    assert (named.data["name"], named.data["rate_limit_per_minute"]) == ("Main", 5)


async def test_a_rate_limit_counts_over_all_processes(
    service: Service, second: Service, program: Owner, partner: Owner
) -> None:
    path = f"/v1/partners/{partner.id}/keys/{partner.key_id}"
    await service.send("PATCH", path, program.key, {"rate_limit_per_minute": 3})
    replies = [await process.generate(partner) for process in (service, second, service, second)]
    assert [reply.status for reply in replies] == [200, 200, 200, 429]
    assert [reply.headers["RateLimit"].partition(";t=")[0] for reply in replies] == [
        f'"default";r={left}' for left in (2, 1, 0, 0)
    ]
    assert replies[-1].headers["RateLimit-Policy"] == '"default";q=3;w=60'
    assert 1 <= int(replies[-1].headers["Retry-After"]) <= 60
