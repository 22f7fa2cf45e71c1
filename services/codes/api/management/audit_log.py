"""`/v1/audit-log`: who changed what, with old and new values."""

import json
import uuid
from functools import partial
from typing import Any, Final

from aiohttp import web
from pydantic import Field

from services.codes.api.context import actor, use_cases
from services.codes.api.management.audit_words import api_changes, without_customers
from services.codes.domain.audit import AuditEntry, AuditFilter, ObjectType
from services.codes.domain.coupons import id_in
from shared.export_lines import FileFormat
from shared.known_ids import NOBODY
from shared.modes import is_test
from shared.web import (
    InstantOrDate,
    Moment,
    Page,
    PageQuery,
    QueryModel,
    Request,
    ResponseModel,
    Route,
    TenantId,
    Text,
    invalid_field,
    page_after,
    window,
)
from shared.web.files import TRAILER_TEXT, FileQuery, FileRows, Row, stream_file


class AuditFilters(QueryModel):
    """The entries that are wanted; every given filter must match."""

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


class AuditQuery(AuditFilters, PageQuery):
    """The entries to list."""


class AuditExportQuery(AuditFilters, FileQuery):
    """The entries to export, and the format."""


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


def _actor(query: AuditFilters) -> str | None:
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
    page = await use_cases(request).read_audit_log(actor(request), _wanted(request, query), after, query.limit)
    return page_after(query, [_data(entry) for entry in page.entries], page.next_after)


async def export(request: Request) -> web.StreamResponse:
    """Export entries as CSV or NDJSON."""
    query = request.query(AuditExportQuery)
    account = request.account
    has_customers = account is None or account.may_change
    written = FileRows(query.format, tuple(AuditData.model_fields))
    pages = use_cases(request).read_audit_log.pages(actor(request), _wanted(request, query))
    rows = ([_row(each, query.format, has_customers=has_customers) for each in page] async for page in pages)
    return await stream_file(request, written, written.texts(rows), "audit-log")


def _row(entry: AuditEntry, kind: FileFormat, *, has_customers: bool) -> Row:
    row = _data(entry).model_dump(mode="json")
    changes = api_changes(entry.object_type, entry.changes)
    changes = changes if has_customers else without_customers(changes)
    return {**row, "changes": json.dumps(changes, ensure_ascii=False) if kind == "csv" else changes}


def _wanted(request: Request, query: AuditFilters) -> AuditFilter:
    named = None if query.program_id is None else id_in(query.program_id)
    program_id = None if named is None else request.tenant(named)
    if query.program_id is not None and (program_id is None or not actor(request).reaches(program_id)):
        raise invalid_field("program_id", "The program_id parameter must be the id of a program that you reach.")
    return AuditFilter(
        program_id=program_id,
        # A malformed id matches nothing.
        object_id=None if query.object_id is None else id_in(query.object_id) or NOBODY,
        object_type=query.object_type,
        actor=_actor(query),
        action=query.action,
        since=query.since,
        until=query.until,
    )


_route = partial(
    Route,
    method="GET",
    tag="audit log",
    security="bearer",
    scope="manage",
    operator_allowed=True,
    family="management",
)

ROUTES: Final = (
    _route(
        path="/v1/audit-log",
        handler=list_all,
        summary="List changes and who made them, newest first",
        description="A page may be short before the end; continue while there is a `meta.next_cursor`. "
        "Codes that partners generate are in the quota's ledger.",
        query=AuditQuery,
        responses={200: Page[AuditData]},
    ),
    _route(
        path="/v1/audit-log/export",
        handler=export,
        summary="Export changes and who made them as CSV or NDJSON",
        description="Each matching entry that existed at the start is in the file once, the newest first; in CSV, "
        f"`changes` is JSON. {TRAILER_TEXT} For accounts with read-only access, changes that name customers are left "
        "out.",
        query=AuditExportQuery,
        responses={200: "The file"},
    ),
)
