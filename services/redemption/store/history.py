"""The state of orders: their redemptions, refunds and reservations; and which programs exist."""

import uuid
from collections.abc import Sequence
from datetime import datetime

import asyncpg

from services.redemption.domain.books import HeldCode, OrderBook, Refund
from services.redemption.domain.moments import Moment
from services.redemption.domain.purchase import OrderKey
from services.redemption.domain.settlement import TakenBack, backs_of
from services.redemption.store.redemptions import to_held_code, to_redemption
from shared.database.pool import Connection

READ_ORDERS = """
SELECT d.program_id, d.order_ref, d.cancelled_at, d.cancel_claimed_at, d.cancel_clock, d.cancel_reason,
       d.has_refunds, d.reservation_id, d.reserved_at, d.reserved_until, d.cancelled_besides,
       d.cancel_releases
FROM unnest($1::uuid[], $2::text[]) AS o (program_id, order_ref)
CROSS JOIN LATERAL (
    SELECT d.program_id, d.order_ref, d.cancelled_at, d.cancel_claimed_at, d.cancel_clock, d.cancel_reason,
           d.has_refunds, d.reservation_id, d.reserved_at, d.reserved_until, d.cancelled_besides,
           d.cancel_releases
    FROM orders d WHERE d.program_id = o.program_id AND d.order_ref = o.order_ref OFFSET 0) d
"""
READ_REDEMPTIONS = """
SELECT d.id, d.program_id, d.order_ref, d.canonical, d.code, d.code_id, d.coupon_id, d.partner_id, d.customer_id,
       d.customer_key, d.discount_type, d.percent_hundredths, d.amount_minor, d.discount_minor, d.currency,
       d.subtotal_minor, d.commission_hundredths, d.commission_minor, d.discount_ends_at, d.release_policy,
       d.release_until, d.occurred_at, d.confirmed_at, d.is_counted, d.voided_at, d.void_reason,
       d.terms, d.claimed_at, d.clock, d.lines, d.combination, d.commission_cap_hundredths, d.commission_version,
       d.is_self_referral, d.mailbox_key, d.purchases, d.is_voided_alone, d.prices
FROM unnest($1::uuid[], $2::text[]) AS o (program_id, order_ref)
CROSS JOIN LATERAL (
    SELECT r.id, r.program_id, r.order_ref, r.canonical, r.code, r.code_id, r.coupon_id, r.partner_id, r.customer_id,
           r.customer_key, r.discount_type, r.percent_hundredths, r.amount_minor, r.discount_minor, r.currency,
           r.subtotal_minor, r.commission_hundredths, r.commission_minor, r.discount_ends_at, r.release_policy,
           r.release_until, r.occurred_at, r.confirmed_at, r.is_counted, r.voided_at, r.void_reason, r.terms,
           r.claimed_at, r.clock, r.lines, r.combination, r.commission_cap_hundredths, r.commission_version,
           r.is_self_referral, r.mailbox_key, r.purchases, r.is_voided_alone, r.prices, r.decided_at
    FROM redemptions r WHERE r.program_id = o.program_id AND r.order_ref = o.order_ref OFFSET 0) d
ORDER BY d.decided_at, d.canonical
"""
READ_HOLDS = """
SELECT h.program_id, h.order_ref, h.canonical, h.code, h.code_id, h.coupon_id, h.customer_key, h.discount_minor,
       h.currency, h.lines, h.mailbox_key
FROM unnest($1::uuid[], $2::text[]) AS o (program_id, order_ref)
CROSS JOIN LATERAL (
    SELECT h.program_id, h.order_ref, h.canonical, h.code, h.code_id, h.coupon_id, h.customer_key, h.discount_minor,
           h.currency, h.lines, h.mailbox_key
    FROM holds h WHERE h.program_id = o.program_id AND h.order_ref = o.order_ref OFFSET 0) h
"""
READ_REFUNDS = """
SELECT r.program_id, r.order_ref, r.id, r.amount_minor, r.reason, r.occurred_at, r.claimed_at, r.clock, r.releases
FROM unnest($1::uuid[], $2::text[]) AS o (program_id, order_ref)
CROSS JOIN LATERAL (
    SELECT f.program_id, f.order_ref, f.id, f.amount_minor, f.reason, f.occurred_at, f.claimed_at, f.clock,
           f.releases
    FROM refunds f WHERE f.program_id = o.program_id AND f.order_ref = o.order_ref OFFSET 0) r
ORDER BY r.occurred_at, r.id
"""
# From the latest purchase with attributes, and from the latest of which something was left out.
READ_DETAILS = """
WITH of_order AS MATERIALIZED (
    SELECT r.attributes, r.left_out, r.decided_at, r.id FROM redemptions r
    WHERE r.program_id = $1 AND r.order_ref = $2 AND (r.attributes IS NOT NULL OR r.left_out IS NOT NULL))
SELECT (SELECT attributes FROM of_order WHERE attributes IS NOT NULL ORDER BY decided_at DESC, id DESC LIMIT 1),
       (SELECT left_out FROM of_order WHERE left_out IS NOT NULL ORDER BY decided_at DESC, id DESC LIMIT 1)
"""
FIND_RESERVATIONS = """
SELECT o.program_id, o.reservation_id, o.order_ref
FROM unnest($1::uuid[], $2::uuid[]) AS w (program_id, reservation_id)
CROSS JOIN LATERAL (
    SELECT o.program_id, o.reservation_id, o.order_ref FROM orders o
    WHERE o.reservation_id = w.reservation_id AND o.reservation_id IS NOT NULL OFFSET 0) o
WHERE o.program_id = w.program_id
"""
FIND_ORDERS_OF = """
SELECT w.program_id, w.id, r.order_ref
FROM unnest($1::uuid[], $2::uuid[]) AS w (program_id, id)
CROSS JOIN LATERAL (SELECT r.program_id, r.order_ref FROM redemptions r WHERE r.id = w.id OFFSET 0) r
WHERE r.program_id = w.program_id
"""
# ORDER BY makes the planner use the index for the first code: a scan would not end early for a program without codes.
FIND_PROGRAMS = """
SELECT p.id FROM unnest($1::uuid[]) AS p (id)
WHERE (SELECT true FROM codes.credential_v1 k WHERE k.program_id = p.id LIMIT 1)
   OR (SELECT true FROM codes.redeemable_v1 c WHERE c.program_id = p.id AND c.code_archived_at IS NULL
       ORDER BY c.canonical LIMIT 1)
   OR (SELECT true FROM codes.redeemable_v1 c WHERE c.program_id = p.id AND c.code_archived_at IS NOT NULL
       ORDER BY c.canonical LIMIT 1)
"""
# The first code has its program's time zone; a program without codes has nothing to list.
READ_TIMEZONE = """
SELECT coalesce(
    (SELECT c.program_timezone FROM codes.redeemable_v1 c WHERE c.program_id = $1 AND c.code_archived_at IS NULL
     ORDER BY c.canonical LIMIT 1),
    (SELECT c.program_timezone FROM codes.redeemable_v1 c WHERE c.program_id = $1 AND c.code_archived_at IS NOT NULL
     ORDER BY c.canonical LIMIT 1),
    'UTC')
"""


