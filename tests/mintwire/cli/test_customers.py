"""A customer known through every channel is exported completely, and once erased is in no table, queue or log."""

import json
import os
import uuid
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import asyncpg
import pytest
from aiohttp import web

from mintwire.cli.client import ask, call
from shared.broker.operator import dead
from shared.broker.publisher import Publisher
from shared.clock import utc_now
from shared.ids import new_id
from tests.canary import found_in
from tests.mintwire.cli.conftest import Merchant, Mintwire, until
from tests.running import RunningServices
from tests.services.redemption.merchant import checkout
from tests.services.webhooks.receiver import Post, Receiver, running_receiver

FORMATS = ("flat", "standard", "thin", "cloudevents")
TYPES = ["code.redeemed", "code.redemption_voided"]
COUNT_ATTEMPTS = """
SELECT count(*) FROM webhooks.attempts a JOIN webhooks.deliveries d ON d.id = a.delivery_id
JOIN webhooks.endpoints e ON e.id = d.endpoint_id WHERE e.program_id = $1::text::uuid AND a.response <> ''
"""


class Canary:
    """A customer whose names appear nowhere else."""

    def __init__(self) -> None:
        mark = new_id().hex[-12:]
        self.id = f"canary-{mark}"
        self.email = f"Canary.{mark}+shop@example.org"
        self.names = {"recipient_name": f"canary-{mark}", "card_id": f"canary-{mark}"}
        self.customer = {"id": self.id, "email": self.email}
        self.texts = (mark,)


@pytest.fixture
async def admin(services: RunningServices) -> "AsyncIterator[asyncpg.Connection[asyncpg.Record]]":
    connection = await asyncpg.connect(services.database.admin)
    try:
        yield connection
    finally:
        await connection.close()


async def in_queues(url: str, canary: Canary) -> list[str]:
    """Return the dead queues, and `unrouted`, that contain the customer."""
    return [
        queue
        for queue in dead.QUEUES
        for letter in await dead.list_dead(url, queue, limit=1_000)
        if canary.texts[0].encode() in letter.body.lower() or canary.texts[0] in repr(letter.headers).lower()
    ]


def logs(services: RunningServices) -> str:
    """Return everything that the services have logged."""
    files = [service.log.fileno() for service in services.services.values()]
    return "".join(os.pread(file, os.fstat(file).st_size, 0).decode(errors="replace") for file in files)


async def echo(post: Post) -> web.StreamResponse:
    """Answer with the request body, as some receivers do."""
    said = json.dumps(json.loads(post.body))
    return web.Response(body=post.body, headers={"X-Received": said[:1_000]})


async def bring_in(
    mintwire: Mintwire, merchant: Merchant, services: RunningServices, receiver: Receiver, canary: Canary
) -> None:
    """Let the customer buy, reserve, validate, be refused and be refunded, and appear in webhooks and dead letters."""
    codes, redemption, webhooks = (services.urls[name] for name in ("codes", "redemption", "webhooks"))
    key = merchant.program_key
    coupon = {
        "uuid_code": "often",
        "coupon_discount_type": "percent",
        "coupon_discount_amount": 10,
        "coupon_duration_type": "once",
        "redemptions_per_customer": 3,
        "promotion_codes": ["OFTEN-1"],
        "metadata": {"for": canary.id, "link": f"https://x.example/?to={quote(canary.email)}"},
    }
    await call("POST", f"{codes}/v1/coupons", key=key, body=coupon)
    hers = {
        "coupon_uuid": "often",
        "code": "HERS-1",
        "limit_to_specific_customer": True,
        "coupon_specific_customers": {"id": canary.id, "customer_full_name": canary.id},
        "metadata": {"note": f"write to {canary.email}."},
    }
    await call("POST", f"{codes}/v1/promotion-codes", key=key, body=hers, headers={"Idempotency-Key": "hers"})
    many = {"action": "activate", "filter": {"customer_id": canary.id}}
    await call("POST", f"{codes}/v1/promotion-codes/bulk", key=key, body=many, headers={"Idempotency-Key": "many"})
    receiver.answer = echo
    for owner, types in ((key, [*TYPES, "custom.card.sent"]), (merchant.partner_key, TYPES)):
        for format_ in FORMATS:
            body = {"url": receiver.url, "event_types": types, "format": format_}
            await call("POST", f"{webhooks}/v1/webhooks/endpoints", key=owner, body=body)
    # There is no receiver, so its deliveries stay due.
    body = {"url": "http://127.0.0.1:9/hook", "event_types": TYPES, "format": "standard"}
    await call("POST", f"{webhooks}/v1/webhooks/endpoints", key=key, body=body)

    program, generated = uuid.UUID(merchant.program_id), (await mintwire.json("code", "generate"))["code"]
    person = {**canary.customer, "name": canary.id, "address": {"street": canary.id}}
    said: dict[str, Any] = {"customer": person, "attributes": canary.names, "time": utc_now()}
    async with Publisher(mintwire.environment["MINTWIRE_AMQP_URL"], "checkout") as publisher:
        for ref, code in (("e-1", "OFTEN-1"), ("e-2", generated)):
            event = checkout(program, code, ref=ref, **said)
            await publisher.publish_one("checkout.completed", event, message_id=ref)
        present: dict[str, Any] = {
            "customer": {"id": "somebody"},
            "attributes": {"to": canary.id, "mail": canary.email.upper()},
        }
        event = checkout(program, "OFTEN-1", ref="g-1", time=utc_now(), **present)
        await publisher.publish_one("checkout.completed", event, message_id="g-1")
        await publisher.publish_one("checkout.completed", event[:-3], message_id="cut-off")
        await publisher.publish_one("checkout.completed", checkout(program, ref="e-3", **said), message_id="no-codes")
    bought = {"codes": ["HERS-1"], "order_ref": "h-1", "customer": canary.customer, "attributes": canary.names}
    await call("POST", f"{redemption}/v1/redemptions", key=key, body=bought, headers={"Idempotency-Key": "h-1"})
    held = {"codes": ["OFTEN-1"], "order_ref": "r-1", "customer": canary.customer}
    await call("POST", f"{redemption}/v1/reservations", key=key, body=held)
    asked = {"codes": ["OFTEN-1"], "customer": canary.customer}
    await call("POST", f"{redemption}/v1/validations", key=key, body=asked)
    unknown = {**bought, "codes": ["NONE"], "order_ref": "x"}
    assert (await ask("POST", f"{redemption}/v1/redemptions", key=key, body=unknown)).status == 409
    void = {"reason": f"{canary.id} called"}
    await call("POST", f"{redemption}/v1/orders/h-1/void", key=key, body=void)
    message = {
        "event_type": "custom.card.sent",
        "event_id": "card-1",
        "ordering_key": canary.email,
        "payload": {
            "customer": canary.customer,
            "note": f"ask {canary.email}",
            "attributes": canary.names,
            "any": [{"buyer": canary.id}, {"of": quote(canary.email.upper())}, json.dumps({"who": canary.id})],
        },
    }
    await call("POST", f"{webhooks}/v1/webhooks/messages", key=key, body=message, headers={"Idempotency-Key": "m"})


