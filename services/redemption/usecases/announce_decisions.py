"""The events about decisions. Ids are derived from the checkout event, so a repeat creates the same ones."""

import uuid
from collections.abc import Iterable, Iterator
from datetime import datetime
from typing import NamedTuple

import orjson

from services.redemption.domain.books import Redemption
from services.redemption.domain.commission import Earning
from services.redemption.domain.details import Attributes
from services.redemption.domain.judgement import Refused
from services.redemption.domain.purchase import Purchase
from services.redemption.domain.terms import CodeTerms
from services.redemption.domain.uses import Use, Voided
from shared.derived_ids import derived_id
from shared.events.checkout import Customer, Order
from shared.events.envelope import MAX_EVENT_BYTES, OutboxEvent, trusted
from shared.events.redemption import (
    CodeCommissionChangedV1,
    CodeExhaustedV1,
    CodeRedeemedV1,
    CodeRedemptionRejectedV1,
    CodeRedemptionSkippedV1,
    CodeRedemptionVoidedV1,
    Commission,
    CouponExhaustedV1,
    Discount,
    Terms,
)


class PassedOn(NamedTuple):
    """The details of a purchase that are passed on with each of its codes."""

    customer: Customer | None
    order: Order | None
    attributes: Attributes
    traceparent: str | None
    left_out: tuple[str, ...] = ()


def rejected_event(purchase: Purchase, refused: Refused, now: datetime) -> OutboxEvent:
    """Return the event about an order whose codes are refused."""
    terms = refused.terms
    data = trusted(
        CodeRedemptionRejectedV1,
        program_id=purchase.program_id,
        partner_id=terms.partner_id if terms else None,
        order_ref=purchase.order_ref,
        code=refused.code,
        code_id=terms.code_id if terms else None,
        codes=[code.text for code in purchase.codes],
        reason=refused.reason,
        detail=refused.detail,
        occurred_at=purchase.occurred_at,
    )
    return data.to_event(derived_id(purchase.rejection_id, data.type), now, purchase.traceparent)


def skipped_event(purchase: Purchase, refused: Refused, terms: CodeTerms, key: uuid.UUID, now: datetime) -> OutboxEvent:
    """Return the event about a code that dropped out of its order; `key` is that of its rejection."""
    data = trusted(
        CodeRedemptionSkippedV1,
        program_id=purchase.program_id,
        partner_id=terms.partner_id,
        order_ref=purchase.order_ref,
        code=refused.code,
        code_id=terms.code_id,
        coupon_id=terms.coupon_id,
        reason=refused.reason,
        detail=refused.detail,
        blocked_by=refused.blocked_by,
        occurred_at=purchase.occurred_at,
    )
    return data.to_event(derived_id(key, data.type), now, purchase.traceparent)


def commission_events(
    earnings: Iterable[Earning], cause: uuid.UUID, moment: datetime, traceparent: str | None, now: datetime
) -> Iterator[OutboxEvent]:
    """Yield an event for each commission that a purchase, a refund or a void has changed; `cause` is the id of that."""
    for earning in earnings:
        redemption = earning.redemption
        data = trusted(
            CodeCommissionChangedV1,
            redemption_id=redemption.id,
            program_id=redemption.program_id,
            partner_id=redemption.partner_id,
            code=redemption.code,
            code_id=redemption.code_id,
            coupon_id=redemption.coupon_id,
            order_ref=redemption.order_ref,
            commission=trusted(
                Commission,
                percent_hundredths=redemption.commission_hundredths,
                amount_minor=earning.amount_minor,
                currency=redemption.currency,
            ),
            previous_amount_minor=earning.before_minor,
            commission_version=earning.version,
            occurred_at=moment,
        )
        yield data.to_event(derived_id(redemption.id, data.type, str(cause)), now, traceparent)


def redeemed_event(passed_on: PassedOn, use: Use, terms: Terms, now: datetime) -> OutboxEvent:
    """Return the event about a code that an order has redeemed."""
    redemption = use.redemption
    data = trusted(
        CodeRedeemedV1,
        redemption_id=redemption.id,
        program_id=redemption.program_id,
        partner_id=redemption.partner_id,
        code=redemption.code,
        code_id=redemption.code_id,
        coupon_id=redemption.coupon_id,
        order_ref=redemption.order_ref,
        customer=passed_on.customer,
        discount=_discount(redemption),
        discount_ends_at=redemption.discount_ends_at,
        commission=_commission(redemption),
        order=passed_on.order,
        attributes=passed_on.attributes.kept,
        attributes_left_out=list(passed_on.attributes.left_out),
        is_self_referral=redemption.is_self_referral,
        details_left_out=list(passed_on.left_out),
        attribute_names=list(use.terms.attribute_names),
        occurred_at=redemption.occurred_at,
        codes_remaining=use.terms.quota_remaining,
        times_redeemed=use.times_redeemed,
        times_redeemed_version=use.version,
        coupon_times_redeemed=use.coupon_times_redeemed,
        coupon_times_redeemed_version=use.coupon_version,
        terms=terms,
    )
    event = data.to_event(derived_id(redemption.id, data.type), now, passed_on.traceparent)
    if len(event.body) > MAX_EVENT_BYTES and passed_on.order is not None and passed_on.order.items is not None:
        # With the added members, a large order would make an event too large for others; the lines are the large part.
        order = passed_on.order.model_copy(update={"items": None})
        return redeemed_event(passed_on._replace(order=order), use, terms, now)
    return event


