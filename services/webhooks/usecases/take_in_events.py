"""Takes in a batch of events: one statement writes the messages and deliveries of those with subscribers."""

import secrets
import uuid
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from time import monotonic

from services.webhooks.domain.bodies import is_for_partners, message_format, numbered
from services.webhooks.domain.deliveries import LEASE_SECONDS, HeldDelivery
from services.webhooks.domain.endpoints import Subscription, wants
from services.webhooks.domain.event_types import is_custom
from services.webhooks.domain.events import IncomingEvent, line_key
from services.webhooks.domain.names import message_name
from services.webhooks.domain.partner_view import has_view
from services.webhooks.domain.schedule import LIFETIME
from services.webhooks.store import intake, queue
from services.webhooks.store.intake import Existing, NewDelivery, NewMessage
from services.webhooks.usecases.code_keys import key_of_event
from services.webhooks.usecases.delivery_queue import Courier
from services.webhooks.usecases.event_ids import id_of_message
from services.webhooks.usecases.write_bodies import write_body
from shared.clock import Clock
from shared.database.customer_parts import known_as_erased
from shared.database.inbox import Arrivals, InboxEntry, Verdict
from shared.database.pool import Connection, Database
from shared.ids import new_id
from shared.starting_over import until_it_stands


@dataclass(frozen=True, slots=True)
class TakeInEvents:
    """Records events and their deliveries; those this process has room for are leased to it and sent at once."""

    database: Database
    courier: Courier
    clock: Clock

    async def __call__(self, events: Sequence[IncomingEvent]) -> list[Verdict]:
        """Return one verdict per event; after a return the events are safe. Raises TransientFault."""
        await self.courier.breathe()
        return await until_it_stands(lambda _: self._take_in(events))

    async def _take_in(self, events: Sequence[IncomingEvent]) -> list[Verdict]:
        now = self.clock()
        lease_ends = monotonic() + LEASE_SECONDS
        batch = Batch(self.courier, secrets.randbits(62))
        try:
            async with self.database.connection() as connection:
                owners = {e.program_id for e in events} | {e.partner_id for e in events if e.partner_id}
                entries = [inbox_entry(event) for event in events]
                known, subscriptions = await intake.find(connection, entries, owners, now)
                verdicts = Arrivals(entries).verdicts(known)
                fresh = [place for place, verdict in enumerate(verdicts) if verdict == "fresh"]
                batch.plan([events[place] for place in fresh], subscriptions)
                if fresh:
                    await batch.write(connection, [entries[place] for place in fresh], now)
        except BaseException:
            self.courier.cancel(d.endpoint_id for d in batch.deliveries if d.token is not None)
            raise
        self.courier.accept(batch.held_deliveries(now + LIFETIME, lease_ends))
        if any(delivery.token is None for delivery in batch.deliveries):
            self.courier.wake()
        return await known_as_erased(self.database, entries, verdicts)


def inbox_entry(event: IncomingEvent) -> InboxEntry:
    """Return what identifies an event in the inbox."""
    return InboxEntry(event.program_id, event.source, event.event_id, event.body_sha256)


