"""Collects the rows and events of decisions, request by request; reports them once committed."""

import uuid
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any

import orjson

from services.redemption.domain.books import Redemption
from services.redemption.domain.decision import Redeemed, RedeemedLate
from services.redemption.domain.details import NO_ATTRIBUTES, names_left_out
from services.redemption.domain.judgement import Refused
from services.redemption.domain.purchase import Cancellation, Purchase, VoidRequest
from services.redemption.domain.rejections import Door
from services.redemption.domain.reserving import Reserved
from services.redemption.domain.settling import NO_CHANGES, Changes
from services.redemption.domain.uses import Voided
from services.redemption.domain.voiding import Cancelled
from services.redemption.store.orders import RefundRow
from services.redemption.store.rejections import RejectionRow
from services.redemption.usecases.announce_decisions import (
    PassedOn,
    commission_events,
    exhausted_events,
    redeemed_event,
    rejected_event,
    skipped_event,
    terms_of,
    terms_text,
    voided_event,
)
from services.redemption.usecases.purchases import CompletedCheckout
from shared.derived_ids import derived_id
from shared.events.checkout import Customer, Order
from shared.events.envelope import OutboxEvent
from shared.events.redemption import Terms
from shared.log import get_logger
from shared.metrics import REDEMPTIONS, REDEMPTIONS_REJECTED, REDEMPTIONS_VOIDED, RESERVATIONS
from shared.trace import trace_facts


@dataclass(frozen=True, slots=True)
class Written:
    """The rows and events of one transaction, collected request by request."""

    redemptions: list[Redemption] = field(default_factory=list)
    voids: list[Voided] = field(default_factory=list)
    reserved: list[Reserved] = field(default_factory=list)
    refunds: list[RefundRow] = field(default_factory=list)
    rejections: list[RejectionRow] = field(default_factory=list)
    events: list[OutboxEvent] = field(default_factory=list)
    attributes: dict[uuid.UUID, str] = field(default_factory=dict)
    left_out: dict[uuid.UUID, str] = field(default_factory=dict)
    refused: list[tuple[Purchase, Refused]] = field(default_factory=list)
    unheeded: list[tuple[Cancellation, str]] = field(default_factory=list)
    skipped: list[tuple[Purchase, Refused]] = field(default_factory=list)


def write_redeemed(checkout: CompletedCheckout, decision: Redeemed, now: datetime, written: Written) -> None:
    """Add the rows and events of an order that redeems its codes."""
    passed_on = PassedOn(
        checkout.customer, checkout.order, checkout.attributes, checkout.purchase.traceparent, checkout.left_out
    )
    for use in decision.uses:
        redemption, terms = use.redemption, terms_of(use.terms)
        redemption.terms = terms_text(terms)
        written.redemptions.append(redemption)
        written.events.append(redeemed_event(passed_on, use, terms, now))
        written.events.extend(exhausted_events(use, checkout.purchase.traceparent, now))
    _keep_attributes(checkout, decision, written)
    _write_besides(checkout.purchase, decision, now, written)


def write_late(checkout: CompletedCheckout, decision: RedeemedLate, now: datetime, written: Written) -> None:
    """Add the rows and events of an order that was taken back before it was received."""
    for use in decision.uses:
        redemption = use.redemption
        redemption.terms = terms_text(terms_of(use.terms))
        written.redemptions.append(redemption)
        void = Voided(redemption, False, use.times_redeemed, use.version, use.coupon_times_redeemed, use.coupon_version)
        written.voids.append(void)
        written.events.append(voided_event(void, checkout.purchase.traceparent, was_counted=False, now=now))
        if redemption.is_counted:
            written.events.extend(exhausted_events(use, checkout.purchase.traceparent, now))
    _keep_attributes(checkout, decision, written)
    _write_besides(checkout.purchase, decision, now, written)


def _keep_attributes(checkout: CompletedCheckout, decision: Redeemed | RedeemedLate, written: Written) -> None:
    if not decision.uses:
        return
    key = decision.uses[0].redemption.id
    if checkout.attributes.kept:
        written.attributes[key] = orjson.dumps(checkout.attributes.kept).decode()
    if checkout.left_out or checkout.attributes.left_out:
        names = names_left_out(checkout.left_out, checkout.attributes)
        written.left_out[key] = orjson.dumps(names).decode()


def write_turned_away(purchase: Purchase, refused: Refused, door: Door, written: Written) -> None:
    """Add the row of an order that was refused over HTTP, without an event; a repeat has the same row."""
    canonical = _canonical(purchase, refused)
    key = derived_id(purchase.program_id, "rejection", door, purchase.order_ref, refused.reason, canonical)
    written.rejections.append(_rejection(key, purchase, refused, door))


