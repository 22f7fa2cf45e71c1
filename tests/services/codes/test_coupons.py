"""Coupons over HTTP: the documented request gives the documented answer, and every rule of its parameters is kept."""

import uuid
from collections.abc import Mapping
from typing import Any

import asyncpg
import pytest

from services.codes.api.management import coupons, promotion_codes
from services.codes.api.query import coupons as query_coupons
from services.codes.api.query import promotion_codes as promotional_codes
from tests.databases import Database
from tests.services.codes.conftest import Owner, Service
from tests.services.codes.redemptions import redeem
from tests.services.redemption.merchant import Merchant

DOCUMENTED: Mapping[str, Any] = {
    "name": "PARTNERO25",
    "uuid_code": "coupon_123",
    "coupon_discount_type": "percent",
    "coupon_discount_amount": 25,
    "coupon_duration_type": "months",
    "coupon_duration_value": 11,
    "redemption_times_status": True,
    "redemption_times_value": 24,
}
SHORTEST: Mapping[str, Any] = {
    "coupon_discount_type": "percent",
    "coupon_discount_amount": 10,
    "coupon_duration_type": "once",
}
STATIC: Mapping[str, Any] = {**SHORTEST, "coupon_discount_type": "static"}


async def create(service: Service, program: Owner, **members: Any) -> Any:
    made = await service.send("POST", "/v1/coupons", program.key, {**SHORTEST, **members})
    assert made.status == 201, made.body
    return made.data


async def names(service: Service, program: Owner) -> list[str]:
    listed = await service.send("GET", "/v1/coupons", program.key)
    return [coupon["uuid_code"] for coupon in listed.data]


async def test_the_documented_request_gives_the_documented_answer(service: Service, program: Owner) -> None:
    made = await service.send("POST", "/v1/coupons", program.key, DOCUMENTED)
    now = service.clock().isoformat(timespec="microseconds").replace("+00:00", "Z")
    assert made.status == 201
    expected = {
        "name": "PARTNERO25",
        "uuid_code": "coupon_123",
        "active": True,
        "coupon_discount_type": "percent",
        "coupon_discount_amount": 25,
        "coupon_duration_type": "months",
        "coupon_duration_value": 11,
        "redemption_specific_date_status": False,
        "redemption_specific_date_value": None,
        "redemption_times_status": True,
        "redemption_times_value": 24,
        "metadata": [],
        "additional_info": [],
        "times_redeemed": 0,
        "created_at": now,
        "updated_at": now,
        "deleted_at": None,
    }
    # A client reads JSON under exactly this type, and hands over text under any other.
    assert made.headers["Content-Type"] == "application/json"
    assert list(made.body) == [
        *("data", "status", "message"),
        *("synchronization_enabled", "synchronization_successful", "synchronization_message"),
    ]
    assert list(made.data)[: len(expected)] == list(expected)
    assert {name: made.data[name] for name in expected} == expected
    assert {name: made.body[name] for name in list(made.body)[1:]} == {
        "status": 1,
        "message": "Coupon created in the app successfully.",
        "synchronization_enabled": False,
        "synchronization_successful": False,
        "synchronization_message": "",
    }
    assert b'"coupon_discount_amount":25,' in made.raw


async def test_the_examples_of_the_document_are_accepted(service: Service, program: Owner) -> None:
    """In this order they are one story: made, changed, archived."""
    kinds = (coupons, promotion_codes, promotional_codes, query_coupons)
    order = {"POST": 0, "PUT": 1, "PATCH": 2, "DELETE": 3}
    routes = [route for kind in kinds for route in kind.ROUTES if "request" in route.examples]
    for route in sorted(routes, key=lambda route: order[route.method]):
        path = route.path.replace("{coupon}", "coupon_123").replace("{code}", "spring-20")
        reply = await service.send(route.method, path, program.key, route.examples["request"])
        # An archived coupon has taken its code along.
        assert reply.status in (200, 201) or (route.method == "DELETE" and reply.status == 404), (path, reply.body)
    assert len(routes) >= 9


async def test_a_provider_that_is_not_connected_is_refused_in_the_documented_words(
    service: Service, program: Owner
) -> None:
    for provider in ("stripe", "shopify", "woocommerce", "paddle"):
        text = f"{provider} is not connected for this program."
        refused = await service.send("POST", "/v1/coupons", program.key, {**DOCUMENTED, "sync": {"provider": provider}})
        assert (refused.status, refused.body["message"], refused.body["errors"]) == (
            422,
            text,
            {"sync.provider": [text]},
        )
        assert refused.body["code"] == "provider_not_connected"
    assert await names(service, program) == ["partner-codes"]
    assert (await service.send("POST", "/v1/coupons", program.key, {**DOCUMENTED, "sync": None})).status == 201


