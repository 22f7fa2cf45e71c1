"""Codes' part of exporting or erasing a customer: the customer's own codes, and the metadata of codes.

Both leave an entry in the audit log, which names only the job.
"""

import uuid
from collections.abc import Mapping, Sequence
from typing import Any, Final

from services.codes.domain.access import Actor
from services.codes.domain.documents import Document
from services.codes.store import audit, customers
from shared.clock import Clock
from shared.database.customer_parts import (
    CHUNK,
    Chunk,
    Outside,
    Step,
    Steps,
    erase_answers,
    export_answers,
    line_of,
    lock_history,
    remove_withdrawn,
)
from shared.database.erased_letters import erase_kept_letters, erased_event
from shared.database.pool import Connection
from shared.erasing import ERASED, CustomerJob
from shared.known_ids import FIRST_ID

SERVICE: Final = "codes"
_SLICE: Final = 1_000
_SIDES: Final = ("from", "to")


def steps_of(clock: Clock, letters: Outside) -> Steps:
    """Return the steps; letters move between queue and table meanwhile, so the queue is searched twice."""
    return {
        "export": (export_codes, export_log, export_answers(SERVICE), noting(clock, "job.customer_exported")),
        "erase": (
            erase_codes,
            erase_log,
            erase_jobs,
            erase_answers,
            remove_withdrawn,
            letters,
            erase_kept_letters,
            letters,
            noting(clock, "job.customer_erased"),
            # An erasure that runs while processes are replaced identifies its steps by number.
            erase_live_notes,
            erase_archived_notes,
            erase_coupons,
            erase_events,
        ),
    }


async def erase_codes(connection: Connection, job: CustomerJob, _: Sequence[Any]) -> Chunk:
    """Replace the customer of the next codes by its digest, with which a code remains the customer's."""
    if await _is_awaited(connection, job):
        return Chunk([], must_wait=True)
    ids = await customers.find_codes(connection, job.program_id, list(job.ids), FIRST_ID, CHUNK)
    if not ids:
        return Chunk()
    erasing, theirs = job.erasing.about().free(), job.ids
    erased = [
        (id_, theirs[customer], erasing.value(metadata))
        for id_, customer, metadata in await customers.lock_codes(connection, ids)
        if customer in theirs
    ]
    if erased:
        await customers.erase_codes(connection, erased)
    return Chunk(["more"], {"codes": len(erased)})


async def erase_log(connection: Connection, job: CustomerJob, position: Sequence[Any]) -> Chunk:
    """Replace the customer in the next entries of the audit log."""
    entries = await customers.read_log(connection, job.program_id, _after(position), _SLICE, [*job.ids, *job.digests])
    erased = {
        id_: changes
        for id_, before, is_theirs in entries
        if before is not None and (changes := erased_changes(job, before, is_theirs=is_theirs)) != before
    }
    if erased:
        await customers.erase_log(connection, erased)
    return Chunk([str(entries[-1][0])] if len(entries) == _SLICE else None, {"audit_entries": len(erased)})


async def erase_jobs(connection: Connection, job: CustomerJob, position: Sequence[Any]) -> Chunk:
    """Replace the customer in the requests of the next jobs."""
    found = await customers.read_jobs(connection, job.program_id, _after(position), CHUNK)
    count = 0
    for id_, before in found:
        if (spec := erased_spec(job, before)) != before:
            await customers.erase_job(connection, id_, spec)
            count += 1
        await _erase_job_errors(connection, job, id_)
    return Chunk([str(found[-1][0])] if len(found) == CHUNK else None, {"jobs": count})


async def erase_live_notes(connection: Connection, job: CustomerJob, position: Sequence[Any]) -> Chunk:
    """Take the customer out of the metadata of the next live codes, anyone's."""
    found = await customers.read_live_notes(connection, job.program_id, _after(position), _SLICE)
    count = await _erase_notes(connection, job, dict(found))
    return Chunk([str(found[-1][0])] if len(found) == _SLICE else None, {"code_notes": count})


async def erase_archived_notes(connection: Connection, job: CustomerJob, position: Sequence[Any]) -> Chunk:
    """Take the customer out of the metadata of the next archived codes."""
    after = (str(position[0]), uuid.UUID(position[1])) if position else ("", FIRST_ID)
    found = await customers.read_archived_notes(connection, job.program_id, after, _SLICE)
    count = await _erase_notes(connection, job, {id_: metadata for _, id_, metadata in found})
    following = [found[-1][0], str(found[-1][1])] if len(found) == _SLICE else None
    return Chunk(following, {"code_notes": count})


async def erase_coupons(connection: Connection, job: CustomerJob, position: Sequence[Any]) -> Chunk:
    """Take the customer out of the metadata of the next coupons."""
    found = await customers.lock_coupons(connection, job.program_id, _after(position), CHUNK)
    erasing, count = job.erasing.free(), 0
    for id_, metadata in found:
        if (erased := erasing.value(metadata)) != metadata:
            await customers.erase_coupon(connection, id_, erased)
            count += 1
    return Chunk([str(found[-1][0])] if len(found) == CHUNK else None, {"coupons": count})


