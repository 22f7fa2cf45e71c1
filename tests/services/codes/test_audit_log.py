"""The audit log: every change leaves who, what, from and to, in its transaction, and nothing takes it away."""

import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any, get_args

import pytest

from services.codes.api.management.audit_words import api_changes
from services.codes.domain.audit import ObjectType
from services.codes.usecases import read_audit_log, remove_old
from shared.events.catalogue import PUBLISHED
from shared.events.envelope import decode_data, decode_envelope
from shared.ids import earliest_id
from tests.exported import parsed_csv, parsed_ndjson
from tests.services.codes.code_orders import place
from tests.services.codes.conftest import OPERATOR_TOKEN, Owner, Service
from tests.services.codes.test_access import account_of

SPRING = {
    "uuid_code": "spring",
    "coupon_discount_type": "percent",
    "coupon_discount_amount": 10,
    "coupon_duration_type": "once",
}

INSERT_ENTRY = """
INSERT INTO audit_log (id, program_id, actor, action, object_type, object_id, changes, created_at)
VALUES ($1, $2, 'operator', 'program.updated', 'program', $2, '{}', $3)
"""


async def entries(service: Service, key: str, query: str = "") -> list[dict[str, Any]]:
    listed = await service.send("GET", f"/v1/audit-log?{query}", key)
    assert listed.status == 200, listed.body
    found: list[dict[str, Any]] = listed.data
    return found


def told(events: list[Any], kind: str) -> list[dict[str, Any]]:
    """Return the data of the events of a type, each checked against its model."""
    models = {model.type: model for model in PUBLISHED["codes"]}
    found = []
    for event in events:
        if event.type == kind:
            decode_data(decode_envelope(event.body), models[kind])
            found.append(json.loads(event.body)["data"])
    return found


async def test_every_change_is_told_with_who_and_from_and_to(service: Service, program: Owner) -> None:
    await service.send("PATCH", f"/v1/programs/{program.id}", json={"support_email": "vip@acme.example"})
    partner = (await service.send("POST", "/v1/partners", program.key, {"name": "Acme"})).data
    path = f"/v1/partners/{partner['id']}"
    await service.send("PATCH", path, program.key, {"first_name": "John", "metadata": {"tier": 1}})
    await service.send("POST", f"{path}/approve", program.key)
    await service.send("POST", f"{path}/approve", program.key)
    key = (await service.send("POST", f"{path}/keys", program.key)).data
    await service.send("PATCH", f"{path}/keys/{key['id']}", program.key, {"name": "new"})
    await service.send("POST", f"{path}/quota", program.key, {"amount": 5, "reason": "spring"})
    await service.send("POST", "/v1/coupons", program.key, {**SPRING, "promotion_codes": ["A"]})
    await service.send("PATCH", "/v1/coupons/spring", program.key, {"name": "Spring"})
    await service.send("PATCH", "/v1/coupons/spring", program.key, {"name": "Spring"})
    await service.send("PATCH", "/v1/promotion-codes/A", program.key, {"active": False})
    service.clock.advance(seconds=1)
    await service.send("DELETE", f"{path}/keys/{key['id']}", program.key)
    await service.send("DELETE", "/v1/promotion-codes/A", program.key)
    await service.send("DELETE", "/v1/coupons/spring", program.key)
    await service.send("DELETE", path, program.key)
    found = await entries(service, program.key)
    assert [entry["action"] for entry in reversed(found)] == [
        *("program.created", "key.created", "program.updated", "partner.created", "partner.updated"),
        *("partner.updated", "key.created", "key.updated", "quota.grant", "coupon.created", "promotion_code.created"),
        *("coupon.updated", "promotion_code.updated", "key.revoked", "promotion_code.archived", "coupon.archived"),
        "partner.archived",
    ]
    by_action = {entry["action"]: entry for entry in reversed(found)}
    assert {entry["actor"] for entry in found[:14]} == {f"key {program.key_id}"}
    assert {entry["actor"] for entry in found[14:]} == {"operator"}
    assert {entry["program_id"] for entry in found} == {program.id}
    changes = {action: by_action[action]["changes"] for action in by_action}
    assert changes["program.updated"] == {"support_email": {"from": None, "to": "vip@acme.example"}}
    assert changes["partner.updated"] == {"status": {"from": "pending", "to": "active"}}
    assert changes["quota.grant"] == {"granted": {"from": 0, "to": 5}}
    assert changes["coupon.updated"] == {"name": {"from": "spring", "to": "Spring"}}
    assert changes["promotion_code.updated"] == {"active": {"from": True, "to": False}}
    assert changes["coupon.created"]["coupon_discount_amount"] == {"to": 10}
    assert set(changes["key.revoked"]) == {"revoked_at"}
    assert by_action["quota.grant"]["object_id"] == partner["id"]
    assert key["key"] not in json.dumps(found)


