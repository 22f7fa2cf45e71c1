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
from shared.faults import TransientFault

# Every piece but the last has this size, so that the piece with a given byte is known.
PIECE_BYTES: Final = 128 * 1024

INSERT_PIECE = "INSERT INTO job_uploads (job_id, nth, body) VALUES ($1, $2, $3)"
READ_PIECES = "SELECT body FROM job_uploads WHERE job_id = $1 AND nth BETWEEN $2 AND $3 ORDER BY nth"
QUEUE_UPLOAD = """
UPDATE jobs SET state = $2, spec = spec || jsonb_build_object('bytes', $3::bigint), started_at = $4
WHERE id = $1 AND state = 'uploading'
RETURNING true
"""
# Nothing if it was queued after all, in a commit of which the answer was lost.
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
# Locked in the order of their ids, as all that change many codes do.
LOCK_EXISTING = """
SELECT id FROM promotion_codes
WHERE program_id = $1 AND canonical = ANY ($2::text[]) AND archived_at IS NULL ORDER BY id FOR NO KEY UPDATE
"""
# What was taken since the look for it is left out, the string or the external id; the caller looks again.
INSERT_IMPORTED = """
INSERT INTO promotion_codes (id, program_id, coupon_id, code, canonical, batch_id, created_by_key_id, created_at,
                             updated_at, partner_id, external_id, is_active, starts_at, expires_at, redemption_limit,
                             is_first_order_only, minimum_minor, minimum_currency, is_limited_to_customer, customer_id,
                             customer_name, is_limited_to_partner, commission_hundredths, metadata, opening_uses,
                             times_redeemed)
SELECT u.id, $1, $2, u.code, u.canonical, $3, $4, $5, $5, u.partner_id, u.external_id, u.is_active, u.starts_at,
       u.expires_at, u.redemption_limit, u.is_first_order_only, u.minimum_minor, u.minimum_currency,
       u.is_limited_to_customer, u.customer_id, u.customer_name, u.is_limited_to_partner, u.commission_hundredths,
       u.metadata::jsonb, u.opening_uses, u.opening_uses
FROM unnest($6::uuid[], $7::text[], $8::text[], $9::uuid[], $10::text[], $11::boolean[], $12::timestamptz[],
            $13::timestamptz[], $14::int[], $15::boolean[], $16::bigint[], $17::text[], $18::boolean[], $19::text[],
            $20::text[], $21::boolean[], $22::int[], $23::text[], $24::int[])
    AS u (id, code, canonical, partner_id, external_id, is_active, starts_at, expires_at, redemption_limit,
          is_first_order_only, minimum_minor, minimum_currency, is_limited_to_customer, customer_id, customer_name,
          is_limited_to_partner, commission_hundredths, metadata, opening_uses)
ON CONFLICT DO NOTHING
RETURNING canonical
"""
UPDATE_IMPORTED = """
UPDATE promotion_codes c
SET updated_at = $1, partner_id = u.partner_id, external_id = u.external_id, is_active = u.is_active,
    reference = CASE WHEN c.partner_id IS NOT DISTINCT FROM u.partner_id THEN c.reference END,
    starts_at = u.starts_at, expires_at = u.expires_at, redemption_limit = u.redemption_limit,
    is_first_order_only = u.is_first_order_only, minimum_minor = u.minimum_minor,
    minimum_currency = u.minimum_currency, is_limited_to_customer = u.is_limited_to_customer,
    customer_id = u.customer_id, customer_name = u.customer_name, is_limited_to_partner = u.is_limited_to_partner,
    commission_hundredths = u.commission_hundredths, metadata = u.metadata::jsonb
FROM unnest($2::uuid[], $3::uuid[], $4::text[], $5::boolean[], $6::timestamptz[], $7::timestamptz[], $8::int[],
            $9::boolean[], $10::bigint[], $11::text[], $12::boolean[], $13::text[], $14::text[], $15::boolean[],
            $16::int[], $17::text[])
    AS u (id, partner_id, external_id, is_active, starts_at, expires_at, redemption_limit, is_first_order_only,
          minimum_minor, minimum_currency, is_limited_to_customer, customer_id, customer_name, is_limited_to_partner,
          commission_hundredths, metadata)
WHERE c.id = u.id
"""

