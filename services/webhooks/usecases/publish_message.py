"""Takes in the events that a program publishes itself, of its own types, once per event id.

From here on they are messages like all others: matched, numbered, signed, retried and replayed in the same way.
"""

import hashlib
import uuid
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Final, TypeAlias

import orjson

from services.webhooks.domain.bodies import FLAT_MEMBERS, message_format
from services.webhooks.domain.endpoints import Subscription
from services.webhooks.domain.errors import ContentGone, EventIDTaken, InvalidField, PayloadTooLarge, WebhookError
from services.webhooks.domain.events import IncomingEvent
from services.webhooks.domain.messages import LARGE_PAYLOAD_BYTES, MAX_PAYLOAD_BYTES, MessageDraft, Published
from services.webhooks.domain.retention import Retention
from services.webhooks.store import intake, messages, partners
from services.webhooks.store.messages import CustomMessage
from services.webhooks.usecases.delivery_queue import Wake
from services.webhooks.usecases.event_ids import id_of_message, source_of
from services.webhooks.usecases.take_in_events import Batch, inbox_entry
from shared.database.inbox import Arrivals, Identity
from shared.database.pool import Connection
from shared.grouping import Grouping, Results, Work

# A sender's clock may be ahead of ours by this much.
_AHEAD: Final = timedelta(seconds=60)


@dataclass(frozen=True, slots=True)
class Publication:
    """A message to publish; its payload was checked."""

    program_id: uuid.UUID
    draft: MessageDraft
    size: int

    @classmethod
    def of(cls, program_id: uuid.UUID, draft: MessageDraft) -> "Publication":
        """Check the payload. Raises InvalidField or PayloadTooLarge."""
        return cls(program_id, draft, payload_size(draft))


@dataclass(frozen=True, slots=True)
class PublishMessage(Work[Publication, Published, None]):
    """Writes messages with their deliveries; a message already published under the same id is returned as it is."""

    retention: Retention
    new_id: Callable[[], uuid.UUID]
    wake_courier: Wake

    async def decide(
        self,
        connection: Connection,
        asks: Sequence[Publication],
        now: datetime,
        *,
        is_again: bool,
    ) -> Results[Published, None]:
        """Return a message, or InvalidField, EventIDTaken or ContentGone, per request; raises RecordedMeanwhile."""
        faults = await _faults(connection, asks, now)
        events = {
            place: _event(ask.program_id, ask.draft, ask.draft.event_id or str(self.new_id()), now)
            for place, ask in enumerate(asks)
            if place not in faults
        }
        fresh, conflicts = await self._take_in(connection, asks, events, now)
        faults |= {place: EventIDTaken() for place in conflicts}
        wanted = {place: (event.program_id, id_of_message(event)) for place, event in events.items()}
        found = await messages.find_custom(connection, set(wanted.values()))
        outcomes = [
            faults.get(place) or _published(ask, found.get(wanted[place]), is_new=place in fresh)
            for place, ask in enumerate(asks)
        ]
        return Results(outcomes, None)

    def committed(self, written: None) -> None:
        """Send the deliveries."""
        self.wake_courier()

    async def _take_in(
        self, connection: Connection, asks: Sequence[Publication], events: Mapping[int, IncomingEvent], now: datetime
    ) -> tuple[set[int], set[int]]:
        """Write the new messages; return their places, and the places of those whose id another message has."""
        entries = [inbox_entry(event) for event in events.values()]
        owners = {event.program_id for event in events.values()}
        owners |= {event.partner_id for event in events.values() if event.partner_id}
        known, subscriptions = await intake.find(connection, entries, owners, now)
        known |= await _kept(connection, events.values(), known)
        verdicts = dict(zip(events, Arrivals(entries).verdicts(known), strict=True))
        fresh = {place for place, verdict in verdicts.items() if verdict == "fresh"}
        if fresh:
            new = [events[place] for place in events if place in fresh]
            await _planned(new, subscriptions).write(connection, [inbox_entry(event) for event in new], now)
            await messages.insert_custom(
                connection, [self._custom(asks[place].draft, events[place], now) for place in events if place in fresh]
            )
        return fresh, {place for place, verdict in verdicts.items() if verdict == "conflict"}

    def _custom(self, draft: MessageDraft, event: IncomingEvent, now: datetime) -> CustomMessage:
        kept_for = self.retention.payloads if draft.retention_days is None else timedelta(days=draft.retention_days)
        return CustomMessage(id_of_message(event), event.event_id, now + kept_for, event.body_sha256)


