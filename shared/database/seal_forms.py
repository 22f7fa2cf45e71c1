"""The forms of sealed texts that a service writes and opens; once closed, a form stays closed.

The service's schema has the table `closed_seal_forms`, which its role can add to and change nothing in. While processes
run that know only the first form, it is still written, so that they can open it; they are recognised by their database
connections, which have no name. Once they are gone, everything is sealed again, and when nothing of the first form is
left, it is closed.
"""

from typing import Final

from shared.database.pool import Connection, Database
from shared.database.sealing import Place, Seal
from shared.log import get_logger

FIND_STATE = """
SELECT EXISTS (SELECT 1 FROM closed_seal_forms WHERE form = 1) AS is_closed,
       EXISTS (SELECT 1 FROM pg_stat_activity
               WHERE usename = current_user AND datname = current_database() AND application_name = '') AS has_others
"""
# A writer of the first form holds the shared lock until its commit; after an exclusive lock everything of that form is
# visible.
LOCK_WRITING = "SELECT pg_advisory_xact_lock_shared($1)"
LOCK_ALONE = "SELECT pg_advisory_xact_lock($1)"
CLOSE_FIRST_FORM = """
INSERT INTO closed_seal_forms (form, closed_at)
SELECT 1, now() WHERE NOT EXISTS (
    SELECT 1 FROM pg_stat_activity
    WHERE usename = current_user AND datname = current_database() AND application_name = '')
ON CONFLICT DO NOTHING
"""
_LOCK: Final = 0x6D77_7365_616C_0001


async def sealed(connection: Connection, seal: Seal, plain: bytes, at: Place) -> bytes:
    """Return a text in a form that every running process can open; call inside the transaction that writes it."""
    if seal.accepts_first_form is False:
        return seal.close(plain, at)
    is_closed, has_others = await _state(connection)
    if has_others and not is_closed:
        await connection.execute(LOCK_WRITING, _LOCK)
        is_closed, has_others = await _state(connection)
    return seal.close(plain, at, is_first_form=has_others and not is_closed)


class SealForms:
    """Tells the seal which forms are open, and closes the first one."""

    def __init__(self, database: Database, seal: Seal) -> None:
        self._database = database
        self._seal = seal

    async def learn(self) -> bool:
        """Find out whether the first form is open; return whether it is no longer written."""
        async with self._database.transaction() as connection:
            is_closed, has_others = await _state(connection)
            if not is_closed and not has_others:
                await connection.execute(LOCK_ALONE, _LOCK)
        # Within a process it is never opened again, whatever happens to the table.
        self._seal.accepts_first_form = self._seal.accepts_first_form is not False and not is_closed
        return is_closed or not has_others

    async def close(self) -> None:
        """Stop opening texts of the first form, in every process."""
        async with self._database.transaction() as connection:
            await connection.execute(LOCK_ALONE, _LOCK)
            await connection.execute(CLOSE_FIRST_FORM)
            is_closed, _ = await _state(connection)
        if is_closed:
            self._seal.accepts_first_form = False
            get_logger().info("seal_form_closed", form=1)


async def _state(connection: Connection) -> tuple[bool, bool]:
    row = await connection.fetchrow(FIND_STATE)
    if row is None:
        raise TypeError("a SELECT without FROM returns one row")
    return row["is_closed"], row["has_others"]
