"""Every bad input by name: what cannot be understood is rejected with its reason, its neighbours are not held up."""

import uuid
from typing import Any

import asyncpg
import pytest

from tests.services.redemption.conftest import Decider
from tests.services.redemption.merchant import Merchant, checkout

PROGRAM = uuid.UUID("0192e4b6-0000-7000-8000-000000000001")
GOOD = checkout(PROGRAM, "A", event="evt-1", attributes={"n": 1})


def without(member: str) -> bytes:
    return GOOD.replace(b'"%s":' % member.encode(), b'"not_%s":' % member.encode())


BAD: dict[str, tuple[bytes, str]] = {
    "nothing": (b"", "invalid_json"),
    "no JSON": (b"{", "invalid_json"),
    "a list": (b"[]", "invalid_envelope"),
    "no UTF-8": (GOOD.replace(b"/shop", b"/\xff"), "invalid_utf8"),
    "duplicate keys": (GOOD.replace(b'"order_ref"', b'"codes": ["B"], "order_ref"'), "duplicate_key"),
    "NaN": (GOOD.replace(b'"n": 1', b'"n": NaN'), "not_finite"),
    "a number beyond floats": (GOOD.replace(b'"codes"', b'"order": {"subtotal": 1e999}, "codes"'), "not_finite"),
    "one as a line's amount": (
        GOOD.replace(b'"codes"', b'"order": {"items": [{"amount": 1e999}]}, "codes"'),
        "not_finite",
    ),
    "a NUL": (GOOD.replace(b"order-1", b"order\\u0000"), "nul_character"),
    "half a surrogate": (GOOD.replace(b"order-1", b"order\\ud800"), "invalid_utf8"),
    "a NUL in a code": (GOOD.replace(b'["A"]', b'["A\\u0000"]'), "nul_character"),
    "a NUL in its source": (GOOD.replace(b"/shop", b"/\\u0000"), "nul_character"),
    "nesting": (GOOD.replace(b'"n": 1', b'"n": ' + b"[" * 40 + b"]" * 40), "too_deep"),
    "another CloudEvents version": (GOOD.replace(b'"1.0"', b'"2.0"'), "unsupported_version"),
    "another version of the type": (
        GOOD.replace(b'"data":', b'"dataschema": "urn:mintwire:event:checkout.completed:9", "data":'),
        "unsupported_version",
    ),
    "another type": (GOOD.replace(b"checkout.completed", b"checkout.started"), "unsupported_type"),
    **{f"no {member}": (without(member), "invalid_envelope") for member in ("id", "source", "type", "time", "data")},
    **{f"no {member}": (without(member), "invalid_data") for member in ("program_id", "order_ref", "codes")},
    "no codes in it": (GOOD.replace(b'["A"]', b"[]"), "invalid_data"),
    "eleven codes": (GOOD.replace(b'["A"]', b'["A","B","C","D","E","F","G","H","J","K","M"]'), "invalid_data"),
    "an empty code": (GOOD.replace(b'["A"]', b'[""]'), "invalid_data"),
    "a code that is a fraction": (GOOD.replace(b'["A"]', b"[7.5]"), "invalid_data"),
    "a program id that is none": (GOOD.replace(str(PROGRAM).encode(), b"shop"), "invalid_data"),
    "a local time": (GOOD.replace(b"+00:00", b""), "invalid_envelope"),
    "a time in seconds": (GOOD.replace(b'"2026-03-18T12:00:00+00:00"', b"1773835200"), "invalid_envelope"),
}


@pytest.mark.parametrize("name", BAD)
async def test_what_cannot_be_understood_is_rejected_with_its_reason(
    name: str, decider: Decider, admin: "asyncpg.Connection[asyncpg.Record]"
) -> None:
    body, reason = BAD[name]
    assert body != GOOD
    (outcome,) = await decider.handle(body)
    assert outcome is not None
    assert outcome.reason == reason
    assert outcome.detail
    assert decider.handed_over == []
    assert await admin.fetchval("SELECT count(*) FROM redemption.inbox") == 0


async def test_bad_neighbours_hold_nobody_up(decider: Decider, merchant: Merchant) -> None:
    program = await merchant.program()
    await merchant.code(program, await merchant.coupon(program), "PLAIN")
    good = checkout(program, "PLAIN")
    outcomes = await decider.handle(*(body for body, _ in BAD.values()), good)
    assert [outcome and outcome.reason for outcome in outcomes] == [*(reason for _, reason in BAD.values()), None]
    assert [event.type for event in decider.handed_over] == ["code.redeemed"]


@pytest.mark.parametrize(
    "extra",
    [
        {"surprise": {"deep": [1]}},
        {"customer": {"id": "c", "loyalty": 3}, "order": {"tax": 1}},
        {"attributes": {"a": None, "b": True, "c": 1.5}},
    ],
)
async def test_unknown_members_are_ignored(decider: Decider, merchant: Merchant, extra: dict[str, Any]) -> None:
    program = await merchant.program()
    await merchant.code(program, await merchant.coupon(program), "PLAIN")
    (event,) = await decider.take(checkout(program, "PLAIN", **extra))
    assert event["event"] == "code.redeemed"
