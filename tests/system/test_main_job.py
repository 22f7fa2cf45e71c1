"""The main job on the whole stack: mint a code, redeem it at checkout, receive the signed webhook."""

import asyncio
import json
import re
import subprocess
import sys
import uuid
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import aio_pika
import pytest
from aiormq.exceptions import ChannelPreconditionFailed

from mintwire.stack import ports
from mintwire.stack.units import is_ready
from shared.broker.operator import dead
from shared.broker.operator.watch import watching
from shared.broker.publisher import Publisher
from shared.broker.topology import QUEUE_REDEMPTION_CHECKOUT
from tests.servers import ROOT
from tests.system.stack import Partner, Receiver, Stack, completed, publish_all, until

MILLISECONDS = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z")


@pytest.fixture
async def checkout(stack: Stack) -> AsyncIterator[Publisher]:
    async with stack.checkout() as publisher:
        yield publisher


async def test_a_code_is_minted_redeemed_and_told_exactly_as_the_partner_api_says(
    stack: Stack, partner: Partner, receiver: Receiver, checkout: Publisher
) -> None:
    status, minted = await partner.generate()
    assert status == 200
    assert list(minted) == ["ok", "code", "url", "expires_at"]
    assert minted["ok"] is True
    assert re.fullmatch(r"[A-Z0-9]+-[0-9A-F]{8}", minted["code"])
    assert minted["url"].endswith(f"?promo={minted['code']}")
    assert MILLISECONDS.fullmatch(minted["expires_at"])
    lifetime = datetime.fromisoformat(minted["expires_at"]) - datetime.now(UTC)
    assert timedelta(hours=47, minutes=59) < lifetime <= timedelta(hours=48)

    await publish_all(checkout, [completed(stack.told["program"]["id"], [minted["code"].lower()])])
    await until(lambda: bool(receiver.verified), "the webhook")
    message_id, body, raw = receiver.verified[0]
    assert message_id.startswith("msg_")
    assert list(body) == [
        "event", "partner_id", "code", "card_id", "recipient_name", "occasion", "timestamp", "codes_remaining",
    ]  # fmt: skip
    assert MILLISECONDS.fullmatch(body.pop("timestamp"))
    assert body == {
        "event": "code.redeemed",
        "partner_id": partner.id,
        "code": minted["code"],
        "card_id": "a1b2c3d4",
        "recipient_name": "Sarah",
        "occasion": "mother",
        "codes_remaining": 9_999,
    }
    assert b": " not in raw
    await _usage_is_known(stack, partner, minted["code"])


async def _usage_is_known(stack: Stack, partner: Partner, code: str) -> None:
    async def used() -> int:
        url = f"{stack.url('codes')}/api/partners/codes/{code}"
        _, answer = await stack.call("GET", url, partner_key=partner.key)
        times: int = answer["times_redeemed"]
        return times

    for _ in range(100):
        if await used() == 1:
            return
        await asyncio.sleep(0.1)
    raise AssertionError("the codes service never learned of the redemption")


async def test_of_64_orders_at_once_for_one_code_one_gets_it(
    stack: Stack, partner: Partner, receiver: Receiver, checkout: Publisher
) -> None:
    [code] = await partner.codes(1)
    async with watching(stack.told["amqp_url"], "redemption", ["code.#"]) as hear:
        await publish_all(checkout, [completed(stack.told["program"]["id"], [code]) for _ in range(64)])
        outcomes = await _outcomes(hear, code, 64)
    assert outcomes == {"code.redeemed": 1, "code_used": 63}
    await until(lambda: bool(receiver.verified), "the webhook")
    assert receiver.codes == [code]


async def test_the_same_event_twenty_times_is_one_redemption_and_one_webhook(
    stack: Stack, partner: Partner, receiver: Receiver, checkout: Publisher
) -> None:
    first, last = await partner.codes(2)
    event = completed(stack.told["program"]["id"], [first])
    for _ in range(20):
        await publish_all(checkout, [event])
    # What is published later is through later, so nothing of the repeats can still be under way.
    await publish_all(checkout, [completed(stack.told["program"]["id"], [last])])
    await until(lambda: last in receiver.codes, "the webhook of the last order")
    assert Counter(receiver.codes) == {first: 1, last: 1}
    rows = await stack.rows("SELECT 1 FROM redemption.redemptions WHERE code = $1", first)
    assert len(rows) == 1


async def _outcomes(hear: Callable[[float], Awaitable[bytes | None]], code: str, count: int) -> Counter[str]:
    seen: Counter[str] = Counter()
    while seen.total() < count and (body := await hear(30)) is not None:
        event = json.loads(body)
        if event["data"]["code"] == code:
            seen[event["data"].get("reason", event["type"])] += 1
    return seen


async def test_500_generates_on_two_replicas_give_exactly_the_quota(stack: Stack) -> None:
    partner = await stack.new_partner(quota=100)
    async with _second_replica(stack) as other:
        answers = await _generate_on_both(stack, other, partner, 500)
    statuses = Counter(status for status, _ in answers)
    assert statuses == {200: 100, 403: 400}
    refused = [answer for status, answer in answers if status == 403]
    assert refused == [{"ok": False, "error": "No codes remaining", "error_code": "quota_exhausted"}] * 400
    [row] = await stack.rows(
        """SELECT quota_minted,
                  (SELECT sum(amount) FROM codes.quota_ledger l WHERE l.partner_id = p.id AND kind = 'mint') AS booked,
                  (SELECT count(*) FROM codes.promotion_codes c WHERE c.partner_id = p.id) AS stored
           FROM codes.partners p WHERE id = $1""",
        uuid.UUID(partner.id),
    )
    assert tuple(row) == (100, 100, 100)


