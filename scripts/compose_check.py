"""Buys through a running compose stack from outside, as a partner and a checkout would, and while its broker dies.

Run by `scripts/compose-up-for-real.sh check`, or `python -m scripts.compose_check`. Passwords are the published ones.
"""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from standardwebhooks import Webhook

from mintwire.stack.compose_definitions import development_password
from shared.broker.publisher import Publisher
from shared.broker.topology import EXCHANGE_CHECKOUT, EXCHANGE_CODES, VHOST
from shared.clock import utc_now
from shared.events.checkout import CheckoutCompletedV1, Customer, Order
from shared.events.envelope import OutboxEvent
from shared.ids import new_id

COMPOSE = [str(Path(__file__).with_name("compose-up-for-real.sh")), "compose"]
CODES = f"http://127.0.0.1:{os.environ.get('CODES_PORT', '8001')}"
BROKER = f"127.0.0.1:{os.environ.get('RABBITMQ_PORT', '5672')}"
CHECKOUT_BROKER = f"amqp://checkout:{development_password('checkout')}@{BROKER}/{VHOST}"
SERVICES = ("codes", "redemption", "webhooks")
STOP_SECONDS = 20
WAIT_SECONDS = 60.0
STARTED = time.monotonic()


def say(text: str) -> None:
    """Print one finding with the time since the start."""
    sys.stdout.write(f"{time.monotonic() - STARTED:6.1f} s  {text}\n")
    sys.stdout.flush()


def run(argv: list[str]) -> subprocess.CompletedProcess[str]:
    """Run a program of this repository or of the machine."""
    return subprocess.run(  # noqa: S603 - the arguments are made here
        argv, capture_output=True, text=True, check=False, timeout=180
    )


def compose(*arguments: str) -> str:
    """Run a docker compose command against the stack and return what it prints."""
    done = run([*COMPOSE, *arguments])
    if done.returncode:
        sys.exit(f"docker compose {' '.join(arguments)} ended with {done.returncode}:\n{done.stderr}")
    return done.stdout


def kept(file: str) -> str:
    """Return one of the files that the demo keeps in its volume."""
    return compose("exec", "-T", "receiver", "cat", f"/var/lib/mintwire/{file}")


def mint(key: str) -> str:
    """Mint a code with curl, as a partner would."""
    url = f"{CODES}/api/partners/codes/generate"
    argv = ["curl", "--silent", "--show-error", "--fail-with-body", "-X", "POST", url, "-H", f"X-Partner-Key: {key}"]
    done = run(argv)
    if done.returncode:
        sys.exit(f"minting failed: {done.stdout}{done.stderr}")
    answer = json.loads(done.stdout)
    say(f"minted {answer['code']}")
    return str(answer["code"])


async def publish(events: Iterable[OutboxEvent], exchange: str = EXCHANGE_CHECKOUT) -> set[uuid.UUID]:
    """Publish as the checkout's broker user and return what the broker confirmed."""
    async with Publisher(CHECKOUT_BROKER, exchange) as publisher:
        return await publisher.publish_many(list(events))


def checkout(program_id: str, code: str) -> None:
    """Publish `checkout.completed` from outside."""
    data = CheckoutCompletedV1(
        program_id=uuid.UUID(program_id),
        order_ref=f"order-{new_id()}",
        codes=[code],
        customer=Customer(id="customer-1"),
        order=Order(currency="USD", subtotal=2900),
        attributes={"card_id": "a1b2c3d4", "recipient_name": "Sarah", "occasion": "mother"},
    )
    event = data.to_event(new_id(), utc_now())
    until("the broker confirms", lambda: event.id in attempt(event))
    say(f"checkout.completed for {code} confirmed by the broker")


def attempt(event: OutboxEvent) -> set[uuid.UUID]:
    """Publish once; nothing is confirmed while the broker is away."""
    try:
        return asyncio.run(publish([event]))
    except Exception as problem:  # noqa: BLE001 - said, and tried again until the deadline
        say(f"not confirmed: {problem!r}")
        return set()


