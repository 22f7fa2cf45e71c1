"""Turns decisions into rows and events. Ids are derived from the checkout event, so a repeat can make no others."""

import uuid
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from services.redemption.domain.decision import Redeemed, Refused, Use
from services.redemption.domain.purchase import Purchase
from services.redemption.domain.terms import CodeTerms
from services.redemption.store.outcomes import RedemptionRow, RejectionRow
from shared.events.checkout import Customer, Order
from shared.events.envelope import OutboxEvent, trusted
from shared.events.redemption import CodeRedeemedV1, CodeRedemptionRejectedV1, Discount, Terms
from shared.ids import derived_id

_REDEMPTIONS = uuid.UUID("0192e4b6-7f3c-7c11-9d0a-6f1f5a0c2e41")


@dataclass(frozen=True, slots=True)
class CompletedCheckout:
    """A `checkout.completed` event that was understood, with what is only passed on."""

    purchase: Purchase
    body_sha256: bytes
    received_at: datetime
    customer: Customer | None
    order: Order | None
    attributes: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Written:
    """What one transaction writes, collected order by order."""

    redemptions: list[RedemptionRow] = field(default_factory=list)
    rejections: list[RejectionRow] = field(default_factory=list)
    events: list[OutboxEvent] = field(default_factory=list)


def write_redeemed(checkout: CompletedCheckout, decision: Redeemed, now: datetime, written: Written) -> None:
    """Add the rows and events of an order that redeems its codes."""
    purchase = checkout.purchase
    for use in decision.uses:
        terms = use.terms
        redemption_id = derived_id(
            _REDEMPTIONS, str(purchase.program_id), purchase.source, purchase.event_id, terms.canonical
        )
        written.redemptions.append(
            RedemptionRow(
                redemption_id,
                purchase.program_id,
                purchase.order_ref,
                terms.canonical,
                terms.code,
                terms.code_id,
                terms.coupon_id,
                terms.partner_id,
                checkout.customer.id if checkout.customer else None,
                use.discount_minor,
                purchase.currency,
                purchase.occurred_at,
            )
        )
        event_id = derived_id(redemption_id, CodeRedeemedV1.type)
        written.events.append(_redeemed(checkout, use, redemption_id).to_event(event_id, now))


def write_refused(checkout: CompletedCheckout, refused: Refused, now: datetime, written: Written) -> None:
    """Add the row and the event of an order whose codes are refused."""
    purchase, terms = checkout.purchase, refused.terms
    rejection_id = derived_id(_REDEMPTIONS, str(purchase.program_id), purchase.source, purchase.event_id)
    code_id = terms.code_id if terms else None
    written.rejections.append(
        RejectionRow(
            rejection_id,
            purchase.program_id,
            purchase.order_ref,
            refused.code,
            code_id,
            refused.reason,
            refused.detail,
            purchase.source,
            purchase.event_id,
            purchase.occurred_at,
        )
    )
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
    written.events.append(data.to_event(derived_id(rejection_id, data.type), now))


def _redeemed(checkout: CompletedCheckout, use: Use, redemption_id: uuid.UUID) -> CodeRedeemedV1:
    purchase, terms = checkout.purchase, use.terms
    return trusted(
        CodeRedeemedV1,
        redemption_id=redemption_id,
        program_id=purchase.program_id,
        partner_id=terms.partner_id,
        code=terms.code,
        code_id=terms.code_id,
        coupon_id=terms.coupon_id,
        order_ref=purchase.order_ref,
        customer=checkout.customer,
        discount=trusted(
            Discount,
            type=terms.discount_type,
            percent_hundredths=terms.percent_hundredths,
            amount_minor=terms.amount_minor,
            currency=purchase.currency if terms.discount_type == "percent" else terms.currency,
            applied_minor=use.discount_minor,
        ),
        order=checkout.order,
        attributes=checkout.attributes,
        attribute_names=list(terms.attribute_names),
        occurred_at=purchase.occurred_at,
        codes_remaining=terms.quota_remaining,
        times_redeemed=use.times_redeemed,
        times_redeemed_version=use.version,
        coupon_times_redeemed=use.coupon_times_redeemed,
        coupon_times_redeemed_version=use.coupon_version,
        terms=_terms(terms),
    )


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
