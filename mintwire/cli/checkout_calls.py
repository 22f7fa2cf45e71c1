"""The rest of `mintwire checkout`: a shop's requests over HTTP, and cancellations and refunds by event."""

from __future__ import annotations

import asyncio
import json
import uuid
from collections.abc import Sequence
from typing import Any

from pydantic import ValidationError

from mintwire.cli.broker_command import broker_command
from mintwire.cli.client import CallFailed, address, ask, fetch, given, refusal
from mintwire.cli.config import read_target
from mintwire.cli.orders import Codes, Order, Test, mode_of
from mintwire.cli.output import AsJSON, Misused, command, show, show_many, tell
from mintwire.terminal import NOTHING_HEARD, write_json, write_line
from shared.broker.operator.watch import watching
from shared.broker.publisher import Publisher
from shared.broker.topology import EXCHANGE_CHECKOUT, EXCHANGE_REDEMPTION
from shared.clock import utc_now
from shared.events.checkout import CheckoutCancelledV1, CheckoutRefundedV1
from shared.events.envelope import InvalidEvent, decode_data, decode_envelope, describe
from shared.events.redemption import CodeRedemptionVoidedV1
from shared.ids import new_id

_OTHERS_SECONDS = 0.5

TakenBack = CheckoutCancelledV1 | CheckoutRefundedV1


@command
async def validate(
    *codes: Codes,
    order: Order | None = None,
    key: str | None = None,
    as_json: AsJSON = False,
) -> int:
    """Show what codes would take off an order, without redeeming them. Exit code 1 unless all are valid.

    The order's own reservation does not count against it.

    Example: mintwire checkout validate DEMO-1A0A48C0 --currency USD --subtotal 2900

    Parameters
    ----------
    key
        A key to use instead of the program's, such as a publishable one, which gets no reasons.
    """
    target = read_target()
    order = order or Order()
    body = order.body(codes, order.order_ref)
    url = address(target.redemption_url, "v1", "validations")
    data = await fetch("POST", url, key=key or target.program_key, body=body)
    if as_json:
        write_json(data)
    else:
        show_many(data.get("codes", []), ("code", "valid", "reason", "discount"), as_json=False)
        show({"valid": data["valid"], **(data.get("order") or {})}, as_json=False)
    return 0 if data["valid"] else 1


@command
async def reserve(
    *codes: Codes,
    order: Order | None = None,
    ttl_seconds: int | None = None,
    as_json: AsJSON = False,
) -> None:
    """Reserve codes for an order while it is being paid; repeat it for the same order to extend the reservation.

    Example: mintwire checkout reserve DEMO-1A0A48C0 --order-ref order-1 --ttl-seconds 900

    Parameters
    ----------
    ttl_seconds
        How long to reserve them; by default 15 minutes, at most 7 days.
    """
    target = read_target()
    order = order or Order()
    body = order.body(codes, order.named())
    url = address(target.redemption_url, "v1", "reservations")
    show(await fetch("POST", url, key=target.program_key, body=body | given(ttl_seconds=ttl_seconds)), as_json)


@command
async def release(reservation_id: str, *, as_json: AsJSON = False) -> None:
    """Release a reservation; its uses are available to others again.

    Example: mintwire checkout release 0192…
    """
    target = read_target()
    url = address(target.redemption_url, "v1", "reservations", reservation_id)
    answer = await ask("DELETE", url, key=target.program_key)
    if answer.status >= 400:
        raise CallFailed(refusal(answer), answer.status)
    show({"released": reservation_id}, as_json)


@command
async def redeem(
    *codes: Codes,
    order: Order | None = None,
    as_json: AsJSON = False,
) -> None:
    """Redeem an order's codes over HTTP, by the same rules as `complete`; a repeat for the same order changes nothing.

    Example: mintwire checkout redeem DEMO-1A0A48C0 --order-ref order-1
    """
    target = read_target()
    order = order or Order()
    body = order.body(codes, order.named())
    data = await fetch("POST", address(target.redemption_url, "v1", "redemptions"), key=target.program_key, body=body)
    if as_json:
        write_json(data)
    else:
        write_line(f"order     {data['order_ref']}")
        show_many(data["redemptions"], ("id", "code", "status", "discount"), as_json=False)


@command
async def void(
    redemption_id: str, *, reason: str | None = None, keep_use: bool = False, as_json: AsJSON = False
) -> None:
    """Void a redemption; a repeat changes nothing.

    Example: mintwire checkout void 0192… --reason fraud

    Parameters
    ----------
    reason
        A note that is stored and sent with the event.
    keep_use
        Keep the use taken.
    """
    target = read_target()
    body = given(reason=reason, release=False if keep_use else None)
    url = address(target.redemption_url, "v1", "redemptions", redemption_id, "void")
    show(await fetch("POST", url, key=target.program_key, body=body), as_json)