async def test_what_is_left_out_has_its_default(service: Service, program: Owner) -> None:
    made = await create(service, program)
    assert made["uuid_code"] == made["name"] == made["id"]
    assert (made["active"], made["redemption_times_status"], made["redemption_times_value"]) == (True, False, None)
    assert (made["coupon_duration_type"], made["coupon_duration_value"]) == ("once", None)
    assert (made["combination"], made["minimum_applies_to"]) == ("other_coupons", "eligible")
    named = await create(service, program, uuid_code="spring")
    assert named["name"] == "spring"


async def test_a_coupon_from_before_may_be_combined_as_before(
    service: Service, program: Owner, database: Database
) -> None:
    """What the release before inserts, or has inserted, names no rule of combination."""
    connection = await asyncpg.connect(database.admin)
    try:
        made = await Merchant(connection).coupon(uuid.UUID(program.id))
    finally:
        await connection.close()
    shown = await service.send("GET", f"/v1/coupons/{made}", program.key)
    assert (shown.data["combination"], shown.data["minimum_applies_to"]) == ("any", "eligible")
    changed = await service.send("PATCH", f"/v1/coupons/{made}", program.key, {"combination": "other_coupons"})
    assert changed.data["combination"] == "other_coupons"


IMPOSSIBLE: tuple[tuple[str, dict[str, Any]], ...] = (
    ("coupon_discount_type", {"coupon_discount_type": None}),
    ("coupon_discount_type", {"coupon_discount_type": "free"}),
    ("coupon_discount_amount", {"coupon_discount_amount": None}),
    ("coupon_discount_amount", {"coupon_discount_amount": -1}),
    ("coupon_discount_amount", {"coupon_discount_amount": "25"}),
    ("coupon_discount_amount", {"coupon_discount_amount": True}),
    ("coupon_discount_amount", {"coupon_discount_amount": 100.01}),
    ("coupon_discount_amount", {"coupon_discount_amount": 12.345}),
    ("coupon_discount_amount", {**STATIC, "coupon_discount_amount": -0.01}),
    ("coupon_discount_amount", {**STATIC, "coupon_discount_amount": 1.005}),
    ("coupon_discount_amount", {**STATIC, "coupon_discount_amount": 1e15}),
    ("coupon_discount_amount", {**STATIC, "coupon_discount_currency": "JPY", "coupon_discount_amount": 0.5}),
    ("coupon_duration_type", {"coupon_duration_type": "weeks"}),
    *(("coupon_duration_value", {"coupon_duration_type": kind}) for kind in ("hours", "days", "months", "years")),
    ("coupon_duration_value", {"coupon_duration_type": "days", "coupon_duration_value": 0}),
    ("coupon_duration_value", {"coupon_duration_type": "days", "coupon_duration_value": 1.5}),
    ("coupon_duration_value", {"coupon_duration_type": "days", "coupon_duration_value": "3"}),
    ("coupon_duration_value", {"coupon_duration_type": "days", "coupon_duration_value": 2**31}),
    ("coupon_duration_value", {"coupon_duration_value": 3}),
    ("uuid_code", {"uuid_code": ""}),
    ("uuid_code", {"uuid_code": "a b"}),
    ("uuid_code", {"uuid_code": "größe"}),
    ("uuid_code", {"uuid_code": "a\n"}),
    ("uuid_code", {"uuid_code": "a" * 256}),
    ("name", {"name": " "}),
    ("name", {"name": 5}),
    ("redemption_specific_date_status", {"redemption_specific_date_status": 1}),
    ("redemption_specific_date_value", {"redemption_specific_date_status": True}),
    ("redemption_specific_date_value", {"redemption_specific_date_value": "2030-01-31"}),
    (
        "redemption_specific_date_value",
        {"redemption_specific_date_status": True, "redemption_specific_date_value": "2030-01-31T10:00:00"},
    ),
    (
        "redemption_specific_date_value",
        {"redemption_specific_date_status": True, "redemption_specific_date_value": "31.1.2030"},
    ),
    ("redemption_times_value", {"redemption_times_status": True}),
    ("redemption_times_value", {"redemption_times_status": True, "redemption_times_value": 0}),
    ("redemption_times_value", {"redemption_times_value": 5}),
    ("redemption_times_status", {"redemption_times_status": "true"}),
    ("metadata", {"metadata": "x"}),
    ("metadata", {"metadata": ["x"]}),
    ("metadata.deep", {"metadata": {"deep": {"er": 1}}}),
    ("sync", {"sync": "stripe"}),
    ("sync.provider", {"sync": {}}),
    ("sync.provider", {"sync": {"provider": "amazon"}}),
    ("promotion_codes", {"promotion_codes": "SPRING"}),
    ("promotion_codes.0.code", {"promotion_codes": ["--"]}),
    ("promotion_codes.1.code", {"promotion_codes": ["A", "a/b"]}),
    ("promotion_codes.1.code", {"promotion_codes": ["A", {"code": "a/b"}]}),
    ("promotion_codes.0.coupon_specific_partners.id", {"promotion_codes": [{"coupon_specific_partners": [{"id": 5}]}]}),
    ("promotion_codes.0.coupon_specific_partners.id", {"promotion_codes": [{"coupon_specific_partners": {"id": 5}}]}),
    ("promotion_codes.0", {"promotion_codes": [5]}),
    ("promotion_codes.1.redemption_times_value", {"promotion_codes": ["A", {"redemption_times_status": True}]}),
    ("nonsense", {"nonsense": 1}),
    ("coupon_discount_max_amount", {**STATIC, "coupon_discount_max_amount": 5}),
    ("coupon_discount_amounts", {"coupon_discount_amounts": {"EUR": 5}}),
    ("coupon_discount_amounts.JPY", {**STATIC, "coupon_discount_amounts": {"JPY": 0.5}}),
    ("minimum_order_value", {"minimum_order_currency": "USD"}),
    ("budget_currency", {"budget_amount": 5, "budget_currency": "euro"}),
    ("commission_percent", {"commission_percent": 101}),
    ("starts_at", {"starts_at": "2030-01-31T10:00:00"}),
    ("starts_at", {"starts_at": "2030-02-30"}),
    ("promotion_codes.0.coupon_specific_subscribers", {"promotion_codes": [{"coupon_specific_subscribers": [5]}]}),
    ("release_policy", {"release_policy": "sometimes"}),
    ("combination", {"combination": "some"}),
    ("minimum_applies_to", {"minimum_applies_to": "cart"}),
    ("excluded_product_ids.0", {"excluded_product_ids": [""]}),
    ("coupon_discount_currency", {**STATIC, "coupon_discount_currency": "BTC"}),
    ("coupon_discount_amounts.ZZZ", {**STATIC, "coupon_discount_amounts": {"ZZZ": 5}}),
    ("coupon_discount_amounts", {**STATIC, "coupon_discount_amounts": {"eur": 5, "EUR": 6}}),
)


