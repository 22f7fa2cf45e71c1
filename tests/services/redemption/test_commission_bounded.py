"""No list of statements or lines, no booking and no close looks at more than a bounded number of rows."""

import uuid
from datetime import UTC, date, datetime
from typing import Any

import asyncpg
import pytest

from services.redemption.store import commission_ledger as ledger
from services.redemption.store import commission_statements as statements
from services.redemption.usecases import book_commissions
from shared.database.pool import Database as Pool
from shared.known_ids import FIRST_ID, LAST_ID
from tests.databases import Database
from tests.plans import MODES, Plans
from tests.services.redemption.commission_life import Life
from tests.services.redemption.conftest import Shop
from tests.services.redemption.merchant import Merchant

MANY, PAGE, CHUNK = 40_000, 51, 100
MONTH, NOW = date(2026, 3, 1), datetime(2026, 4, 2, tzinfo=UTC)
STATEMENTS = {
    "LIST_STATEMENTS": statements.LIST_STATEMENTS.text,
    "FIND_STATEMENT": statements.FIND_STATEMENT.text,
    "LIST_LINES": statements.LIST_LINES.text,
    "NEXT_UNBOOKED": ledger.NEXT_UNBOOKED,
    "NEXT_DUE": ledger.NEXT_DUE,
    "BOOK": ledger.BOOK.text,
    "CLOSE": ledger.CLOSE.text,
    "READ_WALKED": ledger.READ_WALKED.text,
}
# One partner has all lines of one statement and the whole backlog; many others have a statement each.
FILL_LINES = """
INSERT INTO redemption.commission_lines (program_id, partner_id, redemption_id, kind, amount_minor, currency, at,
                                         statement_id)
SELECT $1, $2, gen_random_uuid(), 'redemption', 1, 'EUR', timestamptz '2026-03-01' + n * interval '1 second',
       CASE WHEN n % 2 = 0 THEN $3::uuid END
FROM generate_series(1, $4::int) AS n
"""
FILL_STATEMENTS = """
INSERT INTO redemption.commission_statements (id, program_id, partner_id, month, currency, redemptions,
    redemptions_minor, reversals, reversals_minor, adjustments, adjustments_minor)
SELECT gen_random_uuid(), $1, gen_random_uuid(), '2026-03-01', 'EUR', 1, 1, 0, 0, 0, 0
FROM generate_series(1, $2::int) AS n
"""


@pytest.mark.parametrize("mode", MODES)
async def test_nothing_looks_at_more_than_it_must(database: Database, merchant: Merchant, mode: str) -> None:
    program, small = await merchant.program(), await merchant.program()
    partner, statement = await merchant.partner(program), uuid.uuid4()
    fill: Any = merchant.connection
    await fill.execute(FILL_LINES, program, partner, statement, MANY)
    await fill.execute(FILL_STATEMENTS, program, MANY)
    await fill.execute(
        "INSERT INTO redemption.commission_months (program_id) SELECT gen_random_uuid() FROM generate_series(1, 5000)"
    )
    await fill.execute("ANALYZE")
    settings = {"search_path": "redemption", "enable_seqscan": "off", "jit": "off"}
    connection = await asyncpg.connect(database.admin, server_settings=settings)
    try:
        plans = Plans(connection, STATEMENTS)
        await plans.prepare(mode)
        end = {"month": MONTH, "before_partner": LAST_ID, "before_currency": "ZZZZ", "since": MONTH}
        # What may be added to what is booked, and no more; each is looked at a few times.
        tail = 2 * (CHUNK + 1)
        for owner, of_partner in ((program, None), (program, partner), (small, None), (small, partner)):
            asked = {"program_id": owner, "partner_id": of_partner, "limit": PAGE, "most_unbooked": CHUNK, "now": NOW}
            _, *arguments = statements.LIST_STATEMENTS(**end, **asked)
            assert await plans.looked_at("LIST_STATEMENTS", *arguments) <= tail + 4 * PAGE
        _, *arguments = statements.FIND_STATEMENT(id=uuid.uuid4(), program_id=program, most_unbooked=CHUNK)
        assert await plans.looked_at("FIND_STATEMENT", *arguments) <= tail
        listed = {"program_id": program, "partner_id": partner, "most_unbooked": CHUNK, "limit": PAGE}
        after = {"statement_id": statement, "after": datetime(2026, 3, 1, 1, tzinfo=UTC), "after_id": 0}
        _, *arguments = statements.LIST_LINES(**listed, **after)
        assert await plans.looked_at("LIST_LINES", *arguments) <= tail + 3 * PAGE
        assert await plans.looked_at("NEXT_UNBOOKED", FIRST_ID) <= 1
        assert await plans.looked_at("NEXT_DUE", NOW, datetime.min.replace(tzinfo=UTC), FIRST_ID) <= 1
        _, *arguments = ledger.BOOK(program_id=program, limit=CHUNK)
        assert await plans.looked_at("BOOK", *arguments) <= 3 * CHUNK
        closing = {"program_id": program, "open_month": date(2026, 4, 1), "zone": "UTC", "now": NOW}
        _, *arguments = ledger.CLOSE(**closing, limit=CHUNK)
        assert await plans.looked_at("CLOSE", *arguments) <= 3 * CHUNK
        _, *arguments = ledger.READ_WALKED(partner_id=FIRST_ID, occurred_at=NOW, id=FIRST_ID, limit=CHUNK)
        assert await plans.looked_at("READ_WALKED", *arguments) <= CHUNK
    finally:
        await connection.close()


async def test_many_statements_close_in_chunks(
    shop: Shop, merchant: Merchant, pool: Pool, admin: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Lines and statements that are more than a chunk, and lines that come in between."""
    monkeypatch.setattr(book_commissions, "BOOKED_AT_ONCE", 3)
    monkeypatch.setattr(book_commissions, "CLOSED_AT_ONCE", 1)
    life = Life(shop, merchant, pool, 1)
    await life.stock("UTC")
    for nth in range(12):
        order = {"currency": ("EUR", "USD", "GBP")[nth % 3], "subtotal": 1_000}
        await shop.redeem(f"CODE-{nth % 2}", ref=f"order-{nth}", order=order)
    shop.decider.now = NOW
    await shop.redeem("CODE-0", ref="april", order={"currency": "EUR", "subtotal": 1_000})
    assert await life.books() == 13
    found = await life.is_exact(admin)
    assert [(each["month"], each["state"]) for each in found] == [("2026-04", "open"), *[("2026-03", "closed")] * 6]
