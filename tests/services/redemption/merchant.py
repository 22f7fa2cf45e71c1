"""A merchant for tests: programs, partners, coupons and codes written into the codes schema, and checkout events."""

import json
import uuid
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import asyncpg

from shared import api_keys
from shared.canonical import canonical_code
from shared.ids import new_id

NOW = datetime(2026, 3, 18, 12, 0, tzinfo=UTC)
MADE_AT = NOW - timedelta(days=2)

INSERT_PROGRAM = """
INSERT INTO codes.programs (id, name, link_url, webhook_attributes, created_at, updated_at)
VALUES ($1, 'Shop', 'https://shop.example', $2, $3, $3)
"""
INSERT_PARTNER = """
INSERT INTO codes.partners (id, program_id, name, status, code_prefix, quota_granted, created_at, updated_at)
VALUES ($1, $2, 'Acme', $3, $4, $5, $6, $6)
"""
INSERT_COUPON = """
INSERT INTO codes.coupons (id, program_id, uuid_code, name, is_active, discount_type, percent_hundredths, amount_minor,
    currency, duration_type, starts_at, expires_at, redemption_limit, created_at, updated_at, archived_at)
VALUES ($1, $2, $3, 'Welcome', $4, $5, $6, $7, $8, 'once', $9, $10, $11, $12, $12, $13)
"""
INSERT_CODE = """
INSERT INTO codes.promotion_codes (id, program_id, coupon_id, partner_id, code, canonical, is_active, starts_at,
    expires_at, redemption_limit, created_at, updated_at, archived_at)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $11, $12)
"""
INSERT_KEY = """
INSERT INTO codes.api_keys (id, program_id, kind, purpose, slot, scopes, digest, created_at)
VALUES ($1, $2, $6, $3, 1, $4, $5, now())
"""


@dataclass(frozen=True)
class Merchant:
    """Writes as the superuser; every method commits at once."""

    connection: "asyncpg.Connection[asyncpg.Record]"

    async def program(self, attributes: tuple[str, ...] = ("card_id", "recipient_name", "occasion")) -> uuid.UUID:
        key = new_id()
        await self.connection.execute(INSERT_PROGRAM, key, list(attributes), MADE_AT)
        return key

    async def partner(self, program_id: uuid.UUID, status: str = "active", quota: int = 100) -> uuid.UUID:
        key = new_id()
        prefix = key.hex[-12:].upper()
        await self.connection.execute(INSERT_PARTNER, key, program_id, status, prefix, quota, MADE_AT)
        return key

    async def coupon(
        self,
        program_id: uuid.UUID,
        *,
        is_active: bool = True,
        percent: int | None = 10_000,
        amount: int | None = None,
        currency: str | None = None,
        starts_at: datetime | None = None,
        expires_at: datetime | None = None,
        limit: int | None = None,
        archived_at: datetime | None = None,
    ) -> uuid.UUID:
        key = new_id()
        kind = "percent" if amount is None else "static"
        await self.connection.execute(
            INSERT_COUPON,
            *(key, program_id, key.hex, is_active, kind, percent if amount is None else None, amount, currency),
            *(starts_at, expires_at, limit, MADE_AT, archived_at),
        )
        return key

    async def code(
        self,
        program_id: uuid.UUID,
        coupon_id: uuid.UUID,
        text: str,
        *,
        partner_id: uuid.UUID | None = None,
        is_active: bool = True,
        starts_at: datetime | None = None,
        expires_at: datetime | None = None,
        limit: int | None = 1,
        created_at: datetime = MADE_AT,
        archived_at: datetime | None = None,
    ) -> uuid.UUID:
        key = new_id()
        await self.connection.execute(
            INSERT_CODE,
            *(key, program_id, coupon_id, partner_id, text, canonical_code(text), is_active, starts_at, expires_at),
            *(limit, created_at, archived_at),
        )
        return key

    async def restrict_coupon(self, coupon_id: uuid.UUID, **columns: Any) -> None:
        """Set columns of a coupon."""
        await self._set("coupons", coupon_id, columns)

    async def restrict_code(self, code_id: uuid.UUID, **columns: Any) -> None:
        """Set columns of a code."""
        await self._set("promotion_codes", code_id, columns)

    async def restrict_partner(self, partner_id: uuid.UUID, **columns: Any) -> None:
        """Set columns of a partner."""
        await self._set("partners", partner_id, columns)

    async def restrict_program(self, program_id: uuid.UUID, **columns: Any) -> None:
        """Set columns of a program."""
        await self._set("programs", program_id, columns)

    async def key(self, program_id: uuid.UUID, *scopes: str, kind: api_keys.KeyKind = "secret") -> str:
        """Return a new key of the program."""
        made = api_keys.generate(kind, new_id())
        await self.connection.execute(
            INSERT_KEY, made.key_id, program_id, made.key_id.hex, list(scopes), made.digest, kind
        )
        return made.text

    async def _set(self, table: str, key: uuid.UUID, columns: dict[str, Any]) -> None:
        assignments = ", ".join(f"{name} = ${number}" for number, name in enumerate(columns, 2))
        statement = f"UPDATE codes.{table} SET {assignments} WHERE id = $1"  # noqa: S608 - names from the tests
        await self.connection.execute(statement, key, *columns.values())


def taken_back(
    program_id: uuid.UUID,
    kind: str = "cancelled",
    *,
    ref: str = "order-1",
    event: str | None = None,
    time: datetime = NOW,
    **data: Any,
) -> bytes:
    """Return the bytes of a `checkout.cancelled` or `checkout.refunded` event."""
    return json.dumps(
        {
            "specversion": "1.0",
            "id": event or str(uuid.uuid4()),
            "source": "/shop",
            "type": f"checkout.{kind}",
            "time": time.isoformat(),
            "data": {"program_id": str(program_id), "order_ref": ref, **data},
        }
    ).encode()


def checkout(
    program_id: uuid.UUID,
    *codes: str,
    ref: str = "order-1",
    event: str | None = None,
    time: datetime = NOW,
    **data: Any,
) -> bytes:
    """Return the bytes of a `checkout.completed` event."""
    return json.dumps(
        {
            "specversion": "1.0",
            "id": event or str(uuid.uuid4()),
            "source": "/shop",
            "type": "checkout.completed",
            "time": time.isoformat(),
            "data": {"program_id": str(program_id), "order_ref": ref, "codes": list(codes), **data},
        }
    ).encode()
