"""Test mode: whatever one mode makes the other cannot see, on every route, and no answer shows a tenant's id."""

import json
import re
import uuid
from dataclasses import dataclass
from typing import Any

import asyncpg
import pytest

from services.codes.api.routes import ROUTES
from tests.accounts import DASHBOARD
from tests.databases import Database
from tests.modes import leaks, modes_in, tenant_in_test_mode
from tests.services.codes.code_orders import place
from tests.services.codes.conftest import OPERATOR_TOKEN, Owner, Reply, Service
from tests.services.codes.test_access import body_of, filled, refusal

# Not of one mode: the two rows of a program or a partner.
OWN_COLUMNS = {
    "programs": {"id"},
    "partners": {"id", "program_id", "quota_granted", "quota_adjusted", "quota_minted", "quota_refunded"},
}
LISTS = [
    "/v1/coupons",
    "/v1/promotion-codes",
    "/v1/jobs",
    "/v1/code-orders",
    "/v1/audit-log",
    "/api/v1/promotional-codes",
    "/api/v1/coupons",
    "/v1/promotion-codes/export?format=ndjson",
]


_OBJECTS = ("coupon", "job_id", "key_id", "code", "code_order_id")


@dataclass(frozen=True)
class Mode:
    """A program's key and a partner's key of one mode, and what was made with them."""

    program: Owner
    partner: Owner
    ids: dict[str, str]


async def make_mode(service: Service, program: Owner, partner: Owner, mode: str) -> Mode:
    """Make one of everything with keys of a mode."""
    own = await service.with_key(f"/v1/programs/{program.id}", mode=mode, purpose="matrix")
    theirs = await service.with_key(f"/v1/partners/{partner.id}", mode=mode, purpose="matrix")
    assert own.key.startswith("mw_test_") == theirs.key.startswith("mw_test_") == (mode == "test")
    coupon = {
        "name": f"Spring in {mode}",
        "uuid_code": f"spring-{mode}",
        "coupon_discount_type": "percent",
        "coupon_discount_amount": 10,
        "coupon_duration_type": "once",
    }
    made = await service.send("POST", "/v1/coupons", own.key, coupon)
    assert made.status == 201, made.body
    code = (await service.generate(theirs)).body["code"]
    assigned = {
        "coupon_uuid": f"spring-{mode}",
        "code": f"ANN-{mode}",
        "limit_to_specific_partner": True,
        "coupon_specific_partners": {"id": partner.id},
    }
    shown = await service.send("POST", "/v1/promotion-codes", own.key, assigned)
    assert shown.status == 201, shown.body
    assert shown.data["partner_id"] == partner.id
    batch = f"/v1/coupons/spring-{mode}/promotion-codes/batch"
    job = await service.send("POST", batch, own.key, {"count": 1, "partner_id": partner.id})
    assert job.status == 201, job.body
    ids = {"coupon": made.data["id"], "code": code, "job_id": job.data["job"]["id"], "key_id": theirs.key_id}
    ids["code_order_id"] = await place(service, theirs)
    return Mode(own, theirs, {**ids, "program_id": program.id, "partner_id": partner.id})


@pytest.fixture
async def modes(service: Service, program: Owner, partner: Owner) -> dict[bool, Mode]:
    """Both modes of one program, by whether it is the test one."""
    return {test: await make_mode(service, program, partner, "test" if test else "live") for test in (False, True)}


def seen(reply: Reply) -> str:
    return reply.raw.decode() + str(dict(reply.headers))


