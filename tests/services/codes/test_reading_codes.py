"""Reading codes costs no more among ten million than among a hundred, and pages by status leave nothing out."""

import json
import re
import uuid
from dataclasses import replace
from typing import Any

import asyncpg
import pytest

from services.codes.domain.code_selection import CodeSelection, Place
from services.codes.domain.codes import CodeStatus
from services.codes.store import audit, batches, code_lists, coupons, promotion_codes, selected_codes
from services.codes.store.code_lists import Part, Wanted, list_ids
from services.codes.store.codes import FIND_CODE, FIND_REFERENCE, READ_ISSUED, read_issued
from services.codes.store.quota import LIST_LEDGER
from services.codes.store.usage import LOCK_CODES, UPDATE_CODES
from services.codes.usecases import walk_codes
from shared.database.idempotency import FIND_ANSWERS
from shared.database.rows import Statement
from shared.known_ids import FIRST_ID
from tests.databases import Database
from tests.services.codes.conftest import Owner, Service

REDEEM = "UPDATE promotion_codes SET times_redeemed = 1 WHERE code = ANY ($1::text[])"


async def test_pages_by_status_look_at_few_codes_each_and_together_at_all(service: Service, program: Owner) -> None:
    partner = await service.partner(program, quota=12)
    codes = [(await service.generate(partner)).body["code"] for _ in range(12)][::-1]
    expected = [codes[0], codes[1], codes[7], codes[11]]
    wanted = Wanted(
        program_id=uuid.UUID(program.id),
        now=service.clock.now,
        partner_id=uuid.UUID(partner.id),
        status="redeemed",
    )
    async with service.pool.connection() as connection:
        await connection.execute(REDEEM, expected)
        found: list[str] = []
        after: uuid.UUID | None = None
        pages = 0
        while True:
            page = await list_ids(connection, wanted, Part(after, 0, 1), scanned=3)
            read = await read_issued(connection, uuid.UUID(partner.id), page.ids, service.clock.now)
            found += [code.code for code in read]
            pages += 1
            if (after := page.next_after) is None:
                break
    assert found == expected
    assert pages <= 6


@pytest.mark.parametrize(
    "statement",
    [
        *(READ_ISSUED, FIND_CODE, FIND_REFERENCE, LOCK_CODES, UPDATE_CODES, LIST_LEDGER, FIND_ANSWERS),
        *(code_lists.SCAN_BY_ID, code_lists.SCAN_OF_PARTNER, code_lists.SCAN_BY_PREFIX, code_lists.FIND_MATCHING),
        *(promotion_codes.NEWEST_OF_COUPONS, promotion_codes.FIND_BY_CANONICAL, promotion_codes.FIND_BY_EXTERNAL_ID),
        *(promotion_codes.READ_CODES, coupons.HAS_MORE_CODES, coupons.ARCHIVE_CODES, coupons.LOCK_CODES),
        *(audit.LIST_ENTRIES, selected_codes.PAGE_OF_IDS, selected_codes.COUPON_OF_BATCH, batches.LIST_BATCH),
    ],
    ids=[
        *("READ_ISSUED", "FIND_CODE", "FIND_REFERENCE", "LOCK_CODES", "UPDATE_CODES", "LIST_LEDGER", "FIND_ANSWERS"),
        *("SCAN_BY_ID", "SCAN_OF_PARTNER", "SCAN_BY_PREFIX", "FIND_MATCHING"),
        *("NEWEST_OF_COUPONS", "FIND_BY_CANONICAL", "FIND_BY_EXTERNAL_ID"),
        *("READ_CODES", "HAS_MORE_CODES", "ARCHIVE_CODES", "LOCK_CODES_OF_COUPON", "LIST_ENTRIES", "PAGE_OF_IDS"),
        *("COUPON_OF_BATCH", "LIST_BATCH"),
    ],
)
async def test_no_statement_reads_a_growing_table_from_end_to_end(
    statement: str | Statement, database: Database
) -> None:
    text = statement.text if isinstance(statement, Statement) else statement
    # Off, for on an empty table a scan is cheapest: what is left of scans has no index to go by.
    settings = {"search_path": "codes", "plan_cache_mode": "force_generic_plan", "enable_seqscan": "off"}
    connection = await asyncpg.connect(database.admin, server_settings=settings)
    try:
        await connection.execute(f"PREPARE checked AS {text}")
        nothing = ", ".join(["NULL"] * len(set(re.findall(r"\$\d+", text))))
        plan = json.loads(await connection.fetchval(f"EXPLAIN (FORMAT JSON) EXECUTE checked ({nothing})"))
    finally:
        await connection.close()
    assert not {"promotion_codes", "quota_ledger", "idempotency_keys", "audit_log"} & set(scanned(plan[0]["Plan"]))


