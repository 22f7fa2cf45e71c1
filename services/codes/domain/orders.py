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


@dataclass(frozen=True, slots=True)
class OrderUse:
    """One order that used a code."""

    redeemed_at: str
    transaction_key: str


@dataclass(frozen=True, slots=True)
class Uses:
    """The uses of one code or coupon as the engine has them now; `orders` holds the latest, oldest first.

    The counts are those of the code that was used last; the coupon's is None where the engine does not count it.
    """

    code_id: str
    times_redeemed: int
    coupon_times_redeemed: int | None
    orders: tuple[OrderUse, ...]
    is_whole: bool


# How the redemption service takes a key, as seen from here.
RedemptionPath = Literal["ok", "scope_missing", "unreachable", "unavailable", "unknown_key", "misdirected"]