@pytest.mark.parametrize("by", ["key", "account"])
async def test_on_every_route_what_the_other_mode_made_is_missing(
    service: Service, modes: dict[bool, Mode], by: str
) -> None:
    """With the same program and partner in the path: only the mode of the key tells the objects apart."""
    checked = 0
    for test, mine in modes.items():
        other = modes[not test]
        for route in ROUTES:
            if (
                not re.search(r"\{(code|coupon|job_id|key_id|code_order_id)\b", route.path)
                or route.security == "operator"
            ):
                continue
            is_partner_s = route.security == "partner_key"
            key = mine.partner.key if is_partner_s else mine.program.key
            if by == "account":
                key = DASHBOARD.token(
                    *("codes", service.clock(), "partner" if is_partner_s else "merchant"),
                    program_id=mine.ids["program_id"],
                    partner_id=mine.ids["partner_id"] if is_partner_s else None,
                    mode="test" if test else "live",
                )
            if "{key_id}" in route.path and not test:
                # Live keys manage test keys too.
                continue
            foreign = await service.send(route.method, filled(route, other.ids), key, body_of(route))
            assert foreign.status == 404, (test, route.method, route.path, foreign.body)
            absent = {**mine.ids, **{name: str(uuid.uuid4()) for name in _OBJECTS}}
            missing = await service.send(route.method, filled(route, absent), key, body_of(route))
            assert refusal(foreign, other.ids) == refusal(missing, absent), (test, route.method, route.path)
            assert not leaks(seen(foreign))
            checked += 1
    assert checked == 46


async def test_every_route_that_reads_answers_its_own_mode_with_the_usual_ids(
    service: Service, modes: dict[bool, Mode]
) -> None:
    """Otherwise the test above would pass for routes that answer nobody."""
    for test, mine in modes.items():
        for route in ROUTES:
            if route.method != "GET" or route.security == "operator":
                continue
            key = mine.partner.key if route.security == "partner_key" else mine.program.key
            path = filled(route, mine.ids)
            if path == "/v1/keys":
                path += f"?made_by={mine.program.key_id}"
            reply = await service.send("GET", path, key)
            if route.path == "/v1/redemption-path":
                # Asks a service that does not run here.
                continue
            assert reply.status == 200, (test, route.path, reply.body)
            assert not leaks(seen(reply)), (test, route.path)
            assert modes_in(reply.body) <= {test}, (test, route.path)


@pytest.mark.parametrize("path", LISTS)
async def test_lists_and_exports_hold_one_mode(service: Service, modes: dict[bool, Mode], path: str) -> None:
    for test, mine in modes.items():
        text = seen(await service.send("GET", path, mine.program.key))
        for name in ("coupon", "code", "job_id"):
            assert modes[not test].ids[name] not in text
        assert not leaks(text)
    codes = await service.send("GET", "/api/partners/codes", modes[True].partner.key)
    assert all(each["is_test"] for each in codes.body["codes"])
    assert {each["code"] for each in codes.body["codes"]} >= {modes[True].ids["code"], "ANN-test"}
    assert "ANN-live" not in seen(codes)


async def test_partners_are_named_by_their_usual_id_wherever_one_is_asked_for(
    service: Service, partner: Owner, modes: dict[bool, Mode]
) -> None:
    mine = modes[True]
    for path, expected in (
        (f"/v1/promotion-codes?partner_id={partner.id}", "ANN-test"),
        (f"/api/v1/promotional-codes?affiliateId={partner.id}", "ANN-test"),
        (f"/v1/promotion-codes/export?format=ndjson&partner_id={partner.id}", "ANN-test"),
    ):
        reply = await service.send("GET", path, mine.program.key)
        assert (reply.status, expected in seen(reply), "ANN-live" in seen(reply)) == (200, True, False), path
        assert partner.id in seen(reply)
    moved = {"action": "assign", "filter": {"coupon_id": "spring-test"}, "partner_id": partner.id, "dry_run": True}
    counted = await service.send("POST", "/v1/promotion-codes/bulk", mine.program.key, moved)
    assert (counted.status, counted.data["matched"]) == (200, 2)
    made = {"couponId": mine.ids["coupon"], "code": "QUERY", "affiliateId": partner.id}
    shown = await service.send("POST", "/api/v1/promotional-codes", mine.program.key, made)
    assert (shown.status, shown.body["affiliateId"], shown.body["affiliate"]["id"]) == (201, partner.id, partner.id)
    kept = await service.send("PATCH", "/v1/promotion-codes/QUERY", mine.program.key, {"active": False})
    assert (kept.status, kept.data["partner_id"], kept.data["is_test"]) == (200, partner.id, True)