def voided_event(
    void: Voided, traceparent: str | None, *, was_counted: bool, now: datetime, cause: str | None = None
) -> OutboxEvent:
    """Return the event about a voided redemption; `cause` is the id of what it is emitted again for."""
    redemption = void.redemption
    data = trusted(
        CodeRedemptionVoidedV1,
        redemption_id=redemption.id,
        program_id=redemption.program_id,
        partner_id=redemption.partner_id,
        code=redemption.code,
        code_id=redemption.code_id,
        coupon_id=redemption.coupon_id,
        order_ref=redemption.order_ref,
        customer_id=redemption.customer_id,
        discount=_discount(redemption),
        commission=_commission(redemption),
        reason=redemption.void_reason,
        is_released=void.is_released,
        was_counted=was_counted,
        redeemed_at=redemption.occurred_at,
        occurred_at=redemption.voided_at,
        times_redeemed=void.times_redeemed,
        times_redeemed_version=void.version,
        coupon_times_redeemed=void.coupon_times_redeemed,
        coupon_times_redeemed_version=void.coupon_version,
    )
    again = () if cause is None else (cause,)
    return data.to_event(derived_id(redemption.id, data.type, *again), now, traceparent)


def exhausted_events(use: Use, traceparent: str | None, now: datetime) -> Iterable[OutboxEvent]:
    """Yield the events about a code or a coupon without uses left."""
    redemption, terms = use.redemption, use.terms
    if terms.code_limit is not None and 1 < terms.code_limit <= use.times_redeemed:
        code = trusted(
            CodeExhaustedV1,
            program_id=terms.program_id,
            partner_id=terms.partner_id,
            code=terms.code,
            code_id=terms.code_id,
            coupon_id=terms.coupon_id,
            redemption_id=redemption.id,
            redemption_limit=terms.code_limit,
            times_redeemed=use.times_redeemed,
            times_redeemed_version=use.version,
            occurred_at=redemption.occurred_at,
        )
        yield code.to_event(derived_id(redemption.id, code.type), now, traceparent)
    if terms.coupon_limit is not None and (use.coupon_times_redeemed or 0) >= terms.coupon_limit:
        coupon = trusted(
            CouponExhaustedV1,
            program_id=terms.program_id,
            coupon_id=terms.coupon_id,
            coupon_uuid_code=terms.coupon_uuid_code,
            coupon_name=terms.coupon_name,
            redemption_id=redemption.id,
            redemption_limit=terms.coupon_limit,
            times_redeemed=use.coupon_times_redeemed,
            times_redeemed_version=use.coupon_version,
            occurred_at=redemption.occurred_at,
        )
        yield coupon.to_event(derived_id(redemption.id, coupon.type), now, traceparent)


def _discount(redemption: Redemption) -> Discount:
    return trusted(
        Discount,
        type=redemption.discount_type,
        percent_hundredths=redemption.percent_hundredths,
        amount_minor=redemption.amount_minor,
        currency=redemption.currency,
        applied_minor=redemption.discount_minor,
    )


def _commission(redemption: Redemption) -> Commission | None:
    if redemption.commission_hundredths is None:
        return None
    return trusted(
        Commission,
        percent_hundredths=redemption.commission_hundredths,
        amount_minor=redemption.commission_minor,
        currency=redemption.currency,
    )


def terms_text(terms: Terms) -> str:
    """Return terms in the form stored with a redemption."""
    # Stored for each redemption; the model's own serializer would cost three times as much.
    return orjson.dumps(terms.__dict__).decode()


def terms_of(terms: CodeTerms) -> Terms:
    """Return the terms of a code in the form of events."""
    return trusted(
        Terms,
        coupon_uuid_code=terms.coupon_uuid_code,
        coupon_name=terms.coupon_name,
        duration_type=terms.duration_type,
        duration_value=terms.duration_value,
        starts_at=terms.code_starts_at,
        expires_at=terms.code_expires_at,
        redemption_limit=terms.code_limit,
        coupon_starts_at=terms.coupon_starts_at,
        coupon_expires_at=terms.coupon_expires_at,
        coupon_redemption_limit=terms.coupon_limit,
    )