def until(what: str, condition: Callable[[], bool]) -> None:
    """Wait for the condition, within a deadline."""
    deadline = time.monotonic() + WAIT_SECONDS
    while not condition():
        if time.monotonic() > deadline:
            sys.exit(f"gave up waiting: {what}")
        time.sleep(0.2)


def webhooks_of(code: str) -> list[dict[str, Any]]:
    """Return what the receiver verified about a code."""
    lines = [json.loads(line) for line in kept("received-webhooks.jsonl").splitlines()]
    return [line for line in lines if json.loads(line["body"]).get("code") == code]


def buy(demo: dict[str, Any], code: str) -> None:
    """Check out with the code and see its one webhook arrive, signed."""
    checkout(demo["program"]["id"], code)
    see_webhook(demo, code)


def see_webhook(demo: dict[str, Any], code: str) -> None:
    """Wait for the one webhook about the code and verify it once more."""
    until(f"the webhook for {code}", lambda: bool(webhooks_of(code)))
    (webhook,) = webhooks_of(code)
    Webhook(demo["receiver"]["secret"]).verify(webhook["body"], webhook["headers"])
    say(f"webhook {webhook['headers']['webhook-id']} verified here and at the receiver: {webhook['body']}")


def refuse_foreign_topics() -> None:
    """The checkout's broker user may not publish as one of the services."""
    forged = OutboxEvent(new_id(), "code.redeemed", b"{}")
    for exchange in (EXCHANGE_CHECKOUT, EXCHANGE_CODES):
        try:
            confirmed = asyncio.run(publish([forged], exchange))
        except Exception as refusal:  # noqa: BLE001 - any refusal will do, a confirm will not
            say(f"code.redeemed on {exchange} refused: {refusal!r}")
            continue
        if confirmed:
            sys.exit(f"the checkout could publish code.redeemed on {exchange}")
        say(f"code.redeemed on {exchange} not confirmed")


def kill_the_broker(demo: dict[str, Any]) -> None:
    """Mint while the broker is dead, and go on once it is back."""
    compose("kill", "rabbitmq")
    say("broker killed")
    code = mint(demo["partner"]["api_key"])
    compose("start", "rabbitmq")
    say("broker started")
    buy(demo, code)


def kill_the_sender(demo: dict[str, Any]) -> None:
    """Check out while the sender of webhooks is dead; the webhook arrives once it is back."""
    compose("kill", "webhooks")
    say("sender killed")
    code = mint(demo["partner"]["api_key"])
    checkout(demo["program"]["id"], code)
    compose("start", "webhooks")
    say("sender started")
    see_webhook(demo, code)


def stop_and_start_again(demo: dict[str, Any]) -> None:
    """Stop the services in time and with a clean exit, and bring the stack up a second time."""
    began = time.monotonic()
    compose("stop", *SERVICES)
    took = time.monotonic() - began
    listed = [json.loads(line) for line in compose("ps", "--all", "--format", "json").splitlines()]
    codes = {line["Service"]: line["ExitCode"] for line in listed if line["Service"] in SERVICES}
    say(f"services stopped in {took:.1f} s, exit codes {codes}")
    if took > STOP_SECONDS or any(codes.values()):
        sys.exit("the services did not stop as they should")
    compose("up", "-d", "--wait")
    say("up again")
    if json.loads(kept("demo.json"))["partner"] != demo["partner"]:
        sys.exit("the second start made another demo")
    buy(demo, mint(demo["partner"]["api_key"]))


def main() -> None:
    """Go through it all; exits with a sentence at the first thing that is not as it should be."""
    demo = json.loads(kept("demo.json"))
    buy(demo, mint(demo["partner"]["api_key"]))
    refuse_foreign_topics()
    kill_the_broker(demo)
    kill_the_sender(demo)
    stop_and_start_again(demo)
    findings = compose("run", "--rm", "mintwire", "doctor").splitlines()
    say(f"doctor: {len(findings)} findings, all well")
    say("all as it should be")


if __name__ == "__main__":
    main()
