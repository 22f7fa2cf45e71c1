"""Requests for statistics of redemptions, and their results."""

import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final, Literal

GroupBy = Literal["coupon_id", "partner_id", "reason"]

# The limits of a response. More than this needs a longer step, or a shorter span.
MOST_ROWS: Final = 200_000
MOST_POINTS: Final = 10_000
# Up to this much that is not counted yet is counted by the request itself.
MOST_FACTS: Final = 5_000
MOST_TOUCHED: Final = 200


class TooMuch(Exception):
    """The span has too many figures to add up at once."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StatsFilter:
    """A filter of figures, their steps, and their grouping: the `groups` largest, and the rest."""

    program_id: uuid.UUID
    bounds: Sequence[datetime]
    partner_id: uuid.UUID | None = None
    coupon_id: uuid.UUID | None = None
    group_by: GroupBy | None = None
    groups: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Figure:
    """What a step counts of a group in one currency; steps are counted from 1.

    `key` is None where nothing is grouped, of what has no partner or coupon, and of the rest.
    """

    step: int
    key: str | None
    is_rest: bool
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
