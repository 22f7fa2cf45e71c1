"""A program's ordering keys are stored as digests, compatible with processes of the previous release."""

import json
import uuid
from pathlib import Path

import pytest

import services.webhooks
from services.webhooks.domain.events import line_key
from services.webhooks.usecases import take_in_events
from shared.ids import new_id
from tests.canary import found_in
from tests.services.webhooks.conftest import Merchant, Service, until
from tests.services.webhooks.receiver import Receiver

MIGRATION = Path(services.webhooks.__file__).parent / "migrations" / "0200_ordering_digests.sql"
TYPE = "custom.card.sent"
CANARY = "canary.bird@example.org"
QUEUE_PLAIN = """
INSERT INTO webhooks.delivery_queue (delivery_id, endpoint_id, message_id, format, event_type, trigger, step,
                                     visible_at, ends_at, ordering_key, position)
VALUES ($1, $2, $1, 'flat', $3, 'automatic', 1, 'infinity', 'infinity', $4, 1)
"""
BURY_PLAIN = """
INSERT INTO webhooks.dead_letters (delivery_id, endpoint_id, event_type, reason, died_at, ordering_key, position)
VALUES ($1, $2, $3, 'exhausted', now(), $4, 1)
"""


def plain(_: uuid.UUID, subject: str) -> str:
    """Return what the previous release stored."""
    return subject


async def publish(service: Service, merchant: Merchant, number: int) -> None:
    body = {"event_type": TYPE, "payload": {"number": number}, "ordering_key": CANARY}
    assert (await service.send("POST", "/messages", merchant.program_key, body)).status == 201


async def test_two_releases_keep_one_line_in_order(
    service: Service, merchant: Merchant, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While processes are replaced one by one, no message overtakes one that another release has taken in."""
    await service.endpoint(merchant.program_key, receiver.url, event_types=["custom.*"], ordering="key")
    release = receiver.hang()
    for number in range(6):
        with monkeypatch.context() as patched:
            if number % 2:
                patched.setattr(take_in_events, "line_key", plain)
            await publish(service, merchant, number)
    await until(lambda: len(receiver.posts) == 1, "the first")
    assert await found_in(service.admin, [CANARY]) == []
    release.set()
    await service.settled(6)
    assert [json.loads(post.body)["number"] for post in receiver.posts] == list(range(6))
    assert receiver.most_under_way == 1


@pytest.mark.parametrize("is_before", [True, False])
async def test_no_key_stays_in_plain_from_before_the_migration_or_written_after_it(
    service: Service, *, is_before: bool
) -> None:
    endpoint_id = new_id()
    rows = [
        (new_id(), endpoint_id, TYPE, CANARY),
        (new_id(), endpoint_id, TYPE, "Zoë"),
        (new_id(), endpoint_id, TYPE, line_key(endpoint_id, "new")),
        (new_id(), endpoint_id, TYPE, ""),
        (new_id(), endpoint_id, TYPE, None),
        (new_id(), endpoint_id, "code.redeemed", "a code"),
    ]
    if is_before:
        rows = [row for row in rows if row[3] is None or not row[3].startswith("sha256:")]
        await service.admin.execute("SET search_path = webhooks")
        await service.admin.execute("DROP FUNCTION digest_ordering_key() CASCADE")
    await service.admin.executemany(QUEUE_PLAIN, rows)
    await service.admin.executemany(BURY_PLAIN, rows)
    if is_before:
        await service.admin.execute(MIGRATION.read_text())
    wanted = {line_key(endpoint_id, CANARY), line_key(endpoint_id, "Zoë"), "", None, "a code"}
    wanted |= set() if is_before else {line_key(endpoint_id, "new")}
    for kept in (
        await service.query("SELECT ordering_key FROM webhooks.delivery_queue"),
        await service.query("SELECT ordering_key FROM webhooks.dead_letters"),
    ):
        assert {row["ordering_key"] for row in kept} == wanted
