"""All resulting events carry the trace that a checkout names, each purchase's own, and it decides nothing."""

import json
import uuid
from typing import Any, Final

import asyncpg
import pytest
from multidict import CIMultiDict
from structlog.testing import capture_logs

from shared.broker.messages import Received
from tests.services.redemption.conftest import Decider, Shop
from tests.services.redemption.merchant import NOW, Merchant, checkout, taken_back

Connection = asyncpg.Connection

PARENT: Final = "00f067aa0ba902b7"


def trace(number: int) -> str:
    return f"00-{number:032x}-{PARENT}-01"


def traced(body: bytes, traceparent: Any) -> bytes:
    """Set the attribute of the Distributed Tracing extension."""
    return json.dumps({**json.loads(body), "traceparent": traceparent}).encode()


def sent(body: bytes, header: Any = None) -> Received:
    """A message as an instrumented publisher sends it."""
    return Received(body, {} if header is None else {"traceparent": header}, None, "checkout.completed", NOW)


def told(decider: Decider) -> list[tuple[str, str | None]]:
    """Return what was announced, with the trace of each."""
    return [(event.type, json.loads(event.body).get("traceparent")) for event in decider.handed_over]


@pytest.fixture
async def program(merchant: Merchant) -> uuid.UUID:
    made = await merchant.program()
    await merchant.code(made, await merchant.coupon(made), "PLAIN")
    return made


@pytest.mark.parametrize("name", ["attribute", "header", "header as bytes", "both", "attribute not valid"])
async def test_it_comes_in_the_envelope_or_else_in_the_header(decider: Decider, program: uuid.UUID, name: str) -> None:
    body = checkout(program, "PLAIN")
    message = {
        "attribute": sent(traced(body, trace(1))),
        "header": sent(body, trace(1)),
        "header as bytes": sent(body, trace(1).encode()),
        "both": sent(traced(body, trace(1)), trace(2)),
        "attribute not valid": sent(traced(body, "00-0-0-0"), trace(1)),
    }[name]
    assert await decider.handler([message]) == [None]
    assert told(decider) == [("code.redeemed", trace(1))]


@pytest.mark.parametrize(
    "garbage", ["", "x", trace(0), trace(1).replace("00-", "ff-", 1), trace(1) + "\r\nx: y", 1, []]
)
async def test_what_is_not_valid_is_ignored(decider: Decider, program: uuid.UUID, garbage: Any) -> None:
    assert await decider.handler([sent(traced(checkout(program, "PLAIN"), garbage), garbage)]) == [None]
    assert told(decider) == [("code.redeemed", None)]
    assert b"traceparent" not in decider.handed_over[0].body


async def test_each_purchase_of_a_batch_keeps_its_own(decider: Decider, merchant: Merchant) -> None:
    """All of them are decided in one transaction, also a refused one and one that is taken back at once."""
    program = await merchant.program()
    coupon = await merchant.coupon(program, limit=3)
    for number in range(3):
        await merchant.code(program, coupon, f"CODE{number}", limit=2)
    await merchant.code(program, await merchant.coupon(program), "TWICE", limit=2)
    bodies = [
        sent(traced(checkout(program, "CODE0", ref="a"), trace(1))),
        sent(checkout(program, "CODE1", ref="b")),
        sent(checkout(program, "CODE0", ref="c"), trace(3)),
        sent(checkout(program, "UNKNOWN", ref="d"), trace(4)),
        sent(traced(taken_back(program, ref="a"), trace(5))),
        sent(checkout(program, "TWICE", ref="e"), trace(6)),
        sent(checkout(program, "TWICE", ref="f"), trace(7)),
    ]
    assert await decider.handler(bodies) == [None] * len(bodies)
    assert told(decider) == [
        ("code.redeemed", trace(1)),
        ("code.redeemed", None),
        ("code.redeemed", trace(3)),
        ("code.exhausted", trace(3)),
        ("coupon.exhausted", trace(3)),
        ("code.redemption_rejected", trace(4)),
        ("code.redemption_voided", trace(5)),
        ("code.redeemed", trace(6)),
        ("code.redeemed", trace(7)),
        ("code.exhausted", trace(7)),
    ]