async def test_the_same_string_lives_in_both_modes(service: Service, modes: dict[bool, Mode]) -> None:
    for test, mine in modes.items():
        body = {"coupon_uuid": f"spring-{'test' if test else 'live'}", "code": "SAME"}
        assert (await service.send("POST", "/v1/promotion-codes", mine.program.key, body)).status == 201
        shown = await service.send("GET", "/v1/promotion-codes/SAME", mine.program.key)
        assert shown.data["is_test"] is test
        assert shown.data["coupon"]["is_test"] is test
        # A string is taken within its mode.
        assert (await service.send("POST", "/v1/promotion-codes", mine.program.key, body)).status == 422


async def test_the_same_idempotency_key_is_two_in_two_modes(service: Service, modes: dict[bool, Mode]) -> None:
    answers = [await service.generate(mine.partner, idempotency="order-1") for mine in modes.values()]
    assert answers[0].body["code"] != answers[1].body["code"]
    assert all("Idempotent-Replayed" not in each.headers for each in answers)


async def test_the_quota_of_each_mode_is_its_own(
    service: Service, partner: Owner, modes: dict[bool, Mode], database: Database
) -> None:
    live, test = [await service.send("GET", "/api/partners/quota", modes[each].partner.key) for each in (False, True)]
    assert (live.body["granted"], live.body["minted"], live.body["is_test"]) == (10, 1, False)
    assert (test.body["granted"], test.body["minted"], test.body["is_test"]) == (1000, 1, True)
    path = f"/v1/partners/{partner.id}/quota"
    granted = await service.send("POST", path, modes[True].program.key, {"amount": 5})
    assert (granted.status, granted.data["granted"], granted.data["is_test"]) == (201, 1005, True)
    assert (await service.send("GET", path, modes[False].program.key)).data["granted"] == 10
    ledger = await service.send("GET", f"{path}/ledger", modes[True].program.key)
    assert [(each["kind"], each["amount"]) for each in ledger.data] == [("grant", 5), ("mint", 1), ("grant", 1000)]
    told = await service.send("GET", f"/v1/audit-log?object_id={partner.id}", modes[True].program.key)
    assert [(each["action"], each["is_test"]) for each in told.data] == [("quota.grant", True)]


async def test_a_test_key_reads_what_is_shared_and_changes_none_of_it(
    service: Service, program: Owner, partner: Owner, modes: dict[bool, Mode]
) -> None:
    key = modes[True].program.key
    shown = await service.send("GET", f"/v1/partners/{partner.id}", key)
    assert (shown.data["id"], shown.data["program_id"], shown.data["name"]) == (partner.id, program.id, "Prefix")
    assert (await service.send("GET", f"/v1/programs/{program.id}", key)).data["id"] == program.id
    assert [each["id"] for each in (await service.send("GET", "/v1/partners", key)).data] == [partner.id]
    for route in ROUTES:
        if route.live_only:
            reply = await service.send(route.method, filled(route, modes[True].ids), key, body_of(route))
            assert (reply.status, reply.body["code"]) == (403, "live_key_required"), route.path
    assert sum(route.live_only for route in ROUTES) >= 5


