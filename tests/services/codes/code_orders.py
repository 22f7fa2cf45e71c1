"""What tests do with orders of codes, and what the ledger must say of them."""

import uuid
from typing import Any

import asyncpg

from tests.databases import Database
from tests.services.codes.conftest import Owner, Reply, Service

OF_PARTNER = "/api/partners/code-orders"
OF_PROGRAM = "/v1/code-orders"


async def place(service: Service, partner: Owner, count: int = 100, **members: Any) -> str:
    """Place an order that is accepted, and return its id."""
    placed = await service.send("POST", OF_PARTNER, partner.key, {"count": count, **members})
    assert placed.status == 201, placed.body
    return str(placed.body["id"])


async def act(service: Service, order_id: str, name: str, by: Owner, *, idempotency: str | None = None) -> Reply:
    """Approve or refuse an order as the program, or cancel it as the partner."""
    path = OF_PARTNER if name == "cancel" else OF_PROGRAM
    body = {"reason": "Not now."} if name == "refuse" else None
    return await service.send("POST", f"{path}/{order_id}/{name}", by.key, body, idempotency=idempotency)


async def quota_of(service: Service, partner: Owner) -> dict[str, Any]:
    shown: dict[str, Any] = (await service.send("GET", "/api/partners/quota", partner.key)).body
    return shown


async def grants(database: Database, order_id: str) -> list[int]:
    """Return the amounts that the ledger has for an order, after a look whether it adds up for its partner."""
    connection = await asyncpg.connect(database.admin, server_settings={"search_path": "codes"})
    try:
        off = await connection.fetch(
            "SELECT p.id FROM partners p LEFT JOIN quota_ledger l ON l.partner_id = p.id AND l.kind = 'grant'"
            " GROUP BY p.id HAVING coalesce(sum(l.amount), 0) <> p.quota_granted"
        )
        assert not off
        rows = await connection.fetch("SELECT amount FROM quota_ledger WHERE code_order_id = $1", uuid.UUID(order_id))
        return [row["amount"] for row in rows]
    finally:
        await connection.close()
