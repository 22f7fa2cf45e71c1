"""Turns decisions into rows and events. Ids are derived from the checkout event, so a repeat can make no others."""

import uuid
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime
from typing import NamedTuple

import orjson

from services.redemption.domain.books import Redemption
from services.redemption.domain.decision import Redeemed, RedeemedLate
from services.redemption.domain.details import NO_ATTRIBUTES, Attributes
from services.redemption.domain.judgement import Refused
from services.redemption.domain.purchase import Cancellation, Purchase, VoidRequest
from services.redemption.domain.rejections import Door
from services.redemption.domain.reserving import Reserved
from services.redemption.domain.settling import NO_CHANGES, Changes
from services.redemption.domain.terms import CodeTerms
from services.redemption.domain.uses import Use, Voided
from services.redemption.domain.voiding import Cancelled
from services.redemption.store.outcomes import RefundRow
from services.redemption.store.rejections import RejectionRow
from services.redemption.usecases.announce_side_effects import commission_events, skipped_event
from shared.events.checkout import Customer, Order
from shared.events.envelope import MAX_EVENT_BYTES, OutboxEvent, trusted
from shared.events.redemption import (
    CodeExhaustedV1,
    CodeRedeemedV1,
    CodeRedemptionRejectedV1,
    CodeRedemptionVoidedV1,
    Commission,
    CouponExhaustedV1,
    Discount,
    Terms,
)
from shared.ids import derived_id


@dataclass(frozen=True, slots=True)
class CompletedCheckout:
    """An order that was paid, with what is only passed on; whoever is answered hears of a refusal by no event."""

    purchase: Purchase
    customer: Customer | None
    order: Order | None
    attributes: Attributes = NO_ATTRIBUTES
    is_answered: bool = False


class _PassedOn(NamedTuple):
    """What of a purchase is told with each of its codes."""

    customer: Customer | None
    order: Order | None
    attributes: Attributes
    traceparent: str | None


@dataclass(frozen=True, slots=True)
class Written:
    """What one transaction writes, collected request by request."""

    redemptions: list[Redemption] = field(default_factory=list)
    voids: list[Voided] = field(default_factory=list)
    reserved: list[Reserved] = field(default_factory=list)
    refunds: list[RefundRow] = field(default_factory=list)
    rejections: list[RejectionRow] = field(default_factory=list)
    events: list[OutboxEvent] = field(default_factory=list)
    attributes: dict[uuid.UUID, str] = field(default_factory=dict)
    refused: list[tuple[Purchase, Refused]] = field(default_factory=list)
    unheeded: list[tuple[Cancellation, str]] = field(default_factory=list)
    skipped: list[tuple[Purchase, Refused]] = field(default_factory=list)


def write_redeemed(checkout: CompletedCheckout, decision: Redeemed, now: datetime, written: Written) -> None:
    """Add the rows and events of an order that redeems its codes."""
    for use in decision.uses:
        redemption, terms = use.redemption, _terms(use.terms)
        redemption.terms = _json(terms)
        written.redemptions.append(redemption)
        passed_on = _PassedOn(checkout.customer, checkout.order, checkout.attributes, checkout.purchase.traceparent)
        written.events.append(_redeemed(passed_on, use, terms, now))
        written.events.extend(_exhausted(use, checkout.purchase.traceparent, now))
    _keep_attributes(checkout, decision, written)
    _write_besides(checkout.purchase, decision, now, written)


def write_late(checkout: CompletedCheckout, decision: RedeemedLate, now: datetime, written: Written) -> None:
    """Add the rows and events of an order that was taken back before it was heard of."""
    for use in decision.uses:
        redemption = use.redemption
        redemption.terms = _json(_terms(use.terms))
        written.redemptions.append(redemption)
        void = Voided(redemption, False, use.times_redeemed, use.version, use.coupon_times_redeemed, use.coupon_version)
        written.voids.append(void)
        written.events.append(_voided(void, checkout.purchase.traceparent, was_counted=False, now=now))
        if redemption.is_counted:
            written.events.extend(_exhausted(use, checkout.purchase.traceparent, now))
    _keep_attributes(checkout, decision, written)
    _write_besides(checkout.purchase, decision, now, written)


def _keep_attributes(checkout: CompletedCheckout, decision: Redeemed | RedeemedLate, written: Written) -> None:
    if decision.uses and checkout.attributes.kept:
        written.attributes[decision.uses[0].redemption.id] = orjson.dumps(checkout.attributes.kept).decode()


def write_turned_away(purchase: Purchase, refused: Refused, door: Door, written: Written) -> None:
    """Add the row of an order that was refused where it asked, which is no event; a repeat has the same row."""
    canonical = _canonical(purchase, refused)
    key = derived_id(purchase.program_id, "rejection", door, purchase.order_ref, refused.reason, canonical)
    written.rejections.append(_rejection(key, purchase, refused, door))


def _write_besides(purchase: Purchase, decision: Redeemed | RedeemedLate, now: datetime, written: Written) -> None:
    """Add what a purchase changed of its order's earlier codes, and its codes that dropped out."""
    if decision.changes != NO_CHANGES:
        cause, traceparent = purchase.rejection_id, purchase.traceparent
        _write_changes(decision.changes, cause, purchase.occurred_at, traceparent, now, written)
    for refused in decision.skipped:
        _write_skipped(purchase, refused, now, written)