def scanned(node: dict[str, Any]) -> list[str]:
    """Return the tables that a plan scans sequentially."""
    own = [node["Relation Name"]] if node["Node Type"] == "Seq Scan" else []
    return own + [name for child in node.get("Plans", []) for name in scanned(child)]


FILL = """
INSERT INTO codes.promotion_codes (id, program_id, coupon_id, partner_id, code, canonical, created_at, updated_at)
SELECT (lpad(to_hex(n), 12, '0') || '7' || '000' || '8' || lpad(to_hex(n), 15, '0'))::uuid, $1, $2, $3,
       'N' || n, 'N' || n, now(), now()
FROM generate_series(1, 20000) AS n
"""


async def test_a_list_of_nothing_looks_at_nothing(service: Service, database: Database, program: Owner) -> None:
    """The planner must not walk the primary key for a coupon, partner or customer that has no codes among many."""
    partner = await service.partner(program, name="Many")
    coupon = (await service.send("GET", "/v1/coupons/partner-codes", program.key)).data["id"]
    none, last = uuid.uuid4(), uuid.UUID(int=2**128 - 1)
    page: dict[str, Any] = {"before": last, "first": FIRST_ID, "scanned": 16}
    most: dict[str, Any] = {"most_coupons": 50, "most_other": 1000, "enough": 16}
    by_id, of_partner = code_lists.SCAN_BY_ID, code_lists.SCAN_OF_PARTNER
    nothing: dict[str, Any] = {"coupon": None, "customer": None, "batch": None}
    by_prefix: dict[str, Any] = {"prefix": "NONE", "end": "NONEZ", "after": None, "scanned": 1000}
    connection = await asyncpg.connect(database.admin, server_settings={"search_path": "codes"})
    try:
        await connection.execute(FILL, program.id, coupon, partner.id)
        await connection.execute("ANALYZE promotion_codes")
        for statement, *arguments in (
            by_id(**page, **nothing, way="program", program=none),
            by_id(**page, **{**nothing, "coupon": none}, way="coupon", program=program.id),
            by_id(**page, **{**nothing, "customer": "nobody"}, way="customer", program=program.id),
            by_id(**page, **{**nothing, "batch": none}, way="batch", program=program.id),
            code_lists.SCAN_BY_PREFIX(**by_prefix, program=program.id),
            code_lists.SCAN_BY_PREFIX(**{**by_prefix, "prefix": "", "end": "Z"}, program=none),
            of_partner(**page, **most, program=program.id, partner=none, coupon=None),
            of_partner(**page, **most, program=program.id, partner=none, coupon=coupon),
            of_partner(**page, **most, program=program.id, partner=partner.id, coupon=none),
            (promotion_codes.NEWEST_OF_COUPONS, [none], 15),
            (coupons.HAS_MORE_CODES, none, 0),
            (selected_codes.COUPON_OF_BATCH, none),
            (batches.LIST_BATCH, none, 3),
            selected_codes.PAGE_OF_IDS(**stretch(program.id, none, "coupon")),
            selected_codes.PAGE_OF_IDS(**stretch(program.id, coupon, "partner", partner_id=none)),
            selected_codes.PAGE_OF_IDS(**stretch(program.id, none, "partner", partner_id=partner.id)),
            selected_codes.PAGE_OF_IDS(**stretch(program.id, coupon, "customer", customer_id="nobody")),
            selected_codes.PAGE_OF_IDS(**stretch(program.id, coupon, "batch", batch_id=none)),
            selected_codes.PAGE_OF_IDS(**stretch(program.id, coupon, "external_id", external_id="none")),
            selected_codes.PAGE_OF_IDS(**stretch(program.id, coupon, "canonical", canonical="N0")),
        ):
            plan = json.loads(await connection.fetchval(f"EXPLAIN (ANALYZE, FORMAT JSON) {statement}", *arguments))
            assert looked_at(plan[0]["Plan"]) < 100, statement
    finally:
        await connection.close()


SPREAD = """
INSERT INTO promotion_codes (id, program_id, coupon_id, partner_id, batch_id, code, canonical, customer_id, external_id,
                             is_active, archived_at, created_at, updated_at)
SELECT ('00000000-0000-7000-8000-' || lpad(to_hex(n), 12, '0'))::uuid, $1, ($2::uuid[])[1 + n % 2],
       CASE WHEN n % 3 > 0 THEN $3::uuid END, CASE WHEN n % 3 > 1 THEN $4::uuid END, 'S' || n, 'S' || n,
       CASE WHEN n % 5 > 0 THEN 'c0' END, 'x' || n, n % 4 > 0, CASE WHEN n % 7 = 0 THEN now() END,
       now(), now()
FROM generate_series(1, 60) AS n
"""


