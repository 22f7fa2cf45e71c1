"""Finds the tenants that an account acts for in the view that the codes service publishes; hits are cached as for keys.

A program or a partner that does not exist, was archived, or does not belong to the other counts as an unknown key.
"""

import uuid
from dataclasses import dataclass

from shared.account_tokens import AccountKeys, Acting
from shared.accounts import SCOPES, Account
from shared.api_keys import Credential
from shared.clock import Clock
from shared.database.hits import Hits
from shared.database.pool import Database
from shared.modes import in_mode

FIND_PROGRAM = """
SELECT program_id, program_name, partner_id, partner_name, partner_status
FROM codes.tenant_v1 WHERE program_id = $1 AND partner_id IS NULL
"""
FIND_PARTNER = """
SELECT program_id, program_name, partner_id, partner_name, partner_status
FROM codes.tenant_v1 WHERE partner_id = $2 AND program_id = $1
"""


@dataclass(frozen=True, slots=True)
class _Tenant:
    program_id: uuid.UUID
    program_name: str
    partner_id: uuid.UUID | None
    partner_name: str | None
    partner_status: str | None


class AccountReader:
    """Resolves an account token for this service to an account with its tenants, or to an operator's account."""

    def __init__(self, database: Database, clock: Clock, keys: AccountKeys, service: str) -> None:
        self._database = database
        self._clock = clock
        self._keys = keys
        self._service = service
        self._hits: Hits[tuple[uuid.UUID, uuid.UUID | None], _Tenant] = Hits()

    async def find(self, token: str) -> Credential | Account | None:
        """Return the credential of an account, an operator's account unchanged, or None for an invalid token."""
        if not self._keys:
            return None
        now = self._clock()
        read = self._keys.read(token, self._service, now)
        if read is None:
            return None
        account, acting = read
        if acting.program_id is None:
            return account
        tenant = await self._tenant(acting, acting.program_id, now.timestamp())
        return None if tenant is None else _credential(account, tenant)

    async def _tenant(self, acting: Acting, program_id: uuid.UUID, now: float) -> _Tenant | None:
        is_test = acting.mode == "test"
        partner_id = None if acting.partner_id is None else in_mode(acting.partner_id, test=is_test)
        wanted = (in_mode(program_id, test=is_test), partner_id)
        tenant = self._hits.get(wanted, now)
        if tenant is None and (tenant := await self._load(*wanted)) is not None:
            self._hits.put(wanted, tenant, now)
        return tenant

    async def _load(self, program_id: uuid.UUID, partner_id: uuid.UUID | None) -> _Tenant | None:
        async with self._database.connection() as connection:
            if partner_id is None:
                row = await connection.fetchrow(FIND_PROGRAM, program_id)
            else:
                row = await connection.fetchrow(FIND_PARTNER, program_id, partner_id)
        return None if row is None else _Tenant(**row)


def _credential(account: Account, tenant: _Tenant) -> Credential:
    return Credential(
        key_id=account.id,
        digest=b"",
        kind="secret",
        scopes=SCOPES[account.role, account.grade],
        rate_limit_per_minute=None,
        program_id=tenant.program_id,
        program_name=tenant.program_name,
        partner_id=tenant.partner_id,
        partner_name=tenant.partner_name,
        partner_status=tenant.partner_status,
        revoked_at=None,
        account=account,
    )
