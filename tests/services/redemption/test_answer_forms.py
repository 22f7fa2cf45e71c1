"""How answers are written, byte by byte: times and ids have the forms that clients have parsed so far."""

import uuid
from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone
from typing import Final

import pytest

from services.redemption.api.rejections import rejection_data
from services.redemption.api.reservations import reservation_data
from services.redemption.api.shapes import redemption_data
from services.redemption.domain.books import HeldCode, Redemption, Reservation
from services.redemption.domain.rejections import Rejection
from shared.modes import in_mode
from shared.web import data_response

ID = uuid.UUID("01a23084-d516-74e8-a7e4-cd071ff05d5f")
PROGRAM, PARTNER = (in_mode(uuid.UUID(int=ID.int + n), test=True) for n in (1, 2))
MADE = datetime(2026, 3, 18, 23, 29, 28, 120_000, UTC)
ENDED = datetime(2026, 3, 19, 1, 0, tzinfo=timezone(timedelta(hours=2)))
REDEMPTION = Redemption(
    id=ID,
    program_id=PROGRAM,
    order_ref="1",
    canonical="A",
    code="A",
    code_id=uuid.UUID(int=ID.int + 3),
    coupon_id=uuid.UUID(int=ID.int + 4),
    partner_id=PARTNER,
    customer_id=None,
    customer_key=None,
    discount_type="percent",
    percent_hundredths=1250,
    amount_minor=None,
    discount_minor=125,
    currency="USD",
    subtotal_minor=1000,
    commission_hundredths=None,
    commission_minor=None,
    discount_ends_at=ENDED,
    release_policy="always",
    release_until=None,
    occurred_at=MADE,
    confirmed_at=MADE,
    is_counted=True,
    voided_at=ENDED,
    terms='{"coupon_uuid_code":"spring","coupon_name":"Spring","duration_type":"once","duration_value":null,'
    '"starts_at":null,"expires_at":"2026-03-18T23:29:28.120000Z","redemption_limit":1,"coupon_starts_at":null,'
    '"coupon_expires_at":null,"coupon_redemption_limit":null}',
)
HELD = HeldCode(
    canonical="A",
    code="A",
    code_id=ID,
    coupon_id=ID,
    customer_key=None,
    discount_minor=125,
    currency="USD",
)
REJECTION = Rejection(
    id=ID,
    order_ref="1",
    door="event",
    code="A",
    code_id=ID,
    partner_id=PARTNER,
    reason="code_held",
    detail="Held.",
    source="/shop",
    event_id="7",
    times=2,
    occurred_at=MADE,
    last_occurred_at=ENDED,
)
ANSWERS: Final = {
    "redemption": redemption_data(REDEMPTION),
    "reservation": reservation_data(Reservation(ID, "1", (HELD,), MADE, ENDED, is_live=True), test=True),
    "rejection": rejection_data(REJECTION, test=True),
    "bare rejection": rejection_data(replace(REJECTION, code_id=None, partner_id=None), test=True),
}
WRITTEN: Final = {
    "redemption": (
        '{"id":"01a23084-d516-74e8-a7e4-cd071ff05d5f","status":"voided","code":"A",'
        '"code_id":"01a23084-d516-74e8-a7e4-cd071ff05d62","coupon_id":"01a23084-d516-74e8-a7e4-cd071ff05d63",'
        '"partner_id":"01a23084-d516-74e8-a7e4-cd071ff05d61","order_ref":"1","customer_id":null,'
        '"discount":{"type":"percent","percent_hundredths":1250,"amount_minor":null,"currency":"USD",'
        '"applied_minor":125,"lines":null},"discount_ends_at":"2026-03-18T23:00:00.000000Z","commission":null,'
        '"occurred_at":"2026-03-18T23:29:28.120000Z","voided_at":"2026-03-18T23:00:00.000000Z",'
        '"void_reason":null,"is_counted":true,"is_self_referral":false,"terms":{"coupon_uuid_code":"spring",'
        '"coupon_name":"Spring","duration_type":"once","duration_value":null,"starts_at":null,'
        '"expires_at":"2026-03-18T23:29:28.120000Z","redemption_limit":1,"coupon_starts_at":null,'
        '"coupon_expires_at":null,"coupon_redemption_limit":null},"is_test":true}'
    ),
    "reservation": (
        '{"id":"01a23084-d516-74e8-a7e4-cd071ff05d5f","order_ref":"1","status":"live","codes":[{"code":"A",'
        '"code_id":"01a23084-d516-74e8-a7e4-cd071ff05d5f","coupon_id":"01a23084-d516-74e8-a7e4-cd071ff05d5f",'
        '"discount_minor":125,"currency":"USD","lines":null}],"reserved_at":"2026-03-18T23:29:28.120000Z",'
        '"expires_at":"2026-03-18T23:00:00.000000Z","is_test":true}'
    ),
    "rejection": (
        '{"id":"01a23084-d516-74e8-a7e4-cd071ff05d5f","order_ref":"1","door":"event","code":"A",'
        '"code_id":"01a23084-d516-74e8-a7e4-cd071ff05d5f","partner_id":"01a23084-d516-74e8-a7e4-cd071ff05d61",'
        '"reason":"code_held","detail":"Held.","times":2,"occurred_at":"2026-03-18T23:29:28.120000Z",'
        '"last_occurred_at":"2026-03-18T23:00:00.000000Z","source":"/shop","event_id":"7","is_test":true}'
    ),
    "bare rejection": (
        '{"id":"01a23084-d516-74e8-a7e4-cd071ff05d5f","order_ref":"1","door":"event","code":"A","code_id":null,'
        '"partner_id":null,"reason":"code_held","detail":"Held.","times":2,'
        '"occurred_at":"2026-03-18T23:29:28.120000Z","last_occurred_at":"2026-03-18T23:00:00.000000Z",'
        '"source":"/shop","event_id":"7","is_test":true}'
    ),
}


@pytest.mark.parametrize("name", WRITTEN)
def test_an_answer_is_written_as_it_always_was(name: str) -> None:
    """Clients compare and store these texts: another form of the same time or id is another value to them."""
    answer = ANSWERS[name]
    assert answer.model_dump_json(by_alias=True) == WRITTEN[name]
    assert data_response(answer).text == '{"data":' + WRITTEN[name] + "}"
