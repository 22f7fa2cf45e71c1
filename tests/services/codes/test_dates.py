"""Times at every door of the codes service: a bare date as start or end, and what would end before it starts."""

from datetime import datetime
from typing import Any

import pytest

from tests.databases import Database
from tests.services.codes.bulk import rows, work_through
from tests.services.codes.conftest import Owner, Reply, Service

# On this day an hour comes twice where the program is: 00:00+03:00 to 23:59+02:00.
DAY, FIRST, LAST = "2026-10-29", "2026-10-28T21:00:00Z", "2026-10-29T21:59:59.999999Z"
EXTENDED = datetime.fromisoformat("2026-10-30T21:59:59.999999Z")
SHORTEST = {"coupon_discount_type": "percent", "coupon_discount_amount": 10, "coupon_duration_type": "once"}
COUPON_END = {"redemption_specific_date_status": True, "redemption_specific_date_value": DAY}
CODE_END = {"expiration_date_status": True, "expiration_date_value": DAY}


@pytest.fixture
async def cairo(service: Service) -> Owner:
    program = await service.program(timezone="Africa/Cairo")
    made = await service.send("POST", "/v1/coupons", program.key, {**SHORTEST, "uuid_code": "spring"})
    assert made.status == 201, made.body
    return program


async def post(service: Service, program: Owner, path: str, body: Any) -> Reply:
    return await service.send("POST", path, program.key, body)


IMPORT = "/v1/coupons/spring/promotion-codes/import?on_conflict=update"


async def upload(service: Service, program: Owner, body: str, path: str = IMPORT) -> Any:
    headers = {"Authorization": f"Bearer {program.key}", "Content-Type": "text/csv"}
    async with service.http.post(path, data=body.encode(), headers=headers) as response:
        assert response.status == 200, await response.text()
        return (await response.json())["data"]


async def dates(database: Database, table: str, name: str) -> list[datetime | None]:
    column = "code" if table == "promotion_codes" else "uuid_code"
    query = f"SELECT starts_at, expires_at FROM codes.{table} WHERE {column} = $1"  # noqa: S608 - our own words
    [row] = await rows(database, query, name)
    return list(row)


async def test_a_bare_date_is_a_days_first_moment_as_a_start_and_its_last_as_an_end_at_every_door(
    service: Service, cairo: Owner, database: Database
) -> None:
    whole = [datetime.fromisoformat(FIRST), datetime.fromisoformat(LAST)]
    made = await post(service, cairo, "/v1/coupons", {**SHORTEST, "uuid_code": "day", "starts_at": DAY, **COUPON_END})
    assert made.status == 201, made.body
    assert await dates(database, "coupons", "day") == whole
    code = {"coupon_uuid": "spring", "code": "A", "starts_at": DAY, **CODE_END}
    assert (await post(service, cairo, "/v1/promotion-codes", code)).status == 201
    assert await dates(database, "promotion_codes", "A") == whole
    batch = {"count": 1, "pattern": "B########", "starts_at": DAY, "expires_at": DAY}
    made = await post(service, cairo, "/v1/coupons/spring/promotion-codes/batch", batch)
    assert await dates(database, "promotion_codes", made.data["codes"][0]) == whole
    assert (await upload(service, cairo, f"code,starts_at,expires_at\nC,{DAY},{DAY}\n"))["created"] == 1
    assert await dates(database, "promotion_codes", "C") == whole
    queried = {"couponId": "spring", "code": "D", "expiresAt": DAY}
    assert (await post(service, cairo, "/api/v1/promotional-codes", queried)).status == 201
    assert await dates(database, "promotion_codes", "D") == [None, whole[1]]


