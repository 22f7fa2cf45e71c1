"""API keys: shown once, at most two alive per owner and purpose, gone everywhere within five seconds."""

import asyncio
import itertools
import uuid
from collections.abc import Iterable
from datetime import timedelta
from pathlib import Path

import asyncpg

import services.codes
from services.codes.store import keys
from shared import api_keys
from shared.times import format_microseconds
from tests.databases import Database
from tests.services.codes.conftest import OPERATOR_TOKEN, Owner, Service

FOLDER = Path(services.codes.__file__).parent / "migrations"
OLD_KEYS = """
CREATE TABLE api_keys (id uuid);
CREATE TABLE audit_log (object_id uuid, action text, actor text)
"""

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
    assert (refused.status, refused.body) == (
        401,
        {"ok": False, "error": "Invalid API key", "error_code": "invalid_api_key"},
    )


async def test_a_revocation_stops_the_next_mint_in_every_process(
    service: Service, second: Service, partner: Owner
) -> None:
    """A mint reads the key's row, so it need not wait for the cache."""
    assert (await second.generate(partner)).status == 200
    await service.send("DELETE", f"/v1/partners/{partner.id}/keys/{partner.key_id}")
    refused = await second.generate(partner)
    assert (refused.status, refused.body) == (
        401,
        {"ok": False, "error": "Invalid API key", "error_code": "invalid_api_key"},
    )


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


def subsets(scopes: Iterable[str]) -> list[frozenset[str]]:
    ordered = sorted(scopes)
    return [frozenset(each) for size in range(len(ordered) + 1) for each in itertools.combinations(ordered, size)]


async def test_a_key_grants_no_scope_that_it_lacks(service: Service) -> None:
    """A key that may only manage would make itself one that may take redemptions back, and outlives it."""
    for has in subsets({"checkout", "webhooks"}):
        program = await service.program(name="Bounded")
        path = f"/v1/programs/{program.id}/keys"
        draft = {"scopes": sorted(has | {"manage"}), "purpose": "maker"}
        maker = await service.with_key(f"/v1/programs/{program.id}", **draft)
        default = await service.send("POST", path, maker.key, {"purpose": "default of it"})
        assert (default.status, default.data["scopes"]) == (201, draft["scopes"])
        for number, wanted in enumerate(subsets(api_keys.PROGRAM_SCOPES)[1:]):
            body = {"scopes": sorted(wanted), "purpose": f"wish {number}"}
            made = await service.send("POST", path, maker.key, body)
            lacking = sorted(wanted - has - {"manage"})
            assert made.status == (403 if lacking else 201), (has, wanted)
            assert not lacking or made.body["code"] == "scope_missing"
            assert all(scope in made.body["detail"] for scope in lacking)
            # What the operator makes for others is not to be had by a rotation either.
            other = await service.with_key(f"/v1/programs/{program.id}", **{**body, "purpose": f"other {number}"})
            rotated = await service.send("POST", f"{path}/{other.key_id}/rotate", maker.key)
            assert (rotated.status, rotated.status == 403) == (403 if lacking else 201, bool(lacking)), (has, wanted)
        alive = (await service.send("GET", "/v1/keys?limit=250&made_by=" + maker.key_id)).data
        assert all(set(key["scopes"]) <= has | {"manage"} for key in alive)


async def test_who_manages_makes_keys_of_partners_and_publishable_ones(service: Service, program: Owner) -> None:
    maker = await service.with_key(f"/v1/programs/{program.id}", scopes=["manage"], purpose="maker")
    partner = await service.partner(program, name="Gifts")
    path = f"/v1/partners/{partner.id}/keys"
    made = await service.send("POST", path, maker.key)
    assert (made.status, made.data["scopes"]) == (201, ["codes:generate", "codes:read", "webhooks"])
    assert (await service.send("DELETE", f"{path}/{partner.key_id}", maker.key)).status == 200
    assert (await service.send("POST", f"{path}/{made.data['id']}/rotate", maker.key)).status == 201
    public = await service.send("POST", f"/v1/programs/{program.id}/keys", maker.key, {"kind": "publishable"})
    assert (public.status, public.data["scopes"]) == (201, ["validate"])
    rotate = f"/v1/programs/{program.id}/keys/{public.data['id']}/rotate"
    assert (await service.send("POST", rotate, maker.key)).status == 201


