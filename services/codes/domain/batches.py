"""Batches: many codes of one coupon that differ only in random symbols; checked before any is created."""

import uuid
from dataclasses import dataclass, field, fields
from datetime import datetime
from typing import Final

from services.codes.domain.code_patterns import CodePattern
from services.codes.domain.code_terms import CodeTerms
from services.codes.domain.errors import CodeSpaceTooSmall, GuessableCodes
from services.codes.domain.given import Given, Metadata
from services.codes.domain.promotion_codes import PromotionCode

MAX_COUNT: Final = 5_000_000
# Up to this many codes are created while the caller waits.
MAX_INLINE: Final = 1_000


@dataclass(frozen=True, slots=True, kw_only=True)
class BatchTerms:
    """The common terms of a batch's codes, in stored units."""

    partner_id: uuid.UUID | None = None
    is_active: bool = True
    starts_at: datetime | None = None
    expires_at: datetime | None = None
    redemption_limit: int | None = None
    is_first_order_only: bool = False
    minimum_minor: int | None = None
    minimum_currency: str | None = None
    is_limited_to_partner: bool = False
    commission_hundredths: int | None = None
    metadata: Metadata = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class BatchDraft:
    """A requested batch."""

    count: int
    pattern: CodePattern
    terms: Given[CodeTerms]
    allow_weak: bool = False


def batch_terms(code: PromotionCode) -> BatchTerms:
    """Return the common terms of codes like this one."""
    return BatchTerms(**{each.name: getattr(code, each.name) for each in fields(BatchTerms)})


def estimated_live(pattern: CodePattern, sampled: int, taken: int) -> int:
    """Estimate how many codes of a pattern are live from a sample; exact if the sample holds all of them."""
    return pattern.possible * taken // sampled if sampled else 0


def check_feasible(draft: BatchDraft, existing: int) -> None:
    """Raise CodeSpaceTooSmall or GuessableCodes unless the pattern has room beside the existing codes."""
    pattern, live = draft.pattern, draft.count + existing
    if live > pattern.usable():
        needed = pattern.needed_length(live, allow_weak=draft.allow_weak)
        raise CodeSpaceTooSmall(pattern.possible, max(pattern.usable() - existing, 0), pattern.random_count, needed)
    if not draft.allow_weak and pattern.is_guessable(live):
        raise GuessableCodes(pattern.possible, pattern.needed_length(live, allow_weak=False))
