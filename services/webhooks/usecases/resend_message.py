"""Sends a message again, to the endpoints that had it or to those named, on the usual schedule.

Pending deliveries stay as they are, so a repeat adds nothing while the first one is pending.
"""

import uuid
from collections.abc import Callable, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from datetime import datetime

from services.webhooks.domain.bodies import PROGRAMS_FLAT, message_format
from services.webhooks.domain.endpoints import Owner
from services.webhooks.domain.errors import (
    ContentGone,
    EndpointMissing,
    FormMissing,
    InvalidField,
    MessageNotResendable,
)
from services.webhooks.domain.event_types import TEST, subscribes
from services.webhooks.domain.messages import Message, Resent
from services.webhooks.domain.schedule import LIFETIME
from services.webhooks.store import messages, replays
from services.webhooks.store.messages import Receiver
from services.webhooks.usecases.delivery_queue import Wake
from services.webhooks.usecases.handle_messages import visible_forms
from shared.database.idempotency import AnswerOnce
from shared.database.pool import Connection
from shared.idempotency import Answer, Once


@dataclass(frozen=True, slots=True)
class ResendMessage:
    """Makes deliveries of a message due again, and creates them for named endpoints that never had it."""

    answer_once: AnswerOnce
    new_id: Callable[[], uuid.UUID]
    wake_courier: Wake

    async def __call__(
        self,
        owner: Owner,
        message_id: uuid.UUID,
        endpoint_ids: Sequence[uuid.UUID] | None,
        once: Once[list[Resent]],
    ) -> Answer:
        """Return one delivery per endpoint; all are sent again or none.

        Raises MessageMissing, MessageNotResendable, EndpointMissing, InvalidField, ContentGone or FormMissing.
        """

        async def work(connection: Connection, now: datetime) -> list[Resent]:
            forms = await visible_forms(connection, owner, message_id)
            if forms[0].event_type == TEST:
                raise MessageNotResendable
            wanted = None if endpoint_ids is None else list(dict.fromkeys(endpoint_ids))
            found = await messages.receivers(connection, owner, message_id, wanted)
            if wanted is not None and len(found) < len(wanted):
                known = {receiver.endpoint_id for receiver in found}
                missing = next(each for each in wanted if each not in known)
                raise EndpointMissing(f"There is no endpoint with id {missing}.")
            for receiver in found:
                _check(forms[0], receiver)
            formats = {receiver.endpoint_id: _format_for(receiver, forms) for receiver in found}
            await _keep_whole(connection, forms, set(formats.values()))
            return [
                await self._send(connection, owner, forms[0], receiver, formats[receiver.endpoint_id], now)
                for receiver in found
            ]

        answer = await self.answer_once(once, work)
        self.wake_courier()
        return answer

    async def _send(
        self, connection: Connection, owner: Owner, form: Message, receiver: Receiver, format_: str, now: datetime
    ) -> Resent:
        if receiver.delivery_id is not None:
            revived = await replays.revive(connection, [receiver.delivery_id], None, now, now + LIFETIME)
            return Resent(receiver.endpoint_id, receiver.delivery_id, bool(revived))
        made = (self.new_id(), form.id, format_, form.event_type)
        new = await replays.insert_missing(connection, receiver.endpoint_id, None, [made], now, now + LIFETIME)
        if new:
            return Resent(receiver.endpoint_id, made[0], is_due=True)
        # Another request has created it since the last look: a new statement sees it.
        [again] = await messages.receivers(connection, owner, form.id, [receiver.endpoint_id])
        return Resent(receiver.endpoint_id, again.delivery_id or made[0], is_due=False)


def _check(form: Message, receiver: Receiver) -> None:
    """Raise InvalidField for an endpoint that would not have got the message when it was created."""
    if receiver.delivery_id is not None:
        return
    if receiver.partner_id not in (None, form.partner_id):
        raise InvalidField("endpoint_ids", "must be endpoints of the program or partner that owns the message")
    if not subscribes(receiver.event_types, form.event_type):
        raise InvalidField("endpoint_ids", f"must be endpoints that subscribe to {form.event_type}")


async def _keep_whole(connection: Connection, forms: Sequence[Message], wanted: AbstractSet[str]) -> None:
    """Make sure that the forms to send exist, and stay until the transaction ends."""
    whole = {each for _, each in await replays.whole(connection, [(forms[0].id, each) for each in sorted(wanted)])}
    if wanted - {form.format for form in forms}:
        raise FormMissing
    if wanted - whole:
        raise ContentGone


def _format_for(receiver: Receiver, forms: Sequence[Message]) -> str:
    wanted = receiver.delivery_format or message_format(receiver.format, receiver.partner_id)
    if wanted != PROGRAMS_FLAT or any(form.format == wanted for form in forms):
        return wanted
    return next((form.format for form in forms if form.is_shared), wanted)
