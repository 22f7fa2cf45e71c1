"""What the redemption engine answered when an order asked it, through this service, to redeem a code."""

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True, slots=True)
class Applied:
    """The code is redeemed by the order, now or by an earlier request (`is_repeat`)."""

    redemption_id: str
    redeemed_at: str
    is_repeat: bool


@dataclass(frozen=True, slots=True)
class NotApplied:
    """The engine refused; `reason` is its stable code."""

    reason: str
    detail: str


RedeemOutcome = Applied | NotApplied

# How the redemption service takes a key, as seen from here.
RedemptionPath = Literal["ok", "scope_missing", "unreachable", "unavailable", "unknown_key", "misdirected"]
