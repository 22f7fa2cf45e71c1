"""Redemption's part of a customer's export: rows unchanged, and the events about them, a line each."""

import json
import uuid
from collections import Counter
from collections.abc import Sequence
from typing import Any

from services.redemption.store import customers
from services.redemption.usecases.erase_customer import event_ids
from shared.database.customer_parts import CHUNK, Chunk, export_answers, line_of
from shared.database.pool import Connection
from shared.erasing import CustomerJob
from shared.known_ids import FIRST_ID

SERVICE = "redemption"
# A customer has few of them, and they end.
_MOST_HOLDS = 1_000


async def export_redemptions(connection: Connection, job: CustomerJob, position: Sequence[Any]) -> Chunk:
    """Export the next redemptions, their orders, and their events."""
    after = uuid.UUID(position[0]) if position else FIRST_ID
    found = await customers.find_redemptions(connection, job.program_id, job.keys, after, CHUNK)
    ids = [id_ for id_, _ in found]
    order_refs = sorted({order_ref for _, order_ref in found})
    whole = {n.id: n.customer_key in job.keys for n in await customers.read_names(connection, ids)}
    events = {event_id: whole[id_] for id_ in ids for event_id in event_ids(id_)}
    if events:
        await customers.add_events(connection, job.id, events)
    shown = [
        *await customers.show_redemptions(connection, ids),
        *await customers.show_orders(connection, job.program_id, order_refs),
        *(("event", _text(body)) for _, body in await customers.read_events(connection, list(events))),
    ]
    lines = [line_of(SERVICE, kind, json.loads(text)) for kind, text in shown]
    counts = Counter(f"{kind}s" for kind, _ in shown)
    return Chunk([str(ids[-1])] if len(ids) == CHUNK else None, counts, lines)


async def export_holds(connection: Connection, job: CustomerJob, _: Sequence[Any]) -> Chunk:
    """Export the customer's holds."""
    shown = await customers.show_holds(connection, job.program_id, job.keys, _MOST_HOLDS)
    lines = [line_of(SERVICE, kind, json.loads(text)) for kind, text in shown]
    return Chunk(None, {"holds": len(lines)}, lines)


EXPORT = (export_redemptions, export_holds, export_answers(SERVICE))


def _text(body: bytes) -> str:
    return body.decode()
