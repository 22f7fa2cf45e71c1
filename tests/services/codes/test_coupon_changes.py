"""Coupons after they are made: found, changed, frozen by redemptions, and archived."""

from typing import Any

from tests.databases import Database
from tests.services.codes.conftest import Owner, Service
from tests.services.codes.coupon_requests import DOCUMENTED, SHORTEST, create, names
from tests.services.codes.redemptions import redeem


async def test_names_belong_to_one_live_coupon_of_a_program(service: Service, program: Owner) -> None:
    made = await create(service, program, uuid_code="spring", external_id="co_1")
    for members, code in (({"uuid_code": "spring"}, "uuid_code_taken"), ({"external_id": "co_1"}, "external_id_taken")):
        refused = await service.send("POST", "/v1/coupons", program.key, {**SHORTEST, **members})
        assert (refused.status, refused.body["code"]) == (422, code)
        assert list(refused.body["errors"]) == list(members)
    other = await service.program(name="Other")
    await create(service, other, uuid_code="spring", external_id="co_1")
    assert (await service.send("DELETE", "/v1/coupons/spring", program.key)).status == 200
    again = await create(service, program, uuid_code="spring", external_id="co_1")
    assert again["id"] != made["id"]


async def test_a_coupon_is_found_by_id_and_by_name_and_by_nobody_else(service: Service, program: Owner) -> None:
    made = await create(service, program, uuid_code="spring")
    other = await service.program(name="Other")
    for name in (made["id"], "spring"):
        found = await service.send("GET", f"/v1/coupons/{name}", program.key)
        assert (found.status, found.data, found.body["status"]) == (200, made, 1)
        for method in ("GET", "PATCH", "DELETE"):
            body = {"active": False} if method == "PATCH" else None
            missing = await service.send(method, f"/v1/coupons/{name}", other.key, body)
            assert (missing.status, missing.body["code"]) == (404, "not_found")


async def test_a_change_changes_what_it_names(service: Service, program: Owner) -> None:
    made = await create(service, program, **DOCUMENTED, metadata={"a": 1, "b": "x"})
    service.clock.advance(seconds=1)
    body = {"uuid_code": "coupon_123", "name": "Spring", "metadata": {"b": None, "c": True}}
    changed = await service.send("PUT", "/v1/coupons", program.key, body)
    assert (changed.status, changed.body["message"]) == (200, "Coupon updated in the app successfully.")
    expected = made | {"name": "Spring", "metadata": {"a": 1, "c": True}, "updated_at": changed.data["updated_at"]}
    assert changed.data == expected
    assert changed.data["updated_at"] > made["updated_at"]
    same = await service.send("PUT", "/v1/coupons", program.key, body)
    assert same.data == changed.data


async def test_a_change_obeys_the_rules_of_creation(service: Service, program: Owner) -> None:
    await create(service, program, **DOCUMENTED)
    for field, members in (
        ("coupon_discount_amount", {"coupon_discount_amount": 101}),
        ("coupon_discount_amount", {"coupon_discount_type": "static"}),
        ("coupon_duration_value", {"coupon_duration_type": "once", "coupon_duration_value": 3}),
        ("redemption_times_value", {"redemption_times_value": None}),
        ("redemption_specific_date_value", {"redemption_specific_date_status": True}),
    ):
        refused = await service.send("PATCH", "/v1/coupons/coupon_123", program.key, members)
        assert (refused.status, list(refused.body["errors"])) == (422, [field])
    changed = await service.send(
        "PATCH",
        "/v1/coupons/coupon_123",
        program.key,
        {"coupon_duration_type": "lifetime", "redemption_times_status": False},
    )
    assert (changed.data["coupon_duration_value"], changed.data["redemption_times_value"]) == (None, None)


async def test_a_redemption_freezes_the_terms_and_leaves_the_rest(
    service: Service, database: Database, program: Owner
) -> None:
    made = await create(
        service,
        program,
        **DOCUMENTED,
        redemption_specific_date_status=True,
        redemption_specific_date_value="2030-01-31T00:00:00Z",
        promotion_codes=["SPRING"],
    )
    path = f"/v1/coupons/{made['id']}"
    assert (await service.send("PATCH", path, program.key, {"coupon_discount_amount": 20})).status == 200
    await redeem(database, made["promotion_codes"]["data"][0]["id"], service.clock())
    frozen: list[dict[str, Any]] = [
        {"coupon_discount_amount": 30},
        {"coupon_discount_type": "static", "coupon_discount_amount": 5},
        {"coupon_duration_value": 12},
        {"redemption_times_value": 23},
        {"redemption_specific_date_value": "2029-12-31"},
        {"redemptions_per_customer": 1},
        {"minimum_order_value": 5},
        {"minimum_applies_to": "order"},
        {"excluded_product_ids": ["p1"]},
    ]
    for members in frozen:
        refused = await service.send("PATCH", path, program.key, members)
        assert (refused.status, refused.body["code"]) == (409, "terms_frozen"), members
        # The currency of an amount changes with it, whether or not it is named.
        assert members.keys() <= refused.body["errors"].keys(), members
        assert {*refused.body["errors"]} - {*members} <= {"coupon_discount_currency", "minimum_order_currency"}
        assert all(name in refused.body["detail"] for name in members)
    free: list[dict[str, Any]] = [
        {"name": "New"},
        {"metadata": {"a": 1}},
        {"active": False},
        {"combination": "none"},
        {"redemption_times_value": 25},
        {"redemption_specific_date_value": "2031-01-31"},
        {"coupon_discount_amount": 20, "coupon_duration_value": 11},
        {"redemption_times_status": False},
        {"redemption_specific_date_status": False},
    ]
    for members in free:
        assert (await service.send("PATCH", path, program.key, members)).status == 200, members


async def test_archiving_takes_the_codes_along_and_can_be_repeated_by_id(service: Service, program: Owner) -> None:
    made = await create(service, program, uuid_code="spring", promotion_codes=["A1", "B2"])
    named = await service.send("DELETE", "/v1/coupons", program.key, {"uuid_code": "spring"})
    assert (named.status, named.data) == (
        200,
        {"status": 1, "message": "Coupon deleted from the app successfully."},
    )
    for name in ("spring", "A1"):
        kind = "coupons" if name == "spring" else "promotion-codes"
        assert (await service.send("GET", f"/v1/{kind}/{name}", program.key)).status == 404
    assert await names(service, program) == ["partner-codes"]
    assert (await service.send("GET", "/v1/promotion-codes", program.key)).data == []
    shown = await service.send("GET", f"/v1/coupons/{made['id']}", program.key)
    service.clock.advance(seconds=1)
    again = await service.send("DELETE", f"/v1/coupons/{made['id']}", program.key)
    assert (again.status, again.data["deleted_at"]) == (200, shown.data["deleted_at"])
    assert (await service.send("PATCH", f"/v1/coupons/{made['id']}", program.key, {"name": "x"})).status == 404


async def test_the_coupon_of_generated_codes_stays(service: Service, program: Owner) -> None:
    """Without it no partner of the program could generate a code again."""
    refused = await service.send("DELETE", "/v1/coupons/partner-codes", program.key)
    assert (refused.status, refused.body["code"]) == (409, "partner_coupon_needed")
    partner = await service.partner(program, quota=1)
    assert (await service.generate(partner)).status == 200
