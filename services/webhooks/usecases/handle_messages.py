"""Lists messages, shows one in full (as a thin body refers to it), and redacts it."""

import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import orjson

from services.webhooks.domain.bodies import (
    FLAT,
    SHORT_WHEN_FLAT,
    is_for_partners,
    plain_format,
    restate_body,
    restate_content,
)
from services.webhooks.domain.endpoints import Owner
from services.webhooks.domain.errors import DeliveryUnderWay, MessageMissing
from services.webhooks.domain.event_types import is_custom
from services.webhooks.domain.messages import FULLEST_FIRST, Message, MessageFilter, MessagePage
from services.webhooks.store import messages
from shared.clock import Clock
from shared.database.pool import Connection, Database


@dataclass(frozen=True, slots=True)
class HandleMessages:
    """Messages, independent of where they were sent."""

    database: Database
    clock: Clock

    async def page(
        self, owner: Owner, chosen: MessageFilter, before: tuple[datetime, uuid.UUID] | None, limit: int
    ) -> MessagePage:
        """Return up to `limit` messages, the newest first; a page may be short without being the last."""
        async with self.database.connection() as connection:
            return await messages.list_page(connection, owner, chosen, before, limit)

    async def one(self, owner: Owner, message_id: uuid.UUID) -> tuple[Message, Mapping[str, Any] | None]:
        """Return the most complete form that the owner may see, and its data while kept. Raises MessageMissing."""
        async with self.database.connection() as connection:
            forms = await visible_forms(connection, owner, message_id)
        form = min(forms, key=_rank)
        return form, _data(form, is_for_partner=owner.partner_id is not None)

    async def redact(self, program_id: uuid.UUID, message_id: uuid.UUID) -> None:
        """Redact the content of a message and cancel its pending deliveries; the records of both remain.

        Raises MessageMissing or DeliveryUnderWay.
        """
        async with self.database.transaction() as connection:
            under_way = await messages.redact(connection, program_id, message_id, self.clock())
            if under_way is None:
                raise MessageMissing
            if under_way:
                raise DeliveryUnderWay


async def visible_forms(connection: Connection, owner: Owner, message_id: uuid.UUID) -> list[Message]:
    """Return the forms of a message that the owner may see. Raises MessageMissing if there are none."""
    forms = await messages.forms(connection, owner, message_id)
    if owner.partner_id is not None:
        forms = [form for form in forms if is_for_partners(form.format)]
    if not forms:
        raise MessageMissing
    return forms


def _rank(form: Message) -> tuple[bool, bool, bool, int]:
    # A program sees its own form rather than the partners', unless its own is a flat body, which says less than the
    # event, or partners get all of it.
    plain = plain_format(form.format)
    is_last = plain == FLAT and (form.event_type == SHORT_WHEN_FLAT or is_custom(form.event_type))
    return form.body is None, is_last, is_for_partners(form.format), FULLEST_FIRST.index(plain)


def _data(form: Message, *, is_for_partner: bool) -> Mapping[str, Any] | None:
    if form.content is not None:
        content: dict[str, Any] = orjson.loads(form.content)
        return restate_content(form.event_type, content) if is_for_partner else content
    if form.body is None:
        return None
    body: Mapping[str, Any] = orjson.loads(form.body)
    if is_for_partner:
        body = restate_body(form.event_type, form.format, body)
    data: Mapping[str, Any] = body if plain_format(form.format) == FLAT else body["data"]
    return data
