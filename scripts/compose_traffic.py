"""Buys through a running compose stack from outside: mints over HTTP, checks out by events, checks the webhooks.

Each code is minted with an Idempotency-Key and each event published with its id until it is accepted, as the guides
tell partners and checkouts to do; then nothing may be lost and no webhook sent twice. Passwords are the published ones.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
import threading
import urllib.error
import urllib.request
import uuid
from collections import Counter
from types import TracebackType
from typing import Any, Self

from standardwebhooks import Webhook

from mintwire.stack.compose_definitions import development_password
from scripts.compose_stack import Stack, say, until
from shared.broker.publisher import Publisher
from shared.broker.topology import EXCHANGE_CHECKOUT, EXCHANGE_CODES, VHOST
from shared.clock import utc_now
from shared.events.checkout import CheckoutCompletedV1, Customer, Order
from shared.events.envelope import OutboxEvent
from shared.ids import new_id

CODES = f"http://127.0.0.1:{os.environ.get('CODES_PORT', '8001')}"
BROKER = f"127.0.0.1:{os.environ.get('RABBITMQ_PORT', '5672')}"
CHECKOUT_BROKER = f"amqp://checkout:{development_password('checkout')}@{BROKER}/{VHOST}"
# Slower than the rate limit of the demo's key.
_PAUSE_SECONDS = 0.7
_TIMEOUT_SECONDS = 10


def buy(stack: Stack) -> None:
    """Mint a code, check out with it, and wait for its single, signed webhook."""
    demo = stack.demo()
    code = None
    while code is None:
        code = mint(demo["partner"]["api_key"], str(uuid.uuid4()))
    event = completed(demo["program"]["id"], code)
    until("the broker confirms", lambda: publish(event))
    until(f"the webhook for {code}", lambda: bool(webhooks(stack, {code})))
    (webhook, *_) = webhooks(stack, {code})
    Webhook(demo["receiver"]["secret"]).verify(webhook["body"], webhook["headers"])


def mint(key: str, idempotency_key: str) -> str | None:
    """Mint a code; None without a conclusive response. Any refusal except 503, 502 and 429 ends the check."""
    request = urllib.request.Request(  # noqa: S310 - http, to this machine
        f"{CODES}/api/partners/codes/generate",
        method="POST",
        headers={"X-Partner-Key": key, "Idempotency-Key": idempotency_key},
    )
    try:
        with urllib.request.urlopen(request, timeout=_TIMEOUT_SECONDS) as answer:  # noqa: S310 - as above
            return str(json.load(answer)["code"])
    except urllib.error.HTTPError as refused:
        if refused.code not in {409, 429, 502, 503}:
            sys.exit(f"minting was answered {refused.code}: {refused.read()[:300]!r}")
    except (OSError, ValueError):
        pass
    return None


def completed(program_id: str, code: str) -> OutboxEvent:
    """Return the event of an order with the code."""
    data = CheckoutCompletedV1(
        program_id=uuid.UUID(program_id),
        order_ref=f"order-{new_id()}",
        codes=[code],
        customer=Customer(id=f"customer-{new_id()}"),
        order=Order(currency="USD", subtotal=2900),
        attributes={"card_id": "a1b2c3d4", "recipient_name": "Sarah", "occasion": "mother"},
    )
    return data.to_event(new_id(), utc_now())


def publish(event: OutboxEvent, exchange: str = EXCHANGE_CHECKOUT) -> bool:
    """Publish as the checkout's broker user; return whether the broker confirmed it."""

    async def send() -> set[uuid.UUID]:
        async with asyncio.timeout(_TIMEOUT_SECONDS), Publisher(CHECKOUT_BROKER, exchange) as publisher:
            return await publisher.publish_many([event])

    try:
        return event.id in asyncio.run(send())
    except Exception:  # noqa: BLE001 - the broker may be dead or refuse; the caller decides what follows
        return False


def webhooks(stack: Stack, codes: set[str]) -> list[dict[str, Any]]:
    """Return what the receiver verified about these codes."""
    lines = [json.loads(line) for line in stack.kept("received-webhooks.jsonl").splitlines()]
    return [line for line in lines if json.loads(line["body"]).get("code") in codes]


def refuse_foreign_topics() -> None:
    """Check that the checkout's broker user may not publish as a service."""
    forged = OutboxEvent(new_id(), "code.redeemed", b"{}")
    for exchange in (EXCHANGE_CHECKOUT, EXCHANGE_CODES):
        if publish(forged, exchange):
            sys.exit(f"the checkout could publish code.redeemed on {exchange}")
    say("the checkout's broker user cannot publish as a service")


class Traffic:
    """Mints and checks out, one after the other, for as long as the block lasts."""

    def __init__(self, stack: Stack) -> None:
        self._stack = stack
        self._demo = stack.demo()
        self._codes: set[str] = set()
        self._tries: Counter[str] = Counter()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop.set()
        self._thread.join()

    def replicas_that_minted(self) -> int:
        """Return how many replicas of `codes` have logged a request."""
        logs = self._stack.compose("logs", "--since", "60s", "codes").splitlines()
        return len({line.split("|")[0] for line in logs if "/api/partners/codes/generate" in line})

    def settle(self) -> None:
        """Wait until each code has its webhook; no code may have two messages."""
        if not self._codes:
            sys.exit("nothing was bought meanwhile")
        until("each webhook arrives", lambda: self._messages_about() >= set(self._codes))
        names = {(line["headers"]["webhook-id"], json.loads(line["body"])["code"]) for line in self._lines()}
        twice = [code for code, count in Counter(code for _, code in names).items() if count > 1]
        if twice:
            sys.exit(f"sent twice: {twice}")

    def summary(self) -> str:
        """Return what was bought, and how often something had to be retried."""
        return f"{len(self._codes)} bought, each with one webhook, {self._tries['again']} retries"

    def _run(self) -> None:
        while not self._stop.is_set():
            key = str(uuid.uuid4())
            code = self._insist(lambda key=key: mint(self._demo["partner"]["api_key"], key))
            event = completed(self._demo["program"]["id"], str(code))
            self._insist(lambda event=event: publish(event) or None)
            self._codes.add(str(code))
            self._stop.wait(_PAUSE_SECONDS)

    def _insist(self, act: Any) -> Any:
        while (done := act()) is None:
            self._tries["again"] += 1
            # A thread that has to end must not stop in the middle of a purchase, so it continues here.
            threading.Event().wait(_PAUSE_SECONDS)
        return done

    def _lines(self) -> list[dict[str, Any]]:
        return webhooks(self._stack, self._codes)

    def _messages_about(self) -> set[str]:
        return {json.loads(line["body"])["code"] for line in self._lines()}