async def read_orders(connection: Connection, orders: Sequence[OrderKey], now: datetime) -> dict[OrderKey, OrderBook]:
    """Return the state of known orders."""
    keys = [order[0] for order in orders], [order[1] for order in orders]
    books: dict[OrderKey, OrderBook] = {}
    with_refunds: list[OrderKey] = []
    for row in await connection.fetch(READ_ORDERS, *keys):
        key = row["program_id"], row["order_ref"]
        books[key] = OrderBook(
            cancellations=_cancellations(row),
            cancel_reason=row["cancel_reason"],
            reservation_id=row["reservation_id"],
            reserved_at=row["reserved_at"],
            reserved_until=row["reserved_until"],
            is_holding=row["reserved_until"] is not None and row["reserved_until"] > now,
        )
        if row["has_refunds"]:
            with_refunds.append(key)
    for row in await connection.fetch(READ_REDEMPTIONS, *keys):
        books[row["program_id"], row["order_ref"]].redemptions.append(to_redemption(row))
    reserved = [key for key, book in books.items() if book.reservation_id is not None]
    if reserved:
        await _read_holds(connection, books, reserved)
    if with_refunds:
        await _read_refunds(connection, books, with_refunds)
    return books


async def _read_holds(connection: Connection, books: dict[OrderKey, OrderBook], reserved: Sequence[OrderKey]) -> None:
    held: dict[OrderKey, list[HeldCode]] = {}
    for row in await connection.fetch(READ_HOLDS, [key[0] for key in reserved], [key[1] for key in reserved]):
        held.setdefault((row["program_id"], row["order_ref"]), []).append(to_held_code(row))
    for key, codes in held.items():
        books[key].held = tuple(codes)