@broker_command
async def cancel(
    order_ref: str,
    *,
    reason: str | None = None,
    keep_use: bool = False,
    program: str | None = None,
    test: Test = False,
    timeout: float = 10.0,  # noqa: ASYNC109 - it is an option of the command
    as_json: AsJSON = False,
) -> int:
    """Publish `checkout.cancelled` for an order, and wait for the voids. Exit code 3: none arrived in time.

    Example: mintwire checkout cancel order-1 --reason "payment failed"

    Parameters
    ----------
    reason
        A note that is stored and sent with the event.
    keep_use
        Keep the uses taken.
    program
        The id of the program; by default, the configured one.
    test
        Send the order in test mode: it redeems test codes only.
    timeout
        How many seconds to wait.
    """
    members = {"order_ref": order_ref, "reason": reason, "release": False if keep_use else None, **mode_of(test)}
    return await _take_back(CheckoutCancelledV1, members, program, timeout, as_json)


@broker_command
async def refund(
    order_ref: str,
    *,
    amount: int | None = None,
    reason: str | None = None,
    keep_use: bool = False,
    program: str | None = None,
    test: Test = False,
    timeout: float = 10.0,  # noqa: ASYNC109 - it is an option of the command
    as_json: AsJSON = False,
) -> int:
    """Publish `checkout.refunded` for an order, and wait for the voids. Exit code 3: none arrived in time.

    Example: mintwire checkout refund order-1 --amount 500

    Parameters
    ----------
    amount
        The refunded part in minor units; a partial refund is recorded and voids nothing, so the command does not wait.
    reason
        A note that is stored and sent with the event.
    keep_use
        Keep the uses taken.
    program
        The id of the program; by default, the configured one.
    test
        Send the order in test mode: it redeems test codes only.
    timeout
        How many seconds to wait.
    """
    members = {"order_ref": order_ref, "reason": reason, "amount": amount, "release": False if keep_use else None}
    members |= mode_of(test)
    return await _take_back(CheckoutRefundedV1, members, program, timeout if amount is None else 0.0, as_json)


COMMANDS = (validate, reserve, release, redeem, void, cancel, refund)


async def _take_back(
    model: type[TakenBack], members: dict[str, Any], program: str | None, timeout_seconds: float, as_json: bool
) -> int:
    target = read_target()
    try:
        data = model.model_validate({"program_id": program or target.program_id, **members})
    except ValidationError as error:
        raise Misused(describe(error, members)) from None
    event = data.to_event(new_id(), utc_now())
    voided: list[CodeRedemptionVoidedV1] = []
    # Listening starts first, because the answer may arrive before the confirm.
    async with watching(target.amqp_url, EXCHANGE_REDEMPTION, (CodeRedemptionVoidedV1.type,)) as heard:
        async with Publisher(target.amqp_url, EXCHANGE_CHECKOUT, name="mintwire checkout") as publisher:
            await publisher.publish_one(event.type, event.body, message_id=str(event.id))
        deadline = asyncio.get_running_loop().time() + timeout_seconds
        while timeout_seconds:
            body = await heard(max(0.0, deadline - asyncio.get_running_loop().time()))
            if body is None:
                break
            if found := _of_order(body, data):
                voided += found
                # An order's codes are voided together, so the others arrive with the first.
                deadline = min(deadline, asyncio.get_running_loop().time() + _OTHERS_SECONDS)
    return _report(data, event.id, voided, timeout_seconds, as_json)


def _of_order(body: bytes, data: TakenBack) -> list[CodeRedemptionVoidedV1]:
    try:
        found = decode_data(decode_envelope(body), CodeRedemptionVoidedV1)
    except InvalidEvent as error:
        tell(f"an event on the exchange {EXCHANGE_REDEMPTION} is not valid: {error}")
        return []
    is_ours = (found.program_id, found.order_ref) == (data.program_id, data.order_ref)
    return [found] if is_ours and found.is_test == (data.mode == "test") else []


def _report(
    data: TakenBack,
    event_id: uuid.UUID,
    voided: Sequence[CodeRedemptionVoidedV1],
    timeout_seconds: float,
    as_json: bool,
) -> int:
    if as_json:
        rows = [json.loads(each.model_dump_json()) for each in voided]
        write_json({"order_ref": data.order_ref, "event_id": str(event_id), "voided": rows})
    else:
        write_line(f"order     {data.order_ref}")
        write_line(f"event     {event_id}")
        for each in voided:
            use = "its use is available again" if each.is_released else "its use stays taken"
            write_line(f"voided    {each.code}  {use}")
    if not timeout_seconds or voided:
        return 0
    tell(
        f"the broker has the event; nothing was voided within {timeout_seconds:g} s: the order has redeemed nothing, "
        "or was already cancelled or refunded; codes that it redeems late, for purchases before now, will be voided. "
        "Otherwise run: mintwire doctor"
    )
    return NOTHING_HEARD
