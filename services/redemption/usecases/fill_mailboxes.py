"""Completes redemptions that a process of the previous release writes during an upgrade, with one key of the customer.

The mailbox of an id is then only in the redemption's event, so this is done long before that is removed.
"""

import json
from dataclasses import dataclass
from typing import Final

from services.redemption.store.customers import read_events
from services.redemption.store.mailboxes import fill, lock_unfilled
from shared.database.pool import Connection, Database
from shared.database.purging import BREATH_SECONDS, in_batches
from shared.derived_ids import derived_id
from shared.erasing import ERASED, ID_KEY, MAILBOX_KEY
from shared.events.redemption import CodeRedeemedV1
from shared.mailboxes import mailbox

INTERVAL_SECONDS: Final = 60.0
AT_ONCE: Final = 200


@dataclass(frozen=True, slots=True)
class FillMailboxes:
    """Fills all of them, a chunk per transaction, repeatedly, since old processes may still run."""

    database: Database

    async def __call__(self) -> int:
        """Return their number."""

        async def chunk() -> int:
            async with self.database.transaction() as connection:
                return await fill_mailboxes(connection, AT_ONCE)

        return await in_batches(chunk, AT_ONCE, BREATH_SECONDS)


async def fill_mailboxes(connection: Connection, limit: int) -> int:
    """Fill up to `limit` redemptions, inside a transaction, and return how many."""
    unfilled = await lock_unfilled(connection, limit)
    if not unfilled:
        return 0
    events = {each.id: derived_id(each.id, CodeRedeemedV1.type) for each in unfilled}
    bodies = dict(await read_events(connection, list(events.values())))
    keys = []
    for each in unfilled:
        key = each.customer_key
        mailbox_key = None
        if key is not None and key.startswith(MAILBOX_KEY):
            key = f"{MAILBOX_KEY}{mailbox(key.removeprefix(MAILBOX_KEY))}"
        elif key is not None and (body := bodies.get(events[each.id])) is not None:
            mailbox_key = _mailbox_key(key, body)
        keys.append((each.id, key, mailbox_key))
    await fill(connection, keys)
    return len(keys)


def _mailbox_key(key: str, body: bytes) -> str | None:
    """Return the mailbox of an id, or its placeholder if the customer was erased."""
    email = (json.loads(body)["data"].get("customer") or {}).get("email")
    if not isinstance(email, str) or not email.strip():
        return None
    if key.startswith(ID_KEY) and not email.startswith(f"{ERASED}:"):
        return f"{MAILBOX_KEY}{mailbox(email)}"
    return email if email.startswith(f"{ERASED}:") else None