async def test_bulk_actions_and_exports_take_dates_too(service: Service, cairo: Owner, database: Database) -> None:
    for name, day in (("A", "2026-10-27"), ("B", "2026-10-28"), ("C", "2026-10-29")):
        await post(
            service,
            cairo,
            "/v1/promotion-codes",
            {"coupon_uuid": "spring", "code": name, **CODE_END, "expiration_date_value": day},
        )
    wanted = {"expires_from": "2026-10-28", "expires_before": "2026-10-29"}
    body = {"action": "extend", "expires_at": "2026-10-30", "filter": wanted}
    assert (await post(service, cairo, "/v1/promotion-codes/bulk", body)).status == 202
    await work_through(service)
    assert await dates(database, "promotion_codes", "B") == [
        None,
        EXTENDED,
    ]
    assert await dates(database, "promotion_codes", "C") == [None, datetime.fromisoformat(LAST)]
    path = "/v1/promotion-codes/export?format=csv&expires_from=2026-10-30"
    async with service.http.get(path, headers={"Authorization": f"Bearer {cairo.key}"}) as response:
        assert [line.split(",")[0] for line in (await response.text()).splitlines()[1:-1]] == ["B"]


REVERSED = [
    ("/v1/coupons", {**SHORTEST, "starts_at": "2026-10-30", **COUPON_END}, "redemption_specific_date_value"),
    ("/v1/promotion-codes", {"coupon_uuid": "spring", "starts_at": LAST, **CODE_END}, "expiration_date_value"),
    (
        "/v1/coupons/spring/promotion-codes/batch",
        {"count": 1, "starts_at": "2026-10-30", "expires_at": DAY},
        "expires_at",
    ),
    (
        "/v1/coupons",
        {**SHORTEST, "promotion_codes": [{"code": "X", "starts_at": "2026-10-30", **CODE_END}]},
        "promotion_codes.0.expiration_date_value",
    ),
]


async def test_what_would_end_before_it_starts_is_refused_at_every_door(
    service: Service, cairo: Owner, database: Database
) -> None:
    for path, body, field in REVERSED:
        refused = await post(service, cairo, path, body)
        assert (refused.status, refused.body.get("errors")) == (
            422,
            {field: [f"The {field} field must be later than starts_at."]},
        ), path
    await post(service, cairo, "/v1/coupons", {**SHORTEST, "uuid_code": "later", "starts_at": "2026-10-30"})
    code = await post(
        service, cairo, "/v1/promotion-codes", {"coupon_uuid": "spring", "code": "A", "starts_at": "2026-10-30"}
    )
    for method, path, body in (
        ("PATCH", "/v1/coupons/later", COUPON_END),
        ("PATCH", "/v1/promotion-codes/A", CODE_END),
        ("PUT", "/api/v1/promotional-codes", {"promotionalCodeId": code.data["id"], "expiresAt": DAY}),
    ):
        refused = await service.send(method, path, cairo.key, body)
        assert refused.status == 422, (path, refused.body)
        assert "must be later than starts_at" in refused.raw.decode()
    done = await upload(service, cairo, f"code,expires_at\nA,{DAY}\n")
    assert (done["updated"], done["refused"]) == (0, 1)
    assert await dates(database, "promotion_codes", "A") == [datetime.fromisoformat("2026-10-29T22:00:00Z"), None]


NEVER: list[tuple[dict[str, Any], str, str]] = [
    ({"starts_at": "2026-10-30"}, "starts_at", "must be earlier than the end of its coupon"),
    (
        {"expiration_date_status": True, "expiration_date_value": "2026-10-27"},
        "expiration_date_value",
        "must be later than the start of its coupon",
    ),
]


