"""Partners. `program_id` as an argument confines a statement to one program; None is the operator, who reaches all."""

import uuid
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime
from typing import Any, Final

import asyncpg
import orjson

from services.codes.domain.errors import EmailTaken, PrefixTaken
from services.codes.domain.pages import Page
from services.codes.domain.partners import Partner, PartnerStatus
from services.codes.domain.quota import Quota
from services.codes.store.pages import SCANNED_PER_PAGE, page_of_ids
from shared.bounded_counts import MOST_COUNTED, MOST_SCANNED, BoundedCount
from shared.database.bounded_counts import count_of_rows
from shared.database.pool import Connection
from shared.database.rows import Rows, Statement, Values
from shared.known_ids import LAST_ID
from shared.mailboxes import canonical_email

# Prefixes are compared as codes are: O reads as 0, I and L as 1.
TAKEN_PREFIXES = """
SELECT translate(code_prefix, 'OIL', '011') AS canonical FROM partners
WHERE program_id = $1 AND translate(code_prefix, 'OIL', '011') = ANY ($2::text[]) AND archived_at IS NULL
"""
IS_PREFIX_TAKEN = """
SELECT EXISTS (
    SELECT 1 FROM partners
    WHERE program_id = $1 AND translate(code_prefix, 'OIL', '011') = translate($2, 'OIL', '011')
        AND archived_at IS NULL AND id <> $3)
"""
INSERT_PARTNER = Statement("""
INSERT INTO partners (id, program_id, name, email, email_canonical, status, code_prefix, support_email,
                      created_at, updated_at, status_changed_at, first_name, last_name, metadata, quota_low_threshold)
VALUES ($id, $program_id, $name, $email, $email_canonical, $status, $prefix, $support_email, $created_at,
        $created_at, $created_at, $first_name, $last_name, $metadata, $quota_low_threshold)
ON CONFLICT DO NOTHING
RETURNING id
""")
IS_EMAIL_TAKEN = """
SELECT EXISTS (SELECT 1 FROM partners WHERE program_id = $1 AND email_canonical = $2 AND archived_at IS NULL)
"""
FIND_PARTNER = """
SELECT id, program_id, name, first_name, last_name, email, status, code_prefix AS prefix, support_email, metadata,
       quota_granted, quota_adjusted, quota_minted, quota_refunded, quota_low_threshold, created_at, updated_at,
       archived_at
FROM partners WHERE id = $1 AND ($2::uuid IS NULL OR program_id = $2) AND archived_at IS NULL
"""
LOCK_PARTNER = """
SELECT id, program_id, name, first_name, last_name, email, status, code_prefix AS prefix, support_email, metadata,
       quota_granted, quota_adjusted, quota_minted, quota_refunded, quota_low_threshold, created_at, updated_at,
       archived_at
FROM partners WHERE id = $1 AND ($2::uuid IS NULL OR program_id = $2) AND archived_at IS NULL
FOR NO KEY UPDATE
"""
# By the address, which only one partner has, or along the program's. Why by bounds: see `store.code_lists`. The id
# in the lower bound keeps the planner from reading and sorting all partners by another index.
LIST_PARTNERS = Statement("""
WITH scanned AS MATERIALIZED (
    (SELECT id, status FROM partners
     WHERE $email::text IS NOT NULL AND program_id = $program AND email_canonical = $email AND archived_at IS NULL
       AND id < $before
     LIMIT (SELECT $scanned::bigint))
    UNION ALL
    (SELECT id, status FROM partners
     WHERE $email::text IS NULL AND (program_id, id) < ($program, $before) AND program_id >= $program
       AND (program_id, id) > ($program, '00000000-0000-0000-0000-000000000000') AND archived_at IS NULL
     ORDER BY program_id DESC, id DESC LIMIT (SELECT $scanned::bigint))
), chosen AS (
    SELECT id FROM scanned WHERE $status::text IS NULL OR status = $status ORDER BY id DESC LIMIT $limit
)
SELECT id, false AS is_mark FROM chosen
UNION ALL
SELECT (array_agg(id ORDER BY id))[1], true FROM scanned HAVING count(*) = $scanned
""")
UPDATE_PARTNER = Statement("""
UPDATE partners SET name = $name, email = $email, email_canonical = $email_canonical, code_prefix = $prefix,
       support_email = $support_email, updated_at = $updated_at, first_name = $first_name, last_name = $last_name,
       metadata = $metadata, quota_low_threshold = $quota_low_threshold, status = $status, archived_at = $archived_at,
       has_shared_prefix = has_shared_prefix AND code_prefix = $prefix,
       status_changed_at = CASE WHEN status = $status THEN status_changed_at ELSE $updated_at END
WHERE id = $id
""")
READ_PARTNERS = """
SELECT id, program_id, name, first_name, last_name, email, status, code_prefix AS prefix, support_email, metadata,
       quota_granted, quota_adjusted, quota_minted, quota_refunded, quota_low_threshold, created_at, updated_at,
       archived_at
FROM partners WHERE program_id = $1 AND id = ANY ($2::uuid[])
"""
FIND_BY_EMAIL = "SELECT id FROM partners WHERE program_id = $1 AND email_canonical = $2 AND archived_at IS NULL"
REVOKE_KEYS = """
UPDATE api_keys SET revoked_at = $3
WHERE (program_id = $1 AND partner_id = $2 OR program_id = test_id($1) AND partner_id = test_id($2))
    AND revoked_at IS NULL AND kind <> 'account'
"""