async def test_a_refused_change_leaves_no_entry(service: Service, program: Owner) -> None:
    await service.send("POST", "/v1/coupons", program.key, SPRING)
    before = await entries(service, program.key)
    assert (await service.send("POST", "/v1/coupons", program.key, SPRING)).status == 422
    taken = {**SPRING, "uuid_code": "two", "promotion_codes": ["A", "a"]}
    assert (await service.send("POST", "/v1/coupons", program.key, taken)).status == 422
    assert (
        await service.send("PATCH", "/v1/coupons/spring", program.key, {"coupon_discount_amount": 101})
    ).status == 422
    assert await entries(service, program.key) == before


async def test_the_log_is_read_by_filters_and_pages(service: Service, program: Owner) -> None:
    await service.send("POST", "/v1/coupons", program.key, SPRING)
    made = (await service.send("GET", "/v1/coupons/spring", program.key)).data
    service.clock.advance(seconds=10)
    second = await service.with_key(f"/v1/programs/{program.id}", purpose="second")
    await service.send("PATCH", f"/v1/coupons/{made['id']}", second.key, {"name": "New"})
    now = service.clock().isoformat().replace("+00:00", "Z")
    for query, actions in (
        (f"object_id={made['id']}", ["coupon.updated", "coupon.created"]),
        ("object_type=coupon", ["coupon.updated", "coupon.created"]),
        ("action=coupon.created", ["coupon.created"]),
        (f"key_id={second.key_id}", ["coupon.updated"]),
        (f"key_id={second.key_id}&action=coupon.created", []),
        (f"since={now}", ["coupon.updated", "key.created"]),
        (f"until={now}&object_type=coupon", ["coupon.created"]),
        ("object_id=nonsense", []),
    ):
        assert [entry["action"] for entry in await entries(service, program.key, query)] == actions, query
    pages, cursor = [], ""
    while True:
        page = await service.send("GET", f"/v1/audit-log?limit=2{cursor}", program.key)
        pages += page.data
        if page.body["meta"]["next_cursor"] is None:
            break
        cursor = f"&cursor={page.body['meta']['next_cursor']}"
    assert pages == await entries(service, program.key)
    for query, field in (("since=yesterday", "since"), ("object_type=x", "object_type"), ("cursor=x", "cursor")):
        refused = await service.send("GET", f"/v1/audit-log?{query}", program.key)
        assert (refused.status, list(refused.body["errors"])) == (422, [field])


async def test_a_program_reads_its_own_log_and_the_operator_all(service: Service, program: Owner) -> None:
    other = await service.program(name="Other")
    for query in ("", f"program_id={other.id}", f"object_id={program.id}", f"key_id={program.key_id}"):
        assert {entry["program_id"] for entry in await entries(service, other.key, query)} <= {other.id}
    listed = await service.send("GET", "/v1/audit-log")
    assert {entry["program_id"] for entry in listed.data} == {program.id, other.id}
    one = await service.send("GET", f"/v1/audit-log?program_id={program.id}")
    assert {entry["program_id"] for entry in one.data} == {program.id}
    for asked in (program.id, "nonsense", "01920000-0000-7000-8000-000000000000"):
        refused = await service.send("GET", f"/v1/audit-log?program_id={asked}", other.key)
        assert (refused.status, list(refused.body["errors"])) == (422, ["program_id"]), asked


