"""How often codes and coupons were used, counted by the redemption service."""

import uuid
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime


@dataclass(frozen=True, slots=True)
class Usage:
    """The uses of a code or coupon at the time of an event; `version` orders the counts."""

    id: uuid.UUID
    program_id: uuid.UUID
    count: int
    version: int
    occurred_at: datetime


@dataclass(frozen=True, slots=True)
class KnownUsage:
    """A code's known usage so far."""

    id: uuid.UUID
    program_id: uuid.UUID
    coupon_id: uuid.UUID
    count: int
    version: int


@dataclass(frozen=True, slots=True)
class UsageReport:
    """One event's usage of its code, and the event's identity.

    `coupon` is None if the coupon has no limit: then its uses are not counted, but are the sum over its codes.
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


def newer_usages(usages: Iterable[Usage], known: Mapping[uuid.UUID, KnownUsage]) -> list[Usage]:
    """Return the newest usages that are newer than the known ones, for existing codes."""
    return [
        usage
        for usage in usages
        if (code := known.get(usage.id)) and code.program_id == usage.program_id and code.version < usage.version
    ]


def added_by_coupon(
    usages: Iterable[Usage], known: Mapping[uuid.UUID, KnownUsage], counted: Iterable[uuid.UUID]
) -> dict[uuid.UUID, int]:
    """Return the change in the uses of each coupon from its codes' newer usages, except for `counted` coupons."""
    added: Counter[uuid.UUID] = Counter()
    for usage in usages:
        added[known[usage.id].coupon_id] += usage.count - known[usage.id].count
    for coupon_id in counted:
        added.pop(coupon_id, None)
    return {coupon_id: amount for coupon_id, amount in added.items() if amount}
