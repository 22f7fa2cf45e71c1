"""`GET /api/partners/me` shows a partner its own account as it is now, and nothing that is secret."""

from datetime import timedelta

from shared.times import format_milliseconds
from tests.services.codes.conftest import Owner, Service
from tests.services.codes.test_access import account_of

ME = "/api/partners/me"


async def test_it_shows_the_account_in_full(service: Service) -> None:
    program = await service.program(support_email="vip@cinematiccard.com", currency="EUR", timezone="Europe/Berlin")
    partner = await service.partner(program, name="Acme Gifts", prefix="ACME", quota=50)
    for _ in range(14):
        assert (await service.generate(partner)).status == 200
    found = await service.send("GET", ME, partner.key)
    assert (found.status, found.body) == (
        200,
        {
            "ok": True,
            "name": "Acme Gifts",
            "prefix": "ACME",
            "status": "active",
            "status_since": format_milliseconds(service.clock.now),
            "support_address": "vip@cinematiccard.com",
            "program": {
                "name": "CinematicCard",
                "currency": "EUR",
                "timezone": "Europe/Berlin",
                "code_packs": [],
            },
            "quota": {"granted": 50, "adjusted": 0, "minted": 14, "refunded": 0, "remaining": 36},
            "pace": {"minted_7d": 14, "codes_per_day": 2.0, "days_left": 18},
            "rate_limits": [
                {
                    "key_id": partner.key_id,
                    "name": None,
                    "is_caller": True,
                    "limit_per_minute": 100,
                    "used": 14,
                    "remaining": 86,
                    "resets_in_seconds": found.body["rate_limits"][0]["resets_in_seconds"],
                }
            ],
            "is_test": False,
        },
    )
    assert 0 < found.body["rate_limits"][0]["resets_in_seconds"] <= 60
    assert partner.key not in found.raw.decode()
    # The pace forgets what is older than a week.
    service.clock.advance(days=8)
    later = (await service.send("GET", ME, partner.key)).body
    assert later["pace"] == {"minted_7d": 0, "codes_per_day": 0.0, "days_left": None}


async def test_it_says_since_when_the_partner_is_suspended(service: Service, program: Owner, partner: Owner) -> None:
    made_at = service.clock.now
    service.clock.advance(hours=1)
    assert (await service.send("PATCH", f"/v1/partners/{partner.id}", program.key, {"name": "Acme"})).status == 200
    assert (await service.send("GET", ME, partner.key)).body["status_since"] == format_milliseconds(made_at)
    service.clock.advance(hours=1)
    await service.send("POST", f"/v1/partners/{partner.id}/suspend", program.key)
    service.clock.advance(hours=1)
    shown = (await service.send("GET", ME, partner.key)).body
    assert (shown["status"], shown["status_since"]) == (
        "suspended",
        format_milliseconds(made_at + timedelta(hours=2)),
    )


async def test_the_partners_own_support_address_wins_over_the_programs(service: Service) -> None:
    program = await service.program()
    partner = await service.partner(program)
    assert (await service.send("GET", ME, partner.key)).body["support_address"] is None
    own = await service.partner(program, name="Big", support_email="big@cinematiccard.com")
    await service.send("PATCH", f"/v1/programs/{program.id}", program.key, {"support_email": "all@cinematiccard.com"})
    assert (await service.send("GET", ME, own.key)).body["support_address"] == "big@cinematiccard.com"
    assert (await service.send("GET", ME, partner.key)).body["support_address"] == "all@cinematiccard.com"


async def test_it_lists_live_minting_keys_and_the_window_of_the_calling_account(
    service: Service, program: Owner, partner: Owner
) -> None:
    keys = f"/v1/partners/{partner.id}/keys"
    for purpose, scopes in (("shop", ["codes:generate"]), ("report", ["codes:read"]), ("old", ["codes:generate"])):
        made = await service.send("POST", keys, program.key, {"purpose": purpose, "name": purpose, "scopes": scopes})
        if purpose == "old":
            await service.send("DELETE", f"{keys}/{made.data['id']}", program.key)
    account = account_of(service, program, partner)
    assert [each["name"] for each in (await service.send("GET", ME, account)).body["rate_limits"]] == [None, "shop"]
    assert (await service.send("POST", "/api/partners/codes/generate", account)).status == 200
    rates = (await service.send("GET", ME, account)).body["rate_limits"]
    assert [(each["is_caller"], each["used"]) for each in rates if each["used"]] == [(True, 1)]


async def test_a_programs_key_has_no_account_of_a_partner(service: Service, program: Owner) -> None:
    assert (await service.send("GET", ME, program.key)).status == 403
