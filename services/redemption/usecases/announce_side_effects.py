"""The events about what an order brought besides: codes that dropped out of it, and commissions that it changed."""

import uuid
from collections.abc import Iterable, Iterator
from datetime import datetime

from services.redemption.domain.commission import Earning
from services.redemption.domain.judgement import Refused
from services.redemption.domain.purchase import Purchase
from services.redemption.domain.terms import CodeTerms
from shared.events.envelope import OutboxEvent, trusted
from shared.events.redemption import CodeCommissionChangedV1, CodeRedemptionSkippedV1, Commission
from shared.ids import derived_id


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
    """Yield an event for each commission that a purchase, a refund or a void has changed; `cause` names that."""
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
