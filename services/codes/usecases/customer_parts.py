"""Codes' part of exporting or erasing a customer: codes that were made for it, and what was noted of them.

Both leave an entry in the audit log, which names the job and nobody else.
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
    erase_kept_letters,
    export_answers,
    line_of,
    remove_withdrawn,
)
from shared.database.pool import Connection
from shared.erasing import ERASED, CustomerJob

SERVICE: Final = "codes"
_FIRST_ID: Final = uuid.UUID(int=0)
_SLICE: Final = 1_000
_SIDES: Final = ("from", "to")


def steps_of(clock: Clock, letters: Outside) -> Steps:
    """Return the steps; letters move between queue and table meanwhile, so the queue is looked through again."""
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
        ),
    }


async def erase_codes(connection: Connection, job: CustomerJob, _: Sequence[Any]) -> Chunk:
    """Replace the customer of the next codes: by its digest the code goes on to be the customer's."""
    ids = await customers.find_codes(connection, job.program_id, list(job.ids), _FIRST_ID, CHUNK)
    if not ids:
        return Chunk()
    erasing, theirs = job.erasing.about(), job.ids
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
    """Replace the customer in what the next jobs were asked for."""
    found = await customers.read_jobs(connection, job.program_id, _after(position), CHUNK)
    count = 0
    for id_, before in found:
        if (spec := job.erasing.value(before)) != before:
            await customers.erase_job(connection, id_, spec)
            count += 1
    return Chunk([str(found[-1][0])] if len(found) == CHUNK else None, {"jobs": count})


async def export_codes(connection: Connection, job: CustomerJob, position: Sequence[Any]) -> Chunk:
    """Write down the next codes that were made for the customer."""
    ids = await customers.find_codes(connection, job.program_id, list(job.ids), _after(position), CHUNK)
    lines = [line_of(SERVICE, "code", code) for code in await customers.show_codes(connection, ids)]
    return Chunk([str(ids[-1])] if len(ids) == CHUNK else None, {"codes": len(lines)}, lines)


async def export_log(connection: Connection, job: CustomerJob, position: Sequence[Any]) -> Chunk:
    """Write down the next entries of the audit log that name the customer."""
    entries = await customers.read_log(connection, job.program_id, _after(position), _SLICE, list(job.ids))
    found = [
        {"id": str(id_), "changes": changes}
        for id_, changes, is_theirs in entries
        if changes is not None and erased_changes(job, changes, is_theirs=is_theirs) != changes
    ]
    lines = [line_of(SERVICE, "audit_entry", entry) for entry in found]
    return Chunk([str(entries[-1][0])] if len(entries) == _SLICE else None, {"audit_entries": len(lines)}, lines)


def noting(clock: Clock, action: str) -> Step:
    """Return the step that notes in the audit log who had this done."""

    async def note(connection: Connection, job: CustomerJob, _: Sequence[Any]) -> Chunk:
        actor = Actor(job.program_id, job.actor)
        await audit.record(connection, actor, job.program_id, action, job.id, {}, clock())
        return Chunk()

    return note


def erased_changes(job: CustomerJob, changes: Document, *, is_theirs: bool) -> Document:
    """Return an entry's changes without the customer; another customer, before or after it, stays."""
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
        erased["metadata"] = job.erasing.value(changes["metadata"])
    if (digest := job.ids.get(_selected(changes))) is not None:
        asked = changes["spec"]["to"]
        erased["spec"] = {"to": {**asked, "selection": {**asked["selection"], "customer_id": digest}}}
    return erased


def _selected(changes: Mapping[str, Any]) -> Any:
    """Return the customer whose codes a job was made for."""
    return changes.get("spec", {}).get("to", {}).get("selection", {}).get("customer_id")


def _after(position: Sequence[Any]) -> uuid.UUID:
    return uuid.UUID(position[0]) if position else _FIRST_ID
