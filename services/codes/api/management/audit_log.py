"""`/v1/audit-log`: who changed what, with old and new values."""

import uuid
from typing import Any, Final

from aiohttp import web
from pydantic import Field

from services.codes.api.context import actor, use_cases
from services.codes.api.management.audit_words import api_changes
from services.codes.domain.audit import AuditEntry, AuditFilter, ObjectType
from services.codes.domain.coupons import id_in
from shared.modes import is_test
from shared.web import (
    InstantOrDate,
    Moment,
    Page,
    PageQuery,
    Request,
    ResponseModel,
    Route,
    TenantId,
    Text,
    invalid_field,
    page_after,
    window,
)


class AuditQuery(PageQuery):
    """The entries to list; every given filter must match."""

    object_type: ObjectType | None = None
    object_id: Text | None = Field(None, description="For the quota: the partner's id.")
    key_id: Text | None = Field(None, description="The API key that made the change.")
    account_id: Text | None = Field(None, description="The account that made the change.")
    action: Text | None = Field(None, description="Such as `coupon.updated`.")
    since: InstantOrDate | None = None
    until: InstantOrDate | None = Field(None, description="Up to this time, or the end of this day.")
    _in_order = window("since", "until")
    program_id: Text | None = Field(
        None, description="For the operator, who can read all programs; a key may name only its own."
    )


class AuditData(ResponseModel):
    """One change: each changed member with its old value (`from`, absent at creation) and its new one (`to`).

    Members have their names and values of `/v1`.
    """

    id: uuid.UUID
    program_id: TenantId
    actor: str = Field(description="`operator`, or `key` or `account` with an id.")
    action: str
    object_type: str
    object_id: uuid.UUID
    changes: dict[str, Any]
    created_at: Moment
    is_test: bool


def _data(entry: AuditEntry) -> AuditData:
    return AuditData(
        id=entry.id,
        program_id=entry.program_id,
        actor=entry.actor,
        action=entry.action,
        object_type=entry.object_type,
        object_id=entry.object_id,
        changes=api_changes(entry.object_type, entry.changes),
        created_at=entry.created_at,
        is_test=is_test(entry.program_id),
    )


def _actor(query: AuditQuery) -> str | None:
    if query.key_id is not None and query.account_id is not None:
        # No entry has both as its actor.
        return ""
    if query.account_id is not None:
        return f"account {query.account_id}"
    return None if query.key_id is None else f"key {query.key_id}"


async def list_all(request: Request) -> web.StreamResponse:
    """List entries."""
    query = request.query(AuditQuery)
    after = query.last_id
    asks = actor(request)
    named = None if query.program_id is None else id_in(query.program_id)
    program_id = None if named is None else request.tenant(named)
    if query.program_id is not None and (program_id is None or not asks.reaches(program_id)):
        raise invalid_field("program_id", "The program_id parameter must be the id of a program that you reach.")
    object_id = None if query.object_id is None else id_in(query.object_id)
    if query.object_id is not None and object_id is None:
        # A malformed id matches nothing.
        return page_after(query, [], None)
    wanted = AuditFilter(
        program_id=program_id,
        object_id=object_id,
        object_type=query.object_type,
        actor=_actor(query),
        action=query.action,
        since=query.since,
        until=query.until,
    )
    page = await use_cases(request).read_audit_log(asks, wanted, after, query.limit)
    return page_after(query, [_data(entry) for entry in page.entries], page.next_after)


ROUTES: Final = (
    Route(
        method="GET",
        path="/v1/audit-log",
        handler=list_all,
        summary="List changes and who made them, newest first",
        description="A page may be short before the end; continue while there is a `meta.next_cursor`. "
        "Codes that partners generate are in the quota's ledger.",
        tag="audit log",
        security="bearer",
        scope="manage",
        operator_allowed=True,
        family="management",
        query=AuditQuery,
        responses={200: Page[AuditData]},
    ),
)
