"""The pure rules: signatures, the schedule, bodies, subscriptions, and the consequences of a response."""

import base64
import json
import uuid
from datetime import UTC, datetime, timedelta, timezone
from email.utils import format_datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from standardwebhooks import Webhook

from services.webhooks.domain import schedule
from services.webhooks.domain.bodies import flat_members, members_of_test
from services.webhooks.domain.deliveries import Answer, decide, printable
from services.webhooks.domain.endpoints import Subscription, wants
from services.webhooks.domain.signature import SigningKey, format_secret, parse_secret
from services.webhooks.sender.signing import public_text, read_key, sign
from services.webhooks.usecases.subscribable import PARTNER_TYPES, PROGRAM_TYPES

NOW = datetime(2026, 3, 16, 20, 15, tzinfo=UTC)
END = NOW + schedule.LIFETIME


def test_the_signature_is_that_of_the_published_vector() -> None:
    key = read_key("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw").key
    signed = sign("msg_p5jXN8AQM9LWM0D4loKWxJek", 1614265330, b'{"test": 2432232314}', [key])
    assert signed == "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="


def test_the_asymmetric_signature_is_that_of_the_published_vector() -> None:
    secret = "whsk_6Xb/dCcHpPea21PS1N9VY/NZW723CEc77N4rJCubMbfVKIDij2HKpMKkioLlX0dRqSKJp4AJ6p9lMicMFs6Kvg=="
    made = read_key(secret)
    signed = sign("msg_p5jXN8AQM9LWM0D4loKWxJek", 1614265330, b'{"test": 2432232314}', [made.key])
    assert signed == ("v1a,hnO3f9T8Ytu9HwrXslvumlUpqtNVqkhqw/enGzPCXe5BdqzCInXqYXFymVJaA7AZdpXwVLPo3mNl8EM+m7TBAg==")
    assert made.public_key is not None
    assert public_text(made.public_key) == "whpk_1SiA4o9hyqTCpIqC5V9HUakiiaeACeqfZTInDBbOir4="


@pytest.mark.parametrize(
    "text",
    [
        "whpk_1SiA4o9hyqTCpIqC5V9HUakiiaeACeqfZTInDBbOir4=",
        "whsk_",
        "whsk_" + base64.b64encode(b"x" * 31).decode(),
        "whsk_" + base64.b64encode(b"x" * 64).decode(),
    ],
)
def test_keys_that_do_not_sign_are_refused(text: str) -> None:
    with pytest.raises(ValueError, match="must"):
        read_key(text)


@given(st.binary(min_size=24, max_size=64), st.binary(min_size=24, max_size=64), st.text(max_size=200))
def test_receivers_verify_with_the_old_and_the_new_key(old: bytes, new: bytes, text: str) -> None:
    now = int(datetime.now(UTC).timestamp())
    body = json.dumps({"text": text}).encode()
    headers = {
        "webhook-id": "msg_1",
        "webhook-timestamp": str(now),
        "webhook-signature": sign("msg_1", now, body, [SigningKey("hmac", new), SigningKey("hmac", old)]),
    }
    for key in (old, new):
        assert Webhook(format_secret(key)).verify(body, headers) == {"text": text}


@given(st.binary(min_size=24, max_size=64))
def test_a_secret_survives_its_text(key: bytes) -> None:
    assert parse_secret(format_secret(key)) == key


@pytest.mark.parametrize(
    "text",
    [
        "",
        "MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw",
        "whsec_",
        "whsec_not base64!",
        "whsec_" + base64.b64encode(b"x" * 23).decode(),
        "whsec_" + base64.b64encode(b"x" * 65).decode(),
        "whsec_" + base64.b64encode(b"x" * 25).decode().rstrip("="),
        "whsec_" + base64.b64encode(b"\xff" * 25).decode()[:-3] + "9==",
    ],
)
def test_secrets_that_receivers_could_not_decode_are_refused(text: str) -> None:
    with pytest.raises(ValueError, match="must"):
        parse_secret(text)


@given(st.integers(1, 9), st.floats(0, 1, exclude_max=True))
def test_each_delay_lies_within_a_fifth_of_its_step(step: int, chance: float) -> None:
    seconds = schedule.delay(step, chance).total_seconds()
    assert 0.8 * schedule.STEPS[step] - 1e-6 <= seconds <= 1.2 * schedule.STEPS[step] + 1e-6


def test_ten_attempts_span_75_hours_and_35_minutes() -> None:
    assert len(schedule.STEPS) == 10
    assert timedelta(seconds=sum(schedule.STEPS)) == timedelta(hours=75, minutes=35, seconds=5)