def _write_changes(
    changes: Changes, cause: uuid.UUID, moment: datetime, traceparent: str | None, now: datetime, written: Written
) -> None:
    """Add the rows and events of what became of an order's redemptions."""
    written.voids.extend(changes.voids)
    written.events.extend(_voided(void, traceparent, was_counted=True, now=now) for void in changes.voids)
    for use in changes.revived:
        redemption = use.redemption
        written.redemptions.append(redemption)
        # Of the purchase itself no more is kept than this.
        customer = Customer(id=redemption.customer_id) if redemption.customer_id is not None else None
        order = Order(currency=redemption.currency, subtotal=redemption.subtotal_minor)
        passed_on = _PassedOn(customer, order, NO_ATTRIBUTES, traceparent)
        written.events.append(_redeemed(passed_on, use, Terms.model_validate_json(redemption.terms), now))
        written.events.extend(_exhausted(use, traceparent, now))
    for void in changes.late:
        written.redemptions.append(void.redemption)
        written.voids.append(void)
        written.events.append(_voided(void, traceparent, was_counted=False, now=now))
    for void in changes.restated:
        written.events.append(_voided(void, traceparent, was_counted=False, now=now, cause=str(cause)))
    written.events.extend(commission_events(changes.earnings, cause, moment, traceparent, now))


def write_refused(purchase: Purchase, refused: Refused, now: datetime, written: Written) -> None:
    """Add the row and the event of an order whose codes are refused."""
    terms = refused.terms
    code_id = terms.code_id if terms else None
    written.rejections.append(_rejection(purchase.rejection_id, purchase, refused, "event"))
    data = trusted(
        CodeRedemptionRejectedV1,
        program_id=purchase.program_id,
        partner_id=terms.partner_id if terms else None,
        order_ref=purchase.order_ref,
        code=refused.code,
        code_id=code_id,
        codes=[code.text for code in purchase.codes],
        reason=refused.reason,
        detail=refused.detail,
        occurred_at=purchase.occurred_at,
    )
    written.events.append(data.to_event(derived_id(purchase.rejection_id, data.type), now, purchase.traceparent))


def _write_skipped(purchase: Purchase, refused: Refused, now: datetime, written: Written) -> None:
    """Add the row and the event of a code that dropped out of its order; others of it count."""
    if refused.terms is None:
        return
    key = derived_id(purchase.rejection_id, refused.terms.canonical)
    written.skipped.append((purchase, refused))
    written.rejections.append(_rejection(key, purchase, refused, "event"))
    written.events.append(skipped_event(purchase, refused, refused.terms, key, now))


def _rejection(key: uuid.UUID, purchase: Purchase, refused: Refused, door: Door) -> RejectionRow:
    terms = refused.terms
    return RejectionRow(
        id=key,
        program_id=purchase.program_id,
        order_ref=purchase.order_ref,
        door=door,
        code=refused.code,
        canonical=_canonical(purchase, refused),
        code_id=terms.code_id if terms else None,
        partner_id=terms.partner_id if terms else None,
        reason=refused.reason,
        detail=refused.detail,
        source=purchase.source,
        event_id=purchase.event_id,
        occurred_at=purchase.occurred_at,
    )


def _canonical(purchase: Purchase, refused: Refused) -> str:
    """Return by what the refused code is looked for: its text where that cannot be a code."""
    wanted = next((code.canonical for code in purchase.codes if code.text == refused.code), None)
    return wanted or refused.code


def write_cancelled(ask: Cancellation | VoidRequest, cancelled: Cancelled, now: datetime, written: Written) -> None:
    """Add the rows and events of redemptions that were taken back."""
    if isinstance(ask, Cancellation) and (said := cancelled.notice) is not None:
        written.unheeded.append((ask, said))
    cause = ask.id if isinstance(ask, Cancellation) else ask.redemption_id
    _write_changes(cancelled.changes, cause, ask.occurred_at, ask.traceparent, now, written)
    if isinstance(ask, Cancellation) and cancelled.refund is not None:
        written.refunds.append(
            RefundRow(
                id=ask.id,
                program_id=ask.program_id,
                order_ref=ask.order_ref,
                amount_minor=cancelled.refund.amount_minor,
                reason=ask.reason,
                occurred_at=cancelled.refund.happened.known_at,
                claimed_at=cancelled.refund.happened.claimed_at,
                clock=cancelled.refund.happened.clock,
                releases=cancelled.refund.releases,
            )
        )


def _redeemed(passed_on: _PassedOn, use: Use, terms: Terms, now: datetime) -> OutboxEvent:
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
        # With what is added to it, a large order would make an event that nobody takes; the lines are the large part.
        order = passed_on.order.model_copy(update={"items": None})
        return _redeemed(passed_on._replace(order=order), use, terms, now)
    return event


def _voided(
    void: Voided, traceparent: str | None, *, was_counted: bool, now: datetime, cause: str | None = None
) -> OutboxEvent:
    """Return the event about a redemption that was taken back; `cause` names what it is told again for."""
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


def _exhausted(use: Use, traceparent: str | None, now: datetime) -> Iterable[OutboxEvent]:
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


def _json(terms: Terms) -> str:
    # As it is stored for each redemption; by way of the model's own serializer it would cost three times as much.
    return orjson.dumps(terms.__dict__).decode()


def _terms(terms: CodeTerms) -> Terms:
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
