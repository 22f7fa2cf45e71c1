"""No list, look-up or clean-up looks at more than a bounded number of rows, however many there are."""

import uuid
from collections.abc import AsyncIterator, Iterator, Mapping
from datetime import UTC, datetime, timedelta
from types import ModuleType
from typing import Any

import asyncpg
import pytest

from services.codes.store import (
    audit,
    batches,
    code_lists,
    code_orders,
    coupons,
    jobs,
    keys,
    operated_jobs,
    partners,
    programs,
    promotion_codes,
    quota,
    selected_codes,
)
from shared.database.rows import Statement
from tests.databases import Database
from tests.plans import MODES, Plans
from tests.services.codes.conftest import Owner, Service
from tests.services.codes.test_reading_codes import stretch

# Half of them is more than a count may look at.
MANY = 24_000
PAGE, BOUND = 51, 2_000
_LAST_ID, _FIRST_ID = uuid.UUID(int=2**128 - 1), uuid.UUID(int=0)
STORES = (
    *(audit, batches, code_lists, code_orders, coupons, jobs, keys, operated_jobs, partners, programs, promotion_codes),
    *(quota, selected_codes),
)
_HELD = (
    "LIST_",
    "SCAN_",
    "FIND_MATCHING",
    "PURGE_",
    "NEWEST_",
    "PAGE_",
    "TAKEN_PREFIXES",
    "NEXT_COUPON",
    "COUPON_OF_",
    "HAS_MORE",
    "COUNT_OPEN",
    "COUNT_PENDING",
)
STATEMENTS = {
    name: text.text if isinstance(text, Statement) else text
    for store in STORES
    for name, text in vars(store).items()
    # A function of the database.
    if name.startswith(_HELD) and isinstance(text, str | Statement) and name != "PURGE_ENTRIES"
}
MAKE_IDS = """
CREATE FUNCTION pg_temp.id_of(n integer) RETURNS uuid LANGUAGE sql IMMUTABLE
RETURN (lpad(to_hex(n), 12, '0') || '70008' || lpad(to_hex(n), 15, '0'))::uuid
"""
FILLING = (
    # A partner with codes of sixty coupons, and one with codes of a single one.
    """
    INSERT INTO promotion_codes (id, program_id, coupon_id, partner_id, batch_id, customer_id, code, canonical,
                                 is_active, created_at, updated_at)
    SELECT pg_temp.id_of(n), $1, CASE WHEN n % 2 = 0 THEN ($2::uuid[])[1 + n / 2 % 60] ELSE $3 END,
           CASE WHEN n % 2 = 0 THEN $4::uuid ELSE $5 END, $6, 'crowd', 'N' || n, 'N' || n, true, now(), now()
    FROM generate_series(1, $7::int) AS n
    """,
    """
    INSERT INTO partners (id, program_id, name, status, code_prefix, created_at, updated_at, archived_at)
    SELECT pg_temp.id_of(n), $1, 'P', 'active', 'ACME' || n, now(), now(), CASE WHEN n % 2 = 0 THEN now() END
    FROM generate_series(2, $7::int) AS n
    """,
    """
    INSERT INTO coupons (id, program_id, uuid_code, name, discount_type, percent_hundredths, duration_type, created_at,
                         updated_at, archived_at)
    SELECT pg_temp.id_of(n), $1, 'c' || n, 'Welcome', 'percent', 1, 'once', now(), now(),
           CASE WHEN n % 2 = 0 THEN now() END
    FROM generate_series(1, $7::int) AS n
    """,
    """
    INSERT INTO api_keys (id, program_id, partner_id, kind, purpose, slot, scopes, digest, created_at, revoked_at,
                          made_by_key_id)
    SELECT pg_temp.id_of(n), $1, CASE WHEN n % 2 = 0 THEN $4::uuid END, 'secret', 'p' || n, 1, '{manage}', '', now(),
           now(), $6
    FROM generate_series(1, $7::int) AS n
    """,
    """
    INSERT INTO jobs (id, program_id, kind, state, spec, actor, created_at, finished_at)
    SELECT pg_temp.id_of(n), $1, 'batch', 'done', '{}', 'operator', now(), now() FROM generate_series(1, $7::int) AS n
    """,
    """
    INSERT INTO quota_ledger (id, partner_id, kind, amount, actor, created_at)
    SELECT pg_temp.id_of(n), $4, 'grant', 1, 'operator', now() FROM generate_series(1, $7::int) AS n
    """,
    """
    INSERT INTO code_orders (id, program_id, partner_id, count, reference, must_be_paid, state, placed_by, created_at,
                             decided_by, decided_at)
    SELECT pg_temp.id_of(n), $1, CASE WHEN n % 2 = 0 THEN $4::uuid ELSE $5 END, 1,
           CASE WHEN n % 3 = 0 THEN 'PO-' || n END, false, CASE WHEN n % 4 < 2 THEN 'pending' ELSE 'cancelled' END, 'p',
           now(), CASE WHEN n % 4 >= 2 THEN 'p' END, CASE WHEN n % 4 >= 2 THEN now() END
    FROM generate_series(1, $7::int) AS n
    """,
    """
    INSERT INTO audit_log (id, program_id, actor, action, object_type, object_id, changes, created_at)
    SELECT pg_temp.id_of(n), $1, 'operator', 'coupon.updated', 'coupon', $3, '{}', now()
    FROM generate_series(1, $7::int) AS n
    """,
    """
    INSERT INTO programs (id, name, link_url, created_at, updated_at)
    SELECT pg_temp.id_of(n), 'G', 'x', now(), now() FROM generate_series(1, $7::int) AS n
    """,
    "INSERT INTO key_uses (key_id, last_used_at) SELECT pg_temp.id_of(n), now() FROM generate_series(1, $7::int) AS n",
    # Much of one job that is under way, which is newer than those that are over.
    "INSERT INTO job_uploads (job_id, nth, body) SELECT $8, n, '' FROM generate_series(1, $7::int) AS n",
    "INSERT INTO job_lines (job_id, canonical, line) SELECT $8, n, n FROM generate_series(1, $7::int) AS n",
    "INSERT INTO job_errors (job_id, line, reason, detail) SELECT $8, n, '', '' FROM generate_series(1, $7::int) AS n",
    """
    INSERT INTO jobs (id, program_id, kind, state, spec, actor, created_at)
    VALUES ($8, $1, 'import', 'running', '{}', 'operator', now())
    """,
)


