"""The events about coupons, codes and quotas that a program's people change, made of their state after the change."""

from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Any, Final

from services.codes.domain.coupons import Coupon
from services.codes.domain.partners import Partner
from services.codes.domain.promotion_codes import PromotionCode
from services.codes.domain.quota import Quota
from shared.events.codes import CodeUpdatedV1, CouponCreatedV1, CouponUpdatedV1, QuotaExhaustedV1, QuotaLowV1
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


def quota_moved(partner: Partner, after: Quota, now: datetime) -> list[OutboxEvent]:
    """Return the events about a quota that was moved to its threshold, or to nothing: as a mint tells it."""
    about: dict[str, Any] = {"program_id": partner.program_id, "partner_id": partner.id}
    before, left, threshold = partner.quota.remaining, after.remaining, partner.quota_low_threshold
    events = []
    if threshold is not None and left <= threshold < before:
        events.append(QuotaLowV1(**about, codes_remaining=left, threshold=threshold).to_event(new_id(), now))
    if left == 0 < before:
        events.append(QuotaExhaustedV1(**about).to_event(new_id(), now))
    return events


def _coupon(coupon: Coupon) -> dict[str, Any]:
    members = {name: getattr(coupon, name) for name in _COUPON_MEMBERS}
    products = {name: list(getattr(coupon, name)) for name in ("product_ids", "excluded_product_ids")}
    return members | products | {"coupon_id": coupon.id}
