"""No list, count or cleanup looks at more than a bounded number of rows, however many there are."""

import uuid
from collections.abc import AsyncIterator, Iterator, Mapping
from datetime import UTC, datetime, timedelta
from types import ModuleType
from typing import Any

import asyncpg
import pytest

from services.webhooks.store import (
    attempt_lists,
    closing,
    dead_letter_lists,
    deliveries,
    delivery_lists,
    endpoints,
    listeners,
    messages,
    operated_jobs,
    partners,
    queue,
    queue_lists,
    replays,
    retention,
    signing_keys,
    stats,
)
from shared.database import history, operator_log, overflow
from shared.database.rows import Statement
from tests.databases import Database
from tests.plans import MODES, Plans
from tests.services.webhooks.conftest import Merchant, Service, make_merchant

MANY = 30_000
PAGE, BOUND = 51, 2_000
_LAST_ID, _FIRST_ID = uuid.UUID(int=2**128 - 1), uuid.UUID(int=0)
# The statement for every delivery.
_CODE_KEY = uuid.UUID(f"{1:012x}70008{1:015x}")
_LAST, _FIRST = datetime(9999, 12, 31, tzinfo=UTC), datetime(1970, 1, 1, tzinfo=UTC)
STORES = (
    *(closing, dead_letter_lists, deliveries, delivery_lists, endpoints, listeners, messages, operated_jobs, partners),
    *(attempt_lists, queue, replays),
    *(queue_lists, retention, signing_keys, stats, history, operator_log, overflow),
)
_HELD = ("LIST_", "COUNT_", "PURGE_", "SUM_", "WALK", "MEASURE", "FIND_LINES", "FIND_ARCHIVED", "FIND_PROGRAMS")
_HELD_TOO = (
    "RESUME_PAUSED",
    "GIVE_UP_WAITING",
    "FIND_CLOSING",
    "CANCEL_WAITING",
    "FORGET",
    "DEAD_PAGE",
    "ALL_PAGE",
    "SLICE_END",
    "READ_SLICE",
    "READ_REPLAYS",
)
STATEMENTS = {
    f"{store.__name__.rpartition('.')[2]}_{name}": text.text if isinstance(text, Statement) else text
    for store in STORES
    for name, text in vars(store).items()
    if isinstance(text, str | Statement)
    and not (store is delivery_lists and name in vars(queue_lists))
    and (name.startswith(_HELD) or name in _HELD_TOO)
}
# Statements about one message, endpoint or listener, which have few rows.
_FEW = {
    "messages_CANCEL_WAITING",
    "messages_COUNT_UNDER_WAY",
    "signing_keys_LIST_KEYS",
    "signing_keys_COUNT_LIVE_KEYS",
    "endpoints_COUNT_ENDPOINTS",
    # A function of the database.
    "operator_log_PURGE_ENTRIES",
}
MAKE_IDS = """
CREATE FUNCTION pg_temp.id_of(n integer) RETURNS uuid LANGUAGE sql IMMUTABLE
RETURN (lpad(to_hex(n), 12, '0') || '70008' || lpad(to_hex(n), 15, '0'))::uuid
"""
# $1 the endpoints, $2 from, $3 to, $4 the status.
FILL_DELIVERIES = """
INSERT INTO deliveries (id, endpoint_id, message_id, format, event_type, status, replay_id, created_at, completed_at,
                        code_key)
SELECT pg_temp.id_of(n), ($1::uuid[])[1 + n % cardinality($1::uuid[])], pg_temp.id_of(n), 'flat', 'code.redeemed', $4,
       $5, now() - interval '100 days', CASE WHEN $4 <> 'pending' THEN now() END, pg_temp.id_of(1)
FROM generate_series($2::int, $3::int) AS n
"""
FILL_DEAD = """
INSERT INTO dead_letters (delivery_id, endpoint_id, event_type, reason, died_at)
SELECT id, endpoint_id, event_type, 'expired', now() FROM deliveries WHERE status = 'dead'
"""
FILL_QUEUE = """
INSERT INTO delivery_queue (delivery_id, endpoint_id, message_id, format, event_type, trigger, step, visible_at,
                            ends_at, ordering_key, position)
SELECT id, endpoint_id, message_id, format, event_type, 'automatic', 1, now() + random() * interval '1 day',
       now() + interval '4 days', 'line', row_number() OVER ()
FROM deliveries WHERE status = 'pending'
"""
FILL_ATTEMPTS = """
INSERT INTO attempts (delivery_id, number, trigger, started_at, duration_ms, status)
SELECT id, 1, 'automatic', now(), 1, 200 FROM deliveries WHERE status = 'succeeded'
"""
FILL_MESSAGES = """
INSERT INTO messages (id, format, program_id, partner_id, event_type, occurred_at, body, created_at)
SELECT pg_temp.id_of(n), 'flat', $1, $2, 'code.redeemed', now(), '', now() - interval '100 days' - n * interval '1 s'
FROM generate_series(1, $3::int) AS n
"""
FILL_CUSTOM = """
INSERT INTO custom_messages (message_id, event_id, keep_until)
SELECT pg_temp.id_of(n), n, now() + (n - 10000) * interval '1 s' FROM generate_series(1, $1::int) AS n
"""
FILL_ENDPOINTS = """
INSERT INTO endpoints (id, program_id, partner_id, url, event_types, format, status, max_in_flight, created_at,
                       updated_at, archived_at, paused_until, listens_until, disabled_reason, is_closing)
SELECT pg_temp.id_of(n), $1, $2, 'https://example.com/', '{*}', 'flat',
       CASE WHEN n % 8 = 5 THEN 'disabled' ELSE 'paused' END, 1, now(), now(),
       CASE WHEN n % 2 = 0 THEN now() - interval '100 days' END, CASE WHEN n % 8 = 1 THEN now() END,
       CASE WHEN n % 8 = 3 THEN now() END, CASE WHEN n % 8 = 5 THEN 'gone' END, n % 8 = 5
FROM generate_series(1, $3::int) AS n
"""
FILL_KEYS = """
INSERT INTO endpoint_keys (id, endpoint_id, sealed_secret, created_at, expires_at)
SELECT id, id, '', now(), now() FROM endpoints
"""
FILL_REPLAYS = """
INSERT INTO replays (id, program_id, endpoint_id, which, since, until, is_dry_run, rate_per_second, status, created_at,
                     completed_at)
SELECT pg_temp.id_of(n), $1, $2, 'all', now() - interval '1 day', now(), false, 1, 'completed', now(),
       now() - interval '100 days'
FROM generate_series(1, $3::int) AS n
"""
FILL_EVENTS = """
INSERT INTO events (id, type, body, created_at)
SELECT pg_temp.id_of(n), 'webhook.test', '', now() + n * interval '1 s' FROM generate_series(1, $1::int) AS n
"""
FILL_OVERFLOW = """
INSERT INTO dead_overflow (digest, properties, foreign_headers, body, kept_at)
SELECT int4send(n), '', '', '', now() FROM generate_series(1, $1::int) AS n
"""