Publishing: TypeAlias = Grouping[Publication, Published, None]


async def _faults(connection: Connection, asks: Sequence[Publication], now: datetime) -> dict[int, WebhookError]:
    """Return the invalid requests by their places."""
    named = {(ask.program_id, ask.draft.partner_id) for ask in asks if ask.draft.partner_id is not None}
    there = await partners.find_live(connection, named) if named else set()
    faults: dict[int, WebhookError] = {}
    for place, ask in enumerate(asks):
        occurred_at, partner_id = ask.draft.occurred_at, ask.draft.partner_id
        if occurred_at is not None and occurred_at > now + _AHEAD:
            faults[place] = InvalidField("occurred_at", "must not be in the future")
        elif partner_id is not None and (ask.program_id, partner_id) not in there:
            faults[place] = InvalidField("partner_id", "must be a partner of this program")
    return faults


async def _kept(
    connection: Connection, events: Iterable[IncomingEvent], known: Mapping[Identity, bytes]
) -> dict[Identity, bytes]:
    """Return the digests of messages that outlived the inbox because they are kept longer: they own their event ids.

    For a message from an earlier release there is no digest: it counts as the same.
    """
    unknown = {id_of_message(event): entry for event in events if (entry := inbox_entry(event)).identity not in known}
    kept = await messages.find_digests(connection, unknown) if unknown else {}
    return {
        unknown[message_id].identity: digest or unknown[message_id].body_sha256 for message_id, digest in kept.items()
    }


def _planned(events: Sequence[IncomingEvent], subscriptions: Iterable[Subscription]) -> Batch:
    batch = Batch()
    batch.plan(events, subscriptions)
    wanted = {message_id for message_id, _ in batch.messages}
    for event in events:
        if id_of_message(event) not in wanted:
            # No endpoint subscribes yet; the message can be read, and sent to later subscribers.
            for form in {message_format("standard", each) for each in (None, event.partner_id)}:
                batch.keep(event, form)
    return batch


def _published(ask: Publication, found: Published | None, *, is_new: bool) -> Published | WebhookError:
    if found is None:
        return ContentGone()
    return replace(found, is_new=is_new, is_large=ask.size > LARGE_PAYLOAD_BYTES)


def payload_size(draft: MessageDraft) -> int:
    """Return the size of a payload as sent, in bytes. Raises InvalidField or PayloadTooLarge."""
    for name in FLAT_MEMBERS:
        if name in draft.payload:
            raise InvalidField("payload", f"must not have a member {name}, which every flat body already has")
    try:
        size = len(orjson.dumps(draft.payload))
    except TypeError:
        raise InvalidField("payload", "must not have integers beyond 64 bits") from None
    if size > MAX_PAYLOAD_BYTES:
        raise PayloadTooLarge(size, MAX_PAYLOAD_BYTES)
    return size


def _event(program_id: uuid.UUID, draft: MessageDraft, event_id: str, now: datetime) -> IncomingEvent:
    said = (draft.event_type, draft.partner_id, draft.ordering_key, draft.occurred_at, draft.retention_days)
    return IncomingEvent(
        event_id=event_id,
        source=source_of(program_id),
        type=draft.event_type,
        program_id=program_id,
        partner_id=draft.partner_id,
        occurred_at=draft.occurred_at or now,
        data=draft.payload,
        # A digest of the content, however it was written: a repeat may have its members in another order.
        body_sha256=hashlib.sha256(orjson.dumps([*said, draft.payload], option=orjson.OPT_SORT_KEYS)).digest(),
        ordering_key=draft.ordering_key,
        # Not part of the content: a repeat has a trace of its own, and the first one counts.
        traceparent=draft.traceparent,
    )
