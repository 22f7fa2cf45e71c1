"""Reads statements of commissions: what is booked, and lines that are not booked yet, in one snapshot."""

import uuid
from collections.abc import Sequence
from datetime import UTC, date, datetime
from typing import Final

from services.redemption.domain.commission_statements import (
    MOST_UNBOOKED,
    CommissionStatement,
    Line,
    LinePage,
    LinePlace,
    Payment,
    StatementFilter,
    StatementPage,
    StatementPlace,
)
from shared.database.pool import Connection
from shared.database.rows import Rows, Statement
from shared.known_ids import LAST_ID

# Payments of a statement that are shown, taken back or not, and currencies of a partner's month.
MOST_PAYMENTS: Final = 100
MOST_CURRENCIES: Final = 250
_FIRST_MONTH: Final = date(1, 1, 1)
_LAST_MONTH: Final = date(9999, 12, 1)
# No currency sorts after this.
_LAST_CURRENCY: Final = "ZZZZ"
_FIRST_LINE: Final = (datetime.min.replace(tzinfo=UTC), 0)

# One of the branches of `booked` runs, along an index in the right order. What is not booked yet belongs to months that
# are open, in statements that are booked in part or not at all; of a statement beyond the page it has no effect.
LIST_STATEMENTS = Statement("""
WITH tail AS MATERIALIZED (
    (SELECT statement_id, partner_id, month, currency, kind, amount_minor FROM commission_open_lines
     WHERE $partner_id::uuid IS NULL AND program_id = $program_id LIMIT $most_unbooked + 1)
    UNION ALL
    (SELECT statement_id, partner_id, month, currency, kind, amount_minor FROM commission_open_lines
     WHERE program_id = $program_id AND partner_id = $partner_id LIMIT $most_unbooked + 1)
), booked AS MATERIALIZED (
    (SELECT id, partner_id, month, currency, redemptions, redemptions_minor, reversals, reversals_minor, adjustments,
            adjustments_minor, zone, closed_at FROM commission_statements
     WHERE $partner_id::uuid IS NULL
       AND (program_id, month, partner_id, currency) < ($program_id, $month, $before_partner, $before_currency)
       AND (program_id, month) >= ($program_id, $since)
     ORDER BY program_id DESC, month DESC, partner_id DESC, currency DESC LIMIT $limit)
    UNION ALL
    (SELECT id, partner_id, month, currency, redemptions, redemptions_minor, reversals, reversals_minor, adjustments,
            adjustments_minor, zone, closed_at FROM commission_statements
     WHERE $partner_id::uuid IS NOT NULL
       AND (partner_id, month, currency) < ($partner_id, $month, $before_currency)
       AND (partner_id, month) >= ($partner_id, $since)
       AND program_id = $program_id
     ORDER BY partner_id DESC, month DESC, currency DESC LIMIT $limit)
), added AS (
    SELECT statement_id, partner_id, month, currency,
           count(*) FILTER (WHERE kind = 'redemption') AS redemptions,
           coalesce(sum(amount_minor) FILTER (WHERE kind = 'redemption'), 0) AS redemptions_minor,
           count(*) FILTER (WHERE kind = 'reversal') AS reversals,
           coalesce(sum(amount_minor) FILTER (WHERE kind = 'reversal'), 0) AS reversals_minor,
           count(*) FILTER (WHERE kind = 'adjustment') AS adjustments,
           coalesce(sum(amount_minor) FILTER (WHERE kind = 'adjustment'), 0) AS adjustments_minor
    FROM tail WHERE (SELECT count(*) FROM tail) <= $most_unbooked
    GROUP BY statement_id, partner_id, month, currency
), known AS (
    SELECT * FROM booked
    UNION ALL
    SELECT statement_id, partner_id, month, currency, redemptions, redemptions_minor, reversals, reversals_minor,
           adjustments, adjustments_minor, NULL, NULL
    FROM added
    WHERE (month, partner_id, currency) < ($month, $before_partner, $before_currency) AND month >= $since
), merged AS (
    SELECT id, partner_id, month, currency, sum(redemptions)::bigint AS redemptions,
           sum(redemptions_minor)::bigint AS redemptions_minor, sum(reversals)::bigint AS reversals,
           sum(reversals_minor)::bigint AS reversals_minor, sum(adjustments)::bigint AS adjustments,
           sum(adjustments_minor)::bigint AS adjustments_minor, max(zone) AS zone, max(closed_at) AS closed_at
    FROM known GROUP BY id, partner_id, month, currency
    ORDER BY month DESC, partner_id DESC, currency DESC LIMIT $limit
)
SELECT s.id, s.partner_id, s.month, s.currency, s.redemptions, s.redemptions_minor, s.reversals, s.reversals_minor,
       s.adjustments, s.adjustments_minor, coalesce(s.zone, m.zone, 'UTC') AS zone, s.closed_at,
       CASE WHEN s.closed_at IS NOT NULL THEN s.closed_at
            WHEN EXISTS (SELECT FROM commission_walks WHERE due_at <= now()) THEN NULL
            WHEN (SELECT count(*) FROM tail) <= $most_unbooked THEN $now
            ELSE m.booked_at END AS as_of,
       EXISTS (SELECT FROM commission_payments p WHERE p.statement_id = s.id AND p.taken_back_at IS NULL) AS is_paid
FROM merged s LEFT JOIN commission_months m ON m.program_id = $program_id
ORDER BY s.month DESC, s.partner_id DESC, s.currency DESC
""")
# By its id alone nothing is known of a statement that is not booked yet: it is searched in what is not booked.
FIND_STATEMENT = Statement("""
SELECT partner_id, month, currency, program_id FROM commission_statements WHERE id = $id
UNION ALL
(SELECT partner_id, month, currency, program_id FROM (
    SELECT * FROM commission_open_lines WHERE program_id = $program_id LIMIT $most_unbooked) tail
 WHERE statement_id = $id LIMIT 1)
LIMIT 1
""")
LIST_LINES = Statement("""
WITH tail AS MATERIALIZED (
    SELECT * FROM commission_open_lines WHERE program_id = $program_id AND partner_id = $partner_id
    LIMIT $most_unbooked
), line AS (
    (SELECT id, partner_id, redemption_id, kind, amount_minor, currency, at FROM commission_lines
     WHERE (statement_id, at, id) > ($statement_id, $after, $after_id) AND statement_id <= $statement_id
       AND statement_id IS NOT NULL
     ORDER BY statement_id, at, id LIMIT $limit)
    UNION ALL
    (SELECT id, partner_id, redemption_id, kind, amount_minor, currency, at FROM tail
     WHERE statement_id = $statement_id AND (at, id) > ($after, $after_id) ORDER BY at, id LIMIT $limit)
    ORDER BY at, id LIMIT $limit
)
SELECT l.id, l.partner_id, l.redemption_id, r.code, r.order_ref, l.kind, l.amount_minor, l.currency, l.at
FROM line l JOIN redemptions r ON r.id = l.redemption_id
ORDER BY l.at, l.id
""")
LIST_PAYMENTS = """
SELECT id, amount_minor, currency, reference, paid_at, actor, created_at, taken_back_at, taken_back_by, reason
FROM commission_payments WHERE statement_id = $1 ORDER BY id DESC LIMIT $2
"""