async def test_a_code_that_its_coupon_is_never_valid_beside_is_refused_at_every_door(
    service: Service, cairo: Owner, database: Database
) -> None:
    """A code that starts once its coupon has ended was created, and refused by every checkout."""
    day = {**SHORTEST, "uuid_code": "day", "starts_at": DAY, **COUPON_END}
    assert (await post(service, cairo, "/v1/coupons", day)).status == 201
    for dates_of, field, rule in NEVER:
        code = {"coupon_uuid": "day", "code": "A", **dates_of}
        refused = await post(service, cairo, "/v1/promotion-codes", code)
        assert (refused.status, refused.body.get("errors")) == (422, {field: [f"The {field} field {rule}."]})
        with_codes = {**day, "uuid_code": "other", "promotion_codes": [{"code": "B"}, {"code": "C", **dates_of}]}
        refused = await post(service, cairo, "/v1/coupons", with_codes)
        named = f"promotion_codes.1.{field}"
        assert (refused.status, refused.body.get("errors")) == (422, {named: [f"The {named} field {rule}."]})
        ours = {"starts_at": "starts_at", "expiration_date_value": "expires_at"}[field]
        batch = {"count": 1, ours: dates_of[field]}
        refused = await post(service, cairo, "/v1/coupons/day/promotion-codes/batch", batch)
        assert (refused.status, refused.body.get("errors")) == (422, {ours: [f"The {ours} field {rule}."]})
        path = "/v1/coupons/day/promotion-codes/import?on_conflict=update"
        assert (await upload(service, cairo, f"code,{ours}\nD,{dates_of[field]}\n", path))["refused"] == 1
        await post(service, cairo, "/v1/promotion-codes", {"coupon_uuid": "day", "code": "E"})
        refused = await service.send("PATCH", "/v1/promotion-codes/E", cairo.key, dates_of)
        assert (refused.status, refused.body.get("errors")) == (422, {field: [f"The {field} field {rule}."]})
        assert (await upload(service, cairo, f"code,{ours}\nE,{dates_of[field]}\n", path))["refused"] == 1
    queried = {"couponId": "day", "code": "F", "expiresAt": "2026-10-27"}
    refused = await post(service, cairo, "/api/v1/promotional-codes", queried)
    assert (refused.status, list(refused.body["errors"])) == (422, ["expiresAt"])
    [row] = await rows(database, "SELECT id FROM codes.promotion_codes WHERE code = 'E'")
    queried = {"promotionalCodeId": str(row["id"]), "expiresAt": "2026-10-27"}
    refused = await service.send("PUT", "/api/v1/promotional-codes", cairo.key, queried)
    assert (refused.status, list(refused.body["errors"])) == (422, ["expiresAt"])
    assert await dates(database, "promotion_codes", "E") == [None, None]
    assert not await rows(database, "SELECT id FROM codes.promotion_codes WHERE code <> 'E'")


async def test_a_coupon_may_end_before_codes_of_it_start(service: Service, cairo: Owner, database: Database) -> None:
    """A merchant must be able to end a campaign early; such a code can still be changed otherwise."""
    code = {"coupon_uuid": "spring", "code": "A", "starts_at": "2026-10-30"}
    assert (await post(service, cairo, "/v1/promotion-codes", code)).status == 201
    ended = await service.send("PATCH", "/v1/coupons/spring", cairo.key, COUPON_END)
    assert ended.status == 200, ended.body
    switched = await service.send("PATCH", "/v1/promotion-codes/A", cairo.key, {"active": False})
    assert switched.status == 200, switched.body


async def test_what_is_reversed_already_can_be_changed_otherwise(
    service: Service, cairo: Owner, database: Database
) -> None:
    await rows(
        database,
        "UPDATE codes.coupons SET starts_at = '2026-10-30', expires_at = '2026-10-29' "
        "WHERE uuid_code = 'spring' RETURNING id",
    )
    named = await service.send("PATCH", "/v1/coupons/spring", cairo.key, {"name": "Spring"})
    assert named.status == 200, named.body


async def test_the_error_says_which_forms_are_taken(service: Service, cairo: Owner) -> None:
    values: tuple[Any, ...] = (
        "tomorrow",
        "2026-10-29T10:00:00",
        "1795951834",
        "2026-10-29T10:00:60Z",
        1795951834,
        True,
    )
    for value in values:
        refused = await post(service, cairo, "/v1/coupons", {**SHORTEST, "starts_at": value})
        [told] = refused.body["errors"]["starts_at"]
        assert "2026-03-18T23:29:28Z, or a date, such as 2026-03-18" in told


async def test_a_leap_second_is_the_last_moment_of_its_minute(
    service: Service, cairo: Owner, database: Database
) -> None:
    body = {**SHORTEST, "uuid_code": "leap", "starts_at": "2026-12-31T18:59:60-05:00"}
    assert (await post(service, cairo, "/v1/coupons", body)).status == 201
    assert await dates(database, "coupons", "leap") == [datetime.fromisoformat("2026-12-31T23:59:59.999999Z"), None]