async def test_every_way_through_a_selection_comes_by_the_same_codes(service: Service, program: Owner) -> None:
    """Whatever index leads, no code of the coupon is left out or met twice, and none of another coupon is met."""
    partner = await service.partner(program)
    coupon = (await service.send("GET", "/v1/coupons/partner-codes", program.key)).data["id"]
    terms = {"coupon_discount_type": "percent", "coupon_discount_amount": 10, "coupon_duration_type": "once"}
    other = (await service.send("POST", "/v1/coupons", program.key, {"uuid_code": "other", **terms})).data["id"]
    batch = uuid.uuid4()
    live = [n for n in range(1, 61) if n % 2 == 0 and n % 7]
    async with service.pool.connection() as connection:
        await connection.execute(SPREAD, program.id, [coupon, other], partner.id, batch)

        async def walked(**wanted: Any) -> list[int]:
            found: list[int] = []
            after: uuid.UUID | None = FIRST_ID
            while after is not None:
                page = await selected_codes.page_of_ids(
                    connection, uuid.UUID(program.id), uuid.UUID(coupon), after, CodeSelection(**wanted), 3
                )
                found += [each.int & 0xFFFF for each in page.ids]
                after = page.next_after
            return found

        assert await walked() == live
        assert await walked(partner_id=uuid.UUID(partner.id)) == [n for n in live if n % 3]
        assert await walked(batch_id=batch) == [n for n in live if n % 3 == 2]
        assert await walked(customer_id="c0") == [n for n in live if n % 5]
        assert await walked(customer_id="c0", batch_id=batch) == [n for n in live if n % 5 and n % 3 == 2]
        assert await walked(batch_id=batch, is_active=False) == [n for n in live if n % 3 == 2 and n % 4 == 0]
        assert await walked(external_id="x8") == await walked(canonical="S8") == [8]
        assert await walked(canonical="S8", external_id="x10") == await walked(canonical="S7") == []


