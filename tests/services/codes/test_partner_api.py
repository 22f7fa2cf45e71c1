"""The partner API says exactly what partners know: members, texts, statuses and headers."""

import json
import re
import uuid
from datetime import timedelta
from typing import Any
from urllib.parse import unquote

from shared.times import format_milliseconds
from tests.services.codes.conftest import Owner, Reply, Service

REDEEM = "UPDATE promotion_codes SET times_redeemed = 1, last_redeemed_at = $2 WHERE code = $1"
DEACTIVATE = "UPDATE promotion_codes SET is_active = false WHERE code = $1"


async def test_a_generated_code_reads_as_documented(service: Service, partner: Owner) -> None:
    made = await service.generate(partner)
    assert made.status == 200
    assert made.headers["Content-Type"] == "application/json"
    assert list(made.body) == ["ok", "code", "url", "expires_at"]
    assert made.body["ok"] is True
    assert re.fullmatch(r"PREFIX-[0-9A-F]{8}", made.body["code"])
    assert made.body["url"] == f"https://cinematiccard.com/?promo={made.body['code']}"
    assert made.body["expires_at"] == format_milliseconds(service.clock.now + timedelta(hours=48))


async def test_refusals_have_exactly_the_documented_bodies(service: Service, program: Owner, partner: Owner) -> None:
    unknown = Owner(partner.id, partner.key[:-1] + ("0" if partner.key[-1] != "0" else "1"), partner.key_id)
    for key in (unknown.key, "", "x", None):
        refused = await service.send("POST", "/api/partners/codes/generate", key)
        assert (refused.status, refused.body) == (
            401,
            {"ok": False, "error": "Invalid API key", "error_code": "invalid_api_key"},
        )
    pending = await service.partner(program, name="Pending", status="pending", quota=5)
    refused = await service.generate(pending)
    assert (refused.status, refused.body) == (
        403,
        {"ok": False, "error": "Partner account is not active", "error_code": "partner_inactive"},
    )
    assert "RateLimit" in refused.headers
    empty = await service.partner(program, name="Empty")
    refused = await service.generate(empty)
    assert (refused.status, refused.body) == (
        403,
        {"ok": False, "error": "No codes remaining", "error_code": "quota_exhausted"},
    )
    assert "RateLimit" in refused.headers


async def _post(service: Service, partner: Owner, data: bytes | None, kind: str | None) -> Reply:
    headers = {"X-Partner-Key": partner.key} | ({"Content-Type": kind} if kind else {})
    path = "/api/partners/codes/generate"
    async with service.http.post(path, data=data, headers=headers) as response:
        raw = await response.read()
        return Reply(response.status, response.headers.copy(), raw, json.loads(raw))


async def test_no_body_and_an_empty_object_are_the_same(service: Service, partner: Owner) -> None:
    for data, kind in ((None, None), (b"{}", "application/json"), (b"", "application/json")):
        assert (await _post(service, partner, data, kind)).status == 200


async def test_a_body_with_something_in_it_is_refused_by_name(service: Service, partner: Owner) -> None:
    refused = await _post(service, partner, b'{"prefix": "MINE"}', "application/json")
    assert (refused.status, list(refused.body["errors"])) == (422, ["prefix"])
    for body in (b"[]", b"null", b"1"):
        assert (await _post(service, partner, body, "application/json")).status == 422
    for body in (b'{"a":1,"a":2}', b"{", b"\xff"):
        assert (await _post(service, partner, body, "application/json")).status == 400
    assert (await service.send("GET", "/api/partners/quota", partner.key)).body["minted"] == 0


async def _listed(service: Service, partner: Owner, query: str = "") -> tuple[list[str], Any]:
    page = await service.send("GET", f"/api/partners/codes{query}", partner.key)
    assert (page.status, page.body["ok"]) == (200, True)
    return [code["code"] for code in page.body["codes"]], page.body["next_cursor"]


async def test_codes_are_listed_newest_first_in_pages(service: Service, partner: Owner) -> None:
    codes = [(await service.generate(partner)).body["code"] for _ in range(5)]
    first, cursor = await _listed(service, partner, "?limit=2")
    second, cursor = await _listed(service, partner, f"?limit=2&cursor={cursor}")
    third, end = await _listed(service, partner, f"?limit=2&cursor={cursor}")
    assert first + second + third == codes[::-1]
    assert end is None
    assert (await service.send("GET", "/api/partners/codes?limit=251", partner.key)).status == 422
    assert (await service.send("GET", "/api/partners/codes?status=new", partner.key)).status == 422