async def _read_refunds(
    connection: Connection, books: dict[OrderKey, OrderBook], with_refunds: Sequence[OrderKey]
) -> None:
    keys = [order[0] for order in with_refunds], [order[1] for order in with_refunds]
    found: dict[OrderKey, list[Refund]] = {}
    for row in await connection.fetch(READ_REFUNDS, *keys):
        happened = _moment(row["occurred_at"], row["claimed_at"], row["clock"])
        refund = Refund(row["id"], row["amount_minor"], happened, row["reason"], row["releases"])
        found.setdefault((row["program_id"], row["order_ref"]), []).append(refund)
    for key, refunds in found.items():
        books[key].refunds = tuple(refunds)


def _cancellations(row: "asyncpg.Record") -> tuple[TakenBack, ...]:
    if row["cancelled_at"] is None:
        return ()
    newest = _moment(row["cancelled_at"], row["cancel_claimed_at"], row["cancel_clock"])
    besides = backs_of(row["cancelled_besides"]) if row["cancelled_besides"] else ()
    return TakenBack(newest, releases=row["cancel_releases"]), *besides


def _moment(known_at: datetime, claimed_at: datetime | None, clock: str | None) -> Moment:
    return Moment(claimed_at or known_at, known_at, clock)


async def read_details(connection: Connection, order: OrderKey) -> tuple[str | None, str | None]:
    """Return the attributes of an order's latest purchase that had any, and what was left out of one, as JSON."""
    found = await connection.fetchrow(READ_DETAILS, *order)
    return (None, None) if found is None else (found["attributes"], found["left_out"])


async def find_reservations(
    connection: Connection, wanted: Sequence[tuple[uuid.UUID, uuid.UUID]]
) -> dict[tuple[uuid.UUID, uuid.UUID], str]:
    """Return the order references of reservations, by (program, reservation)."""
    rows = await connection.fetch(FIND_RESERVATIONS, [pair[0] for pair in wanted], [pair[1] for pair in wanted])
    return {(row["program_id"], row["reservation_id"]): row["order_ref"] for row in rows}


async def find_orders_of(
    connection: Connection, redemptions: Sequence[tuple[uuid.UUID, uuid.UUID]]
) -> dict[tuple[uuid.UUID, uuid.UUID], str]:
    """Return the orders of redemptions, by (program, redemption); they never change."""
    rows = await connection.fetch(FIND_ORDERS_OF, [each[0] for each in redemptions], [each[1] for each in redemptions])
    return {(row["program_id"], row["id"]): row["order_ref"] for row in rows}


async def read_timezone(connection: Connection, program_id: uuid.UUID) -> str:
    """Return the time zone of a program."""
    found: str = await connection.fetchval(READ_TIMEZONE, program_id)
    return found


async def find_programs(connection: Connection, program_ids: Sequence[uuid.UUID]) -> set[uuid.UUID]:
    """Return which of the programs exist and have a key or a code."""
    return {row["id"] for row in await connection.fetch(FIND_PROGRAMS, program_ids)}
