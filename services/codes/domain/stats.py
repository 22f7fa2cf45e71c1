"""Statistics of codes: their groups, and their figures."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Literal

from shared.steps import Counted

GroupBy = Literal["coupon_id", "partner_id"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Figure(Counted):
    """What a step counts of a group; `redeemed` are those of the minted codes that are redeemed by now."""

    minted: int
    redeemed: int


@dataclass(frozen=True, slots=True)
class Stats:
    """Figures, the largest group first, and as of when they are exact; None while an upgrade is still counted."""

    figures: Sequence[Figure]
    as_of: datetime | None
