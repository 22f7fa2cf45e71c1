"""The webhooks part of exporting or erasing a customer: the messages about them, in every form, and the responses.

A message keeps its id. Pending deliveries send the stored body, and sign it.
"""

import json
import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any, Final

from services.webhooks.domain.bodies import FLAT, RESERVED, SHORT_WHEN_FLAT, plain_format
from services.webhooks.domain.event_types import is_custom
from services.webhooks.domain.events import IncomingEvent
from services.webhooks.store import customers
from services.webhooks.store.customers import Kept
from services.webhooks.usecases.event_ids import message_id_of
from services.webhooks.usecases.take_in_events import TakeInEvents
from shared.database.customer_parts import (
    CHUNK,
    Chunk,
    NamedEvent,
    Outside,
    Step,
    Steps,
    erase_answers,
    events_of,
    export_answers,
    line_of,
    remove_withdrawn,
)
from shared.database.erased_letters import erase_kept_letters
from shared.database.pool import Connection, Database
from shared.erasing import CustomerJob, Erasing
from shared.events.redemption import SOURCE
from shared.known_ids import FIRST_ID

SERVICE: Final = "webhooks"
_SLICE: Final = 1_000
_FIRST: Final = (datetime.fromtimestamp(0, UTC), FIRST_ID, "")


@dataclass(frozen=True, slots=True)
class CustomerMessages:
    """The steps in order."""

    database: Database
    take_in: TakeInEvents
    read_event: Callable[[bytes], IncomingEvent]
    letters: Outside

    @property
    def steps(self) -> Steps:
        """Return the steps. Letters may move between queue and table meanwhile, so the queue is searched again."""
        erase: tuple[Step | Outside, ...] = (
            Outside(self.take_in_missed, "events"),
            erase_messages,
            erase_own,
            erase_answers,
            remove_withdrawn,
            self.letters,
            erase_kept_letters,
            self.letters,
            self.late_answers,
        )
        return {"export": (export_messages, export_own, export_answers(SERVICE)), "erase": erase}

    async def take_in_missed(self, job: CustomerJob) -> int:
        """Take in events that have not arrived yet, as erased; if the original arrives later, it is known and dropped.

        The original may be in the queue, or be a dead letter that is replayed one day.
        """
        count, position = 0, list[str]()
        while True:
            async with self.database.connection() as connection:
                events = await events_of(connection, job, position)
                ids = [str(event.event_id) for event in events]
                known = await customers.find_known(connection, job.program_id, SOURCE, ids)
            missed = [e.body for e in events if e.body is not None and str(e.event_id) not in known]
            if missed:
                await self.take_in([self.read_event(body) for body in missed])
            count += len(missed)
            if len(events) < CHUNK:
                return count
            position = [ids[-1]]

    async def late_answers(self, connection: Connection, job: CustomerJob, position: Sequence[Any]) -> Chunk:
        """Wait for the responses to messages sent before the erasure, and erase these too."""
        if not position or position[0] == "leased":
            awaited = {tuple(each) for each in position[1:]}
            leased = await customers.list_leased(connection, job, self.take_in.clock())
            if still := [each for each in leased if not awaited or each in awaited]:
                return Chunk(["leased", *still], must_wait=True)
            position = ["erased", str(_FIRST[1])]
        ids = await customers.list_erased(connection, job, uuid.UUID(position[1]), CHUNK)
        await customers.erase_responses(connection, ids)
        return Chunk(["erased", str(ids[-1])] if len(ids) == CHUNK else None)


async def erase_messages(connection: Connection, job: CustomerJob, position: Sequence[Any]) -> Chunk:
    """Erase the messages of the next events."""
    events = await events_of(connection, job, position)
    is_whole = {_message_id(job, event): event.is_whole for event in events}
    found = await customers.lock_messages(connection, job.program_id, list(is_whole))
    erased = [each for kept in found if (each := _erase(job.erasing, kept, is_whole=is_whole[kept.id])) is not None]
    await customers.erase_messages(connection, job, erased)
    # Including those whose content is no longer stored.
    whole = {message_id for message_id, is_theirs in is_whole.items() if is_theirs}
    await customers.mark_messages(connection, job, whole)
    await customers.erase_responses(connection, whole | {each.id for each in erased})
    return Chunk(_after(events), {"messages": len(erased)})


