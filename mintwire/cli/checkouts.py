"""`mintwire checkout`: acts as the shop, with a real event on the broker, and shows the result."""

from __future__ import annotations

import asyncio
import json
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Annotated, Any

from cyclopts import App, Parameter
from pydantic import ValidationError

from mintwire.cli import checkout_calls
from mintwire.cli.broker_command import broker_command
from mintwire.cli.config import read_target
from mintwire.cli.orders import Codes, Order, Test, mode_of
from mintwire.cli.output import AsJSON, Misused, tell
from mintwire.terminal import NOTHING_HEARD, printable, write_json, write_line
from shared.broker.operator.watch import Heard, watching
from shared.broker.publisher import Publisher
from shared.broker.topology import EXCHANGE_CHECKOUT, EXCHANGE_REDEMPTION, QUEUE_REDEMPTION_CHECKOUT
from shared.canonical import canonical_code
from shared.clock import utc_now
from shared.events.checkout import CheckoutCompletedV1
from shared.events.envelope import InvalidEvent, decode_data, decode_envelope, describe
from shared.events.redemption import CodeRedeemedV1, CodeRedemptionRejectedV1, CodeRedemptionSkippedV1
from shared.ids import new_id

app = App(name="checkout")
for each in checkout_calls.COMMANDS:
    app.command(each)


@dataclass
class Outcome:
    """The events received about an order; each code is expected once, in its canonical form."""

    data: CheckoutCompletedV1
    event_id: uuid.UUID
    redeemed: list[CodeRedeemedV1] = field(default_factory=list)
    skipped: list[CodeRedemptionSkippedV1] = field(default_factory=list)
    rejected: CodeRedemptionRejectedV1 | None = None

    @property
    def unheard(self) -> list[str]:
        """The codes without an event; a refusal applies to the whole order."""
        if self.rejected is not None:
            return []
        heard = {_canonical(event.code) for event in self.redeemed} | {_canonical(left.code) for left in self.skipped}
        return [
            code
            for code in {_canonical(code): code for code in self.data.codes}.values()
            if _canonical(code) not in heard
        ]

    @property
    def name(self) -> str:
        """The result in one word."""
        if self.rejected is not None:
            return "rejected"
        return "nothing_heard" if self.unheard else "redeemed"

    def hear(self, body: bytes) -> None:
        """Take in one event of the redemption service, ignoring those of other orders."""
        try:
            envelope = decode_envelope(body)
            if envelope.type == CodeRedeemedV1.type:
                redeemed = decode_data(envelope, CodeRedeemedV1)
                if self._is_ours(redeemed):
                    self.redeemed.append(redeemed)
            elif envelope.type == CodeRedemptionSkippedV1.type:
                skipped = decode_data(envelope, CodeRedemptionSkippedV1)
                if self._is_ours(skipped):
                    self.skipped.append(skipped)
            elif envelope.type == CodeRedemptionRejectedV1.type:
                rejected = decode_data(envelope, CodeRedemptionRejectedV1)
                if self._is_ours(rejected):
                    self.rejected = rejected
        except InvalidEvent as error:
            tell(f"an event on the exchange {EXCHANGE_REDEMPTION} is not valid: {error}")

    def _is_ours(self, event: CodeRedeemedV1 | CodeRedemptionSkippedV1 | CodeRedemptionRejectedV1) -> bool:
        is_ours = (event.program_id, event.order_ref) == (self.data.program_id, self.data.order_ref)
        return is_ours and event.is_test == (self.data.mode == "test")


@app.command
@broker_command
async def complete(
    *codes: Codes,
    order: Order | None = None,
    program: str | None = None,
    test: Test = False,
    attribute: Annotated[list[str] | None, Parameter(negative=())] = None,
    event_id: uuid.UUID | None = None,
    timeout: float = 10.0,  # noqa: ASYNC109 - it is an option of the command
    as_json: AsJSON = False,
) -> int:
    """Publish `checkout.completed` for an order with these codes, and wait for the result.

    Exit code 0: all codes were redeemed, except those that the order's other codes left without effect. 1: refused,
    with the reason. 3: no event arrived in time.

    Example: mintwire checkout complete DEMO-1A0A48C0 --currency USD --subtotal 2900 --attribute recipient_name=Sarah

    Parameters
    ----------
    program
        The id of the program; by default, the configured one.
    test
        Send the order in test mode: it redeems test codes only.
    attribute
        NAME=VALUE; may be given several times. The webhook shows some of them.
    event_id
        A UUID; a repeat with the same id is the same event.
    timeout
        How many seconds to wait.
    """
    target = read_target()
    order = order or Order()
    members = {"program_id": program or target.program_id, "attributes": _attributes(attribute or [])} | mode_of(test)
    data = _data(members | order.body(codes, order.named()))
    outcome = Outcome(data, event_id or new_id())
    heard_types = (CodeRedeemedV1.type, CodeRedemptionSkippedV1.type, CodeRedemptionRejectedV1.type)
    # Listening starts first, because the answer may arrive before the confirm.
    async with watching(target.amqp_url, EXCHANGE_REDEMPTION, heard_types) as heard:
        await _publish(target.amqp_url, outcome)
        await _listen(heard, outcome, timeout)
    return _report(outcome, timeout, as_json)