BATCH = {
    "count": 2,
    "pattern": "X-############",
    "check_symbol": True,
    "expires_at": "2029-01-01T00:00:00Z",
    "starts_at": "2026-04-01T00:00:00Z",
    "redemption_limit": 3,
    "first_time_order": True,
    "minimum_order_value": 10,
    "minimum_order_currency": "EUR",
    "commission_percent": 2.5,
    "metadata": {"c": 3},
    "partner_only": False,
    "active": True,
}
BULK = {"action": "deactivate", "filter": {"coupon_id": "money", "active": True}}
MONEY = {
    "uuid_code": "money",
    "coupon_discount_type": "static",
    "coupon_discount_amount": 12.5,
    "coupon_discount_currency": "EUR",
    "coupon_discount_amounts": {"JPY": 500},
    "coupon_duration_type": "months",
    "coupon_duration_value": 3,
    "starts_at": "2026-03-01T00:00:00Z",
    "redemption_specific_date_status": True,
    "redemption_specific_date_value": "2030-01-31T00:00:00Z",
    "redemption_times_status": True,
    "redemption_times_value": 24,
    "redemptions_per_code": 5,
    "redemptions_per_customer": 1,
    "redemptions_per_day": 2,
    "redemptions_per_week": 3,
    "redemptions_per_month": 4,
    "budget_amount": 1000,
    "budget_currency": "EUR",
    "first_time_order": True,
    "minimum_order_value": 19.99,
    "minimum_order_currency": "EUR",
    "minimum_applies_to": "order",
    "product_ids": ["a"],
    "excluded_product_ids": ["b"],
    "combination": "none",
    "release_policy": "never",
    "commission_percent": 7.5,
    "external_id": "ext",
    "metadata": {"a": 1},
}
CODE = {
    "coupon_uuid": "money",
    "code": "JOHN",
    "first_time_order": True,
    "limit_to_specific_customer": True,
    "coupon_specific_customers": {"id": "c1", "customer_full_name": "John"},
    "minimum_order_status": True,
    "minimum_order_value": 5.5,
    "minimum_order_currency": "EUR",
    "expiration_date_status": True,
    "expiration_date_value": "2029-01-31T00:00:00Z",
    "redemption_times_status": True,
    "redemption_times_value": 2,
    "partner_only": True,
    "limit_to_specific_partner": True,
    "commission_percent": 3,
    "external_id": "code-ext",
    "metadata": {"b": 2},
}


async def test_members_have_the_names_and_values_of_the_api(service: Service, program: Owner, partner: Owner) -> None:
    """Each member of each kind of entry is one that the API shows of that object, or takes of it, and says the same."""
    coupon = (await service.send("POST", "/v1/coupons", program.key, MONEY)).data
    made = await service.send(
        "POST", "/v1/promotion-codes", program.key, {**CODE, "coupon_specific_partners": {"id": partner.id}}
    )
    assert made.status == 201, made.body
    code = made.data
    path = f"/v1/programs/{program.id}"
    await service.send("PATCH", path, json={"commission_cap_percent": 12.5, "timezone": "Europe/Berlin"})
    for door, body in (("coupons/money/promotion-codes/batch", BATCH), ("promotion-codes/bulk", BULK)):
        done = await service.send("POST", f"/v1/{door}", program.key, body)
        assert done.status in (201, 202), done.body
    order = f"/v1/code-orders/{await place(service, partner, reference='PO-1', note='For spring')}"
    await service.send("POST", f"{order}/refuse", program.key, {"reason": "No."})
    shown = {
        "code_order": (await service.send("GET", order, program.key)).data,
        "coupon": coupon,
        "promotion_code": code,
        "program": (await service.send("GET", path)).data,
        "partner": (await service.send("GET", f"/v1/partners/{partner.id}", program.key)).data,
        "quota": (await service.send("GET", f"/v1/partners/{partner.id}", program.key)).data["quota"],
        "key": (await service.send("GET", f"/v1/partners/{partner.id}/keys", program.key)).data[0],
        "job": (await service.send("GET", "/v1/jobs", program.key)).data[0]
        | BATCH
        | {"alphabet": "", "partner_id": ""},
    }
    found = await entries(service, program.key, "limit=250")
    assert {entry["object_type"] for entry in found} == set(shown) == set(get_args(ObjectType))
    for entry in found:
        members = {name.partition(".")[0] for name in entry["changes"]}
        assert members <= set(shown[entry["object_type"]]), (entry["action"], members)
        kind = entry["object_type"]
        assert await entries(service, program.key, f"object_type={kind}&limit=250") == [
            each for each in found if each["object_type"] == kind
        ]
    by_action = {entry["action"]: entry["changes"] for entry in found}
    for action, data, given in (("coupon.created", coupon, MONEY), ("promotion_code.created", code, CODE)):
        same = by_action[action].keys() & given.keys()
        assert {name: by_action[action][name]["to"] for name in same} == {name: data[name] for name in same}
    assert by_action["promotion_code.created"]["coupon_specific_customers.id"] == {"to": "c1"}
    assert by_action["program.updated"]["commission_cap_percent"] == {"from": 100, "to": 12.5}
    batch, bulk = (
        next(e["changes"] for e in found if e["action"] == "job.created" and e["changes"]["kind"]["to"] == kind)
        for kind in ("batch", "bulk")
    )
    assert (batch["commission_percent"], batch["minimum_order_value"]) == ({"to": 2.5}, {"to": 10})
    assert (bulk["action"], bulk["filter"]) == (
        {"to": "deactivate"},
        {"to": {"coupon_id": coupon["id"], "active": True}},
    )


