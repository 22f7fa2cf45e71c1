"""Imports: the uploaded file in pieces, the lines read so far, and the codes that they become."""

import uuid
from collections.abc import Collection, Mapping, Sequence
from datetime import datetime
from typing import Any, Final

import asyncpg
import orjson

from services.codes.domain.imports import ImportedCode
from services.codes.domain.jobs import Job
from services.codes.domain.promotion_codes import PromotionCode
from shared.database.pool import Connection
from shared.database.rows import Statement, Values
from shared.faults import TransientFault

# Every piece but the last has this size, so that a byte's position gives its piece.
PIECE_BYTES: Final = 128 * 1024

INSERT_PIECE = "INSERT INTO job_uploads (job_id, nth, body) VALUES ($1, $2, $3)"
READ_PIECES = "SELECT body FROM job_uploads WHERE job_id = $1 AND nth BETWEEN $2 AND $3 ORDER BY nth"
QUEUE_UPLOAD = """
UPDATE jobs SET state = $2, spec = spec || jsonb_build_object('bytes', $3::bigint), started_at = $4
WHERE id = $1 AND state = 'uploading'
RETURNING true
"""
# Removes nothing if the job was queued after all, in a commit whose answer was lost.
DISCARD_UPLOAD = """
WITH given_up AS (DELETE FROM jobs WHERE id = $1 AND state = 'uploading' RETURNING id)
DELETE FROM job_uploads WHERE job_id IN (SELECT id FROM given_up)
"""
RECORD_LINES = """
INSERT INTO job_lines (job_id, canonical, line)
SELECT $1, * FROM unnest($2::text[], $3::bigint[])
ON CONFLICT DO NOTHING
RETURNING canonical
"""
FIND_LINES = "SELECT canonical, line FROM job_lines WHERE job_id = $1 AND canonical = ANY ($2::text[])"
FIND_EXTERNAL_IDS = """
SELECT external_id, canonical FROM promotion_codes
WHERE program_id = $1 AND external_id = ANY ($2::text[]) AND archived_at IS NULL
"""
FIND_TAKEN = """
SELECT canonical FROM promotion_codes WHERE program_id = $1 AND canonical = ANY ($2::text[]) AND archived_at IS NULL
"""
# Locked in the order of their ids, as in every statement that changes many codes.
LOCK_EXISTING = """
SELECT id FROM promotion_codes
WHERE program_id = $1 AND canonical = ANY ($2::text[]) AND archived_at IS NULL ORDER BY id FOR NO KEY UPDATE
"""
# Skips a code whose string or external id was taken since the lookup; the caller looks again.
INSERT_IMPORTED = Statement("""
INSERT INTO promotion_codes (id, program_id, coupon_id, code, canonical, batch_id, created_by_key_id, created_at,
                             updated_at, partner_id, external_id, is_active, starts_at, expires_at, redemption_limit,
                             is_first_order_only, minimum_minor, minimum_currency, is_limited_to_customer, customer_id,
                             customer_name, is_limited_to_partner, commission_hundredths, metadata, opening_uses,
                             times_redeemed)
SELECT u.id, $program_id, $coupon_id, u.code, u.canonical, $job_id, $key_id, $now, $now, u.partner_id, u.external_id,
       u.is_active, u.starts_at, u.expires_at, u.redemption_limit, u.is_first_order_only, u.minimum_minor,
       u.minimum_currency, u.is_limited_to_customer, u.customer_id, u.customer_name, u.is_limited_to_partner,
       u.commission_hundredths, u.metadata::jsonb, u.opening_uses, u.opening_uses
FROM @u(id uuid, code text, canonical text, partner_id uuid, external_id text, is_active boolean,
        starts_at timestamptz, expires_at timestamptz, redemption_limit int, is_first_order_only boolean,
        minimum_minor bigint, minimum_currency text, is_limited_to_customer boolean, customer_id text,
        customer_name text, is_limited_to_partner boolean, commission_hundredths int, metadata text, opening_uses int)
ON CONFLICT DO NOTHING
RETURNING canonical
""")
UPDATE_IMPORTED = Statement("""
UPDATE promotion_codes c
SET updated_at = $now, partner_id = u.partner_id, external_id = u.external_id, is_active = u.is_active,
    reference = CASE WHEN c.partner_id IS NOT DISTINCT FROM u.partner_id THEN c.reference END,
    starts_at = u.starts_at, expires_at = u.expires_at, redemption_limit = u.redemption_limit,
    is_first_order_only = u.is_first_order_only, minimum_minor = u.minimum_minor,
    minimum_currency = u.minimum_currency, is_limited_to_customer = u.is_limited_to_customer,
    customer_id = u.customer_id, customer_name = u.customer_name, is_limited_to_partner = u.is_limited_to_partner,
    commission_hundredths = u.commission_hundredths, metadata = u.metadata::jsonb
FROM @u(id uuid, partner_id uuid, external_id text, is_active boolean, starts_at timestamptz, expires_at timestamptz,
        redemption_limit int, is_first_order_only boolean, minimum_minor bigint, minimum_currency text,
        is_limited_to_customer boolean, customer_id text, customer_name text, is_limited_to_partner boolean,
        commission_hundredths int, metadata text)
WHERE c.id = u.id
""")

