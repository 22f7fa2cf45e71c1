"""What only a demo's history needs: which programs are demos, and another lease for a delivery in one transaction."""

import uuid

from shared.database.pool import Connection

IS_DEMO_PROGRAM = "SELECT true FROM codes.demo_program_v1 WHERE program_id = $1"
FIND_PARTNER_S_ENDPOINT = """
SELECT id FROM endpoints WHERE owner_id = $1 AND url = $2 AND archived_at IS NULL
"""
HOLD_AGAIN = "UPDATE delivery_queue SET token = $2 WHERE delivery_id = $1"


async def is_demo_program(connection: Connection, program_id: uuid.UUID) -> bool:
    """Return whether made-up history may be written into a program."""
    return bool(await connection.fetchval(IS_DEMO_PROGRAM, program_id))


async def find_endpoint(connection: Connection, owner_id: uuid.UUID, url: str) -> uuid.UUID | None:
    """Return the endpoint of an owner with a URL."""
    found: uuid.UUID | None = await connection.fetchval(FIND_PARTNER_S_ENDPOINT, owner_id, url)
    return found


async def hold_again(connection: Connection, delivery_id: uuid.UUID, token: int) -> None:
    """Lease a delivery for its next attempt, before anyone else can see that it is due."""
    await connection.execute(HOLD_AGAIN, delivery_id, token)