async def test_a_kept_answer_with_a_key_in_it_is_for_the_key_that_asked(service: Service, program: Owner) -> None:
    """A lesser key that repeats a greater one's request would read the text of a key that it may not make."""
    path = f"/v1/programs/{program.id}/keys"
    lesser = await service.with_key(f"/v1/programs/{program.id}", scopes=["manage"], purpose="lesser")
    body = {"purpose": "shop", "scopes": ["checkout"]}
    made = await service.send("POST", path, program.key, body, idempotency="shop-key")
    refused = await service.send("POST", path, lesser.key, body, idempotency="shop-key")
    assert (made.status, refused.status, refused.body["code"]) == (201, 403, "scope_missing")
    again = await service.send("POST", path, program.key, body, idempotency="shop-key")
    assert (again.headers["Idempotent-Replayed"], again.data) == ("true", made.data)


async def test_what_a_key_made_is_listed_whoever_owns_it(service: Service, program: Owner) -> None:
    maker = await service.with_key(f"/v1/programs/{program.id}", scopes=["manage"], purpose="maker")
    partner = await service.partner(program, name="Gifts")
    made = [
        (await service.send("POST", f"/v1/partners/{partner.id}/keys", maker.key)).data,
        (await service.send("POST", f"/v1/programs/{program.id}/keys", maker.key, {"kind": "publishable"})).data,
        (await service.send("POST", f"/v1/programs/{program.id}/keys", maker.key, {"purpose": "x"})).data,
    ]
    assert [key["made_by"] for key in made] == [maker.key_id] * 3
    await service.send("DELETE", f"/v1/programs/{program.id}/keys/{made[1]['id']}")
    await service.send("DELETE", f"/v1/programs/{program.id}/keys/{maker.key_id}")
    for key in (program.key, OPERATOR_TOKEN):
        listed = await service.send("GET", f"/v1/keys?made_by={maker.key_id}", key)
        assert [each["id"] for each in listed.data] == [each["id"] for each in reversed(made)]
        assert [each["revoked_at"] is None for each in listed.data] == [True, False, True]
        assert all(each["key"].encode() not in listed.raw for each in made)
    page = await service.send("GET", f"/v1/keys?made_by={maker.key_id}&limit=2")
    rest = await service.send("GET", f"/v1/keys?made_by={maker.key_id}&cursor={page.body['meta']['next_cursor']}")
    assert [each["id"] for each in rest.data] == [made[0]["id"]]
    of_operator = (await service.send("GET", f"/v1/programs/{program.id}/keys")).data[-1]
    assert (of_operator["id"], of_operator["made_by"]) == (program.key_id, None)
    foreign = await service.program(name="Theirs")
    assert (await service.send("GET", f"/v1/keys?made_by={maker.key_id}", foreign.key)).data == []
    assert (await service.send("GET", "/v1/keys", program.key)).status == 422


async def test_a_revoked_key_makes_no_key_in_any_process(service: Service, second: Service, program: Owner) -> None:
    """Another process holds it in its cache; what it made must be complete once it is revoked."""
    maker = await service.with_key(f"/v1/programs/{program.id}", purpose="maker")
    assert (await second.send("GET", f"/v1/programs/{program.id}", maker.key)).status == 200
    await service.send("DELETE", f"/v1/programs/{program.id}/keys/{maker.key_id}")
    assert (await second.send("GET", f"/v1/programs/{program.id}", maker.key)).status == 200
    refused = await second.send("POST", f"/v1/programs/{program.id}/keys", maker.key, {"purpose": "late"})
    assert (refused.status, refused.body["code"]) == (401, "invalid_api_key")
    assert (await service.send("GET", f"/v1/keys?made_by={maker.key_id}")).data == []


