"""Partners. `program_id` as an argument confines a statement to one program; None is the operator, who reaches all."""

import uuid
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from datetime import datetime
from typing import Any

import asyncpg

from services.codes.domain.errors import EmailTaken, PrefixTaken
from services.codes.domain.partners import Partner, PartnerStatus, canonical_email
from services.codes.domain.quota import Quota
from shared.database.pool import Connection

TAKEN_PREFIXES = """
SELECT code_prefix FROM partners
WHERE program_id = $1 AND starts_with(code_prefix, $2) AND archived_at IS NULL
"""
INSERT_PARTNER = """
INSERT INTO partners (id, program_id, name, email, email_canonical, status, code_prefix, support_email,
                      created_at, updated_at)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $9)
ON CONFLICT (program_id, code_prefix) WHERE archived_at IS NULL DO NOTHING
RETURNING id
"""
FIND_PARTNER = """
SELECT id, program_id, name, email, status, code_prefix, support_email, quota_granted, quota_adjusted, quota_minted,
       quota_refunded, created_at, updated_at
FROM partners WHERE id = $1 AND ($2::uuid IS NULL OR program_id = $2) AND archived_at IS NULL
"""
LOCK_PARTNER = """
SELECT id, program_id, name, email, status, code_prefix, support_email, quota_granted, quota_adjusted, quota_minted,
       quota_refunded, created_at, updated_at
FROM partners WHERE id = $1 AND ($2::uuid IS NULL OR program_id = $2) AND archived_at IS NULL
FOR NO KEY UPDATE
"""
LIST_PARTNERS = """
SELECT id, program_id, name, email, status, code_prefix, support_email, quota_granted, quota_adjusted, quota_minted,
       quota_refunded, created_at, updated_at
FROM partners
WHERE program_id = $1 AND archived_at IS NULL AND ($2::uuid IS NULL OR id < $2)
  AND ($3::text IS NULL OR status = $3) AND ($4::text IS NULL OR email_canonical = $4)
ORDER BY id DESC LIMIT $5
"""
UPDATE_PARTNER = """
UPDATE partners SET name = $2, email = $3, email_canonical = $4, code_prefix = $5, support_email = $6, updated_at = $7
WHERE id = $1
"""
SET_STATUS = """
UPDATE partners SET status = $3, updated_at = CASE WHEN status = $3 THEN updated_at ELSE $4 END
WHERE id = $1 AND ($2::uuid IS NULL OR program_id = $2) AND archived_at IS NULL
RETURNING id, program_id, name, email, status, code_prefix, support_email, quota_granted, quota_adjusted,
          quota_minted, quota_refunded, created_at, updated_at
"""


async def taken_prefixes(connection: Connection, program_id: uuid.UUID, stem: str) -> Collection[str]:
    """Return the prefixes of a program that start with the given text."""
    return {row["code_prefix"] for row in await connection.fetch(TAKEN_PREFIXES, program_id, stem)}


async def insert_partner(connection: Connection, partner: Partner) -> bool:
    """Write a partner; False if its prefix is taken. Raises EmailTaken."""
    email = canonical_email(partner.email) if partner.email else None
    with _translated():
        found = await connection.fetchval(
            INSERT_PARTNER,
            partner.id,
            partner.program_id,
            partner.name,
            partner.email,
            email,
            partner.status,
            partner.prefix,
            partner.support_email,
            partner.created_at,
        )
    return found is not None


async def find_partner(connection: Connection, partner_id: uuid.UUID, program_id: uuid.UUID | None) -> Partner | None:
    """Read one partner."""
    row = await connection.fetchrow(FIND_PARTNER, partner_id, program_id)
    return _partner(row) if row else None


async def lock_partner(connection: Connection, partner_id: uuid.UUID, program_id: uuid.UUID | None) -> Partner | None:
    """Read one partner and keep others from changing it until the transaction ends."""
    row = await connection.fetchrow(LOCK_PARTNER, partner_id, program_id)
    return _partner(row) if row else None


async def list_partners(
    connection: Connection,
    program_id: uuid.UUID,
    after: uuid.UUID | None,
    status: PartnerStatus | None,
    email: str | None,
    limit: int,
) -> list[Partner]:
    """Read up to `limit` partners, newest first, older than `after`; `email` in any spelling."""
    canonical = canonical_email(email) if email is not None else None
    return [_partner(row) for row in await connection.fetch(LIST_PARTNERS, program_id, after, status, canonical, limit)]


async def update_partner(connection: Connection, partner: Partner) -> None:
    """Write what a partner's owner may change; the row must be locked. Raises EmailTaken or PrefixTaken."""
    email = canonical_email(partner.email) if partner.email else None
    with _translated():
        await connection.execute(
            UPDATE_PARTNER,
            partner.id,
            partner.name,
            partner.email,
            email,
            partner.prefix,
            partner.support_email,
            partner.updated_at,
        )


async def set_status(
    connection: Connection, partner_id: uuid.UUID, program_id: uuid.UUID | None, status: PartnerStatus, now: datetime
) -> Partner | None:
    """Change the status; doing so twice changes nothing."""
    row = await connection.fetchrow(SET_STATUS, partner_id, program_id, status, now)
    return _partner(row) if row else None


@contextmanager
def _translated() -> Iterator[None]:
    try:
        yield
    except asyncpg.UniqueViolationError as error:
        if error.constraint_name == "partners_email_live":
            raise EmailTaken from error
        if error.constraint_name == "partners_prefix_live":
            raise PrefixTaken from error
        raise


def _partner(row: Any) -> Partner:
    return Partner(
        id=row["id"],
        program_id=row["program_id"],
        name=row["name"],
        email=row["email"],
        status=row["status"],
        prefix=row["code_prefix"],
        support_email=row["support_email"],
        quota=Quota(row["quota_granted"], row["quota_adjusted"], row["quota_minted"], row["quota_refunded"]),
        created_at=row["created_at"],
        updated_at=row["updated_at"],
    )
