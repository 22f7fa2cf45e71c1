"""Takes an erased customer out of dead letters and of our own events."""

import json
from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from typing import Any

from shared.database.customer_parts import CHUNK, Chunk, Outside
from shared.database.overflow import keep_letters
from shared.database.pool import Connection
from shared.erasing import CustomerJob
from shared.events.overflow import KeptLetter
from shared.modes import mode_of, shown_id

LIST_LETTERS = """
SELECT digest, properties, foreign_headers, body FROM dead_overflow WHERE digest > $1 ORDER BY digest LIMIT $2
FOR UPDATE
"""
DELETE_LETTER = "DELETE FROM dead_overflow WHERE digest = $1"


async def erase_kept_letters(connection: Connection, job: CustomerJob, position: Sequence[Any]) -> Chunk:
    """Take the customer out of the next dead letters that wait in the database for room in their queue."""
    rows = await connection.fetch(LIST_LETTERS, bytes.fromhex(position[0]) if position else b"", CHUNK)
    count = 0
    for row in rows:
        if (body := erased_letter(job, row["body"])) is not None:
            letter = KeptLetter(row["properties"], row["foreign_headers"], body)
            await connection.execute(DELETE_LETTER, row["digest"])
            await keep_letters(connection, [letter])
            count += 1
    return Chunk([rows[-1]["digest"].hex()] if len(rows) == CHUNK else None, {"dead_letters": count})


def letters_outside(rewrite: Callable[[Callable[[bytes], bytes | None]], Awaitable[int]]) -> Outside:
    """Return the step that takes the customer out of the service's dead queue, whose letters `rewrite` replaces."""

    async def act(job: CustomerJob) -> int:
        return await rewrite(partial(erased_letter, job))

    return Outside(act, "dead_letters")


def erased_letter(job: CustomerJob, body: bytes) -> bytes | None:
    """Return a dead letter of the job's program and mode without the customer; None if it stays as it is.

    It counts as the program's if it names the program anywhere: a dead letter need not be an event. One without a valid
    mode counts in both.
    """
    return job.erasing.free().body(body) if _is_of_program(job, body) else None


def erased_event(job: CustomerJob, body: bytes) -> bytes | None:
    """Return an event of ours without the customer; None if it stays as it is, or is not of the job's program."""
    erasing = job.erasing
    return erasing.body(body) if erasing.may_be_in(body) and _is_of_program(job, body) else None


def _is_of_program(job: CustomerJob, body: bytes) -> bool:
    if shown_id(job.program_id).encode() not in body.lower():
        return False
    return _mode_of(body) in (None, mode_of(job.program_id))


def _mode_of(body: bytes) -> object:
    try:
        event = json.loads(body)
        data = event["data"]
        is_test = data.get("is_test")
        # Our own events state their mode by `is_test`; in a checkout's event that alone does not count.
        default = "test" if is_test is True and not str(event.get("type")).startswith("checkout.") else "live"
        mode = data.get("mode", default)
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return None
    return mode if mode in ("live", "test") and is_test in (None, mode == "test") else None