async def test_a_revocation_waits_for_a_key_that_is_being_made(service: Service, program: Owner) -> None:
    """Otherwise a key would come to be after its maker's were looked through."""
    maker = await service.with_key(f"/v1/programs/{program.id}", purpose="maker")
    revoke = f"/v1/programs/{program.id}/keys/{maker.key_id}"
    async with service.pool.transaction() as connection:
        assert await keys.hold_key(connection, uuid.UUID(maker.key_id))
        revoking = asyncio.create_task(service.send("DELETE", revoke))
        await asyncio.sleep(0.2)
        assert not revoking.done()
    assert (await revoking).status == 200


async def test_makers_of_older_keys_are_taken_from_the_audit_log(empty_database: Database) -> None:
    """A key that leaked before the maker was recorded would hide what it made."""
    maker, made, by_operator = uuid.uuid4(), uuid.uuid4(), uuid.uuid4()
    connection = await asyncpg.connect(empty_database.admin)
    await connection.execute(OLD_KEYS)
    for key_id, actor in ((made, f"key {maker}"), (by_operator, "operator")):
        await connection.execute("INSERT INTO api_keys VALUES ($1)", key_id)
        await connection.execute("INSERT INTO audit_log VALUES ($1, 'key.created', $2)", key_id, actor)
    await connection.execute((FOLDER / "0065_keys_made_by.sql").read_text("utf-8"))
    rows = await connection.fetch("SELECT id, made_by_key_id FROM api_keys")
    await connection.close()
    assert {row["id"]: row["made_by_key_id"] for row in rows} == {made: maker, by_operator: None}


async def test_a_list_says_when_each_key_was_last_used_with_any_service(
    service: Service, program: Owner, partner: Owner, database: Database
) -> None:
    """A key that looks unused is revoked: its use elsewhere counts as well."""
    path = f"/v1/partners/{partner.id}/keys"
    unused = await service.with_key(f"/v1/partners/{partner.id}", purpose="unused")
    elsewhere = await service.with_key(f"/v1/partners/{partner.id}", purpose="elsewhere")
    assert {each["last_used_at"] for each in (await service.send("GET", path)).data} == {None}
    for _ in range(3):
        assert (await service.send("GET", "/api/partners/quota", partner.key)).status == 200
    await service.send("GET", "/api/partners/quota", unused.key[:-4] + "0000")
    await service.credentials.uses.write()
    minute = service.clock().replace(second=0, microsecond=0)
    admin = await asyncpg.connect(database.admin)
    for schema, ago in (("redemption", 2), ("webhooks", 1)):
        await admin.execute(
            f"INSERT INTO {schema}.key_uses (key_id, last_used_at) VALUES ($1, $2)",  # noqa: S608 - of this test
            uuid.UUID(elsewhere.key_id),
            minute - timedelta(days=ago),
        )
    await admin.close()
    listed = {each["id"]: each["last_used_at"] for each in (await service.send("GET", path)).data}
    assert listed == {
        partner.key_id: format_microseconds(minute),
        elsewhere.key_id: format_microseconds(minute - timedelta(days=1)),
        unused.key_id: None,
    }
    revoked = await service.send("DELETE", f"{path}/{partner.key_id}")
    assert revoked.data["last_used_at"] == listed[partner.key_id]


async def test_the_first_characters_of_a_key_tell_it_from_others_and_are_no_secret(
    service: Service, program: Owner, partner: Owner
) -> None:
    keys = [partner, await service.with_key(f"/v1/partners/{partner.id}", purpose="two", mode="test")]
    listed = [
        each
        for mode in ("live", "test")
        for each in (await service.send("GET", f"/v1/partners/{partner.id}/keys?mode={mode}")).data
    ]
    for key in keys:
        [shown] = [each for each in listed if key.key.startswith(each["starts_with"])]
        assert shown["id"] == key.key_id
        assert len(shown["starts_with"]) == key.key.rindex("_") + 1 + 12
