"""Programs and the partner coupon that each of them has."""

import uuid
from dataclasses import fields
from datetime import datetime
from typing import Any, Final

import asyncpg

from services.codes.domain.programs import Program, ProgramSettings
from shared.database.pool import Connection
from shared.database.rows import Rows, Statement, Values
from shared.known_ids import LAST_ID

INSERT_PROGRAM = Statement("""
INSERT INTO programs (id, name, currency, timezone, link_url, support_email, code_length, code_alphabet,
                      code_lifetime_seconds, webhook_attributes, max_codes_per_order, commission_cap_hundredths,
                      allow_self_referral, code_packs, is_demo, created_at, updated_at)
VALUES ($id, $name, $currency, $timezone, $link_url, $support_email, $code_length, $code_alphabet,
        $code_lifetime_seconds, $webhook_attributes, $max_codes_per_order, $commission_cap_hundredths,
        $allow_self_referral, $code_packs, $is_demo, $created_at, $created_at)
""")
# 100 % off, once, one use per code; the validity of a code is the program's setting, applied at the mint.
INSERT_PARTNER_COUPON = """
INSERT INTO coupons (id, program_id, uuid_code, name, is_partner_coupon, discount_type, percent_hundredths,
                     duration_type, code_redemption_limit, combination, created_at, updated_at)
VALUES ($1, $2, 'partner-codes', 'Partner codes', true, 'percent', 10000, 'once', 1, 'other_coupons', $3, $3)
"""
FIND_PROGRAM = """
SELECT id, name, currency, timezone, link_url, support_email, code_length, code_alphabet, code_lifetime_seconds,
       webhook_attributes, max_codes_per_order, commission_cap_hundredths, allow_self_referral, code_packs, is_demo,
       created_at, updated_at
FROM programs WHERE id = $1
"""
LOCK_PROGRAM = """
SELECT id, name, currency, timezone, link_url, support_email, code_length, code_alphabet, code_lifetime_seconds,
       webhook_attributes, max_codes_per_order, commission_cap_hundredths, allow_self_referral, code_packs, is_demo,
       created_at, updated_at
FROM programs WHERE id = $1 FOR NO KEY UPDATE
"""
LIST_PROGRAMS = """
SELECT id, name, currency, timezone, link_url, support_email, code_length, code_alphabet, code_lifetime_seconds,
       webhook_attributes, max_codes_per_order, commission_cap_hundredths, allow_self_referral, code_packs, is_demo,
       created_at, updated_at
FROM programs WHERE id < $1 AND NOT is_test(id) ORDER BY id DESC LIMIT $2
"""
KNOWS_TIMEZONE = "SELECT now() AT TIME ZONE $1 IS NOT NULL"
UPDATE_PROGRAM = Statement("""
UPDATE programs SET name = $name, currency = $currency, timezone = $timezone, link_url = $link_url,
       support_email = $support_email, code_length = $code_length, code_alphabet = $code_alphabet,
       code_lifetime_seconds = $code_lifetime_seconds, webhook_attributes = $webhook_attributes,
       max_codes_per_order = $max_codes_per_order, commission_cap_hundredths = $commission_cap_hundredths,
       allow_self_referral = $allow_self_referral, code_packs = $code_packs, is_demo = $is_demo,
       updated_at = $updated_at
WHERE id = $id
""")


async def knows_timezone(connection: Connection, timezone: str) -> bool:
    """Return whether the database knows a time zone; if not, the transaction is aborted."""
    try:
        return bool(await connection.fetchval(KNOWS_TIMEZONE, timezone))
    except asyncpg.InvalidParameterValueError:
        return False


async def insert_program(connection: Connection, program: Program, coupon_id: uuid.UUID) -> None:
    """Write a program and its partner coupon; call inside a transaction."""
    await connection.execute(
        *INSERT_PROGRAM(**_SETTINGS.of(program.settings), id=program.id, created_at=program.created_at)
    )
    await connection.execute(INSERT_PARTNER_COUPON, coupon_id, program.id, program.created_at)


async def find_program(connection: Connection, program_id: uuid.UUID) -> Program | None:
    """Read one program."""
    row = await connection.fetchrow(FIND_PROGRAM, program_id)
    return _program(row) if row else None


async def lock_program(connection: Connection, program_id: uuid.UUID) -> Program | None:
    """Read one program and lock it until the transaction ends."""
    row = await connection.fetchrow(LOCK_PROGRAM, program_id)
    return _program(row) if row else None


async def list_programs(connection: Connection, after: uuid.UUID | None, limit: int) -> list[Program]:
    """Read up to `limit` programs, newest first, older than `after`."""
    return [_program(row) for row in await connection.fetch(LIST_PROGRAMS, after or LAST_ID, limit)]


async def update_program(
    connection: Connection, program_id: uuid.UUID, settings: ProgramSettings, now: datetime
) -> None:
    """Write all settings; the row must be locked by `lock_program`."""
    await connection.execute(*UPDATE_PROGRAM(**_SETTINGS.of(settings), id=program_id, updated_at=now))


def _program(row: Any) -> Program:
    return _PROGRAM(row, settings=_settings(row))


_PROGRAM: Final = Rows(Program, "settings")
_settings: Final = Rows(ProgramSettings, webhook_attributes=tuple, code_packs=tuple)
_SETTINGS: Final = Values([each.name for each in fields(ProgramSettings)], ProgramSettings)
