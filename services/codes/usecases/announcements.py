"""The events about changed coupons, codes, quotas and orders of codes, and about mints, built from the state after."""

import uuid
from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Any, Final

from services.codes.domain.code_orders import CodeOrder
from services.codes.domain.coupons import Coupon
from services.codes.domain.partners import Partner
from services.codes.domain.promotion_codes import PromotionCode
from services.codes.domain.quota import Quota
from services.codes.store.minting import MintRequest, MintRow
from shared.events.codes import (
    CodeOrderCancelledV1,
    CodeOrderCreatedV1,
    CodeOrderGrantedV1,
    CodeOrderRefusedV1,
    CodesGeneratedV1,
    CodeUpdatedV1,
    CouponCreatedV1,
    CouponUpdatedV1,
    QuotaExhaustedV1,
    QuotaLowV1,
)
from shared.events.envelope import OutboxEvent
from shared.ids import new_id

_COUPON_MEMBERS: Final = tuple(name for name in CouponUpdatedV1.model_fields if name in Coupon.__dataclass_fields__)
_CODE_MEMBERS: Final = tuple(name for name in CodeUpdatedV1.model_fields if name in PromotionCode.__dataclass_fields__)


def coupon_created(coupon: Coupon, codes: Sequence[PromotionCode], now: datetime) -> OutboxEvent:
    """Return the event about a new coupon."""
    listed = [code.code for code in codes]
    return CouponCreatedV1(**_coupon(coupon), codes=listed, occurred_at=now).to_event(new_id(), now)


def coupon_updated(coupon: Coupon, changed: Iterable[str], now: datetime) -> OutboxEvent:
    """Return the event about a coupon that was changed or archived."""
    return CouponUpdatedV1(**_coupon(coupon), changed=list(changed), occurred_at=now).to_event(new_id(), now)


def code_updated(code: PromotionCode, changed: Iterable[str], now: datetime) -> OutboxEvent:
    """Return the event about a code that was changed or archived."""
    members = {name: getattr(code, name) for name in _CODE_MEMBERS}
    event = CodeUpdatedV1(**members, code_id=code.id, changed=list(changed), occurred_at=now)
    return event.to_event(new_id(), now)


def codes_minted(requests: Sequence[MintRequest], rows: Sequence[MintRow], now: datetime) -> list[OutboxEvent]:
    """Return the events about the mints of one statement: each partner's codes, and its quota.

    `MINT_ALL`, which mints only if no event about a quota is due, writes its own.
    """
    minted: dict[uuid.UUID, list[tuple[MintRequest, MintRow]]] = {}
    for request, row in zip(requests, rows, strict=True):
        if row.result == "minted":
            minted.setdefault(request.terms.partner_id, []).append((request, row))
    events = []
    for codes in minted.values():
        terms, (_, last) = codes[0][0].terms, codes[-1]
        left = last.remaining or 0
        event = CodesGeneratedV1(
            program_id=terms.program_id,
            partner_id=terms.partner_id,
            coupon_id=terms.coupon_id,
            codes=[request.code for request, _ in codes],
            code_ids=[request.code_id for request, _ in codes],
            expires_at=codes[0][0].expires_at,
            codes_remaining=left,
        )
        owner = {"program_id": terms.program_id, "partner_id": terms.partner_id}
        events.append(event.to_event(new_id(), now))
        events += _quota_crossed(owner, left + len(codes), left, last.threshold, now)
    return events


def quota_moved(partner: Partner, after: Quota, now: datetime) -> list[OutboxEvent]:
    """Return the events about a quota that reached its threshold, or zero."""
    owner = {"program_id": partner.program_id, "partner_id": partner.id}
    return _quota_crossed(owner, partner.quota.remaining, after.remaining, partner.quota_low_threshold, now)


def code_order_created(order: CodeOrder) -> OutboxEvent:
    """Return the event about a new order of codes."""
    return CodeOrderCreatedV1(**_code_order(order, order.created_at)).to_event(new_id(), order.created_at)


def code_order_granted(order: CodeOrder, left: int, now: datetime) -> OutboxEvent:
    """Return the event about an order of codes whose grant leaves this many."""
    event = CodeOrderGrantedV1(**_code_order(order, now), is_paid=order.state == "paid", codes_remaining=left)
    return event.to_event(new_id(), now)


def code_order_ended(order: CodeOrder, now: datetime) -> OutboxEvent:
    """Return the event about an order of codes that was refused or cancelled."""
    members = _code_order(order, now)
    if order.reason is None:
        return CodeOrderCancelledV1(**members).to_event(new_id(), now)
    return CodeOrderRefusedV1(**members, reason=order.reason).to_event(new_id(), now)


def _code_order(order: CodeOrder, now: datetime) -> dict[str, Any]:
    named = {name: getattr(order, name) for name in ("program_id", "partner_id", "count", "reference", "note")}
    return {**named, "code_order_id": order.id, "occurred_at": now}


def _quota_crossed(
    owner: dict[str, Any], before: int, left: int, threshold: int | None, now: datetime
) -> list[OutboxEvent]:
    events = []
    if threshold is not None and left <= threshold < before:
        events.append(QuotaLowV1(**owner, codes_remaining=left, threshold=threshold).to_event(new_id(), now))
    if left == 0 < before:
        events.append(QuotaExhaustedV1(**owner).to_event(new_id(), now))
    return events


def _coupon(coupon: Coupon) -> dict[str, Any]:
    members = {name: getattr(coupon, name) for name in _COUPON_MEMBERS}
    products = {name: list(getattr(coupon, name)) for name in ("product_ids", "excluded_product_ids")}
    return members | products | {"coupon_id": coupon.id}
