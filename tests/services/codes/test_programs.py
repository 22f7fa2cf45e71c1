"""Programs: made by the operator, changed by it and in part by themselves, each with its partner coupon."""

import uuid

import pytest

from tests.services.codes.conftest import Owner, Service

IMPOSSIBLE: list[tuple[str, object]] = [
    ("name", ""),
    ("name", "  "),
    ("name", None),
    ("name", "x" * 256),
    ("currency", "ZZZ"),
    ("timezone", "Mars/Olympus"),
    ("link_url", "ftp://a.example"),
    ("link_url", ""),
    ("support_email", "nobody"),
    ("code_length", 3),
    ("code_length", 7),
    ("code_length", "8"),
    ("code_length", True),
    ("code_alphabet", "0O"),
    ("code_lifetime_seconds", 0),
    ("webhook_attributes", ["timestamp"]),
    ("webhook_attributes", "card_id"),
    ("unknown", 1),
    ("max_codes_per_order", 0),
    ("max_codes_per_order", 11),
    ("commission_cap_percent", 101),
    ("commission_cap_percent", 0.001),
]

PARTNER_COUPON = """
SELECT discount_type, percent_hundredths, duration_type, code_redemption_limit, is_active FROM coupons
WHERE program_id = $1 AND is_partner_coupon
"""


async def test_a_program_has_the_documented_defaults(service: Service) -> None:
    made = await service.send("POST", "/v1/programs", json={"name": "Plain"})
    assert made.status == 201
    settings = {name: made.data[name] for name in made.data if name not in ("id", "created_at", "updated_at")}
    assert settings == {
        "name": "Plain",
        "currency": "USD",
        "timezone": "UTC",
        "link_url": None,
        "support_email": None,
        "code_length": 8,
        "code_alphabet": "0123456789ABCDEF",
        "code_lifetime_seconds": 172_800,
        "webhook_attributes": ["card_id", "recipient_name", "occasion"],
        "max_codes_per_order": 10,
        "commission_cap_percent": 100,
        "allow_self_referral": True,
        "code_packs": [],
        "is_demo": False,
    }


async def test_a_program_comes_with_its_partner_coupon(service: Service, program: Owner) -> None:
    async with service.pool.connection() as connection:
        rows = await connection.fetch(PARTNER_COUPON, uuid.UUID(program.id))
    assert [tuple(row) for row in rows] == [("percent", 10_000, "once", 1, True)]


async def test_a_setting_that_cannot_be_is_named(service: Service, program: Owner) -> None:
    for field, value in IMPOSSIBLE:
        made = await service.send("POST", "/v1/programs", json={"name": "Program", field: value})
        assert (made.status, list(made.body["errors"])) == (422, [field]), value
        changed = await service.send("PATCH", f"/v1/programs/{program.id}", json={field: value})
        assert (changed.status, list(changed.body["errors"])) == (422, [field]), value


async def test_a_change_changes_what_it_names_and_nothing_else(service: Service, program: Owner) -> None:
    path = f"/v1/programs/{program.id}"
    before = (await service.send("GET", path)).data
    service.clock.advance(seconds=5)
    changes = {"support_email": "vip@cinematiccard.com", "timezone": "Europe/Berlin", "webhook_attributes": []}
    changed = await service.send("PATCH", path, json=changes)
    assert changed.status == 200
    shifts = changed.data.pop("shifts")
    assert changed.data == before | changes | {"updated_at": changed.data["updated_at"]}
    assert len(shifts) == 3
    assert all("Europe/Berlin" in each for each in shifts)
    assert changed.data["updated_at"] > before["updated_at"]
    assert (await service.send("PATCH", path, json={"support_email": None})).data["support_email"] is None


async def test_a_change_is_judged_together_with_what_stays(service: Service, program: Owner) -> None:
    path = f"/v1/programs/{program.id}"
    wide = {"code_alphabet": "23456789ABCDEFGHJKMNPQRSTUVWXYZ", "code_length": 7}
    assert (await service.send("PATCH", path, json=wide)).status == 200
    narrow = await service.send("PATCH", path, json={"code_alphabet": "0123456789ABCDEF"})
    assert (narrow.status, list(narrow.body["errors"])) == (422, ["code_length"])


