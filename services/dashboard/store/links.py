"""Invitations, resets and new addresses: links that work once, found by the digest of their secret."""

import uuid
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final, Literal

from services.dashboard.domain.accounts import Owner, email_key
from services.dashboard.store.accounts import owner_of
from shared.accounts import Grade
from shared.database.pool import Connection, affected
from shared.database.rows import Statement

Kind = Literal["invitation", "reset", "address"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Link:
    """What a link gives: an invitation a membership, a reset a new password, an address a new e-mail."""

    id: uuid.UUID
    kind: Kind
    account_id: uuid.UUID | None
    email: str
    grade: Grade | None
    owner: Owner | None
    made_by: str
    created_at: datetime
    expires_at: datetime


INSERT_LINK = Statement("""
INSERT INTO links (id, kind, digest, account_id, email, email_key, role, grade, program_id, partner_id, program_name,
    partner_name, zone, contact, made_by, created_at, expires_at)
VALUES ($id, $kind, $digest, $account_id, $email, $email_key, $role, $grade, $program_id, $partner_id, $program_name,
    $partner_name, $zone, $contact, $made_by, $created_at, $expires_at)
""")
END_INVITATIONS = """
UPDATE links SET ended_at = $5 WHERE kind = 'invitation' AND email_key = $4 AND ended_at IS NULL
    AND role = $1 AND program_id IS NOT DISTINCT FROM $2 AND partner_id IS NOT DISTINCT FROM $3
"""
END_LINKS_OF = "UPDATE links SET ended_at = $3 WHERE kind = $1 AND account_id = $2 AND ended_at IS NULL"
END_LINK = "UPDATE links SET ended_at = $2 WHERE id = $1 AND ended_at IS NULL"
FIND_LINK = """
SELECT id, kind, account_id, email, role, grade, program_id, partner_id, program_name, partner_name, zone, contact,
    made_by, created_at, expires_at
FROM links WHERE digest = $1 AND kind = $2 AND ended_at IS NULL AND expires_at > $3
"""
TAKE_LINK = """
UPDATE links SET ended_at = $3 WHERE digest = $1 AND kind = $2 AND ended_at IS NULL AND expires_at > $3
RETURNING id, kind, account_id, email, role, grade, program_id, partner_id, program_name, partner_name, zone, contact,
    made_by, created_at, expires_at
"""
LIST_INVITATIONS = """
SELECT id, kind, account_id, email, role, grade, program_id, partner_id, program_name, partner_name, zone, contact,
    made_by, created_at, expires_at
FROM links
WHERE kind = 'invitation' AND role = $1 AND program_id IS NOT DISTINCT FROM $2
    AND partner_id IS NOT DISTINCT FROM $3 AND ended_at IS NULL AND expires_at > $4
ORDER BY created_at DESC LIMIT 100
"""
PURGE_LINKS = """
DELETE FROM links WHERE id IN (SELECT id FROM links WHERE expires_at < $1 ORDER BY expires_at LIMIT $2)
"""
_NOBODY: Final = Owner("operator")


async def insert_link(connection: Connection, digest: bytes, link: Link) -> None:
    """Store a link by the digest of its secret."""
    owner = link.owner
    labels = {name: getattr(owner or _NOBODY, name) for name in Owner.__dataclass_fields__}
    values = {
        **labels,
        "id": link.id,
        "kind": link.kind,
        "digest": digest,
        "account_id": link.account_id,
        "email": link.email,
        "email_key": email_key(link.email),
        "role": owner.role if owner else None,
        "grade": link.grade,
        "made_by": link.made_by,
        "created_at": link.created_at,
        "expires_at": link.expires_at,
    }
    await connection.execute(*INSERT_LINK(**values))


async def end_invitations(connection: Connection, owner: Owner, email: str, now: datetime) -> None:
    """End the open invitations of an address to an owner's team."""
    await connection.execute(END_INVITATIONS, *owner.key, email_key(email), now)


async def end_links_of(connection: Connection, kind: Kind, account_id: uuid.UUID, now: datetime) -> None:
    """End an account's open links of a kind."""
    await connection.execute(END_LINKS_OF, kind, account_id, now)


async def end_link(connection: Connection, link_id: uuid.UUID, now: datetime) -> bool:
    """End a link; return whether it was open."""
    return affected(await connection.execute(END_LINK, link_id, now)) == 1


async def find_link(connection: Connection, digest: bytes, kind: Kind, now: datetime) -> Link | None:
    """Return an open link."""
    row = await connection.fetchrow(FIND_LINK, digest, kind, now)
    return None if row is None else _link(row)


async def take_link(connection: Connection, digest: bytes, kind: Kind, now: datetime) -> Link | None:
    """Use up an open link and return it: of two that try, one gets it."""
    row = await connection.fetchrow(TAKE_LINK, digest, kind, now)
    return None if row is None else _link(row)


async def list_invitations(connection: Connection, owner: Owner, now: datetime) -> list[Link]:
    """Return up to 100 open invitations to an owner's team, the newest first."""
    return [_link(row) for row in await connection.fetch(LIST_INVITATIONS, *owner.key, now)]


async def purge_links(connection: Connection, before: datetime, limit: int) -> int:
    """Remove old links."""
    return affected(await connection.execute(PURGE_LINKS, before, limit))


def _link(row: Any) -> Link:
    return Link(
        id=row["id"],
        kind=row["kind"],
        account_id=row["account_id"],
        email=row["email"],
        grade=row["grade"],
        owner=owner_of(row) if row["role"] else None,
        made_by=row["made_by"],
        created_at=row["created_at"],
        expires_at=row["expires_at"],
    )
