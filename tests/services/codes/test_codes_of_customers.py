"""Codes as customers know them, at every route: other scripts, marks, blanks, and words that are paths elsewhere."""

from typing import Any
from urllib.parse import parse_qs, quote, urlsplit

import pytest

from tests.services.codes.conftest import Owner, Reply, Service
from tests.services.codes.test_promotion_codes import CODES, coupon, create, listed

# As stored, and as somebody else may type it.
KNOWN = [
    ("10 % OFF", "１０%off"),
    ("Café+Crème.5", "CAFE\u0301+CRÈME.5"),
    ("Straße & Co!", "STRASSE&CO!"),
    ("#1", "# I"),
    ("АКЦИЯ–20", "акция 20"),
    ("夏祭り 2024", "夏祭り２０２４"),
    ("A%2FB", "a%2fb"),
    ("100%25", "100%25"),
    ("...A", "...a"),
    ("+5", "+5"),
    *((path, path.upper()) for path in ("export", "bulk", "qr", "batch", "import", "generate", "codes", "quota")),
]


async def asked(service: Service, path: str, key: str, accept: str | None = None) -> Reply:
    """Ask with the path as it is written, as a client sends it that encodes for itself."""
    headers = {"Authorization": f"Bearer {key}", **({"Accept": accept} if accept else {})}
    async with service.http.get(path, headers=headers) as response:
        is_json = response.content_type == "application/json"
        raw = await response.read()
        return Reply(response.status, response.headers.copy(), raw, await response.json() if is_json else None)


@pytest.mark.parametrize(("code", "typed"), KNOWN)
async def test_each_route_knows_it(service: Service, program: Owner, code: str, typed: str) -> None:
    await coupon(service, program)
    made = await create(service, program, code=code)
    assert made["code"] == code
    taken = await service.send("POST", CODES, program.key, {"coupon_uuid": "spring", "code": typed})
    assert taken.status == 422, taken.body
    for spelling in (code, typed):
        at = f"{CODES}/{quote(spelling, safe='')}"
        shown = await asked(service, at, program.key, "application/json")
        assert (shown.status, shown.data["id"]) == (200, made["id"]), spelling
        picture = await asked(service, f"{at}/qr", program.key)
        assert (picture.status, picture.raw[:5]) == (200, b"<?xml")
        query = quote(spelling, safe="")
        assert await listed(service, program, f"code={query}") == [code]
        found = await service.send("GET", f"/api/v1/promotional-codes?code={query}", program.key)
        assert (found.status, found.body["code"]) == (200, code)
        changed = await service.send("PATCH", at, program.key, {"metadata": {"spelling": spelling}})
        assert (changed.status, changed.data["metadata"]) == (200, {"spelling": spelling}), changed.body
        named = await service.send("PUT", CODES, program.key, {"code": spelling, "active": True})
        assert named.status == 200, named.body
        exported = await asked(service, f"{CODES}/export?format=ndjson&code={query}", program.key)
        assert exported.raw.count(b"\n") == 2
    link = urlsplit(made["url"])
    assert parse_qs(link.query)["promo"] == [code]
    assert link.fragment == ""
    assert made["url"].isascii()
    assert (await service.send("DELETE", f"{CODES}/{quote(typed, safe='')}", program.key)).status == 200
    assert await listed(service, program) == []


async def test_a_partner_s_code_may_be_called_like_a_route(service: Service, program: Owner, partner: Owner) -> None:
    await coupon(service, program)
    for code in ("generate", "10 % & Mehr"):
        await create(
            service,
            program,
            code=code,
            limit_to_specific_partner=True,
            coupon_specific_partners={"id": partner.id},
        )
        answer = await service.send("GET", f"/api/partners/codes/{quote(code, safe='')}", partner.key)
        assert (answer.status, answer.body["code"]) == (200, code)


async def test_a_code_called_export_takes_the_export_from_nobody(service: Service, program: Owner) -> None:
    """A script that downloads all codes must not get one because somebody has called it so."""
    await coupon(service, program)
    path = f"{CODES}/export"
    assert (await asked(service, path, program.key, "application/json")).status == 404
    await create(service, program, code="Export")
    for accept in (None, "*/*", "text/csv", "application/json, text/plain, */*"):
        file = await asked(service, path, program.key, accept)
        assert (file.status, file.headers["Content-Type"].partition(";")[0]) == (200, "text/csv"), accept
    shown = await asked(service, path, program.key, "application/json")
    assert shown.data["code"] == "Export"
    filtered = await asked(service, f"{path}?format=ndjson", program.key, "application/json")
    assert filtered.headers["Content-Type"].startswith("application/x-ndjson")


async def test_an_export_with_marks_is_no_formula_and_can_be_imported(service: Service, program: Owner) -> None:
    await coupon(service, program)
    codes = ["+5", "%50", "#1 OFF", "!A", "&B", ".C", "# count", "夏 & 祭"]
    for code in codes:
        await create(service, program, code=code)
    file = await asked(service, f"{CODES}/export", program.key)
    lines = file.raw.decode().splitlines()[1:-1]
    assert all(line[0] not in "+%=-@|" for line in lines)
    for code in codes:
        assert (await service.send("DELETE", f"{CODES}/{quote(code, safe='')}", program.key)).status == 200
    headers = {"Authorization": f"Bearer {program.key}", "Content-Type": "text/csv"}
    path = "/v1/coupons/spring/promotion-codes/import"
    async with service.http.post(path, data=file.raw, headers=headers) as response:
        job: dict[str, Any] = (await response.json())["data"]
    assert (job["created"], job["refused"]) == (len(codes), 0)
    assert sorted(await listed(service, program)) == sorted(codes)


async def test_what_cannot_be_a_code_is_named(service: Service, program: Owner) -> None:
    await coupon(service, program)
    for code, problem in (
        ("SAVE\u200b20", "U+200B"),
        ("S\u0410VE", "Latin and Cyrillic"),
        ("20€", "letters, digits"),
        ("%%", "one letter or digit"),
        ("", "1 to 100"),
    ):
        for body in ({"coupon_uuid": "spring", "code": code},):
            refused = await service.send("POST", CODES, program.key, body)
            assert refused.status == 422
            assert problem in refused.body["errors"]["code"][0]
    members = {"coupon_discount_type": "percent", "coupon_discount_amount": 10, "coupon_duration_type": "once"}
    refused = await service.send(
        "POST", "/v1/coupons", program.key, {**members, "uuid_code": "more", "promotion_codes": ["OK 1", "20€"]}
    )
    assert list(refused.body["errors"]) == ["promotion_codes.1.code"]
    # The second seed's charset of `uuid_code` stays.
    refused = await service.send("POST", "/v1/coupons", program.key, {**members, "uuid_code": "10 % off"})
    assert list(refused.body["errors"]) == ["uuid_code"]


async def test_the_longest_links_are_drawn_or_refused(service: Service, program: Owner) -> None:
    await coupon(service, program)
    await service.send("PATCH", f"/v1/programs/{program.id}", json={"link_url": "https://acme.example/" + "a" * 1979})
    for code, status in (("%" * 99 + "A", 200), ("祭" * 100, 200), ("\U00020000" * 100, 409)):
        await create(service, program, code=code)
        picture = await service.send("GET", f"{CODES}/{quote(code, safe='')}/qr", program.key)
        assert picture.status == status