@pytest.fixture
async def crowd(service: Service, database: Database, program: Owner) -> AsyncIterator[dict[str, Any]]:
    """A program with much of everything, and beside it one with nothing."""
    many, few = await service.partner(program, name="Many"), await service.partner(program, name="Few")
    single = uuid.UUID((await service.send("GET", "/v1/coupons/partner-codes", program.key)).data["id"])
    sixty, batch, job = [uuid.uuid4() for _ in range(60)], uuid.uuid4(), uuid.UUID(int=2**127 + 7)
    connection = await asyncpg.connect(database.admin, server_settings={"search_path": "codes", "jit": "off"})
    arguments = [uuid.UUID(program.id), sixty, single, uuid.UUID(many.id), uuid.UUID(few.id), batch, MANY, job]
    try:
        await connection.execute(MAKE_IDS)
        # As after a large import: nothing is known yet of which pages an index alone suffices for.
        await connection.execute("ALTER TABLE promotion_codes SET (autovacuum_enabled = false)")
        # Neither foreign keys, checked row by row, nor the test-mode copies are what is tried here.
        await connection.execute("SET session_replication_role = replica")
        async with connection.transaction():
            for statement in FILLING:
                await _fill(connection, statement, arguments)
        await connection.execute("RESET session_replication_role")
        await connection.execute("ANALYZE")
        yield {
            "plans": Plans(connection, STATEMENTS),
            "program": uuid.UUID(program.id),
            "single": single,
            "many": uuid.UUID(many.id),
            "few": uuid.UUID(few.id),
            "batch": batch,
            "sixty": sixty,
            "job": job,
        }
    finally:
        await connection.close()


async def _fill(connection: "asyncpg.Connection[asyncpg.Record]", statement: str, arguments: list[Any]) -> None:
    """Run a statement with those of the arguments that it names."""
    named = [number for number in range(1, len(arguments) + 1) if f"${number}" in statement]
    for new, old in enumerate(named, 1):
        statement = statement.replace(f"${old}", f"${new}")
    await connection.execute(statement, *(arguments[number - 1] for number in named))


def named(store: ModuleType, statement: str, *values: Mapping[str, Any], **more: Any) -> tuple[str, tuple[Any, ...]]:
    """Return a statement with its values in their order; what is named again counts."""
    _, *arguments = getattr(store, statement)(**{key: value for each in (*values, more) for key, value in each.items()})
    return statement, tuple(arguments)


