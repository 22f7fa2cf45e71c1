"""Accounts and their memberships."""

import uuid
from collections.abc import Sequence
from datetime import datetime
from typing import Any, Final

from services.dashboard.domain.accounts import Account, Membership, Owner, email_key
from shared.accounts import Grade
from shared.database.pool import Connection, affected
from shared.database.rows import Rows, Statement

FIND_ACCOUNT = """
SELECT id, email, name, password_hash, zone, rows_per_page, created_at, last_seen_at, disabled_at
FROM accounts WHERE email_key = $1
"""
READ_ACCOUNT = """
SELECT id, email, name, password_hash, zone, rows_per_page, created_at, last_seen_at, disabled_at
FROM accounts WHERE id = $1
"""
READ_ACCOUNTS = """
SELECT id, email, name, password_hash, zone, rows_per_page, created_at, last_seen_at, disabled_at
FROM accounts WHERE id = ANY ($1::uuid[])
"""
INSERT_ACCOUNT = Statement("""
INSERT INTO accounts (id, email, email_key, name, password_hash, created_at)
VALUES ($id, $email, $email_key, $name, $password_hash, $now)
ON CONFLICT (email_key) DO NOTHING
""")
SET_NEW_HASH = "UPDATE accounts SET password_hash = $2 WHERE id = $1"
SET_HASH = "UPDATE accounts SET password_hash = $3 WHERE id = $1 AND password_hash = $2"
SET_PREFERENCES = "UPDATE accounts SET name = $2, zone = $3, rows_per_page = $4 WHERE id = $1"
SET_EMAIL = """
UPDATE accounts SET email = $2, email_key = $3
WHERE id = $1 AND NOT EXISTS (SELECT FROM accounts WHERE email_key = $3 AND id <> $1)
"""
SET_DISABLED = (
    "UPDATE accounts SET disabled_at = $2 WHERE id = $1 AND (disabled_at IS NULL) = ($2::timestamptz IS NOT NULL)"
)
LIST_ACCOUNTS = """
SELECT id, email, name, password_hash, zone, rows_per_page, created_at, last_seen_at, disabled_at
FROM accounts WHERE (created_at, id) < ($1, $2) ORDER BY created_at DESC, id DESC LIMIT $3
"""
MEMBERSHIPS_OF = """
SELECT id, account_id, role, grade, program_id, partner_id, program_name, partner_name, zone, contact,
    created_at
FROM memberships WHERE account_id = ANY ($1::uuid[]) ORDER BY created_at, id
"""
MEMBERS_OF = """
SELECT id, account_id, role, grade, program_id, partner_id, program_name, partner_name, zone, contact,
    created_at
FROM memberships WHERE role = $1 AND program_id IS NOT DISTINCT FROM $2 AND partner_id IS NOT DISTINCT FROM $3
ORDER BY id LIMIT 500
"""
LOCK_MEMBERS = """
SELECT m.id, m.grade, m.account_id FROM memberships m JOIN accounts a ON a.id = m.account_id
WHERE m.role = $1 AND m.program_id IS NOT DISTINCT FROM $2 AND m.partner_id IS NOT DISTINCT FROM $3
  AND a.disabled_at IS NULL
ORDER BY m.id FOR UPDATE OF m
"""
INSERT_MEMBERSHIP = Statement("""
INSERT INTO memberships (id, account_id, role, grade, program_id, partner_id, program_name, partner_name, zone,
    contact, created_at)
VALUES ($id, $account_id, $role, $grade, $program_id, $partner_id, $program_name, $partner_name, $zone, $contact,
    $now)
ON CONFLICT (account_id, role, program_id, partner_id) DO UPDATE SET grade = excluded.grade
""")
SET_GRADE = "UPDATE memberships SET grade = $2 WHERE id = $1"
DELETE_MEMBERSHIP = "DELETE FROM memberships WHERE id = $1"

_ACCOUNT: Final = Rows(Account)


async def find_account(connection: Connection, email: str) -> Account | None:
    """Return the account with this address."""
    row = await connection.fetchrow(FIND_ACCOUNT, email_key(email))
    return None if row is None else _ACCOUNT(row)


async def read_account(connection: Connection, account_id: uuid.UUID) -> Account | None:
    """Return an account."""
    row = await connection.fetchrow(READ_ACCOUNT, account_id)
    return None if row is None else _ACCOUNT(row)