# The members that a line may set, with the defaults of a new code.
_MEMBERS: Final[Mapping[str, Any]] = {
    "partner_id": None,
    "external_id": None,
    "is_active": True,
    "starts_at": None,
    "expires_at": None,
    "redemption_limit": None,
    "is_first_order_only": False,
    "minimum_minor": None,
    "minimum_currency": None,
    "is_limited_to_customer": False,
    "customer_id": None,
    "customer_name": None,
    "is_limited_to_partner": False,
    "commission_hundredths": None,
    "metadata": {},
}


async def insert_piece(connection: Connection, job_id: uuid.UUID, nth: int, body: bytes) -> None:
    """Write one piece of an upload; all but the last have PIECE_BYTES."""
    await connection.execute(INSERT_PIECE, job_id, nth, body)


async def read_from(connection: Connection, job_id: uuid.UUID, offset: int) -> bytes:
    """Read an upload from a byte on: at least a piece's length, if that much is left."""
    nth = offset // PIECE_BYTES
    pieces = await connection.fetch(READ_PIECES, job_id, nth, nth + 1)
    return b"".join([row["body"] for row in pieces])[offset - nth * PIECE_BYTES :]


async def queue_upload(
    connection: Connection, job_id: uuid.UUID, state: str, size: int, started_at: datetime | None
) -> bool:
    """Declare an upload complete, for the runner or, in state `running`, for the caller itself."""
    return bool(await connection.fetchval(QUEUE_UPLOAD, job_id, state, size, started_at))


async def discard_upload(connection: Connection, job_id: uuid.UUID) -> None:
    """Remove an upload that did not become a job."""
    await connection.execute(DISCARD_UPLOAD, job_id)


async def record_lines(connection: Connection, job_id: uuid.UUID, codes: Sequence[ImportedCode]) -> Mapping[str, int]:
    """Record the lines of codes; return the earlier line of those that the file had before."""
    rows = await connection.fetch(RECORD_LINES, job_id, [c.canonical for c in codes], [c.line for c in codes])
    known = {code.canonical for code in codes} - {row["canonical"] for row in rows}
    if not known:
        return {}
    return {row["canonical"]: row["line"] for row in await connection.fetch(FIND_LINES, job_id, list(known))}


async def owners_of_external_ids(
    connection: Connection, program_id: uuid.UUID, external_ids: Collection[str]
) -> Mapping[str, str]:
    """Return the live code, by its canonical string, with each of the external ids that are taken."""
    rows = await connection.fetch(FIND_EXTERNAL_IDS, program_id, list(external_ids))
    return {row["external_id"]: row["canonical"] for row in rows}


async def taken(connection: Connection, program_id: uuid.UUID, canonicals: Collection[str]) -> Collection[str]:
    """Return those of the strings that live codes have."""
    return {row["canonical"] for row in await connection.fetch(FIND_TAKEN, program_id, list(canonicals))}


async def lock_existing(
    connection: Connection, program_id: uuid.UUID, canonicals: Collection[str]
) -> Sequence[uuid.UUID]:
    """Lock the live codes among these and return their ids."""
    return [row["id"] for row in await connection.fetch(LOCK_EXISTING, program_id, list(canonicals))]


async def insert_imported(
    connection: Connection, job: Job, ids: Sequence[uuid.UUID], codes: Sequence[ImportedCode], now: datetime
) -> Collection[str]:
    """Write new codes and return the canonical strings of those that were available."""
    rows = await connection.fetch(
        *INSERT_IMPORTED(
            program_id=job.program_id,
            coupon_id=job.coupon_id,
            job_id=job.id,
            key_id=job.key_id,
            now=now,
            u={
                "id": ids,
                "code": [code.code for code in codes],
                "canonical": [code.canonical for code in codes],
                "opening_uses": [code.opening_uses for code in codes],
                **_columns([code.members for code in codes]),
            },
        )
    )
    return {row["canonical"] for row in rows}


async def update_imported(connection: Connection, codes: Sequence[PromotionCode], now: datetime) -> None:
    """Write all members of locked codes; TransientFault if an external id was taken meanwhile."""
    try:
        await connection.execute(*UPDATE_IMPORTED(now=now, u=_UPDATED.columns(codes)))
    except asyncpg.UniqueViolationError as error:
        raise TransientFault("an external id was taken meanwhile") from error


def _columns(codes: Sequence[Mapping[str, Any]]) -> dict[str, list[Any]]:
    columns = {name: [code.get(name, default) for code in codes] for name, default in _MEMBERS.items()}
    return {**columns, "metadata": [_json(metadata) for metadata in columns["metadata"]]}


def _json(metadata: Mapping[str, Any]) -> str:
    return orjson.dumps(metadata).decode()


_UPDATED: Final = Values(UPDATE_IMPORTED.tables["u"], PromotionCode, metadata=_json)
