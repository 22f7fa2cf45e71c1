"""Demonstrates the main flow once: mint a code, check out with it, receive the signed webhook."""

from __future__ import annotations

import asyncio
import json
import uuid
from collections.abc import Callable, Mapping
from http import HTTPStatus
from pathlib import Path
from typing import Any

import aiohttp

from mintwire.stack.errors import ServerFailed
from shared.broker.publisher import Publisher
from shared.broker.topology import EXCHANGE_CHECKOUT
from shared.clock import utc_now
from shared.events.checkout import CheckoutCompletedV1, Customer, Order
from shared.ids import new_id

Say = Callable[[str], None]

_WEBHOOK_SECONDS = 30.0
_HEADERS = ("webhook-id", "webhook-timestamp", "webhook-signature")


async def play(stack: Mapping[str, Any], checkout_url: str, say: Say) -> None:
    """Mint, publish `checkout.completed`, and wait for the verified webhook; raises `ServerFailed` without one."""
    log = Path(stack["receiver"]["log"])
    start = _size(log)
    code = await _mint(stack, say)
    await _check_out(stack["program"]["id"], code, checkout_url, say)
    webhook = await _webhook(log, start, code)
    say("\n3. The partner's receiver got the webhook and verified its signature:")
    for name in _HEADERS:
        say(f"   {name}: {webhook['headers'][name]}")
    say(_indented(json.loads(webhook["body"])))
    await _mint(stack, say, "4. Another code, for you: open its `url` in a browser, and buy the card with one press:")


async def _mint(stack: Mapping[str, Any], say: Say, head: str = "1. A partner mints a code:") -> str:
    url = f"{stack['services']['codes']}/api/partners/codes/generate"
    key = stack["partner"]["api_key"]
    say(f"\n{head}")
    say(f'   $ curl -X POST {url} -H "X-Partner-Key: {key}"')
    status, answer = await _post(url, {"X-Partner-Key": key})
    say(_indented(answer))
    if status != HTTPStatus.OK:
        raise ServerFailed(f"generate answered {status}")
    return str(answer["code"])


async def _post(url: str, headers: Mapping[str, str]) -> tuple[int, Any]:
    try:
        async with (
            aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=15)) as session,
            session.post(url, headers=headers) as response,
        ):
            return response.status, await response.json(content_type=None)
    except (aiohttp.ClientError, TimeoutError, ValueError) as error:
        raise ServerFailed(f"POST {url} failed: {error!r}") from error


async def _check_out(program_id: str, code: str, checkout_url: str, say: Say) -> None:
    data = CheckoutCompletedV1(
        program_id=uuid.UUID(program_id),
        order_ref=f"demo-{new_id()}",
        codes=[code],
        customer=Customer(id="customer-1", email="sarah@example.com", is_first_order=True),
        order=Order(currency="EUR", subtotal=4900),
        attributes={"card_id": "a1b2c3d4", "recipient_name": "Sarah", "occasion": "mother"},
    )
    event = data.to_event(new_id(), utc_now())
    say("\n2. The checkout publishes `checkout.completed` on the exchange `checkout`:")
    say(_indented(json.loads(event.body)))
    async with Publisher(checkout_url, EXCHANGE_CHECKOUT) as publisher:
        if event.id not in await publisher.publish_many([event]):
            raise ServerFailed("the broker did not confirm the checkout event")


async def _webhook(log: Path, start: int, code: str) -> dict[str, Any]:
    deadline = asyncio.get_running_loop().time() + _WEBHOOK_SECONDS
    while asyncio.get_running_loop().time() < deadline:
        for webhook in _received(log, start):
            if json.loads(webhook["body"]).get("code") == code:
                return webhook
        await asyncio.sleep(0.05)
    raise ServerFailed(f"no webhook for {code} arrived within {_WEBHOOK_SECONDS:g} s")


def _size(log: Path) -> int:
    return log.stat().st_size


def _received(log: Path, start: int) -> list[dict[str, Any]]:
    with log.open("rb") as file:
        file.seek(start)
        return [json.loads(line) for line in file if line.endswith(b"\n")]


def _indented(value: object) -> str:
    return "\n".join(f"   {line}" for line in json.dumps(value, indent=2, ensure_ascii=False).splitlines())