async def test_money_is_told_with_its_currency(service: Service, program: Owner) -> None:
    """Also where the kind of a discount changes, and where an entry of the release before cannot say it."""
    await service.send("POST", "/v1/coupons", program.key, MONEY)

    async def changed(**members: Any) -> dict[str, Any]:
        answer = await service.send("PATCH", "/v1/coupons/money", program.key, members)
        assert answer.status == 200, answer.body
        changes: dict[str, Any] = (await entries(service, program.key, "limit=1"))[0]["changes"]
        return changes

    assert await changed(coupon_discount_amount=20) == {"coupon_discount_amount": {"from": 12.5, "to": 20}}
    assert await changed(coupon_discount_currency="JPY", coupon_discount_amount=700, coupon_discount_amounts={}) == {
        "coupon_discount_amount": {"from": 20, "to": 700},
        "coupon_discount_currency": {"from": "EUR", "to": "JPY"},
        "coupon_discount_amounts": {"from": {"JPY": 500}, "to": {}},
    }
    to_percent = await changed(coupon_discount_type="percent", coupon_discount_amount=15, commission_percent=None)
    assert to_percent["coupon_discount_amount"] == {"from": 700, "to": 15}
    assert to_percent["commission_percent"] == {"from": 7.5, "to": None}
    assert api_changes("coupon", {"amount_minor": {"from": 1, "to": 2}}) == {"amount_minor": {"from": 1, "to": 2}}
    assert api_changes("coupon", {"amount_minor": {"to": 250}, "currency": {"to": "EUR"}}) == {
        "coupon_discount_amount": {"to": 2.5},
        "coupon_discount_currency": {"to": "EUR"},
    }


async def test_coupons_and_codes_tell_of_their_changes(service: Service, program: Owner, partner: Owner) -> None:
    service.handed_over.clear()
    await service.send("POST", "/v1/coupons", program.key, {**SPRING, "promotion_codes": ["A", "B"]})
    (made,) = told(service.handed_over, "coupon.created")
    assert (made["uuid_code"], made["percent_hundredths"], made["codes"]) == ("spring", 1000, ["A", "B"])
    assert made["program_id"] == program.id
    one = await service.send("POST", "/v1/promotion-codes", program.key, {"coupon_uuid": "spring", "code": "C"})
    assert one.status == 201
    body = {"name": "New", "redemption_times_status": True, "redemption_times_value": 5}
    await service.send("PATCH", "/v1/coupons/spring", program.key, body)
    await service.send("PATCH", "/v1/coupons/spring", program.key, body)
    (changed,) = told(service.handed_over, "coupon.updated")
    assert (changed["name"], changed["redemption_limit"]) == ("New", 5)
    assert sorted(changed["changed"]) == ["name", "redemption_limit"]
    owner = {"limit_to_specific_partner": True, "coupon_specific_partners": {"id": partner.id}}
    await service.send("PATCH", "/v1/promotion-codes/A", program.key, owner)
    await service.send("DELETE", "/v1/promotion-codes/A", program.key)
    assigned, archived = told(service.handed_over, "code.updated")
    assert (assigned["code"], assigned["partner_id"], assigned["changed"]) == ("A", partner.id, ["partner_id"])
    assert archived["changed"] == ["archived_at"]
    await service.send("DELETE", "/v1/coupons/spring", program.key)
    assert told(service.handed_over, "coupon.updated")[-1]["archived_at"] is not None
    assert len(service.handed_over) == 5
    async with service.pool.connection() as connection:
        waiting = await connection.fetchval("SELECT count(*) FROM outbox")
    assert waiting == 5