def cases(of: dict[str, Any]) -> list[tuple[str, tuple[Any, ...]]]:
    """Return each list in its ways, with plenty, with filters that leave all out, and for somebody who has nothing."""
    nobody, middle = uuid.uuid4(), uuid.UUID(f"{MANY // 2:012x}70008{MANY // 2:015x}")
    now = datetime.now(UTC)
    found: list[tuple[str, tuple[Any, ...]]] = []
    no_coupon = {"external_id": None, "name": None, "is_active": None}
    of_none = {"coupon": None, "customer": None, "batch": None}
    prefixed = {"after": None, "scanned": 1000}
    every = dict.fromkeys(("coupon_id", "partner_id", "customer_id", "batch_id", "prefix", "is_active"))
    every |= dict.fromkeys(("created_from", "created_before"))
    thousand = [uuid.UUID(f"{n:012x}70008{n:015x}") for n in range(1, 1001)]
    for program in (of["program"], nobody):
        for after in (_LAST_ID, middle):
            page = {"program": program, "before": after, "limit": PAGE}
            part = {**page, "offset": 0}
            span = {"program": program, "before": after, "first": _FIRST_ID, "scanned": 1000}
            found += [
                named(jobs, "LIST_JOBS", page, kind=None, state=None, scanned=PAGE),
                named(jobs, "LIST_JOBS", page, kind="import", state="failed", scanned=1000),
                named(partners, "LIST_PARTNERS", page, status=None, email=None, scanned=PAGE),
                named(partners, "LIST_PARTNERS", page, status="suspended", email=None, scanned=1000),
                named(partners, "LIST_PARTNERS", page, status=None, email="nobody@example.com", scanned=PAGE),
                named(coupons, "LIST_COUPONS", part, no_coupon, way="program", scanned=PAGE),
                named(coupons, "LIST_COUPONS", part, no_coupon, way="program", is_active=False, scanned=1000),
                named(coupons, "LIST_COUPONS", part, no_coupon, way="name", name="Welcome", scanned=PAGE),
                named(coupons, "LIST_COUPONS", part, no_coupon, way="name", name="None", scanned=PAGE),
                named(coupons, "LIST_COUPONS", part, no_coupon, way="external_id", external_id="x", scanned=PAGE),
                ("LIST_KEYS", (program, None, after, PAGE)),
                ("LIST_KEYS", (program, of["many"], after, PAGE)),
                ("LIST_KEYS", (program, of["few"], after, PAGE)),
                named(code_lists, "SCAN_BY_ID", span, of_none, way="program"),
                named(code_lists, "SCAN_BY_ID", span, of_none, way="coupon", coupon=of["single"]),
                named(code_lists, "SCAN_BY_ID", span, of_none, way="customer", customer="crowd"),
                named(code_lists, "SCAN_BY_ID", span, of_none, way="customer", customer="nobody"),
                named(code_lists, "SCAN_BY_ID", span, of_none, way="batch", batch=of["batch"]),
                named(code_lists, "SCAN_BY_PREFIX", prefixed, program=program, prefix="N1", end="N1\U0010ffff"),
                named(code_lists, "SCAN_BY_PREFIX", prefixed, program=program, prefix="X", end="Y"),
                ("TAKEN_PREFIXES", (program, [f"ACME{n}" for n in range(10)])),
                ("NEXT_COUPON", (program, _FIRST_ID, None)),
                ("NEXT_COUPON", (program, middle, None)),
                ("NEXT_COUPON", (program, _FIRST_ID, of["single"])),
            ]
    for after in (_LAST_ID, middle):
        for partner in (of["many"], of["few"], nobody):
            for coupon in (None, of["single"], of["sixty"][2]):
                for first in (_FIRST_ID, middle):
                    span = {"before": after, "first": first, "enough": PAGE, "most_coupons": 50, "most_other": 1000}
                    span |= {"program": of["program"], "partner": partner, "coupon": coupon}
                    found.append(named(code_lists, "SCAN_OF_PARTNER", span, scanned=PAGE))
                    found.append(named(code_lists, "SCAN_OF_PARTNER", span, scanned=1000))
            found.append(("LIST_LEDGER", (partner, after, PAGE)))
            found += orders_of(of["program"], partner, after)
        found.append(("LIST_MADE_KEYS", (of["batch"], of["program"], after, PAGE)))
        found.append(("LIST_PROGRAMS", (after, PAGE)))
        for is_finished, scanned in ((None, PAGE), (False, 1000), (True, 1000)):
            whose = {"before": after, "limit": PAGE, "scanned": scanned, "is_finished": is_finished}
            found.append(named(operated_jobs, "LIST_OPERATED", whose))
        for way, object_id in (("object", of["single"]), ("actor", None), ("program", None), ("all", None)):
            whose = {"object_id": object_id, "actor": "operator" if way == "actor" else None}
            whose |= {"program_id": of["program"] if way != "all" else None, "object_type": "partner"}
            rest = {"action": None, "since": None, "until": None, "before": after, "limit": PAGE, "scanned": 1000}
            found.append(named(audit, "LIST_ENTRIES", whose, rest, way=way))
    found += [
        ("LIST_USES", (thousand[:PAGE],)),
        named(code_lists, "FIND_MATCHING", every, program_id=of["program"], ids=thousand, status="redeemed", now=now),
        named(selected_codes, "PAGE_OF_IDS", stretch(of["program"], of["single"], "coupon")),
        named(selected_codes, "PAGE_OF_IDS", stretch(of["program"], of["single"], "partner", partner_id=of["few"])),
        named(selected_codes, "PAGE_OF_IDS", stretch(of["program"], nobody, "batch", batch_id=of["batch"])),
        ("COUPON_OF_BATCH", (of["batch"],)),
        ("LIST_BATCH", (of["batch"], PAGE)),
        ("NEWEST_OF_COUPONS", (of["sixty"], 15)),
        ("HAS_MORE_CODES", (of["single"], 1000)),
        ("LIST_ERRORS", (of["job"], 0, 1000)),
        ("COUNT_OPEN", (of["program"], 20)),
        ("COUNT_OPEN", (nobody, 20)),
        ("COUNT_PENDING", (of["many"], 20)),
        ("LIST_USES", ([uuid.UUID(f"{n:012x}70008{n:015x}") for n in range(1, PAGE + 1)],)),
        ("PURGE_CODE_ORDERS", (now - timedelta(days=400), 1000)),
        ("PURGE_CODE_ORDERS", (now + timedelta(days=1), 1000)),
        ("PURGE_UPLOADS", (50, 1000)),
        ("PURGE_LINES", (1000, 1000)),
        ("PURGE_ERRORS", (1000, 1000)),
        ("PURGE_JOBS", (now - timedelta(days=1), now - timedelta(days=1), 500)),
        ("PURGE_JOBS", (now + timedelta(days=1), now, 500)),
    ]
    return found