@pytest.fixture
async def crowd(service: Service, merchant: Merchant, database: Database) -> AsyncIterator[dict[str, Any]]:
    """A program with sixty endpoints and many rows of everything; one with thousands of endpoints; and a small one."""
    url, key = "https://example.com/", merchant.program_key
    sixty = [uuid.UUID((await service.endpoint(key, url, status="paused"))["id"]) for _ in range(60)]
    busy, waiting = sixty[0], uuid.UUID((await service.endpoint(key, url))["id"])
    wide, small = [await make_merchant(service.admin, service.clock()) for _ in range(2)]
    own = uuid.UUID((await service.endpoint(small.partner_key, url, status="paused"))["id"])
    replay_id = uuid.uuid4()
    connection = await asyncpg.connect(database.admin, server_settings={"search_path": "webhooks", "jit": "off"})
    try:
        await connection.execute(MAKE_IDS)
        await connection.execute(FILL_ENDPOINTS, wide.program_id, None, 4_000)
        await connection.execute(FILL_KEYS.replace("FROM endpoints", "FROM endpoints WHERE archived_at IS NOT NULL"))
        for nth, (where, status) in enumerate(
            (([busy], "succeeded"), (sixty, "dead"), ([busy], "dead"), ([waiting], "pending"), (sixty, "pending"))
        ):
            span = (nth * MANY + 1, (nth + 1) * MANY)
            await connection.execute(FILL_DELIVERIES, where, *span, status, replay_id if nth == 0 else None)
        for statement in (FILL_DEAD, FILL_QUEUE, FILL_ATTEMPTS):
            await connection.execute(statement)
        for statement in (FILL_EVENTS, FILL_OVERFLOW):
            await connection.execute(statement, MANY)
        await connection.execute(FILL_MESSAGES, merchant.program_id, merchant.partner_id, MANY)
        await connection.execute(FILL_CUSTOM, MANY)
        await connection.execute(FILL_REPLAYS, merchant.program_id, busy, 5_000)
        await connection.execute("VACUUM ANALYZE")
        yield {
            "plans": Plans(connection, STATEMENTS),
            "owners": [(merchant.program_id, None), (merchant.program_id, merchant.partner_id)]
            + [(each.program_id, None) for each in (wide, small)]
            + [(small.program_id, small.partner_id)],
            "program": merchant.program_id,
            "partner": merchant.partner_id,
            "busy": busy,
            "waiting": waiting,
            "own": own,
            "replay": replay_id,
        }
    finally:
        await connection.close()