async def test_settings_follow_at_once_and_archiving_ends_both_modes(
    service: Service, partner: Owner, modes: dict[bool, Mode]
) -> None:
    path = f"/v1/partners/{partner.id}"
    live, test = modes[False], modes[True]
    assert (await service.send("PATCH", path, live.program.key, {"name": "New", "prefix": "FRESH"})).status == 200
    assert (await service.send("GET", path, test.program.key)).data["name"] == "New"
    await service.send("POST", f"{path}/suspend", live.program.key)
    refused = await service.generate(test.partner)
    assert (refused.status, refused.body["error"]) == (403, "Partner account is not active")
    await service.send("POST", f"{path}/approve", live.program.key)
    assert (await service.send("DELETE", path, live.program.key)).status == 200
    service.clock.advance(seconds=6)
    assert (await service.generate(test.partner)).status == 401
    assert (await service.send("GET", path, test.program.key)).status == 404


async def test_keys_of_both_modes_are_managed_from_live_mode_only(
    service: Service, program: Owner, partner: Owner, modes: dict[bool, Mode]
) -> None:
    base = f"/v1/partners/{partner.id}/keys"
    live, test = modes[False], modes[True]
    for key in (live.program.key, OPERATOR_TOKEN):
        assert {each["mode"] for each in (await service.send("GET", base, key)).data} == {"live"}
        listed = await service.send("GET", f"{base}?mode=test", key)
        assert [(each["id"], each["mode"], each["partner_id"]) for each in listed.data] == [
            (test.partner.key_id, "test", partner.id)
        ]
    assert [each["mode"] for each in (await service.send("GET", base, test.program.key)).data] == ["test"]
    for reply in (
        await service.send("GET", f"{base}?mode=live", test.program.key),
        await service.send("POST", base, test.program.key, {"mode": "live", "purpose": "x"}),
        await service.send("POST", f"/v1/programs/{program.id}/keys", test.program.key, {"mode": "live"}),
    ):
        assert (reply.status, reply.body["code"]) == (403, "live_key_required")
    made = await service.send("POST", base, test.program.key, {"purpose": "more"})
    assert (made.status, made.data["mode"], made.data["key"][:11]) == (201, "test", "mw_test_sk_")
    # From test mode no live key is found, from live mode a test key is changed, rotated and revoked like others.
    for method, tail in (("PATCH", ""), ("POST", "/rotate"), ("DELETE", "")):
        body = {"name": "x"} if method == "PATCH" else None
        path = f"{base}/{partner.key_id}{tail}"
        assert (await service.send(method, path, test.program.key, body)).status == 404
    path = f"{base}/{made.data['id']}"
    assert (await service.send("PATCH", path, live.program.key, {"name": "x"})).data["mode"] == "test"
    rotated = await service.send("POST", f"{path}/rotate", live.program.key)
    assert (rotated.data["mode"], rotated.data["key"][:8]) == ("test", "mw_test_")
    assert (await service.send("DELETE", path, live.program.key)).data["revoked_at"] is not None
    made_by = await service.send("GET", f"/v1/keys?made_by={live.program.key_id}", live.program.key)
    assert [each["id"] for each in made_by.data] == [rotated.data["id"]]
    told = await service.send("GET", f"/v1/audit-log?object_id={rotated.data['id']}", live.program.key)
    assert [(each["action"], each["is_test"]) for each in told.data] == [("key.created", False)]
    assert told.data[0]["changes"]["mode"] == {"to": "test"}
    assert not leaks(seen(told))


async def test_no_caller_reaches_a_test_tenant_by_its_own_id(
    service: Service, program: Owner, partner: Owner, modes: dict[bool, Mode]
) -> None:
    """The operator is confined to no program, so only the id stands between its token and the other mode."""
    for key in (OPERATOR_TOKEN, modes[False].program.key, modes[True].program.key):
        assert (await service.send("GET", f"/v1/partners/{tenant_in_test_mode(partner.id)}", key)).status == 404
        assert (await service.send("GET", f"/v1/programs/{tenant_in_test_mode(program.id)}", key)).status == 404
    listed = await service.send("GET", "/v1/programs")
    assert [each["id"] for each in listed.data] == [program.id]
    assert not leaks(seen(await service.send("GET", "/v1/audit-log")))


