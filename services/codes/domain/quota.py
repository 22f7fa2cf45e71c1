"""A partner's quota: four counters that only grow (except for adjustments), and the rules for movements."""

import uuid
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Literal

from services.codes.domain.errors import QuotaWouldBeNegative, RefundExceedsMints

MoveKind = Literal["grant", "adjustment", "refund"]
LedgerKind = Literal["grant", "adjustment", "mint", "refund"]


@dataclass(frozen=True, slots=True)
class Quota:
    """The counters of one partner."""

    granted: int = 0
    adjusted: int = 0
    minted: int = 0
    refunded: int = 0

    @property
    def remaining(self) -> int:
        """The number of codes that the partner can still mint."""
        return self.granted + self.adjusted - self.minted + self.refunded


@dataclass(frozen=True, slots=True)
class Movement:
    """A movement to make; `code_order_id` is the order of codes that it grants, which no other may."""

    kind: MoveKind
    amount: int
    reason: str | None
    code_order_id: uuid.UUID | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class LedgerEntry:
    """One movement, kept forever."""

    id: uuid.UUID
    kind: LedgerKind
    amount: int
    code_ids: Sequence[uuid.UUID]
    actor: str
    reason: str | None
    created_at: datetime
    code_order_id: uuid.UUID | None = None


def after_movement(quota: Quota, kind: MoveKind, amount: int) -> Quota:
    """Return the quota after a movement; raises QuotaWouldBeNegative or RefundExceedsMints."""
    match kind:
        case "grant":
            after = replace(quota, granted=quota.granted + amount)
        case "adjustment":
            after = replace(quota, adjusted=quota.adjusted + amount)
        case "refund":
            if (refundable := quota.minted - quota.refunded) < amount:
                raise RefundExceedsMints(refundable)
            after = replace(quota, refunded=quota.refunded + amount)
    if after.remaining < 0:
        raise QuotaWouldBeNegative(quota.remaining)
    return after
