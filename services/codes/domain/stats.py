"""Statistics of codes: their groups, and their figures."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Literal

GroupBy = Literal["coupon_id", "partner_id"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Figure:
    """What a step counts of a group; steps are counted from 1.

    `key` is None where nothing is grouped, of what has no partner, and of the rest. `redeemed` are those of the minted
    codes that are redeemed by now.
    """

    step: int
    key: str | None
    is_rest: bool
    minted: int
    redeemed: int


@dataclass(frozen=True, slots=True)
class Stats:
    """Figures, the largest group first, and as of when they are exact; None while an upgrade is still counted."""

    figures: Sequence[Figure]
    as_of: datetime | None