@given(st.lists(st.tuples(st.floats(0, 1, exclude_max=True), st.integers(0, 10**6)), min_size=12, max_size=12))
def test_a_delivery_ends_within_ten_attempts_and_96_hours(course: list[tuple[float, int]]) -> None:
    now, attempts = NOW, 0
    for chance, wanted in course:
        attempts += 1
        answer = Answer(now, 1, 503, None, "", str(wanted))
        decision = decide(answer, attempts, END, now, 1, chance)
        if decision.due_at is None:
            assert decision.status == "dead"
            break
        assert now < decision.due_at < END
        now = decision.due_at
    assert attempts <= schedule.MAX_ATTEMPTS
    assert now < END


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        ("120", 120),
        (" 7 ", 7),
        ("1.5", 2),
        ("86400", 86_400),
        ("86401", 86_400),
        ("999999999999", 86_400),
        (format_datetime(NOW + timedelta(minutes=5), usegmt=True), 300),
        (format_datetime(NOW + timedelta(days=9), usegmt=True), 86_400),
        ("Mon, 16 Mar 2026 22:20:00 +0200", 300),
    ],
)
def test_retry_after_is_taken_as_given_within_a_day(value: str, seconds: int) -> None:
    assert schedule.retry_after(value, NOW) == timedelta(seconds=seconds)


@pytest.mark.parametrize(
    "value",
    [
        "86401",
        "9" * 12,
        "9" * 13,
        "1" * 400,
        "1" * 9000,
        "99999999999999999999.5",
        "86400.0000000001",
        "Fri, 31 Dec 9999 23:59:59 GMT",
        "Fri, 31 Dec 9999 23:59:59 -1200",
        "Friday, 31-Dec-60 23:59:59 GMT",
        "Fri Dec 31 23:59:59 2094",
        "Mon, 16 Mar 20262026 20:20:00 GMT",
        "Fri, 31 Dec 999999999999999 23:59:59 GMT",
    ],
)
def test_a_huge_retry_after_is_cut_to_a_day(value: str) -> None:
    """Ignoring it would mean five seconds for a receiver that asked for the longest rest it could express."""
    assert schedule.retry_after(value, NOW) == schedule.LONGEST_RETRY_AFTER
    decision = decide(Answer(NOW, 1, 429, None, "", value), 1, END, NOW, 1, 0.5)
    assert decision.resume_at == decision.due_at == NOW + timedelta(hours=24)
    assert decision.names_a_time


def test_a_leap_second_is_a_date() -> None:
    assert schedule.retry_after("Mon, 16 Mar 2026 20:15:60 GMT", NOW) == timedelta(seconds=59)


@pytest.mark.parametrize(
    "value",
    [
        None,
        "",
        "-5",
        "soon",
        "1e9",
        "0x10",
        "٣",
        "inf",
        "nan",
        format_datetime(NOW - timedelta(minutes=5), usegmt=True),
        "Mon, 99 Mar 2026 20:20:00 GMT",
    ],
)
def test_a_retry_after_that_says_nothing_usable_is_ignored(value: str | None) -> None:
    assert schedule.retry_after(value, NOW) is None


@given(st.text(max_size=60))
def test_no_retry_after_breaks_anything(value: str) -> None:
    wait = schedule.retry_after(value, NOW)
    assert wait is None or timedelta(0) <= wait <= schedule.LONGEST_RETRY_AFTER


@pytest.mark.parametrize("status", [200, 201, 202, 204, 299])
def test_2xx_succeeds(status: int) -> None:
    assert decide(Answer(NOW, 1, status, None, ""), 1, END, NOW, 0, 0.5).status == "succeeded"


@pytest.mark.parametrize("status", [None, 199, 300, 301, 302, 307, 400, 401, 404, 409, 500, 501])
def test_everything_else_is_tried_again(status: int | None) -> None:
    decision = decide(Answer(NOW, 1, status, None, ""), 1, END, NOW, 0, 0.5)
    assert (decision.status, decision.due_at, decision.resume_at) == ("pending", NOW + timedelta(seconds=5), None)


@pytest.mark.parametrize("status", [429, 502, 503, 504])
def test_an_overloaded_endpoint_rests_as_long_as_it_asks(status: int) -> None:
    decision = decide(Answer(NOW, 1, status, None, "", "60"), 1, END, NOW, 1, 0.5)
    assert decision.resume_at == decision.due_at == NOW + timedelta(seconds=60)
    unasked = decide(Answer(NOW, 1, status, None, ""), 1, END, NOW, 3, 0.5)
    assert unasked.resume_at == NOW + timedelta(seconds=20)


