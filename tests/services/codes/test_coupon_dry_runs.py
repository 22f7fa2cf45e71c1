"""A dry run of a coupon says what the request would do, refuses what it would refuse, and leaves nothing behind."""

from typing import Any

import asyncpg
import pytest

from tests.databases import Database
from tests.services.codes.conftest import Owner, Service
from tests.services.codes.coupon_requests import SHORTEST, create
from tests.services.codes.test_access import account_of

DRY = "/v1/coupons?dry_run=true"
TABLES = "SELECT tablename FROM pg_tables WHERE schemaname = 'codes' ORDER BY 1"
WHOLE: dict[str, Any] = {
    **SHORTEST,
    "uuid_code": "spring",
    "coupon_duration_type": "months",
    "coupon_duration_value": 3,
    "redemption_specific_date_status": True,
    "redemption_specific_date_value": "2030-10-26",
    "starts_at": "2030-03-31",
    "minimum_order_value": 12.5,
    "external_id": "x1",
    "promotion_codes": ["SPRING-1", {"expiration_date_status": True, "expiration_date_value": "2030-12-31"}],
}


@pytest.fixture
async def admin(database: Database) -> Any:
    connection = await asyncpg.connect(database.admin)
    yield connection
    await connection.close()


async def rows(admin: Any) -> dict[str, int]:
    names = [row["tablename"] for row in await admin.fetch(TABLES)]
    return {name: await admin.fetchval(f"SELECT count(*) FROM codes.{name}") for name in names}  # noqa: S608 - names of tables


@pytest.mark.parametrize("by", ["key", "account"])
async def test_a_dry_creation_shows_the_coupon_and_leaves_no_trace(service: Service, admin: Any, by: str) -> None:
    program = await service.program(currency="EUR", timezone="Europe/Berlin")
    key = program.key if by == "key" else account_of(service, program)
    before, announced = await rows(admin), len(service.handed_over)
    dry = await service.send("POST", DRY, key, WHOLE, idempotency="same")
    assert dry.status == 200, dry.body
    assert await rows(admin) == before
    assert len(service.handed_over) == announced
    assert (dry.body["dry_run"], dry.body["timezone"]) == (True, "Europe/Berlin")
    # A bare date is a day of the program's, on both sides of the change to winter time.
    assert dry.body["starts_at"] == "2030-03-31T00:00:00.000000+01:00"
    assert dry.body["ends_at"] == "2030-10-26T23:59:59.999999+02:00"
    given, generated = dry.body["codes"]
    assert given == {"code": "SPRING-1", "starts_at": None, "ends_at": None}
    assert generated["ends_at"] == "2030-12-31T23:59:59.999999+01:00"
    assert (dry.data["minimum_order_value"], dry.data["minimum_order_currency"]) == (12.5, "EUR")
    # The same request and key in earnest: the dry run has not taken them.
    made = await service.send("POST", "/v1/coupons", key, WHOLE, idempotency="same")
    assert made.status == 201
    assert "Idempotent-Replayed" not in made.headers
    own = {"id", "promotion_codes"}
    assert {name: made.data[name] for name in made.data if name not in own} == {
        name: dry.data[name] for name in dry.data if name not in own
    }


@pytest.mark.parametrize(
    ("members", "field"),
    [
        ({"uuid_code": "taken"}, "uuid_code"),
        ({"external_id": "taken"}, "external_id"),
        ({"promotion_codes": ["TAKEN"]}, "promotion_codes.0.code"),
        ({"coupon_discount_amount": 101}, "coupon_discount_amount"),
        ({"starts_at": "2030-02-02", "redemption_specific_date_value": "2030-01-01"}, None),
        ({"sync": {"provider": "stripe"}}, "sync.provider"),
        ({"promotion_codes": [{"limit_to_specific_partner": True}]}, None),
        ({"colour": "red"}, "colour"),
    ],
)
async def test_it_refuses_what_the_request_would(
    service: Service, program: Owner, admin: Any, members: dict[str, Any], field: str | None
) -> None:
    await create(service, program, uuid_code="taken", external_id="taken", promotion_codes=["TAKEN"])
    before = await rows(admin)
    body = {**WHOLE, **members}
    dry = await service.send("POST", DRY, program.key, body)
    earnest = await service.send("POST", "/v1/coupons", program.key, body)
    assert (dry.status, dry.body["errors"], dry.body["code"]) == (
        *(earnest.status, earnest.body["errors"], earnest.body["code"]),
    )
    assert field is None or field in dry.body["errors"]
    assert await rows(admin) == before


@pytest.mark.parametrize("how", ["PATCH", "PUT"])
async def test_a_dry_change_shows_the_coupon_after_it(service: Service, program: Owner, admin: Any, how: str) -> None:
    made = await create(service, program, uuid_code="spring", promotion_codes=["SPRING-1"])
    before, announced = await rows(admin), len(service.handed_over)
    path, named = ("/v1/coupons/spring", {}) if how == "PATCH" else ("/v1/coupons", {"uuid_code": "spring"})
    change = {**named, "coupon_discount_amount": 20, "redemption_specific_date_status": True}
    dry = await service.send(
        how, f"{path}?dry_run=true", program.key, {**change, "redemption_specific_date_value": "2030-01-31"}
    )
    assert dry.status == 200, dry.body
    assert (dry.data["id"], dry.data["coupon_discount_amount"]) == (made["id"], 20)
    assert dry.body["ends_at"] == "2030-01-31T23:59:59.999999+00:00"
    assert [code["code"] for code in dry.body["codes"]] == ["SPRING-1"]
    shown = await service.send("GET", "/v1/coupons/spring", program.key)
    assert (shown.data["coupon_discount_amount"], shown.data["updated_at"]) == (10, made["updated_at"])
    assert await rows(admin) == before
    assert len(service.handed_over) == announced


async def test_a_dry_change_is_refused_like_the_change(service: Service, program: Owner, admin: Any) -> None:
    await create(service, program, uuid_code="spring", promotion_codes=["SPRING-1"])
    await admin.execute("UPDATE codes.coupons SET times_redeemed = 1 WHERE uuid_code = 'spring'")
    for path, change in (("spring", {"coupon_discount_amount": 20}), ("none", {"active": False})):
        dry = await service.send("PATCH", f"/v1/coupons/{path}?dry_run=true", program.key, change)
        earnest = await service.send("PATCH", f"/v1/coupons/{path}", program.key, change)
        assert (dry.status, dry.body["code"]) == (earnest.status, earnest.body["code"])
    redeeming = {"uuid_code": "spring", "redeem": True, "transaction_key": "order-1"}
    refused = await service.send("PUT", DRY, program.key, redeeming)
    assert (refused.status, list(refused.body["errors"])) == (422, ["redeem"])


async def test_the_parameter_is_true_or_false(service: Service, program: Owner) -> None:
    refused = await service.send("POST", "/v1/coupons?dry_run=yes", program.key, SHORTEST)
    assert (refused.status, list(refused.body["errors"])) == (422, ["dry_run"])
    assert (await service.send("POST", "/v1/coupons?dry_run=false", program.key, SHORTEST)).status == 201
    looking = account_of(service, program, grade="look")
    assert (await service.send("POST", DRY, looking, SHORTEST)).status == 403