async def erase_own(connection: Connection, job: CustomerJob, position: Sequence[Any]) -> Chunk:
    """Search the next messages that the program has published itself, and erase those that name the customer."""
    places, found = await _own(connection, job, position)
    erased = [each for kept in found if (each := _erase(job.erasing, kept, is_whole=False)) is not None]
    await customers.erase_messages(connection, job, erased)
    await customers.erase_responses(connection, {each.id for each in erased})
    return Chunk(_place(places), {"custom_messages": len(erased)})


async def export_messages(connection: Connection, job: CustomerJob, position: Sequence[Any]) -> Chunk:
    """Export the messages of the next events and how they were sent."""
    events = await events_of(connection, job, position)
    ids = [_message_id(job, event) for event in events]
    return await _shown(connection, await customers.lock_messages(connection, job.program_id, ids), _after(events))


async def export_own(connection: Connection, job: CustomerJob, position: Sequence[Any]) -> Chunk:
    """Search the next messages that the program has published itself, and export those about the customer."""
    places, found = await _own(connection, job, position)
    named = [kept for kept in found if _erase(job.erasing, kept, is_whole=False) is not None]
    return await _shown(connection, named, _place(places))


async def _own(
    connection: Connection, job: CustomerJob, position: Sequence[Any]
) -> tuple[list[tuple[datetime, uuid.UUID, str, bool]], list[Kept]]:
    after = (datetime.fromisoformat(position[0]), uuid.UUID(position[1]), position[2]) if position else _FIRST
    places = await customers.find_custom(connection, job.program_id, after, _SLICE)
    ids = sorted({place[1] for place in places if place[3]})
    return places, await customers.lock_messages(connection, job.program_id, ids) if ids else []


async def _shown(connection: Connection, found: Sequence[Kept], position: list[str] | None) -> Chunk:
    attempts = await customers.show_attempts(connection, sorted({kept.id for kept in found}))
    lines = [
        *(line_of(SERVICE, "message", _members(kept)) for kept in found),
        *(line_of(SERVICE, "attempt", attempt) for attempt in attempts),
    ]
    return Chunk(position, {"messages": len(found), "attempts": len(attempts)}, lines)


def _erase(erasing: Erasing, kept: Kept, *, is_whole: bool) -> Kept | None:
    """Return a message without the customer; None if it stays as it is.

    Partners' forms do not name the customer, but they contain its attributes; the flat form has them among its own
    members.
    """
    if is_whole:
        erasing = erasing.about()
    if is_custom(kept.event_type) or plain_format(kept.format) == FLAT:
        # Members that the program has chosen stand among our own.
        erasing = erasing.free()
    is_flat = plain_format(kept.format) == FLAT and kept.event_type == SHORT_WHEN_FLAT
    body = kept.body if kept.body is None else erasing.body(kept.body)
    if is_flat and is_whole and kept.body is not None:
        body = _without_attributes(kept.body)
    content = kept.content if kept.content is None else erasing.body(kept.content)
    if body is None and content is None:
        return None
    return replace(kept, body=body or kept.body, content=content or kept.content)


def _without_attributes(body: bytes) -> bytes | None:
    members: Mapping[str, Any] = json.loads(body)
    erased = {name: value if name in RESERVED else None for name, value in members.items()}
    if erased == members:
        return None
    return json.dumps(erased, ensure_ascii=False, separators=(",", ":")).encode()


def _members(kept: Kept) -> dict[str, Any]:
    return {
        "id": str(kept.id),
        "format": kept.format,
        "event_type": kept.event_type,
        "body": None if kept.body is None else json.loads(kept.body),
        "content": None if kept.content is None else json.loads(kept.content),
    }


def _message_id(job: CustomerJob, event: NamedEvent) -> uuid.UUID:
    return message_id_of(job.program_id, SOURCE, str(event.event_id))


def _after(events: Sequence[NamedEvent]) -> list[str] | None:
    return [str(events[-1].event_id)] if len(events) == CHUNK else None


def _place(places: Sequence[tuple[datetime, uuid.UUID, str, bool]]) -> list[str] | None:
    if len(places) < _SLICE:
        return None
    created_at, message_id, format_, _ = places[-1]
    return [created_at.isoformat(), str(message_id), format_]
