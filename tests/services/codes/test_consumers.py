"""Usage from events: newer versions win, repeats change nothing, what cannot be understood is rejected by name."""

import asyncio
import json
import random
import uuid
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any

import pytest

from services.codes.consumers import RedemptionsHandler
from services.codes.usecases.record_usage import RecordUsage
from shared.broker.consumer import BatchConsumer, Received, Reject
from shared.broker.publisher import Publisher
from shared.broker.topology import EXCHANGE_REDEMPTION, QUEUE_CODES_REDEMPTIONS
from shared.clock import utc_now
from shared.ids import new_id
from tests.services.codes.conftest import Owner, Service

DAY = timedelta(days=1)
CODE = """
SELECT c.id, c.program_id, c.coupon_id, c.times_redeemed, c.times_redeemed_version, c.last_redeemed_at,
       k.times_redeemed AS coupon_times, k.times_redeemed_version AS coupon_version
FROM promotion_codes c JOIN coupons k ON k.id = c.coupon_id WHERE c.code = $1
"""


async def read_code(service: Service, code: str) -> Any:
    async with service.pool.connection() as connection:
        return await connection.fetchrow(CODE, code)


def event(row: Any, count: int = 1, version: int = 1, coupon: tuple[int, int] | None = None, **changes: Any) -> bytes:
    """Write a `code.redeemed` as the redemption service does, with a member that nobody knows."""
    occurred_at: datetime = changes.pop("occurred_at", utc_now())
    data = {
        "redemption_id": str(new_id()),
        "program_id": str(row["program_id"]),
        "partner_id": None,
        "code": "PREFIX-1A0A48C0",
        "code_id": str(row["id"]),
        "coupon_id": str(row["coupon_id"]),
        "order_ref": "order-1",
        "customer": None,
        "discount": {
            "type": "percent",
            "percent_hundredths": 10_000,
            "amount_minor": None,
            "currency": None,
            "applied_minor": None,
        },
        "discount_ends_at": None,
        "commission": None,
        "order": None,
        "attributes": {"recipient_name": "Sarah"},
        "attribute_names": ["recipient_name"],
        "occurred_at": occurred_at.isoformat(),
        "codes_remaining": 4,
        "times_redeemed": count,
        "times_redeemed_version": version,
        "coupon_times_redeemed": coupon[0] if coupon else None,
        "coupon_times_redeemed_version": coupon[1] if coupon else None,
        "terms": {
            "coupon_uuid_code": "partner-codes",
            "coupon_name": "Partner codes",
            "duration_type": "once",
            "duration_value": None,
            "starts_at": None,
            "expires_at": None,
            "redemption_limit": 1,
            "coupon_starts_at": None,
            "coupon_expires_at": None,
            "coupon_redemption_limit": None,
        },
        "a_member_of_the_future": {"deep": [1]},
    }
    envelope = {
        "specversion": "1.0",
        "id": changes.pop("id", str(new_id())),
        "source": "/mintwire/redemption",
        "type": changes.pop("type", "code.redeemed"),
        "time": occurred_at.isoformat(),
        "datacontenttype": "application/json",
        "an_extension": "x",
        "data": data | changes,
    }
    return json.dumps(envelope).encode()


async def handle(service: Service, bodies: Sequence[bytes]) -> list[Reject | None]:
    received = [Received(body, {}, None, "code.redeemed", utc_now()) for body in bodies]
    return await RedemptionsHandler(RecordUsage(service.pool))(received)


async def test_a_redemption_shows_on_the_code_and_its_coupon(service: Service, partner: Owner) -> None:
    code = (await service.generate(partner)).body["code"]
    row = await read_code(service, code)
    moment = utc_now()
    assert await handle(service, [event(row, occurred_at=moment)]) == [None]
    row = await read_code(service, code)
    assert (row["times_redeemed"], row["last_redeemed_at"], row["coupon_times"]) == (1, moment, 1)
    shown = await service.send("GET", f"/api/partners/codes/{code}", partner.key)
    assert (shown.body["status"], shown.body["times_redeemed"]) == ("redeemed", 1)


async def test_the_newer_version_wins_in_any_order_and_any_batches(service: Service, partner: Owner) -> None:
    """Counts may also fall (a void); each interleaving and repetition must end in the same place."""
    chance = random.Random(7)  # noqa: S311 - a repeatable order, nothing secret
    for _ in range(5):
        code = (await service.generate(partner)).body["code"]
        row = await read_code(service, code)
        start = utc_now()
        counts = [1, 2, 1, 2, 3, 2]
        bodies = [
            event(row, count, version, occurred_at=start + timedelta(seconds=version))
            for version, count in enumerate(counts, 1)
        ]
        sent = bodies + chance.sample(bodies, 3)
        chance.shuffle(sent)
        before = row["coupon_times"]
        for start_at in range(0, len(sent), 2):
            assert set(await handle(service, sent[start_at : start_at + 2])) == {None}
        row = await read_code(service, code)
        assert (row["times_redeemed"], row["times_redeemed_version"]) == (2, 6)
        assert row["last_redeemed_at"] == start + timedelta(seconds=6)
        assert row["coupon_times"] == before + 2


