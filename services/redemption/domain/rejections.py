"""Refused tries as stored and listed: what was refused to which order, where, and how often."""

import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Literal

from services.redemption.domain.listing import Place
from services.redemption.domain.reasons import Reason

Door = Literal["event", "redemption", "reservation"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Rejection:
    """A refused try. Over HTTP, tries with the same order, code and reason are one, with `times` and the last time.

    `code` is as first typed. `source` and `event_id` name the event, or over HTTP the first request.
    """

    id: uuid.UUID
    order_ref: str
    door: Door
    code: str
    code_id: uuid.UUID | None
    partner_id: uuid.UUID | None
    reason: Reason
    detail: str
    source: str
    event_id: str
    times: int
    occurred_at: datetime
    last_occurred_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class RejectionFilter:
    """A filter: every given member must match, and the first try lies within these times."""

    program_id: uuid.UUID
    order_ref: str | None = None
    canonical: str | None = None
    partner_id: uuid.UUID | None = None
    reason: Reason | None = None
    door: Door | None = None
    occurred_from: datetime | None = None
    occurred_before: datetime | None = None


@dataclass(frozen=True, slots=True)
class RejectionPage:
    """Refused tries, latest first, and the one to continue after; None at the end. A page can be short before that."""

    rejections: Sequence[Rejection]
    next_after: Place | None
