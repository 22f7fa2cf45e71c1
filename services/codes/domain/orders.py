"""The redemption engine's answers to orders that redeem a code through this service."""

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True, slots=True)
class Applied:
    """The order has redeemed the code, now or by an earlier request (`is_repeat`)."""

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
    """The engine's current uses of a code or coupon; `orders` holds the latest, oldest first.

    The counts belong to the code used last; the coupon's is None if the engine does not count it.
    """

    code_id: str
    times_redeemed: int
    coupon_times_redeemed: int | None
    orders: tuple[OrderUse, ...]
    is_whole: bool


# Whether the redemption service accepts a key, as seen from here.
RedemptionPath = Literal["ok", "scope_missing", "unreachable", "unavailable", "unknown_key", "misdirected"]