async def test_an_imported_file_names_partners_by_their_usual_id(
    service: Service, partner: Owner, modes: dict[bool, Mode]
) -> None:
    mine = modes[True]
    path = "/v1/coupons/spring-test/promotion-codes/import"
    headers = {"Authorization": f"Bearer {mine.program.key}", "Content-Type": "text/csv"}
    async with service.http.post(path, data=f"code,partner_id\nFILE-1,{partner.id}\n", headers=headers) as response:
        done = (await response.json())["data"]
    assert (response.status, done["state"], done["created"], done["is_test"]) == (200, "done", 1, True)
    shown = await service.send("GET", "/v1/promotion-codes/FILE-1", mine.program.key)
    assert shown.data["partner_id"] == partner.id


def data_of(service: Service) -> list[tuple[str, Any]]:
    return [(event.type, json.loads(event.body)["data"]) for event in service.handed_over]


async def test_every_event_says_its_mode_and_the_usual_ids(
    service: Service, program: Owner, partner: Owner, modes: dict[bool, Mode]
) -> None:
    for mine in modes.values():
        await service.send("PATCH", f"/v1/coupons/{mine.ids['coupon']}", mine.program.key, {"name": "Changed"})
        await service.send("PATCH", f"/v1/promotion-codes/{mine.ids['code']}", mine.program.key, {"active": False})
    quota = f"/v1/partners/{partner.id}/quota"
    assert (await service.send("PATCH", f"/v1/partners/{partner.id}", json={"quota_low_threshold": 2})).status == 200
    # Down to three: a mint tells that it is low, then that nothing is left.
    for test, left in ((False, 9), (True, 999)):
        move = {"kind": "adjustment", "amount": 3 - left}
        assert (await service.send("POST", quota, modes[test].program.key, move)).status == 201
        for _ in range(3):
            assert (await service.generate(modes[test].partner)).status == 200
    told = data_of(service)
    for type_ in ("codes.generated", "coupon.created", "coupon.updated", "code.updated", "codes.batch_completed"):
        assert {data.get("is_test", False) for each, data in told if each == type_} == {False, True}, type_
    for type_ in ("quota.low", "quota.exhausted"):
        assert sorted(data.get("is_test", False) for each, data in told if each == type_) == [False, True], type_
    for _, data in told:
        assert data["program_id"] == program.id
        assert data.get("partner_id", partner.id) in (partner.id, None)
        assert "is_test" not in data or data["is_test"] is True
    assert not leaks(str(told))


async def test_the_two_rows_of_an_owner_differ_in_ids_and_quota_alone(
    service: Service, program: Owner, partner: Owner, database: Database
) -> None:
    """A setting that a later migration adds follows too, or this fails."""
    await service.send("PATCH", f"/v1/partners/{partner.id}", json={"name": "Other", "metadata": {"a": "b"}})
    await service.send("PATCH", f"/v1/programs/{program.id}", json={"name": "Renamed", "timezone": "Asia/Tokyo"})
    connection = await asyncpg.connect(database.admin, server_settings={"search_path": "codes"})
    try:
        for table, owner in (("programs", program), ("partners", partner)):
            rows = [
                dict(row)
                for each in (uuid.UUID(owner.id), tenant_in_test_mode(owner.id))
                for row in await connection.fetch(f"SELECT * FROM {table} WHERE id = $1", each)  # noqa: S608 - of this test
            ]
            differing = {name for name in rows[0] if rows[0][name] != rows[1][name]}
            assert differing <= OWN_COLUMNS[table]
            assert rows[0]["name"] in ("Renamed", "Other")
        sums = await connection.fetch(
            "SELECT p.id, sum(l.amount)::int = p.quota_granted AS is_whole FROM partners p JOIN quota_ledger l"
            " ON l.partner_id = p.id GROUP BY p.id"
        )
        assert len(sums) == 2
        assert all(row["is_whole"] for row in sums)
    finally:
        await connection.close()