def _write_besides(purchase: Purchase, decision: Redeemed | RedeemedLate, now: datetime, written: Written) -> None:
    """Add the changes to its order's earlier codes, and its codes that dropped out."""
    if decision.changes is not NO_CHANGES:
        cause, traceparent = purchase.rejection_id, purchase.traceparent
        _write_changes(decision.changes, cause, purchase.occurred_at, traceparent, now, written)
    for refused in decision.skipped:
        _write_skipped(purchase, refused, now, written)


def _write_changes(
    changes: Changes, cause: uuid.UUID, moment: datetime, traceparent: str | None, now: datetime, written: Written
) -> None:
    """Add the rows and events of the changes to an order's redemptions."""
    written.voids.extend(changes.voids)
    written.events.extend(voided_event(void, traceparent, was_counted=True, now=now) for void in changes.voids)
    for use in changes.revived:
        redemption = use.redemption
        written.redemptions.append(redemption)
        # Nothing else is stored of the purchase itself.
        customer = Customer(id=redemption.customer_id) if redemption.customer_id is not None else None
        order = Order(currency=redemption.currency, subtotal=redemption.subtotal_minor)
        passed_on = PassedOn(customer, order, NO_ATTRIBUTES, traceparent)
        written.events.append(redeemed_event(passed_on, use, Terms.model_validate_json(redemption.terms), now))
        written.events.extend(exhausted_events(use, traceparent, now))
    for void in changes.late:
        written.redemptions.append(void.redemption)
        written.voids.append(void)
        written.events.append(voided_event(void, traceparent, was_counted=False, now=now))
    for void in changes.restated:
        written.events.append(voided_event(void, traceparent, was_counted=False, now=now, cause=str(cause)))
    written.events.extend(commission_events(changes.earnings, cause, moment, traceparent, now))


def write_refused(checkout: CompletedCheckout, refused: Refused, now: datetime, written: Written) -> None:
    """Add the row and the event of an order whose codes are refused; the cause may be a detail that was left out."""
    purchase = checkout.purchase
    if checkout.left_out:
        detail = f"{refused.detail} Details that could not be read were left out: {', '.join(checkout.left_out)}."
        refused = replace(refused, detail=detail)
    written.rejections.append(_rejection(purchase.rejection_id, purchase, refused, "event"))
    written.events.append(rejected_event(purchase, refused, now))


def _write_skipped(purchase: Purchase, refused: Refused, now: datetime, written: Written) -> None:
    """Add the row and the event of a code that dropped out of its order; the other codes count."""
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
        coupon_id=terms.coupon_id if terms else None,
        reason=refused.reason,
        detail=refused.detail,
        source=purchase.source,
        event_id=purchase.event_id,
        occurred_at=purchase.occurred_at,
    )


def _canonical(purchase: Purchase, refused: Refused) -> str:
    """Return the search key of the refused code: its text if that cannot be a code."""
    wanted = next((code.canonical for code in purchase.codes if code.text == refused.code), None)
    return wanted or refused.code


def write_cancelled(ask: Cancellation | VoidRequest, cancelled: Cancelled, now: datetime, written: Written) -> None:
    """Add the rows and events of voided redemptions."""
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


def report(written: Written) -> None:
    """Count and log the committed decisions."""
    REDEMPTIONS.inc(sum(redemption.is_counted for redemption in written.redemptions))
    RESERVATIONS.inc(len(written.reserved))
    for void in written.voids:
        REDEMPTIONS_VOIDED.labels(str(void.is_released).lower()).inc()
    for ask, said in written.unheeded:
        get_logger().info(
            "nothing_taken_back",
            program_id=str(ask.program_id),
            order_ref=ask.order_ref,
            occurred_at=ask.happened.claimed_at.isoformat(),
            notice=said,
            **trace_facts(ask.traceparent),
        )
    for purchase, refused in written.refused:
        REDEMPTIONS_REJECTED.labels(refused.reason).inc()
        get_logger().info("order_refused", **_facts(purchase, refused))
    for purchase, skipped in written.skipped:
        REDEMPTIONS_REJECTED.labels(skipped.reason).inc()
        get_logger().info("code_skipped", **_facts(purchase, skipped))


def _facts(purchase: Purchase, refused: Refused) -> dict[str, Any]:
    return {
        "program_id": str(purchase.program_id),
        "order_ref": purchase.order_ref,
        "event_id": purchase.event_id,
        "reason": refused.reason,
        **trace_facts(purchase.traceparent),
    }
