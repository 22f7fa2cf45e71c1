"""Coupons over HTTP: the documented request gives the documented answer, and every rule of its parameters is kept."""

import uuid
from typing import Any

import asyncpg
import pytest

from services.codes.api.management import coupons, promotion_codes
from services.codes.api.query import coupons as query_coupons
from services.codes.api.query import promotion_codes as promotional_codes
from tests.databases import Database
from tests.services.codes.conftest import Owner, Service
from tests.services.codes.coupon_requests import DOCUMENTED, SHORTEST, STATIC, create, names
from tests.services.redemption.merchant import Merchant


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
    ("promotion_codes.0", {"promotion_codes": [5.5]}),
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


async def test_the_same_idempotency_key_makes_one_coupon(service: Service, program: Owner) -> None:
    first = await service.send("POST", "/v1/coupons", program.key, SHORTEST, idempotency="one")
    again = await service.send("POST", "/v1/coupons", program.key, SHORTEST, idempotency="one")
    assert (again.raw, again.headers["Idempotent-Replayed"]) == (first.raw, "true")
    assert len(await names(service, program)) == 2
