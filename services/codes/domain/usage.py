"""How often codes and coupons were used, as the redemption service counted it."""

import uuid
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime


@dataclass(frozen=True, slots=True)
class Usage:
    """How often a code or coupon had been used when an event was made; `version` orders such counts."""

    id: uuid.UUID
    program_id: uuid.UUID
    count: int
    version: int
    occurred_at: datetime


@dataclass(frozen=True, slots=True)
class KnownUsage:
    """What we know of a code so far."""

    id: uuid.UUID
    program_id: uuid.UUID
    coupon_id: uuid.UUID
    count: int
    version: int


@dataclass(frozen=True, slots=True)
class UsageReport:
    """What one event says about its code, and how the event itself is known.

    `coupon` is None where the coupon has no limit: then nobody counts its uses, and they are the sum over its codes.
    """

    source: str
    event_id: str
    body_sha256: bytes
    received_at: datetime
    code: Usage
    coupon: Usage | None


def newest(usages: Iterable[Usage]) -> list[Usage]:
    """Keep one usage per object: the newest count, and the latest time of all."""
    kept: dict[tuple[uuid.UUID, uuid.UUID], Usage] = {}
    for usage in usages:
        key = (usage.id, usage.program_id)
        other = kept.get(key, usage)
        winner = usage if usage.version > other.version else other
        kept[key] = replace(winner, occurred_at=max(usage.occurred_at, other.occurred_at))
    return list(kept.values())


def news(usages: Iterable[Usage], known: Mapping[uuid.UUID, KnownUsage]) -> list[Usage]:
    """Return those of the newest usages that say more than we know, about codes that are there."""
    return [
        usage
        for usage in usages
        if (code := known.get(usage.id)) and code.program_id == usage.program_id and code.version < usage.version
    ]


def added_by_coupon(
    usages: Iterable[Usage], known: Mapping[uuid.UUID, KnownUsage], counted: Iterable[uuid.UUID]
) -> dict[uuid.UUID, int]:
    """Return by how much the uses of each coupon rise or fall with the news of its codes, but for those `counted`."""
    added: Counter[uuid.UUID] = Counter()
    for usage in usages:
        added[known[usage.id].coupon_id] += usage.count - known[usage.id].count
    for coupon_id in counted:
        added.pop(coupon_id, None)
    return {coupon_id: amount for coupon_id, amount in added.items() if amount}
