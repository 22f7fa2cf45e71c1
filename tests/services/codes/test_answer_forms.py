"""How answers are written, byte by byte: times, ids and money have the forms that clients have parsed so far."""

import uuid
from datetime import UTC, datetime, timedelta, timezone
from typing import Final

import pytest

from services.codes.api.management.answers import coupon_data, promotion_code_data
from services.codes.api.management.jobs import job_data
from services.codes.api.query.answers import query_coupon
from services.codes.domain.coupons import Coupon
from services.codes.domain.jobs import Job, Tally
from services.codes.domain.partners import Partner
from services.codes.domain.promotion_codes import PromotionCode, ShownCode, ShownCoupon
from services.codes.domain.quota import Quota
from shared.modes import in_mode
from shared.web import data_response

ID = uuid.UUID("01a23084-d516-74e8-a7e4-cd071ff05d5f")
PROGRAM, PARTNER = (in_mode(uuid.UUID(int=ID.int + n), test=True) for n in (1, 2))
MADE = datetime(2026, 3, 18, 23, 29, 28, 120_000, UTC)
ENDED = datetime(2026, 3, 19, 1, 0, tzinfo=timezone(timedelta(hours=2)))
COUPON = Coupon(
    id=ID,
    program_id=PROGRAM,
    uuid_code="spring",
    name="Spring",
    discount_type="static",
    amount_minor=1250,
    currency="USD",
    max_discount_minor=2000,
    amounts_by_currency={"JPY": 1500, "EUR": 1050},
    commission_hundredths=750,
    minimum_minor=1000,
    minimum_currency="USD",
    budget_minor=100_001,
    budget_currency="USD",
    metadata={"a": 1},
    starts_at=MADE,
    expires_at=ENDED,
    created_at=MADE,
    updated_at=ENDED,
    archived_at=MADE,
)
CODE = PromotionCode(
    id=ID,
    program_id=PROGRAM,
    coupon_id=uuid.UUID(int=ID.int + 3),
    partner_id=PARTNER,
    batch_id=uuid.UUID(int=ID.int + 4),
    created_by_key_id=uuid.UUID(int=ID.int + 5),
    code="SPRING-1",
    canonical="SPR1NG1",
    starts_at=MADE,
    expires_at=ENDED,
    last_redeemed_at=MADE,
    minimum_minor=1500,
    minimum_currency="JPY",
    created_at=MADE,
    updated_at=ENDED,
)
BARE_COUPON = Coupon(
    id=ID,
    program_id=PROGRAM,
    uuid_code="bare",
    name="Bare",
    percent_hundredths=1250,
    created_at=MADE,
    updated_at=MADE,
)
BARE_CODE = PromotionCode(
    id=ID, program_id=PROGRAM, coupon_id=ID, code="BARE", canonical="BARE", created_at=MADE, updated_at=MADE
)
OWNER = Partner(
    id=PARTNER,
    program_id=PROGRAM,
    name="Acme",
    first_name=None,
    last_name=None,
    email=None,
    status="active",
    prefix="ACME",
    support_email=None,
    metadata={},
    quota=Quota(),
    quota_low_threshold=None,
    created_at=MADE,
    updated_at=MADE,
)
JOB = Job(
    id=ID,
    program_id=PROGRAM,
    kind="batch",
    state="done",
    coupon_id=ID,
    spec={},
    actor="operator",
    key_id=None,
    created_at=MADE,
    tally=Tally(processed=2, created=2),
    started_at=MADE,
    finished_at=ENDED,
)
ANSWERS: Final = {
    "coupon": coupon_data(ShownCoupon(COUPON, [CODE])),
    "bare code": promotion_code_data(ShownCode(BARE_CODE, BARE_COUPON, None, "")),
    "query coupon": query_coupon(ShownCoupon(COUPON, [CODE]), MADE),
    "job": job_data(JOB),
}
WRITTEN: Final = {
    "coupon": (
        '{"name":"Spring","uuid_code":"spring","active":true,"coupon_discount_type":"static",'
        '"coupon_discount_amount":12.5,"coupon_duration_type":"once","coupon_duration_value":null,'
        '"redemption_specific_date_status":true,"redemption_specific_date_value":"2026-03-18T23:00:00.000000Z",'
        '"redemption_times_status":false,"redemption_times_value":null,"metadata":{"a":1},"additional_info":[],'
        '"times_redeemed":0,"created_at":"2026-03-18T23:29:28.120000Z",'
        '"updated_at":"2026-03-18T23:00:00.000000Z","deleted_at":"2026-03-18T23:29:28.120000Z",'
        '"id":"01a23084-d516-74e8-a7e4-cd071ff05d5f","external_id":null,"coupon_discount_currency":"USD",'
        '"coupon_discount_max_amount":20,"coupon_discount_amounts":{"JPY":1500,"EUR":10.5},'
        '"starts_at":"2026-03-18T23:29:28.120000Z","redemptions_per_code":null,"redemptions_per_customer":null,'
        '"redemptions_per_day":null,"redemptions_per_week":null,"redemptions_per_month":null,'
        '"budget_amount":1000.01,"budget_currency":"USD","first_time_order":false,"minimum_order_value":10,'
        '"minimum_order_currency":"USD","minimum_applies_to":"eligible","product_ids":[],'
        '"excluded_product_ids":[],"combination":"other_coupons","release_policy":"always",'
        '"commission_percent":7.5,"is_partner_coupon":false,"is_test":true,'
        '"promotion_codes":{"data":[{"code":"SPRING-1","active":true,"times_redeemed":0,'
        '"created_at":"2026-03-18T23:29:28.120000Z","id":"01a23084-d516-74e8-a7e4-cd071ff05d5f",'
        '"external_id":null,"partner_id":"01a23084-d516-74e8-a7e4-cd071ff05d61"}],"meta":{"has_more":false}}}'
    ),
    "bare code": (
        '{"code":"BARE","active":true,"first_time_order":false,"limit_to_specific_partner":false,'
        '"coupon_specific_partners":[],"limit_to_specific_customer":false,"coupon_specific_customers":[],'
        '"limit_to_specific_subscriber":false,"coupon_specific_subscribers":[],"minimum_order_status":false,'
        '"minimum_order_value":null,"expiration_date_status":false,"expiration_date_value":null,'
        '"redemption_times_status":false,"redemption_times_value":null,"metadata":[],"additional_info":[],'
        '"times_redeemed":0,"created_at":"2026-03-18T23:29:28.120000Z",'
        '"updated_at":"2026-03-18T23:29:28.120000Z","deleted_at":null,"coupon":{"name":"Bare","uuid_code":"bare",'
        '"active":true,"coupon_discount_type":"percent","coupon_discount_amount":12.5,'
        '"coupon_duration_type":"once","coupon_duration_value":null,"redemption_specific_date_status":false,'
        '"redemption_specific_date_value":null,"redemption_times_status":false,"redemption_times_value":null,'
        '"metadata":[],"additional_info":[],"times_redeemed":0,"created_at":"2026-03-18T23:29:28.120000Z",'
        '"updated_at":"2026-03-18T23:29:28.120000Z","deleted_at":null,'
        '"id":"01a23084-d516-74e8-a7e4-cd071ff05d5f","external_id":null,"coupon_discount_currency":null,'
        '"coupon_discount_max_amount":null,"coupon_discount_amounts":{},"starts_at":null,'
        '"redemptions_per_code":null,"redemptions_per_customer":null,"redemptions_per_day":null,'
        '"redemptions_per_week":null,"redemptions_per_month":null,"budget_amount":null,"budget_currency":null,'
        '"first_time_order":false,"minimum_order_value":null,"minimum_order_currency":null,'
        '"minimum_applies_to":"eligible","product_ids":[],"excluded_product_ids":[],'
        '"combination":"other_coupons","release_policy":"always","commission_percent":null,'
        '"is_partner_coupon":false,"is_test":true},"id":"01a23084-d516-74e8-a7e4-cd071ff05d5f",'
        '"coupon_id":"01a23084-d516-74e8-a7e4-cd071ff05d5f","partner_id":null,"external_id":null,"url":null,'
        '"starts_at":null,"minimum_order_currency":null,"partner_only":false,"commission_percent":null,'
        '"is_auto_generated":false,"reference":null,"batch_id":null,"last_redeemed_at":null,'
        '"created_by_key_id":null,"is_test":true}'
    ),
    "query coupon": (
        '{"id":"01a23084-d516-74e8-a7e4-cd071ff05d5f","name":"Spring","externalId":null,"couponType":"FIXED",'
        '"percentOff":null,"amountOff":12.5,"currency":"USD","duration":"once","durationInMonths":null,'
        '"maxRedemptions":null,"limitToProducts":false,"productIds":[],"valid":false,'
        '"redeemBy":"2026-03-18T23:00:00.000Z","integrationType":null,'
        '"affiliateProgramId":"01a23084-d516-74e8-a7e4-cd071ff05d60","createdAt":"2026-03-18T23:29:28.120Z",'
        '"updatedAt":"2026-03-18T23:00:00.000Z","promotionalCodes":[{"id":"01a23084-d516-74e8-a7e4-cd071ff05d5f",'
        '"code":"SPRING-1","couponId":"01a23084-d516-74e8-a7e4-cd071ff05d62",'
        '"affiliateId":"01a23084-d516-74e8-a7e4-cd071ff05d61","externalId":null,"active":true,'
        '"expiresAt":"2026-03-18T23:00:00.000Z","maxRedemptions":null,"timesRedeemed":0,"firstTimeOrder":false,'
        '"minimumAmount":1500,"minimumAmountCurrency":"JPY","limitToCustomers":false,"customerId":null,'
        '"limitToAffiliate":false,"isAutoGenerated":false,"createdAt":"2026-03-18T23:29:28.120Z",'
        '"updatedAt":"2026-03-18T23:00:00.000Z"}],"hasMorePromotionalCodes":false}'
    ),
    "job": (
        '{"id":"01a23084-d516-74e8-a7e4-cd071ff05d5f","kind":"batch","state":"done",'
        '"coupon_id":"01a23084-d516-74e8-a7e4-cd071ff05d5f","requested":null,"processed":2,"created":2,'
        '"updated":0,"skipped":0,"refused":0,"failure":null,'
        '"result_url":"/v1/jobs/01a23084-d516-74e8-a7e4-cd071ff05d5f/result","errors_url":null,'
        '"created_at":"2026-03-18T23:29:28.120000Z","started_at":"2026-03-18T23:29:28.120000Z",'
        '"finished_at":"2026-03-18T23:00:00.000000Z","kept_until":"2026-04-17T23:00:00.000000Z","is_test":true,'
        '"dry_run":false,"action":null,"filter":null}'
    ),
}


@pytest.mark.parametrize("name", WRITTEN)
def test_an_answer_is_written_as_it_always_was(name: str) -> None:
    """Clients compare and store these texts: another form of the same time or id is another value to them."""
    answer = ANSWERS[name]
    assert answer.model_dump_json(by_alias=True) == WRITTEN[name]
    assert data_response(answer).text == '{"data":' + WRITTEN[name] + "}"
