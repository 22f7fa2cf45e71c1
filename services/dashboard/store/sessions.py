"""Sessions, and the browsers that have signed in before; both are found by the digest of a cookie."""

import uuid
from datetime import datetime
from typing import Final

from services.dashboard.domain.accounts import SESSION_IDLE, SESSION_LIFE, Session
from shared.database.pool import Connection, affected
from shared.database.rows import Rows, Statement

FIND_SESSION = """
SELECT s.id, s.account_id, s.membership_id, s.created_at, s.seen_at, s.confirmed_at, s.device, s.network
FROM sessions s JOIN accounts a ON a.id = s.account_id
WHERE s.digest = $1 AND s.ended_at IS NULL AND s.seen_at > $2 AND s.created_at > $3 AND a.disabled_at IS NULL
"""
INSERT_SESSION = Statement("""
INSERT INTO sessions (id, digest, account_id, membership_id, created_at, seen_at, confirmed_at, device, network)
VALUES ($id, $digest, $account_id, $membership_id, $created_at, $now, $confirmed_at, $device, $network)
""")
TOUCH_SESSION = """
WITH touched AS (UPDATE sessions SET seen_at = $2 WHERE id = $1 AND seen_at < $2 RETURNING account_id)
UPDATE accounts SET last_seen_at = $2 WHERE id = (SELECT account_id FROM touched)
"""
SEE_ACCOUNT = "UPDATE accounts SET last_seen_at = $2 WHERE id = $1"
LIST_SESSIONS = """
SELECT id, account_id, membership_id, created_at, seen_at, confirmed_at, device, network FROM sessions
WHERE account_id = $1 AND ended_at IS NULL AND seen_at > $2 AND created_at > $3
ORDER BY created_at DESC LIMIT 100
"""
END_SESSION = "UPDATE sessions SET ended_at = $3 WHERE id = $2 AND account_id = $1 AND ended_at IS NULL"
END_SESSIONS = """
UPDATE sessions SET ended_at = $3 WHERE account_id = $1 AND id IS DISTINCT FROM $2 AND ended_at IS NULL
"""
END_SESSIONS_FOR = "UPDATE sessions SET ended_at = $2 WHERE membership_id = $1 AND ended_at IS NULL"
KNOWN_DEVICE = "SELECT EXISTS (SELECT FROM devices WHERE digest = $1 AND account_id = $2)"
REMEMBER_DEVICE = """
INSERT INTO devices (digest, account_id, used_at) VALUES ($1, $2, $3)
ON CONFLICT (digest, account_id) DO UPDATE SET used_at = excluded.used_at
"""
PURGE_SESSIONS = """
DELETE FROM sessions WHERE id IN (SELECT id FROM sessions WHERE created_at < $1 ORDER BY created_at LIMIT $2)
"""
PURGE_DEVICES = """
DELETE FROM devices WHERE (digest, account_id) IN (
    SELECT digest, account_id FROM devices WHERE used_at < $1 ORDER BY used_at LIMIT $2)
"""

_SESSION: Final = Rows(Session)


async def find_session(connection: Connection, digest: bytes, now: datetime) -> Session | None:
    """Return the live session of a cookie; that of a disabled account has ended."""
    row = await connection.fetchrow(FIND_SESSION, digest, now - SESSION_IDLE, now - SESSION_LIFE)
    return None if row is None else _SESSION(row)


async def insert_session(connection: Connection, digest: bytes, session: Session) -> None:
    """Begin a session."""
    names = (name for name in INSERT_SESSION.names if name not in {"digest", "now"})
    values = {name: getattr(session, name) for name in names}
    await connection.execute(*INSERT_SESSION(**values, digest=digest, now=session.seen_at))
    await connection.execute(SEE_ACCOUNT, session.account_id, session.seen_at)


async def touch_session(connection: Connection, session_id: uuid.UUID, now: datetime) -> None:
    """Record that a session is in use."""
    await connection.execute(TOUCH_SESSION, session_id, now)


async def list_sessions(connection: Connection, account_id: uuid.UUID, now: datetime) -> list[Session]:
    """Return the live sessions of an account, the newest first."""
    found = await connection.fetch(LIST_SESSIONS, account_id, now - SESSION_IDLE, now - SESSION_LIFE)
    return [_SESSION(row) for row in found]


async def end_session(connection: Connection, account_id: uuid.UUID, session_id: uuid.UUID, now: datetime) -> bool:
    """End one session of an account; return whether it was live."""
    return affected(await connection.execute(END_SESSION, account_id, session_id, now)) == 1


async def end_sessions(
    connection: Connection, account_id: uuid.UUID, now: datetime, *, but: uuid.UUID | None = None
) -> int:
    """End the sessions of an account, but for one; return how many were live."""
    return affected(await connection.execute(END_SESSIONS, account_id, but, now))


async def end_sessions_for(connection: Connection, membership_id: uuid.UUID, now: datetime) -> None:
    """End the sessions that act by a membership."""
    await connection.execute(END_SESSIONS_FOR, membership_id, now)


async def is_known_device(connection: Connection, digest: bytes, account_id: uuid.UUID) -> bool:
    """Return whether this browser has signed in to the account before."""
    return bool(await connection.fetchval(KNOWN_DEVICE, digest, account_id))


async def remember_device(connection: Connection, digest: bytes, account_id: uuid.UUID, now: datetime) -> None:
    """Record that this browser has signed in to the account."""
    await connection.execute(REMEMBER_DEVICE, digest, account_id, now)


async def purge_sessions(connection: Connection, before: datetime, limit: int) -> int:
    """Remove old sessions."""
    return affected(await connection.execute(PURGE_SESSIONS, before, limit))


async def purge_devices(connection: Connection, before: datetime, limit: int) -> int:
    """Forget browsers that have long not been used."""
    return affected(await connection.execute(PURGE_DEVICES, before, limit))
