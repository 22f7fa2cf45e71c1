"""Statistics of redemptions: their groups, and their figures."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Literal

from shared.steps import Counted

GroupBy = Literal["coupon_id", "partner_id", "reason"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Figure(Counted):
    """What a step counts of a group in one currency."""

    currency: str | None
    redemptions: int
    discount_minor: int
    commission_minor: int
    voids: int
    voided_discount_minor: int
    voided_commission_minor: int
    refusals: int


@dataclass(frozen=True, slots=True)
class Stats:
    """Figures, the largest group first, and as of when they are exact; None while an upgrade still counts."""

    figures: Sequence[Figure]
    as_of: datetime | None
