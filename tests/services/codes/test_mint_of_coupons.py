"""A mint while the partner coupon takes nobody's order: refused and uncharged, whichever statement decides."""

import asyncio
import uuid
from datetime import timedelta
from typing import Any

import pytest

from services.codes.domain.coupons import Coupon
from shared.clock import utc_now
from tests.databases import Database
from tests.services.codes.bulk import rows
from tests.services.codes.conftest import Owner, Reply, Service

HOUR = timedelta(hours=1)
REFUSAL = {"ok": False, "error": "Codes are not being issued at present", "error_code": "coupon_inactive"}
# Members of the coupon, with times as hours from now; whether it then issues codes.
STATES: dict[str, tuple[dict[str, Any], bool]] = {
    "as it was made": ({}, True),
    "off": ({"is_active": False}, False),
    "not started": ({"starts_at": 1}, False),
    "starting now": ({"starts_at": 0}, True),
    "ending now": ({"expires_at": 0}, False),
    "not ended": ({"expires_at": 1}, True),
    "exhausted": ({"redemption_limit": 3, "times_redeemed": 3}, False),
    "one use left": ({"redemption_limit": 3, "times_redeemed": 2}, True),
}


async def set_coupon(service: Service, database: Database, program: Owner, members: dict[str, Any]) -> None:
    now = service.clock.now
    times = {name: value for name, value in members.items() if name.endswith("_at") and value is not None}
    values = list((members | {name: now + value * HOUR for name, value in times.items()}).values())
    assignments = "".join(f", {name} = ${number}" for number, name in enumerate(members, 2))
    query = f"UPDATE codes.coupons SET name = name{assignments} WHERE program_id = $1 RETURNING id"  # noqa: S608 - our own words
    await rows(database, query, program.id, *values)


async def remaining(service: Service, partner: Owner) -> Any:
    return (await service.send("GET", "/api/partners/quota", partner.key)).body["remaining"]


@pytest.mark.parametrize("idempotency", [None, "once"])
@pytest.mark.parametrize("state", STATES)
async def test_codes_that_no_checkout_takes_are_neither_made_nor_charged(
    service: Service, program: Owner, database: Database, state: str, idempotency: str | None
) -> None:
    """Partners paid quota for codes of a coupon that was switched off."""
    partner = await service.partner(program, quota=5)
    members, issues = STATES[state]
    await set_coupon(service, database, program, members)
    made = await service.generate(partner, idempotency)
    left = await remaining(service, partner)
    if issues:
        assert (made.status, left) == (200, 4)
        return
    assert (made.status, made.body, left) == (403, REFUSAL, 5)
    assert await rows(database, "SELECT FROM codes.quota_ledger WHERE kind = 'mint'") == []
    back = dict.fromkeys(members) | {"is_active": True, "times_redeemed": 0}
    await set_coupon(service, database, program, back)
    again: Reply = await service.generate(partner, idempotency and "again")
    assert (again.status, await remaining(service, partner)) == (200, 4)


def test_the_states_are_those_that_the_coupon_shows() -> None:
    """What the statement reads and what `is_valid` shows must not part."""
    now = utc_now()
    for members, issues in STATES.values():
        times = {name: now + value * HOUR if name.endswith("_at") else value for name, value in members.items()}
        coupon = Coupon(
            id=uuid.UUID(int=1),
            program_id=uuid.UUID(int=2),
            uuid_code="partner",
            name="Partner",
            discount_type="percent",
            duration_type="once",
            created_at=now,
            updated_at=now,
            **times,
        )
        assert coupon.is_valid(now) == issues


async def test_another_programs_partners_get_theirs_from_the_same_group(
    service: Service, program: Owner, database: Database
) -> None:
    partner, other = await service.partner(program, quota=5), await service.program(name="Other")
    neighbour = await service.partner(other, quota=5, name="Neighbour")
    await set_coupon(service, database, program, {"is_active": False})
    replies = await asyncio.gather(*(service.generate(each) for each in (partner, neighbour) * 3))
    assert [reply.status for reply in replies] == [403, 200] * 3
    assert [await remaining(service, each) for each in (partner, neighbour)] == [5, 2]
