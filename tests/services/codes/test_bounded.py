"""No list, look-up or clean-up looks at more than a bounded number of rows, however many there are."""

import uuid
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any

import asyncpg
import pytest

from services.codes.store import (
    audit,
    batches,
    codes,
    coupons,
    jobs,
    keys,
    partners,
    programs,
    promotion_codes,
    quota,
    selected_codes,
)
from tests.databases import Database
from tests.plans import MODES, Plans
from tests.services.codes.conftest import Owner, Service
from tests.services.codes.test_reading_codes import stretch

MANY = 40_000
PAGE, BOUND = 51, 2_000
_LAST_ID, _FIRST_ID = uuid.UUID(int=2**128 - 1), uuid.UUID(int=0)
STORES = (*(audit, batches, codes, coupons, jobs, keys, partners, programs, promotion_codes, quota, selected_codes),)
_HELD = ("LIST_", "PURGE_", "NEWEST_", "PAGE_", "TAKEN_PREFIXES", "NEXT_COUPON", "COUPON_OF_", "HAS_MORE", "COUNT_OPEN")
STATEMENTS = {
    name: text
    for store in STORES
    for name, text in vars(store).items()
    # A function of the database.
    if name.startswith(_HELD) and isinstance(text, str) and name != "PURGE_ENTRIES"
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
    INSERT INTO audit_log (id, program_id, actor, action, object_type, object_id, changes, created_at)
    SELECT pg_temp.id_of(n), $1, 'operator', 'coupon.updated', 'coupon', $3, '{}', now()
    FROM generate_series(1, $7::int) AS n
    """,
    """
    INSERT INTO programs (id, name, link_url, created_at, updated_at)
    SELECT pg_temp.id_of(n), 'G', 'x', now(), now() FROM generate_series(1, $7::int) AS n
    """,
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
        for statement in FILLING:
            await _fill(connection, statement, arguments)
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


def cases(of: dict[str, Any]) -> list[tuple[str, tuple[Any, ...]]]:
    """Return each list in its ways, with plenty, with filters that leave all out, and for somebody who has nothing."""
    nobody, middle = uuid.uuid4(), uuid.UUID(f"{MANY // 2:012x}70008{MANY // 2:015x}")
    now = datetime.now(UTC)
    found: list[tuple[str, tuple[Any, ...]]] = []
    for program in (of["program"], nobody):
        for after in (_LAST_ID, middle):
            found += [
                ("LIST_JOBS", (program, after, None, None, PAGE, PAGE)),
                ("LIST_JOBS", (program, after, "import", "failed", PAGE, 1000)),
                ("LIST_PARTNERS", (program, after, None, None, PAGE, PAGE)),
                ("LIST_PARTNERS", (program, after, "suspended", None, PAGE, 1000)),
                ("LIST_PARTNERS", (program, after, None, "nobody@example.com", PAGE, PAGE)),
                ("LIST_COUPONS", (program, after, None, None, None, 0, PAGE, PAGE, "program")),
                ("LIST_COUPONS", (program, after, None, None, False, 0, PAGE, 1000, "program")),
                ("LIST_COUPONS", (program, after, None, "Welcome", None, 0, PAGE, PAGE, "name")),
                ("LIST_COUPONS", (program, after, None, "None", None, 0, PAGE, PAGE, "name")),
                ("LIST_COUPONS", (program, after, "x", None, None, 0, PAGE, PAGE, "external_id")),
                ("LIST_KEYS", (program, None, after, PAGE)),
                ("LIST_KEYS", (program, of["many"], after, PAGE)),
                ("LIST_KEYS", (program, of["few"], after, PAGE)),
                ("LIST_OF_PROGRAM", (program, None, after, None, 0, PAGE, PAGE)),
                ("LIST_OF_PROGRAM", (program, None, after, False, 0, PAGE, 1000)),
                ("LIST_OF_CUSTOMER", (program, "crowd", after, False, 0, PAGE, 1000, None, None)),
                ("LIST_OF_CUSTOMER", (program, "nobody", after, None, 0, PAGE, 1000, None, None)),
                ("TAKEN_PREFIXES", (program, [f"ACME{n}" for n in range(10)])),
                ("NEXT_COUPON", (program, _FIRST_ID, None)),
                ("NEXT_COUPON", (program, middle, None)),
                ("NEXT_COUPON", (program, _FIRST_ID, of["single"])),
            ]
    for after in (_LAST_ID, middle):
        for partner in (of["many"], of["few"], nobody):
            for coupon in (None, of["single"], of["sixty"][2]):
                for is_active, bound in ((None, PAGE), (False, 1000)):
                    arguments = (partner, coupon, after, is_active, 0, PAGE, bound, of["program"], 50, 1000)
                    found.append(("LIST_OF_PARTNER", arguments))
            found.append(("LIST_CODES", (partner, after, None, now, PAGE, PAGE, 50, 500)))
            found.append(("LIST_CODES", (partner, after, "expired", now, PAGE, 500, 50, 500)))
            found.append(("LIST_LEDGER", (partner, after, PAGE)))
        found.append(("LIST_MADE_KEYS", (of["batch"], of["program"], after, PAGE)))
        found.append(("LIST_PROGRAMS", (after, PAGE)))
        for way, named in (("object", of["single"]), ("actor", None), ("program", None), ("all", None)):
            actor, scanned = ("operator" if way == "actor" else None), 1000
            wanted = (way, named, actor, of["program"] if way != "all" else None, "partner", None, None, None)
            found.append(("LIST_ENTRIES", (*wanted, after, PAGE, scanned)))
    found += [
        ("PAGE_OF_IDS", stretch(str(of["program"]), of["single"], "coupon")),
        ("PAGE_OF_IDS", stretch(str(of["program"]), of["single"], "partner", partner_id=of["few"])),
        ("PAGE_OF_IDS", stretch(str(of["program"]), nobody, "batch", batch_id=of["batch"])),
        ("COUPON_OF_BATCH", (of["batch"],)),
        ("LIST_BATCH", (of["batch"], PAGE)),
        ("NEWEST_OF_COUPONS", (of["sixty"], 15)),
        ("HAS_MORE_CODES", (of["single"], 1000)),
        ("LIST_ERRORS", (of["job"], 0, 1000)),
        ("COUNT_OPEN", (of["program"], 20)),
        ("COUNT_OPEN", (nobody, 20)),
        ("PURGE_UPLOADS", (50, 1000)),
        ("PURGE_LINES", (1000, 1000)),
        ("PURGE_ERRORS", (1000, 1000)),
        ("PURGE_JOBS", (now - timedelta(days=1), now - timedelta(days=1), 500)),
        ("PURGE_JOBS", (now + timedelta(days=1), now, 500)),
    ]
    return found


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