async def read_accounts(connection: Connection, account_ids: Sequence[uuid.UUID]) -> dict[uuid.UUID, Account]:
    """Return accounts by their ids."""
    return {row["id"]: _ACCOUNT(row) for row in await connection.fetch(READ_ACCOUNTS, account_ids)}


async def insert_account(
    connection: Connection, account_id: uuid.UUID, email: str, name: str, password_hash: str | None, now: datetime
) -> bool:
    """Create an account; return False if the address has one."""
    values = {"id": account_id, "email": email.strip(), "email_key": email_key(email), "name": name}
    done = await connection.execute(*INSERT_ACCOUNT(**values, password_hash=password_hash, now=now))
    return affected(done) == 1


async def set_password(connection: Connection, account_id: uuid.UUID, password_hash: str) -> None:
    """Replace the password."""
    await connection.execute(SET_NEW_HASH, account_id, password_hash)


async def set_hash(connection: Connection, account_id: uuid.UUID, old: str, new: str) -> None:
    """Replace the hash of the same password, unless the password has changed meanwhile."""
    await connection.execute(SET_HASH, account_id, old, new)


async def set_preferences(
    connection: Connection, account_id: uuid.UUID, name: str, zone: str | None, rows_per_page: int
) -> None:
    """Store what a person chooses for itself."""
    await connection.execute(SET_PREFERENCES, account_id, name, zone, rows_per_page)


async def set_email(connection: Connection, account_id: uuid.UUID, email: str) -> bool:
    """Replace the address; return False if another account has it."""
    return affected(await connection.execute(SET_EMAIL, account_id, email, email_key(email))) == 1


async def set_disabled(connection: Connection, account_id: uuid.UUID, disabled_at: datetime | None) -> bool:
    """Switch an account off, or on again with None; return whether that changed anything."""
    return affected(await connection.execute(SET_DISABLED, account_id, disabled_at)) == 1


async def list_accounts(connection: Connection, before: tuple[datetime, uuid.UUID], limit: int) -> list[Account]:
    """Return accounts, the newest first."""
    return [_ACCOUNT(row) for row in await connection.fetch(LIST_ACCOUNTS, *before, limit)]


async def memberships_of(connection: Connection, account_ids: Sequence[uuid.UUID]) -> list[Membership]:
    """Return the memberships of accounts, the oldest first."""
    return [_membership(row) for row in await connection.fetch(MEMBERSHIPS_OF, account_ids)]


async def members_of(connection: Connection, owner: Owner) -> list[Membership]:
    """Return up to 500 memberships of an owner, the oldest first."""
    return [_membership(row) for row in await connection.fetch(MEMBERS_OF, *owner.key)]


async def lock_members(connection: Connection, owner: Owner) -> dict[uuid.UUID, Grade]:
    """Lock the memberships of an owner's live accounts; return the grade of each."""
    return {row["id"]: row["grade"] for row in await connection.fetch(LOCK_MEMBERS, *owner.key)}


async def insert_membership(
    connection: Connection, membership_id: uuid.UUID, account_id: uuid.UUID, grade: Grade, owner: Owner, now: datetime
) -> None:
    """Let an account act for an owner; one that could already gets the grade."""
    values = {name: getattr(owner, name) for name in Owner.__dataclass_fields__}
    given = {"id": membership_id, "account_id": account_id, "grade": grade, "now": now, **values}
    await connection.execute(*INSERT_MEMBERSHIP(**given))


async def set_grade(connection: Connection, membership_id: uuid.UUID, grade: Grade) -> None:
    """Change whether a membership may change anything."""
    await connection.execute(SET_GRADE, membership_id, grade)


async def delete_membership(connection: Connection, membership_id: uuid.UUID) -> None:
    """End a membership."""
    await connection.execute(DELETE_MEMBERSHIP, membership_id)


def owner_of(row: Any) -> Owner:
    """Return the owner that a row names."""
    return Owner(**{name: row[name] for name in Owner.__dataclass_fields__})


def _membership(row: Any) -> Membership:
    return Membership(
        id=row["id"],
        account_id=row["account_id"],
        grade=row["grade"],
        owner=owner_of(row),
        created_at=row["created_at"],
    )