def _data(members: Mapping[str, object]) -> CheckoutCompletedV1:
    try:
        return CheckoutCompletedV1.model_validate(members)
    except ValidationError as error:
        raise Misused(describe(error, members)) from None


def _attributes(texts: Sequence[str]) -> dict[str, str] | None:
    attributes = {}
    for text in texts:
        name, equals, value = text.partition("=")
        if not equals:
            raise Misused(f"--attribute must be NAME=VALUE, not {text!r}")
        attributes[name] = value
    return attributes or None


async def _publish(amqp_url: str, outcome: Outcome) -> None:
    event = outcome.data.to_event(outcome.event_id, utc_now())
    async with Publisher(amqp_url, EXCHANGE_CHECKOUT, name="mintwire checkout") as publisher:
        await publisher.publish_one(event.type, event.body, message_id=str(event.id))


async def _listen(heard: Heard, outcome: Outcome, timeout_seconds: float) -> None:
    loop = asyncio.get_running_loop()
    deadline = loop.time() + timeout_seconds
    while outcome.name == "nothing_heard":
        body = await heard(max(0.0, deadline - loop.time()))
        if body is None:
            return
        outcome.hear(body)


def _report(outcome: Outcome, timeout_seconds: float, as_json: bool) -> int:
    if as_json:
        write_json(_as_json(outcome))
    else:
        write_line(f"order     {outcome.data.order_ref}")
        write_line(f"event     {outcome.event_id}")
        for event in outcome.redeemed:
            write_line(f"redeemed  {event.code}  {_discount(event)}")
        for left in outcome.skipped:
            write_line(f"skipped   {left.code}  {left.reason}: {left.detail}")
    if outcome.rejected is not None:
        refused = outcome.rejected
        tell(f"rejected: {printable(f'{refused.code}: {refused.reason} ({refused.detail})')}")
        return 1
    if outcome.unheard:
        tell(_where_to_look(outcome, timeout_seconds))
        return NOTHING_HEARD
    return 0


def _as_json(outcome: Outcome) -> dict[str, Any]:
    return {
        "outcome": outcome.name,
        "order_ref": outcome.data.order_ref,
        "event_id": str(outcome.event_id),
        "redeemed": [json.loads(event.model_dump_json()) for event in outcome.redeemed],
        "skipped": [json.loads(event.model_dump_json()) for event in outcome.skipped],
        "rejected": json.loads(outcome.rejected.model_dump_json()) if outcome.rejected else None,
        "unheard": outcome.unheard,
    }


def _discount(event: CodeRedeemedV1) -> str:
    discount = event.discount
    if discount.percent_hundredths is not None:
        terms = f"{discount.percent_hundredths / 100:g} % off"
    else:
        terms = f"{discount.amount_minor} {discount.currency} off, in minor units"
    return terms if discount.applied_minor is None else f"{terms}: {discount.applied_minor} taken off"


def _where_to_look(outcome: Outcome, timeout_seconds: float) -> str:
    return "\n".join(
        [
            f"the broker has the event, but none arrived about {', '.join(outcome.unheard)} in {timeout_seconds:g} s:",
            "  if this order had already redeemed it, this is expected: a repeat changes nothing and emits nothing;",
            f"  otherwise check for a dead letter: mintwire dead show {QUEUE_REDEMPTION_CHECKOUT} {outcome.event_id}",
            "  or whether something is not running: mintwire doctor",
        ]
    )


def _canonical(code: str) -> str:
    try:
        return canonical_code(code)
    except ValueError:
        return code