async def test_a_coupon_that_is_counted_takes_the_count_it_is_told(service: Service, partner: Owner) -> None:
    code = (await service.generate(partner)).body["code"]
    row = await read_code(service, code)
    await handle(service, [event(row, 1, 1, (41, 7)), event(row, 2, 2, (40, 6))])
    row = await read_code(service, code)
    assert (row["times_redeemed"], row["coupon_times"], row["coupon_version"]) == (2, 41, 7)


async def test_a_void_shows_on_the_code_and_its_coupon(service: Service, partner: Owner) -> None:
    """It may come before the redemption that it takes back; when that was is then still to be learnt."""
    moment = utc_now()
    void: dict[str, Any] = {
        "type": "code.redemption_voided",
        "customer_id": None,
        "reason": "refund",
        "is_released": True,
        "was_counted": True,
        "redeemed_at": moment.isoformat(),
    }
    for is_first in (False, True):
        code = (await service.generate(partner)).body["code"]
        row = await read_code(service, code)
        bodies = [event(row, 1, 1, occurred_at=moment), event(row, 0, 2, occurred_at=moment + DAY, **void)]
        for body in reversed(bodies) if is_first else bodies:
            assert await handle(service, [body]) == [None]
        row = await read_code(service, code)
        assert (row["times_redeemed"], row["times_redeemed_version"], row["coupon_times"]) == (0, 2, 0)
        assert row["last_redeemed_at"] == moment


async def test_an_event_of_another_program_changes_nothing(service: Service, partner: Owner) -> None:
    code = (await service.generate(partner)).body["code"]
    row = await read_code(service, code)
    foreign = event(row, 1, 1, (5, 5), program_id=str(uuid.uuid4()))
    gone = event(row, 1, 1, code_id=str(uuid.uuid4()))
    assert await handle(service, [foreign, gone]) == [None, None]
    row = await read_code(service, code)
    assert (row["times_redeemed"], row["coupon_times"]) == (0, 0)


async def test_the_same_id_with_another_body_is_rejected(service: Service, partner: Owner) -> None:
    row = await read_code(service, (await service.generate(partner)).body["code"])
    first, other = event(row, 1, 1, id="one"), event(row, 5, 9, id="one")
    outcomes = await handle(service, [first, first, other])
    assert [outcome and outcome.reason for outcome in outcomes] == [None, None, "event_id_conflict"]
    outcomes = await handle(service, [other, first])
    assert [outcome and outcome.reason for outcome in outcomes] == ["event_id_conflict", None]


async def test_what_cannot_be_understood_is_rejected_and_the_rest_is_done(service: Service, partner: Owner) -> None:
    code = (await service.generate(partner)).body["code"]
    row = await read_code(service, code)
    good = event(row)
    bad = {
        "invalid_json": b"{",
        "invalid_envelope": b"[]",
        "unsupported_version": good.replace(b'"specversion": "1.0"', b'"specversion": "0.3"'),
        "invalid_data": event(row, code_id="x"),
        "unexpected_type": event(row, type="code.exhausted"),
        "duplicate_key": good.replace(b"{", b'{"id": "x", ', 1),
        "invalid_utf8": good.replace(b"Sarah", b"\xff"),
    }
    outcomes = await handle(service, [*bad.values(), good])
    assert [outcome.reason if outcome else None for outcome in outcomes] == [*bad, None]
    assert (await read_code(service, code))["times_redeemed"] == 1


async def test_two_processes_take_batches_in_opposite_order_without_a_deadlock(
    service: Service, second: Service, partner: Owner
) -> None:
    codes = [(await service.generate(partner)).body["code"] for _ in range(8)]
    rows = [await read_code(service, code) for code in codes]
    for version in range(1, 6):
        one = [event(row, version, version) for row in rows]
        two = [event(row, version, version) for row in reversed(rows)]
        await asyncio.gather(handle(service, one), handle(second, two))
    row = await read_code(service, codes[0])
    assert (row["times_redeemed"], row["coupon_times"]) == (5, 40)


@pytest.fixture
async def redeemed(service: Service, partner: Owner) -> Any:
    return await read_code(service, (await service.generate(partner)).body["code"])


async def test_events_arrive_through_the_broker(service: Service, redeemed: Any, clean_broker: dict[str, str]) -> None:
    consumer = BatchConsumer(
        clean_broker["codes"], QUEUE_CODES_REDEMPTIONS, RedemptionsHandler(RecordUsage(service.pool)), utc_now
    )
    running = asyncio.create_task(consumer.run())
    async with Publisher(clean_broker["redemption"], EXCHANGE_REDEMPTION) as publisher:
        await publisher.publish_one("code.redeemed", event(redeemed))
        async with asyncio.timeout(20):
            while True:
                async with service.pool.connection() as connection:
                    if await connection.fetchval(
                        "SELECT times_redeemed FROM promotion_codes WHERE id = $1", redeemed["id"]
                    ):
                        break
                await asyncio.sleep(0.02)
    await consumer.stop()
    await running