async def taken_prefixes(connection: Connection, program_id: uuid.UUID, canonicals: Collection[str]) -> Collection[str]:
    """Return which of these canonical forms belong to a program's prefixes."""
    return {row["canonical"] for row in await connection.fetch(TAKEN_PREFIXES, program_id, list(canonicals))}


async def is_prefix_taken(connection: Connection, partner: Partner) -> bool:
    """Return whether another live partner of the program has a prefix that reads the same."""
    taken: bool = await connection.fetchval(IS_PREFIX_TAKEN, partner.program_id, partner.prefix, partner.id)
    return taken


async def insert_partner(connection: Connection, partner: Partner) -> bool:
    """Write a partner; False if its prefix is taken. Raises EmailTaken."""
    email = canonical_email(partner.email) if partner.email else None
    # Either index on prefixes may detect a concurrent insert.
    found = await connection.fetchval(*INSERT_PARTNER(**_INSERTED.of(partner), email_canonical=email))
    if found is None and email and await connection.fetchval(IS_EMAIL_TAKEN, partner.program_id, email):
        raise EmailTaken
    return found is not None


async def find_partner(connection: Connection, partner_id: uuid.UUID, program_id: uuid.UUID | None) -> Partner | None:
    """Read one partner."""
    row = await connection.fetchrow(FIND_PARTNER, partner_id, program_id)
    return _partner(row) if row else None


async def lock_partner(connection: Connection, partner_id: uuid.UUID, program_id: uuid.UUID | None) -> Partner | None:
    """Read one partner and lock it until the transaction ends."""
    row = await connection.fetchrow(LOCK_PARTNER, partner_id, program_id)
    return _partner(row) if row else None


async def list_partners(
    connection: Connection,
    program_id: uuid.UUID,
    after: uuid.UUID | None,
    status: PartnerStatus | None,
    email: str | None,
    limit: int,
) -> Page[Partner]:
    """Read up to `limit` partners, newest first, older than `after`; `email` in any spelling."""
    wanted = {"program": program_id, "before": after or LAST_ID, "status": status, "limit": limit + 1}
    page = page_of_ids(await _listed(connection, wanted, email, SCANNED_PER_PAGE), limit)
    found = await read_partners(connection, program_id, page.items)
    return Page([found[partner_id] for partner_id in page.items], page.next_after)


async def count_partners(
    connection: Connection, program_id: uuid.UUID, status: PartnerStatus | None, email: str | None
) -> BoundedCount:
    """Count the partners of a list."""
    wanted = {"program": program_id, "before": LAST_ID, "status": status, "limit": MOST_COUNTED + 1}
    return count_of_rows(await _listed(connection, wanted, email, MOST_SCANNED))


async def _listed(connection: Connection, wanted: Mapping[str, Any], email: str | None, scanned: int) -> list[Any]:
    limit = wanted["limit"]
    bound = limit if wanted["status"] is None else max(scanned, limit)
    canonical = canonical_email(email) if email is not None else None
    return await connection.fetch(*LIST_PARTNERS(**wanted, email=canonical, scanned=bound))


async def update_partner(connection: Connection, partner: Partner) -> None:
    """Write all but the quota's counters; the row must be locked. Raises EmailTaken or PrefixTaken."""
    email = canonical_email(partner.email) if partner.email else None
    with _translated():
        await connection.execute(*UPDATE_PARTNER(**_UPDATED.of(partner), email_canonical=email))


async def read_partners(
    connection: Connection, program_id: uuid.UUID, ids: Sequence[uuid.UUID]
) -> dict[uuid.UUID, Partner]:
    """Read the partners of these ids, including archived ones."""
    rows = await connection.fetch(READ_PARTNERS, program_id, ids) if ids else []
    return {row["id"]: _partner(row) for row in rows}


async def find_by_email(connection: Connection, program_id: uuid.UUID, email: str) -> uuid.UUID | None:
    """Find the partner with an address, in any spelling."""
    found: uuid.UUID | None = await connection.fetchval(FIND_BY_EMAIL, program_id, canonical_email(email))
    return found


async def revoke_keys(connection: Connection, partner: Partner, now: datetime) -> None:
    """Revoke all keys of a partner, including test keys."""
    await connection.execute(REVOKE_KEYS, partner.program_id, partner.id, now)


@contextmanager
def _translated() -> Iterator[None]:
    try:
        yield
    except asyncpg.UniqueViolationError as error:
        if error.constraint_name == "partners_email_live":
            raise EmailTaken from error
        if error.constraint_name in ("partners_prefix_live", "partners_prefix_canonical_live"):
            raise PrefixTaken from error
        raise


def _json(value: Any) -> str:
    return orjson.dumps(value).decode()


def _partner(row: Any) -> Partner:
    quota = Quota(
        granted=row["quota_granted"],
        adjusted=row["quota_adjusted"],
        minted=row["quota_minted"],
        refunded=row["quota_refunded"],
    )
    return _PARTNER(row, quota=quota)


_PARTNER: Final = Rows(Partner, "quota", metadata=orjson.loads)
_INSERTED: Final = Values(INSERT_PARTNER.names, Partner, "email_canonical", metadata=_json)
_UPDATED: Final = Values(UPDATE_PARTNER.names, Partner, "email_canonical", metadata=_json)
