"""What clients of the coupon API and the query API do that no document asks of them, and that loses nothing."""

from datetime import timedelta
from typing import Any
from urllib.parse import urlencode

import pytest

from tests.services.codes.conftest import Owner, Service
from tests.services.codes.test_promotion_codes import CODES, COUPON, coupon, create, listed

QUERY_CODES, QUERY_COUPONS = "/api/v1/promotional-codes", "/api/v1/coupons"


async def gone(service: Service, program: Owner, path: str, **parameters: str) -> Any:
    return await service.send("DELETE", f"{path}?{urlencode(parameters)}", program.key)


async def test_delete_takes_the_query_string_for_its_body(service: Service, program: Owner) -> None:
    """Clients that send no body with DELETE, as `partnero-php` does, could archive nothing."""
    await coupon(service, program)
    for code in ("10 % + MORE", "B"):
        await create(service, program, code=code)
    named = {"code": "10 % + more", "coupon[uuid_code]": "spring"}
    # The client sends all that it knows of the coupon.
    archived = await gone(service, program, CODES, **named, **{"coupon[active]": "1", "coupon[name]": "Spring"})
    assert archived.data["message"] == "Promotion code deleted from the app successfully."
    (left,) = (await service.send("GET", CODES, program.key)).data
    assert (await gone(service, program, QUERY_CODES, promotionalCodeId=left["id"])).status == 200
    assert await listed(service, program) == []
    assert (await gone(service, program, "/v1/coupons", uuid_code="spring")).status == 200
    summer = await coupon(service, program, "summer")
    assert (await gone(service, program, QUERY_COUPONS, couponId=summer)).status == 200


@pytest.mark.parametrize(
    ("query", "at_fault"),
    [
        ("coupon[uuid_code]=spring", "code"),
        ("code=A&coupon[name]=Spring", "coupon.uuid_code"),
        ("code=A&coupon=spring", "coupon"),
        ("code=A&coupon[uuid_code]=spring&coupon[colour]=red", "coupon.colour"),
        ("code=A&coupon=spring&coupon[uuid_code]=spring", "coupon[uuid_code]"),
        ("code=A&code=B", "code"),
        ("code=A&force=1", "force"),
        ("code=%00", "code"),
    ],
)
async def test_what_is_wrong_with_the_query_of_a_delete_is_named(
    service: Service, program: Owner, query: str, at_fault: str
) -> None:
    await coupon(service, program)
    await create(service, program, code="A")
    refused = await service.send("DELETE", f"{CODES}?{query}", program.key)
    assert (refused.status, list(refused.body["errors"])) == (422, [at_fault])
    assert await listed(service, program) == ["A"]


async def test_a_delete_says_what_it_means_once(service: Service, program: Owner) -> None:
    """With a body the query string would say the same again, or something else."""
    await coupon(service, program)
    await create(service, program, code="A")
    refused = await service.send("DELETE", f"{CODES}?code=A", program.key, {"code": "A"})
    assert (refused.status, list(refused.body["errors"])) == (422, ["code"])
    assert (await service.send("DELETE", CODES, program.key)).status == 400


async def test_a_code_names_its_coupon_by_coupon_id_too(service: Service, program: Owner) -> None:
    """Its clients call it so, and number their coupons: a `uuid_code` of digits may be sent as a number."""
    made = await coupon(service, program, "12")
    for number, named in enumerate((12, "12", made)):
        answer = await service.send("POST", CODES, program.key, {"coupon_id": named, "code": f"C{number}"})
        assert (answer.status, answer.data["coupon"]["uuid_code"]) == (201, "12")
    both = await service.send("POST", CODES, program.key, {"coupon_id": "12", "coupon_uuid": "12"})
    assert both.status == 422
    missing = await service.send("POST", CODES, program.key, {"code": "D"})
    assert list(missing.body["errors"]) == ["coupon_uuid"]


