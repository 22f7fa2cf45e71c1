"""Refusals of the families in which `code` is a promo code: the stable code of an error is `error_code` there."""

import re
from typing import Any

import pytest

from services.codes.api.routes import ROUTES
from tests.services.codes.conftest import Owner, Service

PROMO_FAMILIES = ("partner", "query")


def checked(body: Any, path: str, error_code: str | None = None) -> None:
    assert "code" not in body, body
    assert body["error_code"] == (error_code or body["error_code"]), body
    if path.startswith("/api/partners"):
        assert (body["ok"], bool(body["error"])) == (False, True)
    else:
        assert body["message"]


@pytest.mark.parametrize("path", sorted({route.path for route in ROUTES if route.family in PROMO_FAMILIES}))
async def test_no_refusal_has_a_member_code(service: Service, program: Owner, partner: Owner, path: str) -> None:
    """A careless client would take `"code": "rate_limited"` for a promo code."""
    key = partner.key if path.startswith("/api/partners") else program.key
    methods = {route.method for route in ROUTES if route.path == path}
    path = re.sub(r"\{[^}]*\}", "nothing", path)
    for method in methods:
        checked((await service.send(method, path, "nobody")).body, path, "invalid_api_key")
    unknown = await service.send("GET", f"{path}/a/b", key)
    assert unknown.status == 404
    checked(unknown.body, path, "not_found")
    wrong = await service.send("PATCH", path, key)
    assert wrong.status in (404, 405)
    checked(wrong.body, path)
    asked = await service.send("GET", f"{path}?nonsense=1", key)
    if asked.status >= 400:
        checked(asked.body, path)


@pytest.mark.parametrize("path", ["/api/partners/codes/generate", "/api/v1/promotional-codes", "/api/v1/coupons"])
async def test_bodies_that_are_not_taken_are_refused_alike(
    service: Service, program: Owner, partner: Owner, path: str
) -> None:
    headers = {"X-Partner-Key": partner.key} if "partners" in path else {"Authorization": f"Bearer {program.key}"}
    for data, kind, status in (
        (b"{", "application/json", 400),
        (b"[" * 40 + b"]" * 40, "application/json", 400),
        (b"{}" + b" " * 70_000, "application/json", 413),
        (b"<a/>", "application/xml", 415),
        (b'{"nonsense": 1}', "application/json", 422),
    ):
        answer = await service.http.post(path, data=data, headers=headers | {"Content-Type": kind})
        assert answer.status == status
        checked(await answer.json(content_type=None), path)


async def test_a_key_over_its_limit_and_a_service_that_is_away_say_so_alike(service: Service, program: Owner) -> None:
    partner = await service.partner(program, quota=9)
    limited = await service.with_key(f"/v1/partners/{partner.id}", rate_limit_per_minute=1, purpose="narrow")
    assert (await service.generate(limited)).status == 200
    refused = await service.generate(limited)
    assert refused.status == 429
    checked(refused.body, "/api/partners", "rate_limited")
    await service.pool.close()
    for path, key in (("/api/partners/quota", limited.key), ("/api/v1/coupons", program.key)):
        away = await service.send("GET", path, key)
        assert away.status >= 500
        checked(away.body, path)


async def test_a_success_says_status_1_and_a_refusal_no_status(service: Service, program: Owner) -> None:
    """A client that takes a truthy `status` for success must not take 422 for it."""
    listed = await service.send("GET", "/v1/coupons", program.key)
    assert listed.body["status"] == 1
    for method, path in (("POST", "/v1/coupons"), ("GET", "/v1/coupons/none"), ("GET", "/v1/nowhere")):
        refused = await service.send(method, path, program.key)
        assert refused.status >= 400
        assert "status" not in refused.body
        assert refused.body["message"]


async def test_what_is_taken_is_a_422_that_names_the_field_in_the_words_of_its_family(
    service: Service, program: Owner, partner: Owner
) -> None:
    """Clients of the coupon API read `errors` of a 422 and nothing of a 409."""
    terms = {"coupon_discount_type": "percent", "coupon_discount_amount": 5, "coupon_duration_type": "once"}
    codes = ["A-1", {"code": "A-2", "external_id": "x-2"}]
    made = await service.send(
        "POST",
        "/v1/coupons",
        program.key,
        {**terms, "uuid_code": "one", "external_id": "c-1", "promotion_codes": codes},
    )
    assert made.status == 201
    await service.send("POST", "/v1/promotion-codes", program.key, {"coupon_uuid": "one", "code": "B"})
    missing = {"limit_to_specific_partner": True, "coupon_specific_partners": {"id": program.id}}
    by_query = {"couponId": made.data["id"]}
    for method, path, body, field in (
        ("POST", "/v1/coupons", {**terms, "uuid_code": "one"}, "uuid_code"),
        ("POST", "/v1/coupons", {**terms, "external_id": "c-1"}, "external_id"),
        ("POST", "/v1/coupons", {**terms, "promotion_codes": ["C", "a1"]}, "promotion_codes.1.code"),
        ("POST", "/v1/coupons", {**terms, "promotion_codes": ["C", "D", "C"]}, "promotion_codes.2.code"),
        (
            "POST",
            "/v1/coupons",
            {**terms, "promotion_codes": ["C", {"external_id": "x-2"}]},
            "promotion_codes.1.external_id",
        ),
        (
            "POST",
            "/v1/coupons",
            {**terms, "promotion_codes": ["C", missing]},
            "promotion_codes.1.coupon_specific_partners.id",
        ),
        ("POST", "/v1/promotion-codes", {"coupon_uuid": "one", "code": "A1"}, "code"),
        ("POST", "/v1/promotion-codes", {"coupon_uuid": "one", "external_id": "x-2"}, "external_id"),
        ("PATCH", "/v1/promotion-codes/B", {"code": "A1"}, "code"),
        ("PATCH", "/v1/promotion-codes/B", {"external_id": "x-2"}, "external_id"),
        ("POST", "/v1/partners", {"name": "X", "email": "DEV@acme.example"}, "email"),
        ("POST", "/v1/partners", {"name": "X", "prefix": "PREF1X"}, "prefix"),
        ("POST", "/api/v1/coupons", {"name": "X", "percentOff": 1, "externalId": "c-1"}, "externalId"),
        ("POST", "/api/v1/promotional-codes", {**by_query, "code": "A1"}, "code"),
        ("POST", "/api/v1/promotional-codes", {**by_query, "externalId": "x-2"}, "externalId"),
        ("POST", "/api/v1/promotional-codes", {"couponId": "none"}, "couponId"),
        ("POST", "/api/v1/promotional-codes", {**by_query, "affiliateId": program.id}, "affiliateId"),
        ("POST", "/api/v1/promotional-codes", {**by_query, "affiliateEmail": "no@where.example"}, "affiliateEmail"),
        (
            "POST",
            "/api/v1/promotional-codes",
            {**by_query, "codeStructure": {"firstName": True}},
            "codeStructure.firstName",
        ),
    ):
        for idempotency in (None, f"{path}{body}"[:255].replace("\n", "")):
            refused = await service.send(method, path, program.key, body, idempotency=idempotency)
            assert (refused.status, list(refused.body["errors"])) == (422, [field]), (path, body, refused.body)
            [text] = refused.body["errors"][field]
            assert text.startswith(f"The {field} field ")
            assert "partner" not in text or not path.startswith("/api/v1")
