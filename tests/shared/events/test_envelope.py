"""Events as bytes: ours read back as they were, a checkout's bad ones are refused with a reason."""

import json
import re
import uuid
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import asyncpg
import pytest

from shared.events.catalogue import PUBLISHED, SUBSCRIBABLE
from shared.events.checkout import CheckoutCompletedV1, Customer, Order
from shared.events.envelope import InvalidEvent, decode_data, decode_envelope, trusted
from shared.events.redemption import CodeRedeemedV1, Discount, Terms

PROGRAM = str(uuid.uuid4())


def checkout(**changes: Any) -> dict[str, Any]:
    event: dict[str, Any] = {
        "specversion": "1.0",
        "id": "evt-1",
        "source": "/shop",
        "type": "checkout.completed",
        "time": "2026-03-16T20:15:00Z",
        "data": {"program_id": PROGRAM, "order_ref": "order-1", "codes": ["PREFIX-1A0A48C0"]},
    }
    data = changes.pop("data", {})
    event |= changes
    event["data"] = event["data"] | data if isinstance(event["data"], dict) else event["data"]
    return {key: value for key, value in event.items() if value is not ...}


def decode(event: Any) -> CheckoutCompletedV1:
    return decode_data(decode_envelope(json.dumps(event).encode()), CheckoutCompletedV1)


def test_the_least_that_is_required_is_enough() -> None:
    data = decode(checkout())
    assert (str(data.program_id), data.order_ref, data.codes) == (PROGRAM, "order-1", ["PREFIX-1A0A48C0"])
    assert data.attributes is None


def test_unknown_members_are_ignored_everywhere() -> None:
    data = decode(checkout(traceparent="00-x", data={"new": 1, "customer": {"id": "c", "vip": True}}))
    assert data.customer is not None
    assert data.customer.id == "c"


@pytest.mark.parametrize("sent", ["1795951834", 1795951834, "2026-03-16T20:15Z", "2026-03-16T20:15:00", None, ""])
def test_a_time_that_is_not_as_rfc_3339_has_it_is_refused(sent: Any) -> None:
    with pytest.raises(InvalidEvent) as refused:
        decode(checkout(time=sent))
    assert refused.value.reason == "invalid_envelope"
    assert refused.value.detail.startswith("The time member must ")
    assert "RFC 3339" in refused.value.detail


def test_a_leap_second_is_a_time() -> None:
    envelope = decode_envelope(json.dumps(checkout(time="2026-12-31T23:59:60Z")).encode())
    assert envelope.time == datetime(2026, 12, 31, 23, 59, 59, 999_999, tzinfo=UTC)


TRACEPARENT = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"


def test_the_trace_is_written_into_the_envelope_and_read_back() -> None:
    data = decode(checkout())
    moment = datetime(2026, 3, 16, 20, 15, tzinfo=UTC)
    plain, traced = data.to_event(uuid.UUID(int=1), moment), data.to_event(uuid.UUID(int=1), moment, TRACEPARENT)
    assert decode_envelope(traced.body).traceparent == TRACEPARENT
    assert decode_envelope(plain.body).traceparent is None
    assert traced.body.replace(f'"traceparent":"{TRACEPARENT}",'.encode(), b"") == plain.body


@pytest.mark.parametrize("sent", [None, 1, {}, [TRACEPARENT], "", "00-x", TRACEPARENT.upper(), TRACEPARENT + "-x"])
def test_a_trace_that_is_not_valid_is_ignored(sent: Any) -> None:
    envelope = decode_envelope(json.dumps(checkout(traceparent=sent)).encode())
    assert envelope.traceparent is None


PLAIN = re.compile(r"(The [\w.]+ member (must|is required).*\.|An event must be a JSON object\.)")
REFUSED = {
    "no object": ([], "invalid_envelope"),
    "another specversion": (checkout(specversion="0.3"), "unsupported_version"),
    "no specversion": (checkout(specversion=...), "invalid_envelope"),
    "no id": (checkout(id=...), "invalid_envelope"),
    "empty id": (checkout(id=""), "invalid_envelope"),
    "no source": (checkout(source=...), "invalid_envelope"),
    "time without an offset": (checkout(time="2026-03-16T20:15:00"), "invalid_envelope"),
    "time as a number": (checkout(time=1), "invalid_envelope"),
    "no data": ({k: v for k, v in checkout().items() if k != "data"}, "invalid_envelope"),
    "another version of the data": (
        checkout(dataschema="urn:mintwire:event:checkout.completed:2"),
        "unsupported_version",
    ),
    "an order without code": (checkout(data={"codes": []}), "invalid_data"),
    "codes that are no list": (checkout(data={"codes": "A"}), "invalid_data"),
    "eleven codes": (checkout(data={"codes": [f"A{n}" for n in range(11)]}), "invalid_data"),
    "a program id that is none": (checkout(data={"program_id": "acme"}), "invalid_data"),
    "an empty order reference": (checkout(data={"order_ref": ""}), "invalid_data"),
    "money as a fraction": (checkout(data={"order": {"currency": "USD", "subtotal": 1.5}}), "invalid_data"),
    "negative money": (checkout(data={"order": {"currency": "USD", "subtotal": -1}}), "invalid_data"),
    "money as a truth": (checkout(data={"order": {"subtotal": True}}), "invalid_data"),
}


