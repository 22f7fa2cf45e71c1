"""Bulk actions: one change to all codes of a selection."""

import uuid
from dataclasses import dataclass
from datetime import date, datetime

from services.codes.domain.code_selection import BulkAction, CodeSelection, selection_of, selection_spec
from services.codes.domain.documents import Document


@dataclass(frozen=True, slots=True)
class BulkDraft:
    """A requested bulk action, on codes named by ids or on a selection.

    `expires_at` and `extend_seconds` belong to `extend`, `partner_id` to `assign`. A bare date becomes a moment before
    the job is created.
    """

    action: BulkAction
    ids: tuple[uuid.UUID, ...] | None
    selection: CodeSelection
    expires_at: date | None = None
    extend_seconds: int | None = None
    partner_id: uuid.UUID | None = None


def bulk_spec(draft: BulkDraft) -> Document:
    """Return a bulk action in the form stored with its job."""
    return {
        "action": draft.action,
        "ids": None if draft.ids is None else [str(each) for each in draft.ids],
        "selection": selection_spec(draft.selection),
        "expires_at": draft.expires_at,
        "extend_seconds": draft.extend_seconds,
        "partner_id": draft.partner_id,
    }


def bulk_of(spec: Document) -> BulkDraft:
    """Return a bulk action from its stored form."""
    return BulkDraft(
        action=spec["action"],
        ids=None if spec["ids"] is None else tuple(uuid.UUID(each) for each in spec["ids"]),
        selection=selection_of(spec["selection"]),
        expires_at=None if spec["expires_at"] is None else datetime.fromisoformat(spec["expires_at"]),
        extend_seconds=spec["extend_seconds"],
        partner_id=None if spec["partner_id"] is None else uuid.UUID(spec["partner_id"]),
    )
