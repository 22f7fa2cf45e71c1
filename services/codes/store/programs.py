"""Programs and the partner coupon that each of them has."""

import uuid
from collections.abc import Sequence
from datetime import datetime

import asyncpg

from services.codes.domain.programs import Program, ProgramSettings
from services.codes.store.pages import LAST_ID
from shared.database.pool import Connection

INSERT_PROGRAM = """
INSERT INTO programs (id, name, currency, timezone, link_url, support_email, code_length, code_alphabet,
                      code_lifetime_seconds, webhook_attributes, max_codes_per_order, commission_cap_hundredths,
                      allow_self_referral, created_at, updated_at)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $14)
"""
# 100 % off, once, one use per code; how long a code lives is the program's setting, applied at the mint.
INSERT_PARTNER_COUPON = """
INSERT INTO coupons (id, program_id, uuid_code, name, is_partner_coupon, discount_type, percent_hundredths,
                     duration_type, code_redemption_limit, combination, created_at, updated_at)
VALUES ($1, $2, 'partner-codes', 'Partner codes', true, 'percent', 10000, 'once', 1, 'other_coupons', $3, $3)
"""
FIND_PROGRAM = """
SELECT id, name, currency, timezone, link_url, support_email, code_length, code_alphabet, code_lifetime_seconds,
       webhook_attributes, max_codes_per_order, commission_cap_hundredths, allow_self_referral, created_at, updated_at
FROM programs WHERE id = $1
"""
LOCK_PROGRAM = """
SELECT id, name, currency, timezone, link_url, support_email, code_length, code_alphabet, code_lifetime_seconds,
       webhook_attributes, max_codes_per_order, commission_cap_hundredths, allow_self_referral, created_at, updated_at
FROM programs WHERE id = $1 FOR NO KEY UPDATE
"""
LIST_PROGRAMS = """
SELECT id, name, currency, timezone, link_url, support_email, code_length, code_alphabet, code_lifetime_seconds,
       webhook_attributes, max_codes_per_order, commission_cap_hundredths, allow_self_referral, created_at, updated_at
FROM programs WHERE id < $1 AND NOT is_test(id) ORDER BY id DESC LIMIT $2
"""
KNOWS_TIMEZONE = "SELECT now() AT TIME ZONE $1 IS NOT NULL"
UPDATE_PROGRAM = """
UPDATE programs SET name = $2, currency = $3, timezone = $4, link_url = $5, support_email = $6, code_length = $7,
       code_alphabet = $8, code_lifetime_seconds = $9, webhook_attributes = $10, max_codes_per_order = $11,
       commission_cap_hundredths = $12, allow_self_referral = $13, updated_at = $14
WHERE id = $1
"""


async def knows_timezone(connection: Connection, timezone: str) -> bool:
    """Say whether the database knows a time zone; if not, the transaction is broken."""
    try:
        return bool(await connection.fetchval(KNOWS_TIMEZONE, timezone))
    except asyncpg.InvalidParameterValueError:
        return False


async def insert_program(connection: Connection, program: Program, coupon_id: uuid.UUID) -> None:
    """Write a program and its partner coupon; call inside a transaction."""
    await connection.execute(INSERT_PROGRAM, program.id, *_columns(program.settings), program.created_at)
    await connection.execute(INSERT_PARTNER_COUPON, coupon_id, program.id, program.created_at)


async def find_program(connection: Connection, program_id: uuid.UUID) -> Program | None:
    """Read one program."""
    row = await connection.fetchrow(FIND_PROGRAM, program_id)
    return _program(*row) if row else None


async def lock_program(connection: Connection, program_id: uuid.UUID) -> Program | None:
    """Read one program and keep others from changing it until the transaction ends."""
    row = await connection.fetchrow(LOCK_PROGRAM, program_id)
    return _program(*row) if row else None


async def list_programs(connection: Connection, after: uuid.UUID | None, limit: int) -> list[Program]:
    """Read up to `limit` programs, newest first, older than `after`."""
    return [_program(*row) for row in await connection.fetch(LIST_PROGRAMS, after or LAST_ID, limit)]


async def update_program(
    connection: Connection, program_id: uuid.UUID, settings: ProgramSettings, now: datetime
) -> None:
    """Write all settings; the row must be locked by `lock_program`."""
    await connection.execute(UPDATE_PROGRAM, program_id, *_columns(settings), now)


def _columns(settings: ProgramSettings) -> tuple[object, ...]:
    return (
        settings.name,
        settings.currency,
        settings.timezone,
        settings.link_url,
        settings.support_email,
        settings.code_length,
        settings.code_alphabet,
        settings.code_lifetime_seconds,
        list(settings.webhook_attributes),
        settings.max_codes_per_order,
        settings.commission_cap_hundredths,
        settings.allow_self_referral,
    )


def _program(
    program_id: uuid.UUID,
    name: str,
    currency: str,
    timezone: str,
    link_url: str,
    support_email: str | None,
    code_length: int,
    code_alphabet: str,
    code_lifetime_seconds: int,
    webhook_attributes: Sequence[str],
    max_codes_per_order: int,
    commission_cap_hundredths: int,
    allow_self_referral: bool,
    created_at: datetime,
    updated_at: datetime,
) -> Program:
    settings = ProgramSettings(
        name=name,
        link_url=link_url,
        currency=currency,
        timezone=timezone,
        support_email=support_email,
        code_length=code_length,
        code_alphabet=code_alphabet,
        code_lifetime_seconds=code_lifetime_seconds,
        webhook_attributes=tuple(webhook_attributes),
        max_codes_per_order=max_codes_per_order,
        commission_cap_hundredths=commission_cap_hundredths,
        allow_self_referral=allow_self_referral,
    )
    return Program(program_id, settings, created_at, updated_at)