def named(store: ModuleType, name: str, *values: Mapping[str, Any], **more: Any) -> tuple[str, tuple[Any, ...]]:
    """Return a statement with its values in order."""
    _, *arguments = getattr(store, name)(**{key: value for each in values for key, value in each.items()}, **more)
    return f"{store.__name__.rpartition('.')[2]}_{name}", tuple(arguments)


def _lists(
    owner: tuple[Any, Any], endpoint: uuid.UUID | None, before: uuid.UUID, middle: uuid.UUID, now: datetime
) -> Iterator[tuple[str, tuple[Any, ...]]]:
    whose: dict[str, Any] = {"program": owner[0], "partner": owner[1], "endpoint": endpoint}
    page: dict[str, Any] = {**whose, "before": before, "first": _FIRST_ID, "limit": PAGE}
    most: dict[str, Any] = {"most": 1001, "sources": 50, "scanned": BOUND}
    listed: tuple[tuple[list[str] | None, str | None, int], ...] = (
        (None, None, 0),
        (["canceled"], None, BOUND),
        (None, "code.x", BOUND),
        (["failed"], "code.redeemed", BOUND),
        (["in_flight", "paused"], "code.redeemed", BOUND),
    )
    for statuses, type_, share in listed:
        yield named(delivery_lists, "LIST_DELIVERIES", page, most, statuses=statuses, type=type_, share=share, now=now)
    for status in ("paused", "pending"):
        for type_ in (None, "code.x"):
            bounds = {"sorted": 500, "most": 1001, "most_sorted": 20, "scanned": BOUND}
            yield named(queue_lists, "LIST_WAITING", page, bounds, status=status, type=type_, now=now)
    yield named(queue_lists, "LIST_IN_FLIGHT", page, status="in_flight", type=None, now=now, most_leased=20_000)
    for reason, share in ((None, 0), ("gone", BOUND)):
        chosen: dict[str, Any] = {**most, "type": None, "since": None, "reason": reason, "with_archived": True}
        yield named(dead_letter_lists, "LIST_DEAD", page, chosen, share=share)
        after = _FIRST_ID if before is _LAST_ID else middle
        yield named(dead_letter_lists, "WALK", whose, chosen, after=after, limit=500)
    of_message = {"message_ids": [middle, before], "code_key": None}
    yield named(delivery_lists, "LIST_OF_MESSAGE", page, of_message, statuses=None, type=None, now=now)
    for of_status in (None, ["canceled"]):
        for key in (_CODE_KEY, middle):
            of_code = {"code_key": key, "scanned": BOUND}
            yield named(delivery_lists, "LIST_OF_CODE", page, of_code, statuses=of_status, type=None, now=now)
    for trigger in (None, "manual", "test"):
        by = {"endpoint_id": endpoint or middle, "trigger": trigger, "before_number": 9, "scanned": BOUND}
        tried = {name: page[name] for name in ("before", "first", "limit")}
        yield named(attempt_lists, "LIST_ATTEMPTS", tried, by)


def _of_owner(owner: tuple[Any, Any], replay_id: uuid.UUID, now: datetime) -> Iterator[tuple[str, tuple[Any, ...]]]:
    filters: tuple[tuple[Any, ...], ...] = ((None, None, None), ("active", None, None), (None, ["x"], None))
    for status, types, uid in (*filters, (None, None, "u")):
        whose = {"program": owner[0], "partner": owner[1], "before": _LAST_ID, "limit": PAGE, "scanned": 1000}
        yield named(endpoints, "LIST_ENDPOINTS", whose, status=status, types=types, uid=uid)
    listed = {"program": owner[0], "since": _FIRST, "until": _LAST, "until_id": _LAST_ID, "type": "code.x"}
    listed |= {"limit": PAGE, "scanned": BOUND}
    yield named(messages, "LIST_OF_PROGRAM", listed)
    if owner[1] is not None:
        yield named(messages, "LIST_OF_PARTNER", listed, partner=owner[1])
    yield "replays_READ_REPLAYS", (*owner, [replay_id], 1000)
    yield "retention_PURGE_MESSAGES", (owner[0], _FIRST, _FIRST_ID, "", now - timedelta(days=30), 500)
    yield "replays_SLICE_END", (owner[0], _FIRST, now, _FIRST_ID, 2000)