# The members that a line may set, in the order of the statements, with what a new code has without them.
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
    """Read an upload from a byte on: at least a piece's length, if there is so much."""
    nth = offset // PIECE_BYTES
    pieces = await connection.fetch(READ_PIECES, job_id, nth, nth + 1)
    return b"".join([row["body"] for row in pieces])[offset - nth * PIECE_BYTES :]


async def queue_upload(
    connection: Connection, job_id: uuid.UUID, state: str, size: int, started_at: datetime | None
) -> bool:
    """Declare an upload whole, to be worked on by the runner or, in state `running`, by the caller itself."""
    return bool(await connection.fetchval(QUEUE_UPLOAD, job_id, state, size, started_at))


async def discard_upload(connection: Connection, job_id: uuid.UUID) -> None:
    """Remove an upload that did not become a job."""
    await connection.execute(DISCARD_UPLOAD, job_id)


async def record_lines(connection: Connection, job_id: uuid.UUID, codes: Sequence[ImportedCode]) -> Mapping[str, int]:
    """Remember the lines of codes; return the earlier line of those codes that the file has had before."""
    rows = await connection.fetch(RECORD_LINES, job_id, [c.canonical for c in codes], [c.line for c in codes])
    known = {code.canonical for code in codes} - {row["canonical"] for row in rows}
    if not known:
        return {}
    return {row["canonical"]: row["line"] for row in await connection.fetch(FIND_LINES, job_id, list(known))}


async def owners_of_external_ids(
    connection: Connection, program_id: uuid.UUID, external_ids: Collection[str]
) -> Mapping[str, str]:
    """Return which live code, by its canonical string, has each of the external ids that are taken."""
    rows = await connection.fetch(FIND_EXTERNAL_IDS, program_id, list(external_ids))
    return {row["external_id"]: row["canonical"] for row in rows}


async def taken(connection: Connection, program_id: uuid.UUID, canonicals: Collection[str]) -> Collection[str]:
    """Return those of the strings that a live code has."""
    return {row["canonical"] for row in await connection.fetch(FIND_TAKEN, program_id, list(canonicals))}


async def lock_existing(
    connection: Connection, program_id: uuid.UUID, canonicals: Collection[str]
) -> Sequence[uuid.UUID]:
    """Return the ids of the live codes among these, and keep others from changing them."""
    return [row["id"] for row in await connection.fetch(LOCK_EXISTING, program_id, list(canonicals))]


async def insert_imported(
    connection: Connection, job: Job, ids: Sequence[uuid.UUID], codes: Sequence[ImportedCode], now: datetime
) -> Collection[str]:
    """Write new codes and return the canonical strings of those that were free."""
    rows = await connection.fetch(
        INSERT_IMPORTED,
        job.program_id,
        job.coupon_id,
        job.id,
        job.key_id,
        now,
        ids,
        [code.code for code in codes],
        [code.canonical for code in codes],
        *_columns([code.members for code in codes]),
        [code.opening_uses for code in codes],
    )
    return {row["canonical"] for row in rows}


async def update_imported(connection: Connection, codes: Sequence[PromotionCode], now: datetime) -> None:
    """Write all members of codes that are locked; TransientFault if one took an external id at this moment."""
    members = [{name: getattr(code, name) for name in _MEMBERS} for code in codes]
    try:
        await connection.execute(UPDATE_IMPORTED, now, [code.id for code in codes], *_columns(members))
    except asyncpg.UniqueViolationError as error:
        raise TransientFault("an external id was taken meanwhile") from error


def _columns(codes: Sequence[Mapping[str, Any]]) -> list[list[Any]]:
    columns = [[code.get(name, default) for code in codes] for name, default in _MEMBERS.items()]
    columns[-1] = [orjson.dumps(metadata).decode() for metadata in columns[-1]]
    return columns
