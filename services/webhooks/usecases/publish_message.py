"""Takes in what a program has to tell itself: an event of a type of its own, once per event id.

From here on it is a message like every other: matched, numbered, signed, retried and replayed in the same way.
"""

import contextlib
import hashlib
import uuid
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Final

import orjson

from services.webhooks.domain.bodies import FLAT_MEMBERS, message_format
from services.webhooks.domain.endpoints import Owner, Subscription
from services.webhooks.domain.errors import ContentGone, EventIDTaken, InvalidField, PayloadTooLarge
from services.webhooks.domain.events import IncomingEvent
from services.webhooks.domain.messages import LARGE_PAYLOAD_BYTES, MAX_PAYLOAD_BYTES, MessageDraft, Published
from services.webhooks.domain.retention import Retention
from services.webhooks.store import intake, messages
from services.webhooks.store.intake import RecordedMeanwhile
from services.webhooks.usecases.create_endpoint import check_partner
from services.webhooks.usecases.delivery_queue import Wake
from services.webhooks.usecases.take_in_events import Batch, id_of_message, inbox_entry
from shared.database.idempotency import AnswerOnce
from shared.database.inbox import Arrivals
from shared.database.pool import Connection
from shared.faults import TransientFault
from shared.idempotency import Answer, Once
from shared.modes import shown_id

# A sender's clock may be ahead of ours by this much.
_AHEAD: Final = timedelta(seconds=60)
_LOOKS: Final = 3


@dataclass(frozen=True, slots=True)
class PublishMessage:
    """Writes the message with its deliveries; what was published before under the same id is returned as it is."""

    answer_once: AnswerOnce
    kept: Retention
    new_id: Callable[[], uuid.UUID]
    wake_courier: Wake

    async def __call__(self, program_id: uuid.UUID, draft: MessageDraft, once: Once[Published]) -> Answer:
        """Return the message. Raises InvalidField, PayloadTooLarge, EventIDTaken or ContentGone."""
        size = payload_size(draft)

        async def work(connection: Connection, now: datetime) -> Published:
            if draft.occurred_at is not None and draft.occurred_at > now + _AHEAD:
                raise InvalidField("occurred_at", "must not lie in the future")
            await check_partner(connection, Owner(program_id, None), draft.partner_id)
            event = _event(program_id, draft, draft.event_id or str(self.new_id()), now)
            is_new = await self._take_in(connection, event, draft, now)
            found = await messages.find_custom(connection, program_id, id_of_message(event))
            if found is None:
                raise ContentGone
            return replace(found, is_new=is_new, is_large=size > LARGE_PAYLOAD_BYTES)

        answer = await self.answer_once(once, work)
        self.wake_courier()
        return answer

    async def _take_in(self, connection: Connection, event: IncomingEvent, draft: MessageDraft, now: datetime) -> bool:
        """Write what is new and say whether it is."""
        owners = {event.program_id} | ({event.partner_id} if event.partner_id else set())
        kept_for = self.kept.payloads if draft.retention_days is None else timedelta(days=draft.retention_days)
        entry = inbox_entry(event)
        # A twin that was recorded since we looked is there when we look again.
        for _ in range(_LOOKS):
            known, subscriptions = await intake.find(connection, [entry], owners, now)
            if known:
                [verdict] = Arrivals([entry]).verdicts(known)
                if verdict == "conflict":
                    raise EventIDTaken
                return False
            # What is kept for long outlives the inbox, and is still the message of this id.
            is_kept = await messages.is_kept(connection, id_of_message(event), event.body_sha256)
            if is_kept is not None:
                if not is_kept:
                    raise EventIDTaken
                return False
            with contextlib.suppress(RecordedMeanwhile):
                async with connection.transaction():
                    await _planned(event, subscriptions).write(connection, [entry], now)
                await messages.insert_custom(
                    connection, id_of_message(event), event.event_id, now + kept_for, event.body_sha256
                )
                return True
        raise TransientFault("Another process records the same event.")


def _planned(event: IncomingEvent, subscriptions: Iterable[Subscription]) -> Batch:
    batch = Batch()
    batch.plan([event], subscriptions)
    if not batch.messages:
        # Nobody wants it yet; it can be looked at, and sent to whoever comes to want it.
        for kept in {message_format("standard", each) for each in (None, event.partner_id)}:
            batch.keep(event, kept)
    return batch


def payload_size(draft: MessageDraft) -> int:
    """Return how many bytes a payload has as it is sent. Raises InvalidField or PayloadTooLarge."""
    for name in FLAT_MEMBERS:
        if name in draft.payload:
            raise InvalidField("payload", f"must not have a member {name}, which every flat body has of its own")
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
        source=f"/mintwire/programs/{shown_id(program_id)}",
        type=draft.event_type,
        program_id=program_id,
        partner_id=draft.partner_id,
        occurred_at=draft.occurred_at or now,
        data=draft.payload,
        # Of what was said, however it was written: a repeat may have its members in another order.
        body_sha256=hashlib.sha256(orjson.dumps([*said, draft.payload], option=orjson.OPT_SORT_KEYS)).digest(),
        ordering_key=draft.ordering_key,
        # Not part of what was said: a repeat comes in a trace of its own, and the first one's counts.
        traceparent=draft.traceparent,
    )