async def test_a_customer_who_came_by_every_door(
    mintwire: Mintwire,
    merchant: Merchant,
    services: RunningServices,
    admin: "asyncpg.Connection[asyncpg.Record]",
    tmp_path: Path,
) -> None:
    """Personal data that the export misses is also what the erasure misses."""
    canary, url = Canary(), mintwire.environment["MINTWIRE_AMQP_URL"]
    async with running_receiver() as receiver:
        await bring_in(mintwire, merchant, services, receiver, canary)

        async def has_come() -> bool:
            # Five events for the program's four endpoints, one for the partner's, and the program's own message.
            return bool(await admin.fetchval(COUNT_ATTEMPTS, merchant.program_id) == 5 * 4 + 4 + 4)

        await until(has_come, "the webhooks")

        async def are_dead() -> bool:
            return len(await in_queues(url, canary)) == 2

        await until(are_dead, "the dead letters")
    spelled = canary.email.upper()
    file = tmp_path / "customer.ndjson"
    await mintwire("customer", "export", "--email", spelled, "--output", str(file))
    exported = file.read_text()
    kinds = {(line["service"], line["kind"]) for line in map(json.loads, exported.splitlines()[:-1])}
    assert kinds >= {
        *(("redemption", kind) for kind in ("redemption", "order", "hold", "event", "kept_answer")),
        *(("codes", kind) for kind in ("code", "audit_entry", "kept_answer")),
        *(("webhooks", kind) for kind in ("message", "attempt")),
    }
    assert await found_in(admin, canary.texts)

    await mintwire("customer", "erase", "--email", spelled, "--yes")
    assert await found_in(admin, canary.texts) == []
    assert await in_queues(url, canary) == []
    assert canary.texts[0] not in logs(services).lower()

    # Published events stay harmless when they arrive again, and so do the dead letters.
    since = "2020-01-01T00:00:00Z"
    await mintwire("events", "republish", "--since", since, "--program", merchant.program_id)
    await mintwire("dead", "replay", "redemption.checkout", "no-codes")

    async def is_dead_again() -> bool:
        letters = await dead.list_dead(url, "redemption.checkout", limit=1_000)
        return any(letter.key == "no-codes" for letter in letters)

    await until(is_dead_again, "the letter's second death")
    for queue in ("codes.redemptions", "webhooks.events"):
        assert await dead.list_dead(url, queue) == []
    await dead.purge(url, "redemption.checkout")
    assert await found_in(admin, canary.texts) == []
    again = await mintwire.json("customer", "export", "--customer-id", canary.id, "--output", str(file))
    assert again["rows"] == 0

    # Limits hold: two of three uses are taken, one by a purchase and one by a reservation; the customer's own code
    # stays theirs.
    redemption, key = services.urls["redemption"], merchant.program_key
    order = {"codes": ["OFTEN-1"], "customer": canary.customer}
    statuses = [
        (await ask("POST", f"{redemption}/v1/redemptions", key=key, body={**order, "order_ref": f"n-{n}"})).status
        for n in range(2)
    ]
    assert statuses == [201, 409]
    hers = {"codes": ["HERS-1"], "customer": canary.customer, "order_ref": "h-2"}
    others = {**hers, "customer": {"id": "somebody"}, "order_ref": "h-3"}
    refused = await ask("POST", f"{redemption}/v1/redemptions", key=key, body=others)
    assert refused.value["code"] == "customer_mismatch"
    assert (await ask("POST", f"{redemption}/v1/redemptions", key=key, body=hers)).status == 409
    # Once more, for purchases since.
    await mintwire("customer", "erase", "--customer-id", canary.id, "--yes")
    assert await found_in(admin, canary.texts) == []


async def test_nothing_is_erased_without_a_yes_and_a_name(mintwire: Mintwire) -> None:
    """An erasure cannot be undone."""
    assert "--yes" in (await mintwire("customer", "erase", "--email", "a@b.example", code=2)).err
    assert "--customer-id" in (await mintwire("customer", "export", code=2)).err


async def test_a_partner_s_key_erases_nobody(mintwire: Mintwire, merchant: Merchant) -> None:
    """Customers belong to the program."""
    mintwire.environment["MINTWIRE_PROGRAM_KEY"] = merchant.partner_key
    assert "scope_missing" in (await mintwire("customer", "erase", "--email", "a@b.example", "--yes", code=1)).err