async def test_a_member_that_cannot_be_is_named(service: Service, program: Owner) -> None:
    for field, members in IMPOSSIBLE:
        body = {name: value for name, value in {**SHORTEST, **members}.items() if value is not None}
        refused = await service.send("POST", "/v1/coupons", program.key, body)
        assert (refused.status, list(refused.body["errors"])) == (422, [field]), members
        assert refused.body["message"] == refused.body["errors"][field][0]
        assert field in refused.body["message"]
    assert await names(service, program) == ["partner-codes"]


async def test_several_faults_are_told_at_once(service: Service, program: Owner) -> None:
    body = {"coupon_discount_type": "free", "redemption_times_value": "x", "uuid_code": ""}
    refused = await service.send("POST", "/v1/coupons", program.key, body)
    assert set(refused.body["errors"]) == {
        *("coupon_discount_type", "coupon_discount_amount", "coupon_duration_type"),
        *("redemption_times_value", "uuid_code"),
    }
    assert refused.body["message"].endswith("(and 4 more errors)")


@pytest.mark.parametrize(
    ("timezone", "given", "kept"),
    [
        ("UTC", "2030-01-31", "2030-01-31T23:59:59.999999Z"),
        ("Europe/Berlin", "2030-01-31", "2030-01-31T22:59:59.999999Z"),
        ("America/New_York", "2030-07-31", "2030-08-01T03:59:59.999999Z"),
        ("Europe/Berlin", "2030-01-31T10:00:00+02:00", "2030-01-31T08:00:00.000000Z"),
    ],
)
async def test_a_bare_date_is_the_end_of_that_day_where_the_program_is(
    service: Service, timezone: str, given: str, kept: str
) -> None:
    program = await service.program(timezone=timezone)
    made = await create(service, program, redemption_specific_date_status=True, redemption_specific_date_value=given)
    assert made["redemption_specific_date_value"] == kept