async def test_programs_are_listed_newest_first_in_pages(service: Service) -> None:
    made = [(await service.send("POST", "/v1/programs", json={"name": f"P{n}"})).data["id"] for n in range(5)]
    found, cursor = [], ""
    while True:
        page = await service.send("GET", f"/v1/programs?limit=2{cursor}")
        found += [program["id"] for program in page.data]
        if (next_cursor := page.body["meta"]["next_cursor"]) is None:
            break
        cursor = f"&cursor={next_cursor}"
    assert found == made[::-1]


async def test_a_cursor_that_is_not_ours_is_a_422(service: Service) -> None:
    for cursor in ("x", "W10", "WyJhIl0", "%00", "x" * 600):
        page = await service.send("GET", f"/v1/programs?cursor={cursor}")
        assert (page.status, list(page.body["errors"])) == (422, ["cursor"]), cursor


async def test_a_merchant_changes_what_is_its_own(service: Service, program: Owner) -> None:
    path = f"/v1/programs/{program.id}"
    own = {
        "link_url": "https://acme.example/",
        "timezone": "America/New_York",
        "support_email": "help@acme.example",
        "webhook_attributes": ["card_id"],
    }
    for name, value in own.items():
        changed = await service.send("PATCH", path, program.key, {name: value})
        assert (changed.status, changed.data[name]) == (200, value)
        assert bool(changed.data["shifts"]) is (name == "timezone")
    again = await service.send("PATCH", path, program.key, own)
    assert (again.status, again.data["shifts"]) == (200, [])
    log = await service.send("GET", "/v1/audit-log?action=program.updated", program.key)
    assert {entry["actor"] for entry in log.data} == {f"key {program.key_id}"}
    unknown = await service.send("PATCH", path, program.key, {"timezone": "Mars/Olympus"})
    assert (unknown.status, list(unknown.body["errors"])) == (422, ["timezone"])


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("name", "Mine"),
        ("currency", "EUR"),
        ("code_length", 12),
        ("code_alphabet", "23456789ABCDEFGHJKMNPQRSTUVWXYZ"),
        ("code_lifetime_seconds", 3600),
        ("max_codes_per_order", 2),
        ("commission_cap_percent", 50),
        ("allow_self_referral", False),
    ],
)
async def test_what_is_the_operator_s_is_refused_by_name(
    service: Service, program: Owner, name: str, value: object
) -> None:
    """With the merchant's own members beside it, of which none is changed then."""
    path = f"/v1/programs/{program.id}"
    before = (await service.send("GET", path)).data
    refused = await service.send("PATCH", path, program.key, {name: value, "support_email": "help@acme.example"})
    assert (refused.status, refused.body["code"], list(refused.body["errors"])) == (403, "operator_only", [name])
    assert (await service.send("GET", path)).data == before
    assert (await service.send("PATCH", path, json={name: value})).status == 200


async def test_who_may_change_a_program(service: Service, program: Owner, partner: Owner) -> None:
    other = await service.program(name="Other")
    path, own = f"/v1/programs/{program.id}", {"support_email": "help@acme.example"}
    assert (await service.send("PATCH", path, other.key, own)).status == 404
    assert (await service.send("PATCH", path, other.key, {"currency": "EUR"})).status == 404
    assert (await service.send("PATCH", path, partner.key, own)).body["code"] == "scope_missing"
    assert (await service.send("PATCH", path, "nonsense", own)).status == 401


async def test_a_program_reads_itself_and_makes_none(service: Service, program: Owner) -> None:
    path = f"/v1/programs/{program.id}"
    assert (await service.send("GET", path, program.key)).data["name"] == "CinematicCard"
    for method, body in (("GET", None), ("POST", {"name": "Mine"})):
        refused = await service.send(method, "/v1/programs", program.key, body)
        assert (refused.status, refused.body["code"]) == (403, "operator_only")
        assert (await service.send(method, "/v1/programs", "mw_sk_nobody", body)).status == 401