def cases(of: dict[str, Any]) -> list[tuple[str, tuple[Any, ...]]]:
    """Return each list in its variants, with many rows, and with filters that exclude all."""
    found: list[tuple[str, tuple[Any, ...]]] = []
    now = datetime.now(UTC)
    middle = uuid.UUID(f"{2 * MANY:012x}70008{2 * MANY:015x}")
    piece = {"last": now + timedelta(seconds=1_000), "type": None, "bytes": 1_000, "limit": 1_000}
    for owner in of["owners"]:
        for endpoint in (None, of["busy"], of["waiting"], of["own"]):
            for before in (_LAST_ID, middle):
                found += _lists(owner, endpoint, before, middle, now)
            found.append(("replays_LIST_REPLAYS", (*owner, endpoint, _LAST_ID, PAGE, 1000)))
        found += _of_owner(owner, of["replay"], now)
    for endpoint in (of["busy"], of["waiting"], of["own"]):
        found += [
            ("stats_COUNT_DELIVERIES", (endpoint, _FIRST_ID, _LAST_ID, 1000, now)),
            ("stats_SUM_ATTEMPTS", (endpoint, _FIRST_ID, _LAST_ID, ["0.5"], 1000, 50)),
            ("replays_DEAD_PAGE", (endpoint, _FIRST_ID, _LAST_ID, ["code.x"], 50, BOUND)),
            ("replays_ALL_PAGE", (endpoint, _FIRST_ID, _LAST_ID, ["code.x"], 50, BOUND)),
            ("replays_DEAD_PAGE", (endpoint, middle, _LAST_ID, None, 50, BOUND)),
            ("replays_ALL_PAGE", (endpoint, middle, _LAST_ID, None, 50, BOUND)),
            ("queue_CANCEL_WAITING", (endpoint, now, 500)),
            ("closing_GIVE_UP_WAITING", (endpoint, now, 500, "endpoint_disabled")),
            ("listeners_FORGET", (endpoint, now, 500)),
            ("listeners_COUNT_WAITING", (endpoint, 1000)),
        ]
    cutoff = now - timedelta(days=30)
    found += [
        ("deliveries_LIST_ATTEMPTS", (middle, None, 250)),
        ("closing_FIND_CLOSING", (_FIRST_ID, 500)),
        ("endpoints_COUNT_LIVE", (now, 1000)),
        ("endpoints_RESUME_PAUSED", (now, 500)),
        ("listeners_LIST_STALE", (now,)),
        ("history_SLICE_END", (_FIRST, _FIRST_ID, _LAST, 1_000)),
        ("history_SLICE_END", (now + timedelta(hours=4), middle, _LAST, 1_000)),
        named(history, "READ_SLICE", piece, after=now, after_id=_FIRST_ID, last_id=middle),
        ("overflow_COUNT_LETTERS", (10_000,)),
        ("operator_log_LIST_ENTRIES", (_LAST_ID, PAGE)),
        *(
            named(operated_jobs, "LIST_OPERATED", whose, scanned=1_000 if whose["is_finished"] is not None else PAGE)
            for is_finished in (None, True, False)
            for whose in [{"before": _LAST_ID, "limit": PAGE, "is_finished": is_finished}]
        ),
        ("partners_LIST_ARCHIVED", (_FIRST, _FIRST_ID, 50)),
        ("partners_LIST_OWNED", ([of["partner"]],)),
        ("queue_FIND_LINES", (_FIRST_ID, "", 500)),
        ("queue_FIND_ARCHIVED", (_FIRST_ID, 500)),
        ("queue_MEASURE", (now + timedelta(days=2), 1000)),
        ("replays_COUNT_LIVE", (of["program"], None)),
        ("retention_FIND_PROGRAMS", (_FIRST_ID, 500)),
        ("retention_PURGE_CUSTOM", (_FIRST, _FIRST_ID, now, 500)),
        ("retention_PURGE_ATTEMPTS", (_FIRST_ID, 0, _LAST_ID, cutoff, 500)),
        ("retention_PURGE_DELIVERIES", (_FIRST_ID, _LAST_ID, now + timedelta(days=1), 500)),
        ("retention_PURGE_DELIVERIES", (middle, _LAST_ID, cutoff, 500)),
        ("retention_PURGE_ENDPOINTS", (_FIRST, _FIRST_ID, cutoff, 500)),
        ("retention_PURGE_REPLAYS", (_FIRST, _FIRST_ID, cutoff, 500)),
        ("retention_PURGE_KEYS", (now + timedelta(days=1), 500)),
    ]
    return found


async def test_every_list_looks_at_a_bounded_number_of_rows(crowd: dict[str, Any]) -> None:
    """With plans for exactly these parameters and with cached generic plans."""
    plans: Plans = crowd["plans"]
    tried = set()
    for mode in MODES:
        await plans.prepare(mode)
        for name, arguments in cases(crowd):
            rows = await plans.looked_at(name, *arguments)
            # Sorting all that waits for twenty endpoints, or as much again from two or three other tables.
            assert rows <= 20 * 501 + 2 * BOUND, (mode, name, arguments, rows)
            tried.add(name)
    assert tried | _FEW == set(STATEMENTS)