async def test_the_default_limit_admits_exactly_100_in_a_window_over_two_replicas(stack: Stack) -> None:
    partner = await stack.new_partner(limit=100)
    async with _second_replica(stack) as other:
        answers = await _generate_on_both(stack, other, partner, 250)
    assert Counter(status for status, _ in answers) == {200: 100, 429: 150}


async def _generate_on_both(stack: Stack, other: str, partner: Partner, count: int) -> list[tuple[int, Any]]:
    urls = [f"{base}/api/partners/codes/generate" for base in (stack.url("codes"), other)]
    asks = (stack.call("POST", urls[n % 2], partner_key=partner.key) for n in range(count))
    return list(await asyncio.gather(*asks))


class _second_replica:  # noqa: N801 - reads as the context that it is
    """A further process of the codes service on the stack's database and broker."""

    def __init__(self, stack: Stack) -> None:
        port = ports.free_port([], [])
        self.url = f"http://127.0.0.1:{port}"
        self._port = port
        self._environment = stack.plan.service_environment("codes", port)

    async def __aenter__(self) -> str:
        self._process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "services.codes", "serve", env=self._environment, cwd=ROOT, stdout=subprocess.DEVNULL
        )
        await until(lambda: is_ready(self._port), "the second replica")
        return self.url

    async def __aexit__(self, *_: object) -> None:
        self._process.terminate()
        assert await asyncio.wait_for(self._process.wait(), 30) == 0


BAD_EVENTS = {
    "invalid JSON": (b'{"specversion": ', "invalid_json"),
    "another specversion": (
        completed(str(uuid.uuid4()), ["A"]).body.replace(b'"1.0"', b'"0.3"'),
        "unsupported_version",
    ),
    "an order without code": (completed(str(uuid.uuid4()), []).body, "invalid_data"),
    "duplicate keys": (b'{"specversion": "1.0", "specversion": "1.0"}', "duplicate_key"),
    "NaN": (b'{"specversion": NaN}', "not_finite"),
    "NUL": (completed(str(uuid.uuid4()), ["A\0"]).body, "nul_character"),
    "invalid UTF-8": (b'{"specversion": "\xff"}', "invalid_utf8"),
    "300 KiB": (b'"' + b"a" * 300 * 1024 + b'"', "too_large"),
}


@pytest.mark.parametrize(("body", "reason"), BAD_EVENTS.values(), ids=BAD_EVENTS.keys())
async def test_what_cannot_be_understood_is_kept_with_its_reason_and_the_next_order_goes_through(
    stack: Stack, partner: Partner, receiver: Receiver, checkout: Publisher, body: bytes, reason: str
) -> None:
    [code] = await partner.codes(1)
    await checkout.publish_one("checkout.completed", body)
    await publish_all(checkout, [completed(stack.told["program"]["id"], [code])])
    await until(lambda: code in receiver.codes, "the webhook of the good order")
    operator = stack.told["amqp_url"]
    letters = [
        letter
        for letter in await dead.list_dead(operator, QUEUE_REDEMPTION_CHECKOUT)
        if letter.body == body and letter.reason == reason
    ]
    assert len(letters) == 1
    assert letters[0].detail
    await dead.purge(operator, QUEUE_REDEMPTION_CHECKOUT, choice=dead.chosen([letters[0].key]))


async def test_ten_megabytes_do_not_pass_the_broker(stack: Stack, partner: Partner, receiver: Receiver) -> None:
    [code] = await partner.codes(1)
    async with await aio_pika.connect(stack.plan.broker_url("checkout")) as connection:
        channel = await connection.channel()
        exchange = await channel.get_exchange("checkout", ensure=False)
        with pytest.raises(ChannelPreconditionFailed, match="message size 10485760 is larger than configured max size"):
            await exchange.publish(aio_pika.Message(b"a" * 10 * 1024 * 1024), "checkout.completed")
    async with stack.checkout() as publisher:
        await publish_all(publisher, [completed(stack.told["program"]["id"], [code])])
    await until(lambda: code in receiver.codes, "the webhook of the good order")


@pytest.mark.parametrize("what", ["an unknown program", "an unknown code"])
async def test_what_is_understood_and_unknown_is_rejected_with_its_reason(
    stack: Stack, checkout: Publisher, what: str
) -> None:
    program = str(uuid.uuid4()) if what == "an unknown program" else stack.told["program"]["id"]
    code = f"NONE-{uuid.uuid4().hex[:8].upper()}"
    async with watching(stack.told["amqp_url"], "redemption", ["code.#"]) as hear:
        await publish_all(checkout, [completed(program, [code])])
        outcomes = await _outcomes(hear, code, 1)
    assert outcomes == {"program_unknown" if what == "an unknown program" else "code_unknown": 1}