@pytest.mark.parametrize(("event", "reason"), REFUSED.values(), ids=REFUSED.keys())
def test_each_bad_event_has_its_reason_and_names_the_member(event: Any, reason: str) -> None:
    with pytest.raises(InvalidEvent) as caught:
        decode(event)
    assert caught.value.reason == reason
    assert PLAIN.fullmatch(caught.value.detail), caught.value.detail


@pytest.mark.parametrize(
    ("member", "value", "said"),
    [
        ("order_ref", ..., "The data.order_ref member is required."),
        ("order_ref", {"a": 1}, "The data.order_ref member must be a string."),
        ("codes", "A", "The data.codes member must be an array."),
        ("codes", [7.5], "The data.codes.0 member must be a string."),
        ("program_id", "acme", "The data.program_id member must be a UUID."),
        ("order", {"subtotal": -1}, "The data.order.subtotal member must be at least 0."),
        ("order", {"items": [{"amount": "x"}]}, "The data.order.items.0.amount member must be an integer."),
        ("customer", 5, "The data.customer member must be an object."),
    ],
)
def test_a_dead_event_says_in_plain_words_what_its_member_must_be(member: str, value: Any, said: str) -> None:
    """Who looks into the dead queue knows the checkout, not the library that reads events here."""
    event = checkout()
    event["data"] = {name: each for name, each in {**event["data"], member: value}.items() if each is not ...}
    with pytest.raises(InvalidEvent) as caught:
        decode(event)
    assert caught.value.detail == said


def test_a_foreign_dataschema_is_not_ours_to_judge() -> None:
    assert decode(checkout(dataschema="https://shop.example/checkout/v7")).order_ref == "order-1"


def test_our_events_are_cloudevents_and_read_back() -> None:
    data = decode(checkout(data={"attributes": {"card_id": "ü", "n": 1}}))
    event = data.to_event(uuid.uuid4(), datetime(2026, 3, 16, 20, 15, tzinfo=UTC))
    envelope = decode_envelope(event.body)
    assert envelope.id == str(event.id)
    assert envelope.type == event.type == "checkout.completed"
    assert envelope.dataschema == "urn:mintwire:event:checkout.completed:1"
    assert decode_data(envelope, CheckoutCompletedV1) == data


@pytest.mark.parametrize("extra", [7, 10**30, 0.5, "ü", None, {"deep": [1]}])
def test_a_trusted_event_has_the_bytes_of_a_checked_one(extra: Any) -> None:
    """Receivers would see numbers or times change their form, or a long number in a line would stop a paid order."""
    moment, zone = datetime(2026, 3, 16, 20, 15, tzinfo=UTC), timezone(timedelta(hours=2))
    items: Any = [{"product_id": "p", "amount": 100, "sku": extra}]
    checked = CodeRedeemedV1(
        redemption_id=uuid.UUID(int=1),
        program_id=uuid.UUID(int=2),
        partner_id=None,
        code="A",
        code_id=uuid.UUID(int=3),
        coupon_id=uuid.UUID(int=4),
        order_ref="order-1",
        customer=Customer(id="7"),
        discount=Discount(type="percent", percent_hundredths=1000, amount_minor=None, currency="EUR", applied_minor=10),
        discount_ends_at=moment.replace(microsecond=1),
        commission=None,
        order=Order(currency="EUR", subtotal=100, items=items),
        attributes={"note": "é", "share": 1.5},
        attribute_names=["note"],
        occurred_at=moment.astimezone(zone),
        codes_remaining=None,
        times_redeemed=1,
        times_redeemed_version=1,
        coupon_times_redeemed=None,
        coupon_times_redeemed_version=None,
        terms=trusted(
            Terms,
            coupon_uuid_code="c",
            coupon_name="C",
            duration_type="once",
            duration_value=None,
            starts_at=moment,
            expires_at=None,
            redemption_limit=1,
            coupon_starts_at=None,
            coupon_expires_at=None,
            coupon_redemption_limit=None,
        ),
    )
    members = {name: value for name, value in checked.__dict__.items() if name != "is_test"}
    # The database driver's own class.
    members["code_id"] = asyncpg.pgproto.pgproto.UUID(checked.code_id.bytes)
    made = trusted(CodeRedeemedV1, **members)
    event_id = uuid.UUID(int=5)
    assert json.loads(made.to_event(event_id, moment).body) == json.loads(checked.to_event(event_id, moment).body)
    assert b'"2026-03-16T20:15:00Z"' in made.to_event(event_id, moment).body


def test_every_type_is_published_once_under_its_exchange() -> None:
    names = [(model.type, model.version) for models in PUBLISHED.values() for model in models]
    assert len(names) == len(set(names))
    assert "code.redeemed" in SUBSCRIBABLE
    assert "checkout.completed" not in SUBSCRIBABLE