async def erase_events(connection: Connection, job: CustomerJob, position: Sequence[Any]) -> Chunk:
    """Take the customer out of coupons' metadata in the next events."""
    await lock_history(connection)
    found = await customers.read_events(connection, _after(position), _SLICE)
    erased = {
        id_: changed for id_, body in found if body is not None and (changed := erased_event(job, body)) is not None
    }
    if erased:
        await customers.erase_events(connection, erased)
    return Chunk([str(found[-1][0])] if len(found) == _SLICE else None, {"events": len(erased)})


async def _erase_notes(connection: Connection, job: CustomerJob, notes: Mapping[uuid.UUID, Any]) -> int:
    erasing = job.erasing.free()
    theirs = [id_ for id_, metadata in notes.items() if metadata and erasing.value(metadata) != metadata]
    if theirs:
        locked = await customers.lock_notes(connection, theirs)
        await customers.erase_notes(connection, {id_: erasing.value(metadata) for id_, metadata in locked})
    return len(theirs)


async def _is_awaited(connection: Connection, job: CustomerJob) -> bool:
    """Return whether an unfinished job selects by the customer, or may: without it, its meaning would change."""
    return any(
        kind == "import" or erased_spec(job, spec) != spec
        for kind, spec in await customers.open_jobs(connection, job.program_id, job.created_at)
    )


async def _erase_job_errors(connection: Connection, job: CustomerJob, job_id: uuid.UUID) -> None:
    erasing, after = job.erasing.free(), -1
    while found := await customers.read_job_errors(connection, job_id, after, CHUNK):
        for line, code, detail in found:
            erased = None if code is None else erasing.text(code), erasing.text(detail)
            if erased != (code, detail):
                await customers.erase_job_error(connection, job_id, line, *erased)
        after = found[-1][0]


async def export_codes(connection: Connection, job: CustomerJob, position: Sequence[Any]) -> Chunk:
    """Export the next codes of the customer."""
    ids = await customers.find_codes(connection, job.program_id, list(job.ids), _after(position), CHUNK)
    lines = [line_of(SERVICE, "code", code) for code in await customers.show_codes(connection, ids)]
    return Chunk([str(ids[-1])] if len(ids) == CHUNK else None, {"codes": len(lines)}, lines)


async def export_log(connection: Connection, job: CustomerJob, position: Sequence[Any]) -> Chunk:
    """Export the next entries of the audit log that name the customer."""
    entries = await customers.read_log(connection, job.program_id, _after(position), _SLICE, list(job.ids))
    found = [
        {"id": str(id_), "changes": changes}
        for id_, changes, is_theirs in entries
        if changes is not None and erased_changes(job, changes, is_theirs=is_theirs) != changes
    ]
    lines = [line_of(SERVICE, "audit_entry", entry) for entry in found]
    return Chunk([str(entries[-1][0])] if len(entries) == _SLICE else None, {"audit_entries": len(lines)}, lines)


def noting(clock: Clock, action: str) -> Step:
    """Return the step that records the requester in the audit log."""

    async def note(connection: Connection, job: CustomerJob, _: Sequence[Any]) -> Chunk:
        actor = Actor(job.program_id, job.actor)
        await audit.record(connection, actor, job.program_id, action, job.id, {}, now=clock())
        return Chunk()

    return note


def erased_changes(job: CustomerJob, changes: Document, *, is_theirs: bool) -> Document:
    """Return an entry's changes without the customer; an earlier or later customer stays."""
    ids = changes.get("customer_id", {})
    erased = dict(changes)
    for side in _SIDES:
        digest = job.ids.get(ids.get(side))
        if digest is not None:
            erased["customer_id"] = {**erased["customer_id"], side: digest}
        is_named = digest is not None if "customer_id" in changes else is_theirs
        if is_named and changes.get("customer_name", {}).get(side) is not None:
            erased["customer_name"] = {**erased["customer_name"], side: ERASED}
    if "metadata" in changes:
        erased["metadata"] = job.erasing.free().value(changes["metadata"])
    if isinstance(asked := changes.get("spec", {}).get("to"), dict):
        erased["spec"] = {**changes["spec"], "to": erased_spec(job, asked)}
    return erased


def erased_spec(job: CustomerJob, spec: Any) -> Any:
    """Return the request of a job without the customer; a partner stays."""
    erased = job.erasing.value(spec)
    selection = spec.get("selection")
    if isinstance(selection, dict) and "partner_email" in selection:
        erased["selection"]["partner_email"] = selection["partner_email"]
    return erased


def _after(position: Sequence[Any]) -> uuid.UUID:
    return uuid.UUID(position[0]) if position else FIRST_ID