async def test_a_repeated_creation_tells_once(service: Service, program: Owner) -> None:
    service.handed_over.clear()
    for _ in range(2):
        await service.send("POST", "/v1/coupons", program.key, SPRING, idempotency="one")
    assert [event.type for event in service.handed_over] == ["coupon.created"]


async def entry_of_age(service: Service, program: Owner, **age: int) -> None:
    created_at = datetime.now(UTC) - timedelta(**age)
    async with service.pool.connection() as connection:
        await connection.execute(INSERT_ENTRY, earliest_id(created_at), program.id, created_at)


async def test_what_is_older_than_it_has_to_be_kept_is_forgotten(service: Service, program: Owner) -> None:
    before = await entries(service, program.key)
    for days in (100, 364, 366, 367, 400):
        await entry_of_age(service, program, days=days)
    purge, *_ = remove_old.removals(service.pool, lambda: datetime.now(UTC), timedelta(days=365))
    assert await replace(purge, rows_at_once=2)() == 3
    assert await purge() == 0
    left = await entries(service, program.key)
    assert left[: len(before)] == before
    assert len(left) == len(before) + 2


async def test_the_last_ninety_days_stay_whatever_the_service_asks_for(service: Service, program: Owner) -> None:
    before = await entries(service, program.key)
    for age in ({"days": 89}, {"days": 91}):
        await entry_of_age(service, program, **age)
    purge, *_ = remove_old.removals(service.pool, lambda: datetime.now(UTC), timedelta(days=-1))
    assert await purge() == 1
    assert len(await entries(service, program.key)) == len(before) + 1


class TestExport:
    async def file(self, service: Service, key: str, query: str = "") -> str:
        url, headers = f"/v1/audit-log/export?{query}", {"Authorization": f"Bearer {key}"}
        async with service.http.get(url, headers=headers) as response:
            assert response.status == 200, await response.text()
            return await response.text()

    async def changed(self, service: Service, program: Owner) -> None:
        await service.send("POST", "/v1/coupons", program.key, SPRING)
        customer = {"coupon_specific_customers": {"id": "c-4711", "customer_full_name": "Jane Doe"}}
        code = {"coupon_uuid": "spring", "code": "JANE", "limit_to_specific_customer": True, **customer}
        made = await service.send("POST", "/v1/promotion-codes", program.key, code)
        assert made.status == 201, made.body
        await service.send("PATCH", "/v1/coupons/spring", program.key, {"name": "=Spring"})

    async def test_a_file_says_what_the_list_says(
        self, service: Service, program: Owner, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(read_audit_log, "EXPORTED_AT_ONCE", 2)
        await self.changed(service, program)
        listed = await entries(service, program.key)
        assert len(listed) > 2
        assert parsed_ndjson(await self.file(service, program.key, "format=ndjson")) == listed
        rows = parsed_csv(await self.file(service, program.key))
        assert [(row["id"], json.loads(row["changes"])) for row in rows] == [
            (each["id"], each["changes"]) for each in listed
        ]
        assert rows[0].keys() == listed[0].keys()
        for query in ("action=coupon.updated", "object_type=coupon", "object_id=none", f"key_id={program.id}"):
            found = parsed_csv(await self.file(service, program.key, query))
            assert [row["id"] for row in found] == [each["id"] for each in await entries(service, program.key, query)]

    async def test_an_account_that_only_looks_gets_no_customers(self, service: Service, program: Owner) -> None:
        await self.changed(service, program)
        looks, changes = (account_of(service, program, grade=grade) for grade in ("look", "change"))
        for kind in ("csv", "ndjson"):
            seen, whole = [await self.file(service, key, f"format={kind}") for key in (looks, changes)]
            assert "Jane Doe" in whole
            assert "c-4711" in whole
            assert "Jane Doe" not in seen
            assert "c-4711" not in seen
            assert "JANE" in seen
            assert seen.count("\n") == whole.count("\n")

    async def test_a_program_gets_its_own_entries_and_the_operator_all(self, service: Service, program: Owner) -> None:
        await self.changed(service, program)
        other = await service.program(name="Theirs")
        assert "spring" not in await self.file(service, other.key)
        everything = parsed_csv(await self.file(service, OPERATOR_TOKEN))
        assert {program.id, other.id} <= {row["program_id"] for row in everything}
        refused = await service.send("GET", f"/v1/audit-log/export?program_id={program.id}", other.key)
        assert (refused.status, list(refused.body["errors"])) == (422, ["program_id"])