async def test_a_batch_is_looked_through_once_and_not_for_every_coupon(
    service: Service, program: Owner, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(walk_codes, "SCANNED_PER_PAGE", 4)
    terms = {"coupon_discount_type": "percent", "coupon_discount_amount": 10, "coupon_duration_type": "once"}
    for name in ("one", "two", "three"):
        await service.send("POST", "/v1/coupons", program.key, {"uuid_code": name, **terms})
    made = await service.send("POST", "/v1/coupons/two/promotion-codes/batch", program.key, {"count": 9})
    program_id, batch = uuid.UUID(program.id), uuid.UUID(made.data["job"]["id"])

    async def pages(owner_id: uuid.UUID, wanted: CodeSelection) -> list[int]:
        sizes: list[int] = []
        place: Place | None = None
        async with service.pool.transaction() as connection:
            found = await walk_codes.resolved(connection, owner_id, wanted)
            while not sizes or place is not None:
                page = await walk_codes.next_stretch(connection, owner_id, found, place)
                sizes.append(len(page.ids))
                place = page.following
        return sizes

    assert await pages(program_id, CodeSelection(batch_id=batch)) == [4, 4, 1]
    assert sum(await pages(program_id, CodeSelection(batch_id=batch, coupon="one"))) == 0
    stranger = await service.program()
    assert sum(await pages(uuid.UUID(stranger.id), CodeSelection(batch_id=batch))) == 0


OLDER = """
INSERT INTO codes.promotion_codes (id, program_id, coupon_id, partner_id, code, canonical, created_at, updated_at)
SELECT (lpad(to_hex(n), 12, '0') || '7' || '000' || '8' || lpad(to_hex(n), 15, '0'))::uuid, $1,
       ($2::uuid[])[CASE WHEN n % 2 = 0 AND n <= 20000 THEN 1 ELSE 2 END], $3, 'N' || n, 'N' || n, now(), now()
FROM generate_series(1, 30000) AS n
"""


async def test_a_selection_ends_where_its_codes_end(service: Service, database: Database, program: Owner) -> None:
    """Behind the last code of a large coupon the planner must not walk the primary key through all younger codes."""
    partner = await service.partner(program, name="Many")
    coupon = (await service.send("GET", "/v1/coupons/partner-codes", program.key)).data["id"]
    terms = {"coupon_discount_type": "percent", "coupon_discount_amount": 10, "coupon_duration_type": "once"}
    other = (await service.send("POST", "/v1/coupons", program.key, {"uuid_code": "other", **terms})).data["id"]
    last = uuid.UUID(f"{20_000:012x}70008{20_000:015x}")
    connection = await asyncpg.connect(database.admin, server_settings={"search_path": "codes"})
    try:
        await connection.execute(OLDER, program.id, [coupon, other], partner.id)
        await connection.execute("ANALYZE promotion_codes")
        for parameters in (
            stretch(program.id, coupon, "coupon", after=last),
            stretch(program.id, coupon, "partner", after=last, partner_id=partner.id),
        ):
            statement, *values = selected_codes.PAGE_OF_IDS(**parameters)
            plan = json.loads(await connection.fetchval(f"EXPLAIN (ANALYZE, FORMAT JSON) {statement}", *values))
            assert looked_at(plan[0]["Plan"]) < 100
    finally:
        await connection.close()


def stretch(
    program_id: uuid.UUID | str, coupon_id: uuid.UUID | str, way: str, after: uuid.UUID = FIRST_ID, **wanted: Any
) -> dict[str, Any]:
    """Return the parameters of a page of a selection, from its beginning or behind a code."""
    place = {"program": program_id, "coupon": coupon_id, "way": way, "after": after, "scanned": 1000}
    return {**dict.fromkeys(selected_codes.PAGE_OF_IDS.names), **place, **wanted}


def looked_at(node: dict[str, Any]) -> float:
    """Return how many rows of codes a plan that has run looked at."""
    own = 0.0
    if node.get("Relation Name") == "promotion_codes":
        own = (node["Actual Rows"] + node.get("Rows Removed by Filter", 0)) * node["Actual Loops"]
    return own + sum(looked_at(child) for child in node.get("Plans", []))


@pytest.mark.parametrize("most", [1, 3, 50])
@pytest.mark.parametrize("scanned", [1, 7, 1000])
async def test_a_partner_s_codes_are_listed_once_however_many_coupons_it_has(
    service: Service, program: Owner, monkeypatch: pytest.MonkeyPatch, most: int, scanned: int
) -> None:
    """From coupon to coupon, or among its program's codes where these are too many."""
    monkeypatch.setattr(code_lists, "MOST_COUPONS", most)
    partner, other = await service.partner(program), await service.partner(program, name="Other")
    coupon_ids = [uuid.uuid4() for _ in range(3)]
    owners = [uuid.UUID(partner.id), uuid.UUID(other.id)]
    async with service.pool.connection() as connection:
        for coupon_id in coupon_ids:
            await connection.execute(ADD_COUPON, coupon_id, uuid.UUID(program.id), coupon_id.hex)
        await connection.execute(ADD_CODES, uuid.UUID(program.id), coupon_ids, owners)
        statuses: tuple[tuple[CodeStatus | None, bool | None], ...]
        statuses = ((None, None), ("active", True), ("inactive", False), ("redeemed", None))
        for status, is_active in statuses:
            expected = [n for n in range(40, 0, -1) if n % 4 and status in (None, "active" if n % 5 else "inactive")]
            own = Wanted(program_id=uuid.UUID(program.id), now=service.clock.now, partner_id=owners[0])
            filters = [replace(own, status=status), replace(own, is_active=is_active)]
            for wanted in filters[: 1 if status == "redeemed" else 2]:
                found: list[int] = []
                after: uuid.UUID | None = None
                while True:
                    page = await list_ids(connection, wanted, Part(after, 0, 4), scanned)
                    found += [each.int & 0xFFFF for each in page.ids]
                    if (after := page.next_after) is None:
                        break
                assert found == expected, wanted


ADD_COUPON = """
INSERT INTO coupons (id, program_id, uuid_code, name, discount_type, percent_hundredths, duration_type, created_at,
                     updated_at)
VALUES ($1, $2, $3, 'C', 'percent', 1, 'once', now(), now())
"""
ADD_CODES = """
INSERT INTO promotion_codes (id, program_id, coupon_id, partner_id, code, canonical, is_active, created_at, updated_at)
SELECT ('00000000-0000-7000-8000-' || lpad(to_hex(n), 12, '0'))::uuid, $1, ($2::uuid[])[1 + n % 3],
       ($3::uuid[])[CASE WHEN n % 4 > 0 THEN 1 ELSE 2 END], 'P' || n, 'P' || n, n % 5 > 0, now(), now()
FROM generate_series(1, 40) AS n
"""