def test_gone_means_gone() -> None:
    decision = decide(Answer(NOW, 1, 410, None, ""), 1, END, NOW, 0, 0.5)
    assert (decision.status, decision.disabled_reason, decision.reason) == ("dead", "gone", "endpoint_gone")


def test_the_tenth_failure_is_the_last() -> None:
    decision = decide(Answer(NOW, 1, 500, None, ""), 10, END, NOW, 0, 0.5)
    assert (decision.status, decision.reason) == ("dead", "attempts_exhausted")


def test_a_try_that_would_come_too_late_is_none() -> None:
    decision = decide(Answer(NOW, 1, 500, None, ""), 9, NOW + timedelta(hours=1), NOW, 0, 0.5)
    assert (decision.status, decision.reason) == ("dead", "expired")


REDEEMED: dict[str, Any] = {
    "partner_id": "your-partner-id",
    "code": "PREFIX-1A0A48C0",
    "attributes": {"card_id": "a1b2c3d4", "recipient_name": "Sarah", "occasion": "mother"},
    "attribute_names": ["card_id", "recipient_name", "occasion"],
    "codes_remaining": 49823,
    "customer": {"email": "secret@example.com"},
}


def test_the_flat_body_is_that_of_the_documented_example() -> None:
    assert list(flat_members("code.redeemed", REDEEMED, NOW).items()) == [
        ("event", "code.redeemed"),
        ("partner_id", "your-partner-id"),
        ("code", "PREFIX-1A0A48C0"),
        ("card_id", "a1b2c3d4"),
        ("recipient_name", "Sarah"),
        ("occasion", "mother"),
        ("timestamp", "2026-03-16T20:15:00.000Z"),
        ("codes_remaining", 49823),
    ]


def test_attributes_that_are_missing_are_null_and_never_take_our_names() -> None:
    data = REDEEMED | {"attributes": {"occasion": None, "code": "x"}, "attribute_names": ["gift", "code", "timestamp"]}
    assert flat_members("code.redeemed", data, NOW) == {
        "event": "code.redeemed",
        "partner_id": "your-partner-id",
        "code": "PREFIX-1A0A48C0",
        "gift": None,
        "timestamp": "2026-03-16T20:15:00.000Z",
        "codes_remaining": 49823,
    }


def test_times_are_written_in_utc() -> None:
    moment = NOW.astimezone(timezone(timedelta(hours=5, minutes=30)))
    assert flat_members("code.redeemed", REDEEMED, moment)["timestamp"] == "2026-03-16T20:15:00.000Z"


def test_other_events_are_flat_too() -> None:
    body = flat_members("codes.generated", {"program_id": "p", "partner_id": "q", "codes": ["A"], "event": "no"}, NOW)
    assert list(body.items()) == [
        ("event", "codes.generated"),
        ("partner_id", "q"),
        ("program_id", "p"),
        ("codes", ["A"]),
        ("timestamp", "2026-03-16T20:15:00.000Z"),
    ]


def test_what_the_redemption_service_says_may_be_subscribed_to() -> None:
    said = {"code.redeemed", "code.redemption_rejected", "code.redemption_voided", "code.exhausted", "coupon.exhausted"}
    assert said <= PROGRAM_TYPES
    # Coupons belong to the program; a partner gets events about its own codes only.
    assert said - PARTNER_TYPES == {"coupon.exhausted"}


def test_the_test_body_is_that_of_the_documented_example() -> None:
    assert list(members_of_test("your-partner-id", "CinematicCard", NOW).items()) == [
        ("event", "test"),
        ("partner_id", "your-partner-id"),
        ("timestamp", "2026-03-16T20:15:00.000Z"),
        ("message", "Test webhook from CinematicCard"),
    ]


def subscription(*event_types: str) -> Subscription:
    return Subscription(
        endpoint_id=uuid.UUID(int=1),
        program_id=uuid.UUID(int=2),
        partner_id=None,
        event_types=frozenset(event_types),
        format="flat",
        max_in_flight=50,
        is_open=True,
        is_disabled=False,
        version=1,
    )


def test_everything_does_not_include_reports_about_deliveries() -> None:
    assert wants(subscription("*"), "code.redeemed", None)
    assert not wants(subscription("code.redeemed"), "codes.generated", None)
    assert not wants(subscription("*"), "webhook.delivery_dead", "other")
    assert wants(subscription("webhook.delivery_dead"), "webhook.delivery_dead", "other")
    assert not wants(subscription("webhook.delivery_dead"), "webhook.delivery_dead", str(uuid.UUID(int=1)))


@given(st.binary(max_size=20_000))
def test_any_answer_can_be_stored_as_text(raw: bytes) -> None:
    text = printable(raw)
    assert "\x00" not in text
    assert len(text) <= 16 * 1024
    text.encode()