@pytest.mark.parametrize(
    ("program_currency", "members", "amount", "minor"),
    [
        ("USD", {"coupon_discount_amount": 5}, 5, 500),
        ("USD", {"coupon_discount_amount": 12.5}, 12.5, 1250),
        ("USD", {"coupon_discount_amount": 0}, 0, 0),
        ("JPY", {"coupon_discount_amount": 500}, 500, 500),
        ("USD", {"coupon_discount_amount": 1.234, "coupon_discount_currency": "KWD"}, 1.234, 1234),
    ],
)
async def test_a_static_amount_is_kept_exactly_in_minor_units(
    service: Service, database: Database, program_currency: str, members: dict[str, Any], amount: float, minor: int
) -> None:
    program = await service.program(currency=program_currency)
    made = await create(service, program, **{**STATIC, **members})
    assert made["coupon_discount_amount"] == amount
    assert made["coupon_discount_currency"] == members.get("coupon_discount_currency", program_currency)
    async with service.pool.connection() as connection:
        assert await connection.fetchval("SELECT amount_minor FROM coupons WHERE id = $1", made["id"]) == minor


async def test_every_limit_can_be_set_and_changed_and_is_shown(service: Service, program: Owner) -> None:
    limits = {
        "external_id": "co_1",
        "coupon_discount_currency": "USD",
        "coupon_discount_max_amount": 12.5,
        "starts_at": "2030-01-01T00:00:00.000000Z",
        "redemptions_per_code": 1,
        "redemptions_per_customer": 2,
        "redemptions_per_day": 3,
        "redemptions_per_week": 4,
        "redemptions_per_month": 5,
        "budget_amount": 1000,
        "budget_currency": "EUR",
        "first_time_order": True,
        "minimum_order_value": 20,
        "minimum_order_currency": "USD",
        "minimum_applies_to": "order",
        "product_ids": ["p1", "p2"],
        "excluded_product_ids": ["p2"],
        "combination": "none",
        "release_policy": "never",
        "commission_percent": 7.5,
    }
    made = await create(service, program, **limits)
    assert {name: made[name] for name in limits} == limits
    bare = await create(service, program)
    limits["external_id"] = "co_2"
    changed = await service.send("PATCH", f"/v1/coupons/{bare['id']}", program.key, limits)
    assert {name: changed.data[name] for name in limits} == limits
    cleared: dict[str, Any] = {
        **dict.fromkeys(limits),
        "first_time_order": False,
        "minimum_applies_to": "eligible",
        "product_ids": [],
        "excluded_product_ids": [],
        "combination": "other_coupons",
        "release_policy": "always",
    }
    changed = await service.send("PATCH", f"/v1/coupons/{bare['id']}", program.key, cleared)
    assert changed.status == 200, changed.body
    # Null leaves the coupon's currency as it is; that of an amount goes with it.
    assert {name: changed.data[name] for name in cleared} == {**cleared, "coupon_discount_currency": "USD"}


async def test_a_currency_is_read_in_small_letters_too(service: Service, program: Owner) -> None:
    members = {
        "coupon_discount_type": "static",
        "coupon_discount_currency": "jpy",
        "coupon_discount_amounts": {"eur": 5},
    }
    made = await create(service, program, **members, minimum_order_value=1, minimum_order_currency="usd")
    assert (made["coupon_discount_currency"], made["coupon_discount_amounts"]) == ("JPY", {"EUR": 5})
    assert made["minimum_order_currency"] == "USD"
    settings = await service.send("PATCH", f"/v1/programs/{program.id}", json={"currency": "chf"})
    assert settings.data["currency"] == "CHF"


async def test_codes_are_made_alongside_or_nothing_is(service: Service, program: Owner) -> None:
    codes = ["SPRING-20", {"code": "VIP", "redemption_times_status": True, "redemption_times_value": 1}, {}]
    made = await create(service, program, uuid_code="one", promotion_codes=codes)
    shown = [code["code"] for code in made["promotion_codes"]["data"]]
    assert shown[:2] == ["SPRING-20", "VIP"]
    assert len(shown[2]) == 8
    read = await service.send("GET", "/v1/coupons/one", program.key)
    assert [code["code"] for code in read.data["promotion_codes"]["data"]] == shown
    refused = await service.send(
        "POST", "/v1/coupons", program.key, {**SHORTEST, "uuid_code": "two", "promotion_codes": ["NEW", "spring2o"]}
    )
    assert (refused.status, refused.body["code"]) == (422, "code_taken")
    assert list(refused.body["errors"]) == ["promotion_codes.1.code"]
    assert (await service.send("GET", "/v1/coupons/two", program.key)).status == 404
    assert (await service.send("GET", "/v1/promotion-codes/NEW", program.key)).status == 404


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


async def test_the_same_idempotency_key_makes_one_coupon(service: Service, program: Owner) -> None:
    first = await service.send("POST", "/v1/coupons", program.key, SHORTEST, idempotency="one")
    again = await service.send("POST", "/v1/coupons", program.key, SHORTEST, idempotency="one")
    assert (again.raw, again.headers["Idempotent-Replayed"]) == (first.raw, "true")
    assert len(await names(service, program)) == 2