async def test_codes_are_found_by_status(service: Service, program: Owner, partner: Owner) -> None:
    redeemed, inactive, active = [(await service.generate(partner)).body["code"] for _ in range(3)]
    async with service.pool.connection() as connection:
        await connection.execute(REDEEM, redeemed, service.clock.now)
        await connection.execute(DEACTIVATE, inactive)
    assert await _listed(service, partner, "?status=redeemed") == ([redeemed], None)
    assert await _listed(service, partner, "?status=inactive") == ([inactive], None)
    assert await _listed(service, partner, "?status=active") == ([active], None)
    assert await _listed(service, partner, "?status=expired") == ([], None)
    service.clock.advance(hours=48)
    assert await _listed(service, partner, "?status=expired") == ([active], None)


async def test_a_code_is_found_in_any_spelling(service: Service, partner: Owner) -> None:
    made = (await service.generate(partner)).body
    spellings = [made["code"], made["code"].lower(), made["code"].replace("-", ""), made["code"].replace("-", "%20-_")]
    [listed] = (await service.send("GET", "/api/partners/codes", partner.key)).body["codes"]
    for spelling in (*spellings, listed["id"]):
        found = await service.send("GET", f"/api/partners/codes/{spelling}", partner.key)
        assert found.status == 200
        assert found.body == {
            "ok": True,
            "id": listed["id"],
            **{name: made[name] for name in ("code", "url", "expires_at")},
            "status": "active",
            "times_redeemed": 0,
            "last_redeemed_at": None,
            "created_at": format_milliseconds(service.clock.now),
            "reference": None,
            "is_test": False,
        }


async def test_what_is_no_code_of_mine_is_missing(service: Service, program: Owner, partner: Owner) -> None:
    sibling = await service.partner(program, name="Sibling", quota=1)
    theirs = (await service.generate(sibling)).body["code"]
    # The answer for another partner's code is that for a missing one.
    for code in (theirs, "PREFIX-00000000", "%C3%84", "-", "x" * 300, "a%20b!", str(uuid.uuid4())):
        reply = await service.send("GET", f"/api/partners/codes/{code}", partner.key)
        said = {"ok": False, "error": f"There is no code {unquote(code)[:100]}.", "error_code": "not_found"}
        assert (reply.status, reply.body) == (404, said)


async def test_the_quota_reads_as_documented(service: Service, partner: Owner) -> None:
    await service.generate(partner)
    quota = await service.send("GET", "/api/partners/quota", partner.key)
    expected = {"ok": True, "granted": 10, "adjusted": 0, "minted": 1, "refunded": 0, "remaining": 9}
    assert (quota.status, quota.body) == (200, {**expected, "codes_remaining": 9, "is_test": False})
    assert list(quota.body) == [*expected, "codes_remaining", "is_test"]


async def test_the_program_s_settings_shape_its_codes(service: Service) -> None:
    program = await service.program(
        link_url="https://shop.example/cart?lang=de#top",
        code_alphabet="23456789ABCDEFGHJKMNPQRSTUVWXYZ",
        code_length=12,
        code_lifetime_seconds=3600,
    )
    partner = await service.partner(program, quota=1, name="Shop")
    made = (await service.generate(partner)).body
    assert re.fullmatch(r"SHOP-[2-9A-HJKMNP-Z]{12}", made["code"])
    assert made["url"] == f"https://shop.example/cart?lang=de&promo={made['code']}#top"
    assert made["expires_at"] == format_milliseconds(service.clock.now + timedelta(hours=1))


async def test_each_mint_hands_one_event_over(service: Service, program: Owner, partner: Owner) -> None:
    code = (await service.generate(partner)).body["code"]
    again = (await service.generate(partner, idempotency="once")).body["code"]
    await service.generate(partner, idempotency="once")
    events = [json.loads(event.body) for event in service.handed_over]
    assert [event["data"]["codes"] for event in events] == [[code], [again]]
    assert {event["type"] for event in events} == {"codes.generated"}
    assert {event["data"]["program_id"] for event in events} == {program.id}
