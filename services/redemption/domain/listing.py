"""Which redemptions somebody wants to see."""

import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TypeAlias

from services.redemption.domain.books import Redemption

Place: TypeAlias = tuple[datetime, uuid.UUID]


@dataclass(frozen=True, slots=True)
class RedemptionFilter:
    """Which redemptions are wanted: those that fit all that is given; a customer is named as `Buyer.key` does it."""

    program_id: uuid.UUID
    order_ref: str | None = None
    code_ids: Sequence[uuid.UUID] | None = None
    coupon_id: uuid.UUID | None = None
    partner_id: uuid.UUID | None = None
    is_voided: bool | None = None
    occurred_from: datetime | None = None
    occurred_before: datetime | None = None
    customer_key: str | None = None


@dataclass(frozen=True, slots=True)
class RedemptionPage:
    """Redemptions, the latest first, and after which to go on; None at the end. A page can be short before that."""

    redemptions: Sequence[Redemption]
    next_after: Place | None