def orders_of(program: uuid.UUID, partner: uuid.UUID, after: uuid.UUID) -> Iterator[tuple[str, tuple[Any, ...]]]:
    """Yield the lists of orders of codes of a partner and of its program, by every way."""
    ways: dict[str, dict[str, Any]] = {
        "program": {"partner_id": None, "reference": None},
        "partner": {"partner_id": partner, "reference": None},
        "reference": {"partner_id": None, "reference": "PO-3000"},
        "one": {"partner_id": partner, "reference": "PO-3000"},
    }
    for way, named_ in ways.items():
        for state, is_pending, scanned in ((None, True, PAGE), ("pending", True, 1000), ("refused", False, 1000)):
            page = {"pending_before": is_pending, "before": after, "limit": PAGE, "scanned": scanned, "way": way}
            rest = {"program_id": program, "state": state, "since": None, "until": None}
            yield named(code_orders, "LIST_CODE_ORDERS", named_, page, rest)


async def test_every_list_looks_at_a_bounded_number_of_rows(crowd: dict[str, Any]) -> None:
    """By plans for just these parameters and by plans that are kept for any."""
    plans: Plans = crowd["plans"]
    tried = set()
    for mode in MODES:
        await plans.prepare(mode)
        for name, arguments in cases(crowd):
            rows = await plans.looked_at(name, *arguments)
            # Each row that is looked at may be looked up by its key once more, and fifty coupons have a page each.
            assert rows <= 2 * BOUND + 60 * PAGE, (mode, name, arguments, rows)
            tried.add(name)
    assert tried == set(STATEMENTS)


async def test_a_count_looks_at_no_more_rows_than_it_may_count(crowd: dict[str, Any]) -> None:
    """Where fewer rows are expected than the limit, a plan that sorts all of them would be cheaper."""
    plans: Plans = crowd["plans"]
    most = 5_001
    span = {"program": crowd["program"], "before": _LAST_ID, "first": _FIRST_ID, "scanned": most}
    none = {"coupon": None, "customer": None, "batch": None}
    part = {"program": crowd["program"], "before": _LAST_ID, "limit": most, "scanned": most}
    no_coupon = {"external_id": None, "name": None, "is_active": None, "offset": 0}
    for mode in MODES:
        await plans.prepare(mode)
        for name, arguments in (
            named(code_lists, "SCAN_BY_ID", span, none, way="program"),
            named(code_lists, "SCAN_BY_ID", span, none, way="coupon", coupon=crowd["single"]),
            named(code_lists, "SCAN_BY_ID", span, none, way="customer", customer="crowd"),
            named(code_lists, "SCAN_BY_ID", span, none, way="batch", batch=crowd["batch"]),
            named(
                code_lists, "SCAN_BY_PREFIX", program=crowd["program"], prefix="N", end="O", after=None, scanned=most
            ),
            named(coupons, "LIST_COUPONS", part, no_coupon, way="program"),
            named(coupons, "LIST_COUPONS", part, no_coupon, way="name", name="Welcome"),
            named(partners, "LIST_PARTNERS", part, status=None, email=None),
        ):
            rows = await plans.looked_at(name, *arguments)
            assert rows <= 2 * most, (mode, name, arguments, rows)