async def list_statements(
    connection: Connection, wanted: StatementFilter, last: StatementPlace | None, limit: int, now: datetime
) -> StatementPage:
    """Return up to `limit` statements after the last one, the newest month first."""
    end = wanted.month or _LAST_MONTH, LAST_ID, _LAST_CURRENCY
    month, partner_id, currency = end if last is None else min(last, end)
    found = [
        _statement(row)
        for row in await connection.fetch(
            *LIST_STATEMENTS(
                program_id=wanted.program_id,
                partner_id=wanted.partner_id,
                month=month,
                before_partner=partner_id,
                before_currency=currency,
                since=wanted.month or _FIRST_MONTH,
                most_unbooked=MOST_UNBOOKED,
                limit=limit + 1,
                now=now,
            )
        )
    ]
    if len(found) <= limit:
        return StatementPage(found, None)
    cut = found[limit - 1]
    return StatementPage(found[:limit], (cut.month, cut.partner_id, cut.currency))


async def read_statement(
    connection: Connection, wanted: StatementFilter, statement_id: uuid.UUID, now: datetime
) -> CommissionStatement | None:
    """Return one statement of a program, or of a partner of it."""
    row = await connection.fetchrow(
        *FIND_STATEMENT(id=statement_id, program_id=wanted.program_id, most_unbooked=MOST_UNBOOKED)
    )
    if row is None or row["program_id"] != wanted.program_id:
        return None
    if wanted.partner_id not in (None, row["partner_id"]):
        return None
    of_partner = StatementFilter(program_id=wanted.program_id, partner_id=row["partner_id"], month=row["month"])
    page = await list_statements(connection, of_partner, None, MOST_CURRENCIES, now)
    return next((each for each in page.statements if each.id == statement_id), None)


async def list_lines(
    connection: Connection, program_id: uuid.UUID, statement: CommissionStatement, last: LinePlace | None, limit: int
) -> LinePage:
    """Return up to `limit` lines of a statement after the last one, the earliest first."""
    after = last or _FIRST_LINE
    found = [
        _line(row)
        for row in await connection.fetch(
            *LIST_LINES(
                program_id=program_id,
                partner_id=statement.partner_id,
                statement_id=statement.id,
                after=after[0],
                after_id=after[1],
                most_unbooked=MOST_UNBOOKED,
                limit=limit + 1,
            )
        )
    ]
    if len(found) <= limit:
        return LinePage(found, None)
    return LinePage(found[:limit], (found[limit - 1].at, found[limit - 1].id))


async def list_payments(connection: Connection, statement_id: uuid.UUID) -> Sequence[Payment]:
    """Return the payments of a statement, the newest first."""
    return [_payment(row) for row in await connection.fetch(LIST_PAYMENTS, statement_id, MOST_PAYMENTS)]


_statement: Final = Rows(CommissionStatement)
_line: Final = Rows(Line)
_payment: Final = Rows(Payment)