class Batch:
    """The messages and deliveries of a batch of new events; without a courier all deliveries wait in the table."""

    def __init__(self, courier: Courier | None = None, token: int = 0) -> None:
        self.messages: dict[tuple[uuid.UUID, str], NewMessage] = {}
        self.deliveries: list[NewDelivery] = []
        self._versions: dict[uuid.UUID, int] = {}
        # The messages of each owner in the order of their events and, once written, their numbers.
        self._places: dict[uuid.UUID, dict[uuid.UUID, int]] = {}
        self._last: dict[uuid.UUID, int] = {}
        # Messages that show their number in the body: the number, and the body as stored.
        self._existing: dict[tuple[uuid.UUID, str], Existing] = {}
        self._courier = courier
        self._token = token

    def plan(self, events: Iterable[IncomingEvent], subscriptions: Iterable[Subscription]) -> None:
        """Match events with subscriptions; an event reaches its program's endpoints and those of its partner."""
        by_owner: dict[tuple[uuid.UUID, uuid.UUID | None], list[Subscription]] = {}
        for subscription in subscriptions:
            by_owner.setdefault((subscription.program_id, subscription.partner_id), []).append(subscription)
            self._versions[subscription.endpoint_id] = subscription.version
        for event in events:
            candidates = by_owner.get((event.program_id, None), [])
            if event.partner_id is not None and has_view(event.type):
                candidates = candidates + by_owner.get((event.program_id, event.partner_id), [])
            about = event.about_endpoint
            for subscription in candidates:
                if wants(subscription, event.type, about):
                    self._add(event, subscription)

    async def write(self, connection: Connection, entries: Sequence[InboxEntry], now: datetime) -> None:
        """Record the events, write what was planned, and call up the first delivery of each line."""
        lines = [(d.endpoint_id, d.ordering_key) for d in self.deliveries if d.ordering_key is not None]
        if not lines:
            await self._insert(connection, entries, now)
            return
        async with connection.transaction():
            await self._insert(connection, entries, now)
            await queue.release_heads(connection, lines, now)

    def held_deliveries(self, ends_at: datetime, lease_ends: float) -> list[HeldDelivery]:
        """Return the deliveries that were created with a lease."""
        held = []
        for delivery in self.deliveries:
            if delivery.token is None:
                continue
            message, body = delivery.message, delivery.message.body
            sequence: int | None
            sequence = self._last[delivery.owner_id] - len(self._places[delivery.owner_id]) + 1 + delivery.place
            if message.tail:
                existing = self._existing.get((message.id, message.format))
                if existing is None:
                    # All endpoints of a form have the same owner, so its number is theirs too.
                    existing = Existing(sequence, numbered(message.format, body, sequence, message.tail))
                    self._existing[message.id, message.format] = existing
                sequence, body = existing.sequence, existing.body
            held.append(
                HeldDelivery(
                    delivery_id=delivery.id,
                    endpoint_id=delivery.endpoint_id,
                    endpoint_version=self._versions[delivery.endpoint_id],
                    message_id=message.id,
                    event_type=message.event_type,
                    body=body,
                    step=1,
                    trigger="automatic",
                    ends_at=ends_at,
                    token=delivery.token,
                    lease_ends=lease_ends,
                    format=message.format,
                    sequence=sequence,
                    traceparent=message.traceparent,
                    occurred_at=message.occurred_at,
                )
            )
        return held

    async def _insert(self, connection: Connection, entries: Sequence[InboxEntry], now: datetime) -> None:
        self._last, self._existing = await intake.insert_work(
            connection,
            entries,
            messages=list(self.messages.values()),
            numbers=[self._number(message) for message in self.messages.values()],
            deliveries=self.deliveries,
            counts={owner_id: len(places) for owner_id, places in self._places.items()},
            now=now,
        )

    def _number(self, message: NewMessage) -> tuple[uuid.UUID, int] | None:
        """Return whose number the body of a message shows and how many come after it; None if it shows none.

        Each form is written for the endpoints of one owner, so it has one number.
        """
        if not message.tail:
            return None
        owner_id = message.partner_id if is_for_partners(message.format) else message.program_id
        if owner_id is None or (places := self._places.get(owner_id)) is None or message.id not in places:
            return None
        return owner_id, len(places) - 1 - places[message.id]

    def keep(self, event: IncomingEvent, form: str) -> NewMessage:
        """Create the message of an event in a form, whether or not any endpoint gets it."""
        message_id = id_of_message(event)
        message = self.messages.get((message_id, form))
        if message is None:
            head, tail, content = write_body(event, form, message_name(message_id))
            message = self.messages[message_id, form] = NewMessage(
                id=message_id,
                format=form,
                program_id=event.program_id,
                partner_id=event.partner_id,
                event_type=event.type,
                occurred_at=event.occurred_at,
                body=head,
                content=content,
                traceparent=event.traceparent,
                tail=tail,
                code_key=key_of_event(event.program_id, event.code),
            )
        return message

    def _add(self, event: IncomingEvent, subscription: Subscription) -> None:
        message = self.keep(event, message_format(subscription.format, subscription.partner_id))
        if subscription.is_disabled:
            # Nothing is sent, but once the endpoint is enabled again, what it has missed can be replayed.
            return
        token = self._token if self._has_room(subscription) else None
        owner_id = subscription.owner_id
        places = self._places.setdefault(owner_id, {})
        place = places.setdefault(message.id, len(places))
        self.deliveries.append(
            NewDelivery(
                id=new_id(),
                endpoint_id=subscription.endpoint_id,
                message=message,
                token=token,
                owner_id=owner_id,
                place=place,
                ordering_key=_line(subscription, event),
            )
        )

    def _has_room(self, subscription: Subscription) -> bool:
        if self._courier is None or not subscription.is_open:
            return False
        return self._courier.reserve(subscription.endpoint_id, subscription.max_in_flight)


def _line(subscription: Subscription, event: IncomingEvent) -> str | None:
    """Return the line that a delivery has to wait in; None without ordering."""
    if subscription.ordering == "none":
        return None
    if subscription.ordering == "strict":
        return ""
    return line_key(subscription.endpoint_id, event.subject) if is_custom(event.type) else event.subject
