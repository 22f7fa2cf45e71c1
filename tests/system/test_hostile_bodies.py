"""A body made to cost as much as it can costs its sender an answer, and nobody else anything."""

import asyncio
from collections.abc import AsyncIterator

import pytest

from shared.broker.operator import dead
from shared.broker.topology import QUEUE_REDEMPTION_CHECKOUT
from tests.system.bystanders import bystanders
from tests.system.signs import Signs
from tests.system.stack import Stack

HTTP_BYTES = 64 * 1024
MESSAGE_BYTES = 256 * 1024
LINE_BYTES = 16 * 1024
LINES = 30
REFUSED = {"queue": QUEUE_REDEMPTION_CHECKOUT, "outcome": "invalid_json"}


def unclosed(size: int) -> bytes:
    """More brackets than may be nested, and then a string of escaped quotes that never ends."""
    head = b'{"codes":["' + b"[" * 40 + b'"],"x":"'
    return head + b'\\"' * ((size - len(head)) // 2)


@pytest.fixture
async def signs(stack: Stack) -> AsyncIterator[Signs]:
    """What shows since, without the dead letters that it leaves."""
    yield Signs(stack)
    operator = stack.told["amqp_url"]
    letters = await dead.list_dead(operator, QUEUE_REDEMPTION_CHECKOUT)
    ours = [letter.key for letter in letters if letter.body == unclosed(MESSAGE_BYTES)]
    await dead.purge(operator, QUEUE_REDEMPTION_CHECKOUT, choice=dead.chosen(ours))


async def test_nobody_notices_bodies_that_never_close_their_string(stack: Stack, signs: Signs) -> None:
    """One such body would hold a service's loop for seconds, and with it everybody whom it serves."""
    refused = await signs.metric("redemption", "mintwire_messages_consumed_total", **REFUSED)
    program_key, hostile = stack.told["program"]["api_key"], await stack.new_partner()
    publishable = await stack.made(
        f"{stack.url('codes')}/v1/programs/{stack.told['program']['id']}/keys",
        key=stack.told["operator_token"],
        body={"kind": "publishable", "scopes": ["validate"]},
    )
    listeners = f"{stack.url('webhooks')}/v1/webhooks/listeners"
    listener = await stack.made(listeners, key=hostile.key)
    doors = [
        (f"{stack.url('redemption')}/v1/validations", publishable["key"]),
        (f"{listeners}/{listener['id']}/next", hostile.key),
        (f"{stack.url('codes')}/v1/coupons", program_key),
    ]
    coupon = {"coupon_discount_type": "percent", "coupon_discount_amount": 5, "coupon_duration_type": "once"}
    made = await stack.made(f"{stack.url('codes')}/v1/coupons", key=program_key, body=coupon)
    uploads = f"{stack.url('codes')}/v1/coupons/{made['uuid_code']}/promotion-codes/import"
    file = (unclosed(LINE_BYTES) + b"\n") * LINES

    async with bystanders(stack), stack.checkout() as checkout:
        asks = (stack.call("POST", url, key=key, raw=unclosed(HTTP_BYTES)) for url, key in doors * 3)
        assert [(status, answer["code"]) for status, answer in await asyncio.gather(*asks)] == [
            (400, "invalid_json")
        ] * 9
        await checkout.publish_one("checkout.completed", unclosed(MESSAGE_BYTES))
        status, job = await stack.call("POST", uploads, key=program_key, raw=file, content_type="application/x-ndjson")
        assert status == 202, job
        assert await _lines_refused(stack, job["data"]["id"]) == LINES

    await signs.in_doctor(f"{QUEUE_REDEMPTION_CHECKOUT}.dead is empty")
    await signs.in_metric("redemption", "mintwire_messages_consumed_total", above=refused, **REFUSED)
    await signs.in_log("redemption", "message_rejected", reason="invalid_json")
    await signs.in_log("redemption", "http_request", route="/v1/validations", status=400)
    await signs.in_log("webhooks", "http_request", route="/v1/webhooks/listeners/{listener_id}/next", status=400)
    await signs.in_log("codes", "http_request", route="/v1/coupons", status=400)


async def _lines_refused(stack: Stack, job_id: str) -> int:
    """Wait for an import's end."""
    url, key = f"{stack.url('codes')}/v1/jobs/{job_id}", stack.told["program"]["api_key"]
    for _ in range(300):
        job = (await stack.call("GET", url, key=key))[1]["data"]
        if job["state"] == "done":
            return int(job["refused"])
        await asyncio.sleep(0.1)
    raise AssertionError(f"the import has not ended: {job}")