@pytest.mark.parametrize("kind", ["cancelled", "refunded"])
async def test_a_purchase_after_its_end_is_voided_in_its_own_trace(
    decider: Decider, program: uuid.UUID, kind: str
) -> None:
    assert await decider.handler([sent(taken_back(program, kind), trace(1))]) == [None]
    assert await decider.handler([sent(checkout(program, "PLAIN"), trace(2))]) == [None]
    assert told(decider) == [("code.redemption_voided", trace(2))]


async def test_a_repeat_in_another_trace_is_the_same_event(
    decider: Decider, program: uuid.UUID, admin: "Connection[asyncpg.Record]"
) -> None:
    """Who publishes again does it in a trace of its own; the body is what makes an event another one."""
    body = checkout(program, "PLAIN", event="evt-1")
    outcomes = await decider.handler([sent(body, trace(1)), sent(body, trace(2))])
    outcomes += await decider.handler([sent(body, trace(3))])
    outcomes += await decider.handler([sent(body)])
    assert outcomes == [None] * 4
    assert told(decider) == [("code.redeemed", trace(1))]
    [stored] = await admin.fetch("SELECT body FROM redemption.events")
    assert trace(1).encode() in stored["body"]


async def test_a_refusal_is_logged_with_it(decider: Decider, program: uuid.UUID) -> None:
    with capture_logs() as logs:
        await decider.handler([sent(checkout(program, "UNKNOWN"), trace(7)), sent(checkout(program, "UNKNOWN"))])
    lines = [line for line in logs if line["event"] == "order_refused"]
    assert [line.get("trace_id") for line in lines] == [f"{7:032x}", None]


class TestOverHTTP:
    @pytest.fixture
    async def code(self, shop: Shop, merchant: Merchant) -> str:
        await merchant.code(shop.program_id, await merchant.coupon(shop.program_id), "PLAIN")
        return "PLAIN"

    async def ask(self, shop: Shop, path: str, body: Any, *traces: str, idempotency: str | None = None) -> Any:
        headers = CIMultiDict([("Authorization", f"Bearer {shop.key}"), *(("Traceparent", each) for each in traces)])
        if idempotency is not None:
            headers["Idempotency-Key"] = idempotency
        async with shop.http.post(path, headers=headers, json=body) as answer:
            assert answer.status in (200, 201), await answer.text()
            return (await answer.json())["data"]

    @pytest.mark.parametrize("idempotency", [None, "key-1"])
    async def test_the_header_goes_on_from_a_redemption_and_from_its_void(
        self, shop: Shop, code: str, idempotency: str | None
    ) -> None:
        order = {"codes": [code], "order_ref": "order-1"}
        made = await self.ask(shop, "/v1/redemptions", order, trace(1), idempotency=idempotency)
        await self.ask(shop, "/v1/redemptions", order, trace(2), idempotency=idempotency)
        await self.ask(shop, f"/v1/redemptions/{made['redemptions'][0]['id']}/void", {}, trace(3))
        assert told(shop.decider) == [("code.redeemed", trace(1)), ("code.redemption_voided", trace(3))]

    async def test_it_goes_on_from_the_void_of_an_order(self, shop: Shop, code: str) -> None:
        await self.ask(shop, "/v1/redemptions", {"codes": [code], "order_ref": "order-1"})
        await self.ask(shop, "/v1/orders/order-1/void", {}, trace(3))
        assert told(shop.decider) == [("code.redeemed", None), ("code.redemption_voided", trace(3))]

    @pytest.mark.parametrize("traces", [[trace(1), trace(2)], [trace(1), trace(1)], ["00-x"], [trace(1).upper()]])
    async def test_what_is_not_valid_or_comes_twice_is_ignored(self, shop: Shop, code: str, traces: list[str]) -> None:
        await self.ask(shop, "/v1/redemptions", {"codes": [code], "order_ref": "order-1"}, *traces)
        assert told(shop.decider) == [("code.redeemed", None)]
