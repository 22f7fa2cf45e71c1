"""The codes of an export or a bulk action, and the order of processing: coupon by coupon, each in order of id."""

import uuid
from dataclasses import asdict, dataclass, fields
from datetime import date, datetime
from typing import Any, Literal

from services.codes.domain.documents import Document

BulkAction = Literal["deactivate", "activate", "expire", "extend", "assign", "archive"]


@dataclass(frozen=True, slots=True, kw_only=True)
class CodeSelection:
    """Live codes of a program; None matches everything. `created_until` excludes codes created meanwhile.

    `coupon` and `partner_email` come from the request; they become `coupon_id` and `partner_id` when found, and
    a bare date the first moment of that day.
    """

    coupon: str | None = None
    partner_email: str | None = None
    coupon_id: uuid.UUID | None = None
    partner_id: uuid.UUID | None = None
    customer_id: str | None = None
    external_id: str | None = None
    canonical: str | None = None
    batch_id: uuid.UUID | None = None
    is_active: bool | None = None
    created_from: date | None = None
    created_until: datetime | None = None
    expires_from: date | None = None
    expires_before: date | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class SelectedCode:
    """A code in an export; `metadata` is JSON."""

    id: uuid.UUID
    code: str
    external_id: str | None
    is_active: bool
    starts_at: datetime | None
    expires_at: datetime | None
    redemption_limit: int | None
    is_first_order_only: bool
    minimum_minor: int | None
    minimum_currency: str | None
    customer_id: str | None
    customer_name: str | None
    partner_id: uuid.UUID | None
    is_limited_to_partner: bool
    commission_hundredths: int | None
    metadata: str
    times_redeemed: int
    batch_id: uuid.UUID | None
    created_at: datetime
    updated_at: datetime
    opening_uses: int


@dataclass(frozen=True, slots=True)
class Place:
    """A position in a selection: all coupons before this one are done, and its own codes up to an id."""

    coupon_id: uuid.UUID
    after: uuid.UUID


def selection_spec(selection: CodeSelection) -> Document:
    """Return a selection in the form stored with a job."""
    return {name: str(value) if isinstance(value, uuid.UUID) else value for name, value in asdict(selection).items()}


def selection_of(spec: Document) -> CodeSelection:
    """Return a selection from its stored form."""
    return CodeSelection(**{field.name: _read(field.name, spec.get(field.name)) for field in fields(CodeSelection)})


def _read(name: str, value: Any) -> Any:
    if value is None:
        return None
    if name in ("coupon_id", "partner_id", "batch_id"):
        return uuid.UUID(value)
    return datetime.fromisoformat(value) if name.startswith(("created_", "expires_")) else value
