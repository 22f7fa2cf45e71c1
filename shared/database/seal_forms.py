"""Which forms of sealed texts a service writes and opens; what was closed once stays closed.

The service's schema has the table `closed_seal_forms`, which its role can add to and change nothing in. While processes
run that know only the first form, that is written, so that they can open it; they are told by their database
connections, to which they gave no name. Once they are gone everything is sealed anew, and when nothing is left of the
first form it is closed.
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
# Who writes the first form holds the lock until it has committed; who has had it alone sees everything of that form.
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
        """Learn whether the first form is opened; return whether nothing of it is written any more."""
        async with self._database.transaction() as connection:
            is_closed, has_others = await _state(connection)
            if not is_closed and not has_others:
                await connection.execute(LOCK_ALONE, _LOCK)
        # Within a process it is never opened again, whatever becomes of the table.
        self._seal.accepts_first_form = self._seal.accepts_first_form is not False and not is_closed
        return is_closed or not has_others

    async def close(self) -> None:
        """Open no text of the first form any more, in any process."""
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