async def test_numbers_of_shops_are_the_texts_that_they_are_written_by(service: Service, program: Owner) -> None:
    """A shop whose ids are numbers had each request refused, for want of quotes."""
    members = {"uuid_code": 7, "product_ids": [12, "34", 12.0], "promotion_codes": [20241, {"code": 20242}]}
    assert (await service.send("POST", "/v1/coupons", program.key, {**COUPON, **members})).status == 201
    shown = (await service.send("GET", "/v1/coupons/7", program.key)).data
    assert shown["product_ids"] == ["12", "34"]
    assert [code["code"] for code in shown["promotion_codes"]["data"]] == ["20241", "20242"]
    customer = {"limit_to_specific_customer": True, "coupon_specific_customers": {"id": 17}}
    made = await create(service, program, "7", code=20243, external_id=99, **customer)
    assert (made["code"], made["external_id"], made["coupon_specific_customers"]["id"]) == ("20243", "99", "17")
    changed = await service.send("PUT", CODES, program.key, {"code": 20243, "active": False})
    assert changed.data["active"] is False
    queried = {"couponId": 7, "code": 20244, "externalId": 100, "customerId": 18, "limitToCustomers": True}
    answer = await service.send("POST", QUERY_CODES, program.key, queried)
    assert (answer.status, answer.body["code"], answer.body["externalId"]) == (201, "20244", "100")
    for no_text in (True, 1.5, [1]):
        refused = await service.send("POST", CODES, program.key, {"coupon_uuid": "7", "code": no_text})
        assert (refused.status, list(refused.body["errors"])) == (422, ["code"]), no_text


async def test_a_flag_that_is_null_says_nothing(service: Service, program: Owner) -> None:
    """Clients of typed languages write null for every member that nobody has set."""
    unset = dict.fromkeys(("active", "redemption_times_status", "redemption_specific_date_status", "first_time_order"))
    made = await service.send("POST", "/v1/coupons", program.key, {**COUPON, **unset, "uuid_code": "spring"})
    assert (made.status, made.data["active"], made.data["redemption_times_status"]) == (201, True, False)
    flags = ("first_time_order", "limit_to_specific_partner", "limit_to_specific_subscriber", "minimum_order_status")
    limited: dict[str, Any] = {"redemption_times_status": True, "redemption_times_value": 3}
    members: dict[str, Any] = {"code": "A", "expiration_date_status": None, **dict.fromkeys(flags), **limited}
    code = await create(service, program, **members)
    assert (code["active"], code["limit_to_specific_partner"], code["redemption_times_value"]) == (True, False, 3)
    nulls = {"code": "A", "active": None, "redeem": None, "transaction_key": None, "redemption_times_status": None}
    kept = await service.send("PUT", CODES, program.key, nulls)
    assert (kept.status, kept.data["active"], kept.data["redemption_times_value"]) == (200, True, 3)
    asked = {"couponId": "spring", "code": "B", "active": None, "limitToCustomers": None, "isAutoGenerated": None}
    answer = await service.send("POST", QUERY_CODES, program.key, asked)
    assert (answer.status, answer.body["active"], answer.body["isAutoGenerated"]) == (201, True, False)
    for no_flag in (1, "true", 0.5):
        refused = await service.send("POST", CODES, program.key, {"coupon_uuid": "spring", "active": no_flag})
        assert (refused.status, list(refused.body["errors"])) == (422, ["active"]), no_flag


async def test_a_reference_may_be_a_number(service: Service, partner: Owner) -> None:
    """An order number is one in most shops."""
    path = "/api/partners/codes/generate"
    answers = [await service.send("POST", path, partner.key, {"reference": each}) for each in (4711, "4711")]
    assert [each.status for each in answers] == [200, 200]
    assert answers[0].body == answers[1].body | {"reference": "4711"}


async def test_the_audit_log_is_asked_by_days_where_the_program_is(service: Service, program: Owner) -> None:
    """A day is the end of the span as a whole, as everywhere else."""
    zone = {"timezone": "Pacific/Kiritimati"}
    assert (await service.send("PATCH", f"/v1/programs/{program.id}", program.key, zone)).status == 200
    await coupon(service, program)
    today = (service.clock() + timedelta(hours=14)).date()
    for query, found in (
        (f"since={today}", 1),
        (f"since={today + timedelta(days=1)}", 0),
        (f"until={today}", 1),
        (f"until={today - timedelta(days=1)}", 0),
    ):
        listed_entries = await service.send("GET", f"/v1/audit-log?object_type=coupon&{query}", program.key)
        assert (listed_entries.status, len(listed_entries.data)) == (200, found), query


async def test_a_file_of_tabs_may_say_that_it_is_one(service: Service, program: Owner) -> None:
    await coupon(service, program)
    headers = {"Authorization": f"Bearer {program.key}", "Content-Type": "text/tab-separated-values"}
    url, body = "/v1/coupons/spring/promotion-codes/import", "Code\tActive\nA1\tno\n"
    async with service.http.post(url, data=body, headers=headers) as answer:
        assert (answer.status, (await answer.json())["data"]["created"]) == (200, 1)
