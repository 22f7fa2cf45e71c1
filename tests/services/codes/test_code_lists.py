"""The filters of all lists of codes: each finds what a plain model finds, on every page, along an index."""

import base64
import json
import uuid
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any

import asyncpg
import pytest
from yarl import URL

from services.codes.store import code_lists
from services.codes.store.code_lists import Part, Wanted
from shared.canonical import canonical_code
from shared.ids import earliest_id
from tests.databases import Database
from tests.services.codes.conftest import Owner, Service

COUNT = 24
START = datetime(2026, 3, 1, tzinfo=UTC)
STATES = ("active", "redeemed", "expired", "inactive")
ADD = """
INSERT INTO promotion_codes (id, program_id, coupon_id, partner_id, batch_id, customer_id, external_id, reference, code,
                             canonical, is_active, times_redeemed, redemption_limit, expires_at, created_at, updated_at)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, 1, $13, $14, $14)
"""


@dataclass(frozen=True)
class Code:
    """A code as the model knows it."""

    n: int
    text: str
    coupon: int
    is_mine: bool
    is_of_batch: bool
    has_customer: bool
    status: str
    created_at: datetime


@dataclass(frozen=True)
class Shelf:
    """A program with codes that differ in everything that filters ask for."""

    program: Owner
    partner: Owner
    other: Owner
    codes: list[Code]
    coupons: list[str]
    batch: uuid.UUID

    def path(self, text: str) -> URL:
        names = {"PARTNER": self.partner.id, "COUPON": self.coupons[0], "BATCH": str(self.batch)}
        for name, value in names.items():
            text = text.replace(name, value)
        return URL(text)


def made(n: int) -> Code:
    # Strings in another order than that of their creation, and a third of them of another family.
    stem = "AOME" if n % 3 else "OTHER"
    return Code(
        n=n,
        text=f"{stem}-{n * 7 % COUNT:02}",
        coupon=n % 2,
        is_mine=n % 4 > 0,
        is_of_batch=n % 3 > 0,
        has_customer=n % 5 > 0,
        status=STATES[n % 4 if n % 8 < 4 else 0],
        created_at=START + timedelta(days=n),
    )


@pytest.fixture
async def shelf(service: Service, database: Database, program: Owner) -> Shelf:
    partner, other = await service.partner(program, name="Mine"), await service.partner(program, name="Other")
    coupons = [await _coupon(service, program, name) for name in ("one", "two")]
    batch, codes = uuid.uuid4(), [made(n) for n in range(COUNT)]
    connection = await asyncpg.connect(database.admin, server_settings={"search_path": "codes"})
    try:
        for code in codes:
            owner = partner if code.is_mine else other
            await connection.execute(
                ADD,
                uuid.UUID(int=earliest_id(code.created_at).int | 7 << 76 | 2 << 62 | code.n),
                uuid.UUID(program.id),
                uuid.UUID(coupons[code.coupon]),
                uuid.UUID(owner.id),
                batch if code.is_of_batch else None,
                "crowd" if code.has_customer else None,
                f"x{code.n}",
                f"r{code.n}",
                code.text,
                canonical_code(code.text),
                code.status != "inactive",
                int(code.status == "redeemed"),
                START if code.status == "expired" else None,
                code.created_at,
            )
    finally:
        await connection.close()
    return Shelf(program, partner, other, codes, coupons, batch)


async def _coupon(service: Service, program: Owner, name: str) -> str:
    body = {"uuid_code": name, "coupon_discount_type": "percent", "coupon_discount_amount": 5}
    reply = await service.send("POST", "/v1/coupons", program.key, {**body, "coupon_duration_type": "once"})
    return str(reply.data["id"])


Match = Callable[[Code], bool]
FILTERS: dict[str, Match] = {
    "": lambda c: True,
    "code_prefix=aome": lambda c: c.text.startswith("AOME"),
    "code_prefix=A-0-M-E": lambda c: c.text.startswith("AOME"),
    "code_prefix=aome1": lambda c: c.text.startswith("AOME-1"),
    "code_prefix=aome&status=active": lambda c: c.text.startswith("AOME") and c.status == "active",
    "status=active": lambda c: c.status == "active",
    "status=redeemed": lambda c: c.status == "redeemed",
    "status=expired": lambda c: c.status == "expired",
    "status=inactive": lambda c: c.status == "inactive",
    "created_from=2026-03-11T00:00:00Z": lambda c: c.n >= 10,
    "created_before=2026-03-11": lambda c: c.n < 10,
    "created_from=2026-03-03&created_before=2026-03-21T00:00:00Z&status=active": lambda c: (
        2 <= c.n < 20 and c.status == "active"
    ),
}
OF_MERCHANT: dict[str, Match] = {
    "active=false": lambda c: c.status == "inactive",
    "batch_id=BATCH": lambda c: c.is_of_batch,
    "batch_id=BATCH&partner_id=PARTNER&created_from=2026-03-05": lambda c: c.is_of_batch and c.is_mine and c.n >= 4,
    "batch_id=unknown": lambda c: False,
    "partner_id=PARTNER": lambda c: c.is_mine,
    "partner_id=PARTNER&coupon_id=COUPON": lambda c: c.is_mine and not c.coupon,
    "partner_id=PARTNER&created_before=2026-03-20": lambda c: c.is_mine and c.n < 19,
    "partner_id=PARTNER&code_prefix=Othe": lambda c: c.is_mine and c.text.startswith("OTHER"),
    "coupon_id=COUPON": lambda c: not c.coupon,
    "coupon_id=COUPON&status=redeemed": lambda c: not c.coupon and c.status == "redeemed",
    "coupon_id=COUPON&created_from=2026-03-04": lambda c: not c.coupon and c.n >= 3,
    "coupon_id=COUPON&code_prefix=aome": lambda c: not c.coupon and c.text.startswith("AOME"),
    "customer_id=crowd": lambda c: c.has_customer,
    "customer_id=crowd&created_before=2026-03-11": lambda c: c.has_customer and c.n < 10,
    "customer_id=crowd&batch_id=BATCH": lambda c: c.has_customer and c.is_of_batch,
}


def expected(shelf: Shelf, filters: str, match: Match, *, mine: bool) -> list[str]:
    found = [code for code in shelf.codes if match(code) and (code.is_mine or not mine)]
    if "prefix" in filters.lower():
        return [code.text for code in sorted(found, key=lambda code: canonical_code(code.text))]
    return [code.text for code in sorted(found, key=lambda code: -code.n)]


@pytest.mark.parametrize("filters", [*FILTERS, *OF_MERCHANT])
async def test_each_filter_of_the_merchants_list_goes_on_to_the_last_page(
    service: Service, shelf: Shelf, filters: str
) -> None:
    found: list[str] = []
    url, pages = shelf.path(f"/v1/promotion-codes?{filters}").update_query(limit=3), 0
    while True:
        page = await service.send("GET", url, shelf.program.key)
        assert page.status == 200, page.body
        found += [code["code"] for code in page.data]
        pages += 1
        if page.body["meta"]["next_cursor"] is None:
            break
        url = url.update_query(cursor=page.body["meta"]["next_cursor"])
    wanted = expected(shelf, filters, {**FILTERS, **OF_MERCHANT}[filters], mine=False)
    assert found == wanted
    assert pages >= -(-len(wanted) // 3)
    counted = await service.send(
        "GET", url.without_query_params("cursor").update_query(count="bounded"), shelf.program.key
    )
    assert counted.body["meta"]["count"] == len(wanted)
    assert counted.body["meta"]["count_is_exact"] is True


@pytest.mark.parametrize("filters", FILTERS)
async def test_each_filter_of_the_partners_list_goes_on_to_the_last_page(
    service: Service, shelf: Shelf, filters: str
) -> None:
    found: list[str] = []
    url = URL(f"/api/partners/codes?{filters}").update_query(limit=2, count="bounded")
    wanted = expected(shelf, filters, FILTERS[filters], mine=True)
    while True:
        page = await service.send("GET", url, shelf.partner.key)
        assert page.status == 200, page.body
        assert (page.body["count"], page.body["count_is_exact"]) == (len(wanted), True)
        found += [code["code"] for code in page.body["codes"]]
        if page.body["next_cursor"] is None:
            break
        url = url.update_query(cursor=page.body["next_cursor"])
    assert found == wanted


@pytest.mark.parametrize("filters", [*FILTERS, "batch_id=BATCH"])
async def test_each_filter_of_the_query_goes_on_by_its_link(service: Service, shelf: Shelf, filters: str) -> None:
    match = {**FILTERS, **OF_MERCHANT}[filters]
    for ours, theirs in (
        ("code_prefix", "codePrefix"),
        ("created_from", "createdFrom"),
        ("created_before", "createdBefore"),
        ("batch_id", "batchId"),
    ):
        filters = filters.replace(ours, theirs)
    wanted = expected(shelf, filters, match, mine=False)
    whole = await service.send("GET", shelf.path(f"/api/v1/promotional-codes?{filters}"), shelf.program.key)
    assert [code["code"] for code in whole.body] == wanted
    found: list[str] = []
    url: URL | str = shelf.path(f"/api/v1/promotional-codes?{filters}").update_query(limit=3)
    while True:
        page = await service.send("GET", url, shelf.program.key)
        assert page.status == 200, page.body
        found += [code["code"] for code in page.body]
        if "Link" not in page.headers:
            break
        url = URL(page.headers["Link"].partition(">")[0].removeprefix("<"), encoded=True)
    assert found == wanted


async def test_a_named_code_must_match_the_other_filters_too(service: Service, shelf: Shelf) -> None:
    mine, theirs = [next(code for code in shelf.codes if code.is_mine is each) for each in (True, False)]
    for name in (f"reference=r{mine.n}", f"external_id=x{mine.n}", f"reference=r{mine.n}&external_id=x{mine.n}"):
        for more, is_found in (("", True), ("&created_before=2026-03-01", False), ("&code_prefix=nope", False)):
            page = await service.send("GET", f"/api/partners/codes?{name}{more}&count=bounded", shelf.partner.key)
            assert [code["code"] for code in page.body["codes"]] == [mine.text] * is_found, (name, more)
            assert page.body["count"] == is_found
    for name in (f"reference=r{theirs.n}", f"external_id=x{theirs.n}", f"reference=r{mine.n}&external_id=x{theirs.n}"):
        assert (await service.send("GET", f"/api/partners/codes?{name}", shelf.partner.key)).body["codes"] == []


@pytest.mark.parametrize("path", ["/v1/promotion-codes", "/api/partners/codes", "/api/v1/promotional-codes"])
async def test_a_list_refuses_filters_that_it_does_not_know(service: Service, shelf: Shelf, path: str) -> None:
    key = shelf.partner.key if "partners" in path else shelf.program.key
    prefix = "codePrefix" if path.startswith("/api/v1") else "code_prefix"
    for query, field in (("colour=red", "colour"), (f"{prefix}=ab-c", prefix), (f"{prefix}=%25%25%25%25", prefix)):
        refused = await service.send("GET", URL(f"{path}?{query}", encoded=True), key)
        assert (refused.status, list(refused.body["errors"])) == (422, [field]), query


@pytest.mark.parametrize("path", ["/v1/promotion-codes", "/api/partners/codes"])
async def test_a_cursor_goes_with_its_own_filters_only(service: Service, shelf: Shelf, path: str) -> None:
    key = shelf.partner.key if "partners" in path else shelf.program.key

    async def page(query: str) -> Any:
        return await service.send("GET", f"{path}?{query}&limit=2", key)

    def cursor(reply: Any) -> str:
        return str(reply.body["next_cursor"] if "next_cursor" in reply.body else reply.body["meta"]["next_cursor"])

    for made_for, used_for in (
        ("code_prefix=aome", "code_prefix=aom0"),
        ("code_prefix=aome", "status=active"),
        ("status=active", "status=inactive"),
        ("", "code_prefix=aome"),
        ("created_from=2026-03-02", "created_from=2026-03-03"),
    ):
        found = await page(made_for)
        refused = await page(f"{used_for}&cursor={cursor(found)}")
        assert (refused.status, list(refused.body["errors"])) == (422, ["cursor"]), (made_for, used_for)
    # Another spelling of a prefix is the same filter.
    assert (await page(f"code_prefix=A0-ME&cursor={cursor(await page('code_prefix=aome'))}")).status == 200


async def test_no_cursor_tells_a_partner_the_code_of_another(
    service: Service, shelf: Shelf, database: Database
) -> None:
    """Anyone who knows a code can redeem it, so a page that ends among foreign codes must not name them."""
    connection = await asyncpg.connect(database.admin, server_settings={"search_path": "codes"})
    await connection.execute(
        "INSERT INTO promotion_codes (id, program_id, coupon_id, partner_id, code, canonical, created_at, updated_at)"
        " SELECT gen_random_uuid(), $1, $2, $3, 'FOREIGN' || n, 'F0RE1GN' || n, now(), now()"
        " FROM generate_series(1, 1500) AS n",
        *(uuid.UUID(each) for each in (shelf.program.id, shelf.coupons[0], shelf.other.id)),
    )
    await connection.close()
    page = await service.send("GET", "/api/partners/codes?code_prefix=foreign", shelf.partner.key)
    assert page.body["codes"] == []
    cursor = page.body["next_cursor"]
    assert "F0RE1GN" not in base64.urlsafe_b64decode(cursor + "==").decode()
    last = await service.send("GET", f"/api/partners/codes?code_prefix=foreign&cursor={cursor}", shelf.partner.key)
    assert (last.body["codes"], last.body["next_cursor"]) == ([], None)


async def test_nothing_is_counted_unless_asked_for(service: Service, shelf: Shelf) -> None:
    page = await service.send("GET", "/v1/promotion-codes", shelf.program.key)
    assert not {"count", "count_is_exact"} & page.body["meta"].keys()
    assert list((await service.send("GET", "/api/partners/codes", shelf.partner.key)).body) == [
        *("ok", "codes", "next_cursor")
    ]


MANY = 200_000
FILL = """
INSERT INTO promotion_codes (id, program_id, coupon_id, partner_id, batch_id, customer_id, code, canonical, created_at,
                             updated_at)
SELECT (lpad(to_hex(1772323200000 + n), 12, '0') || '70008' || lpad(to_hex(n), 15, '0'))::uuid, $1,
       ($2::uuid[])[1 + n % 2], CASE WHEN n % 4 > 0 THEN $3::uuid ELSE $4 END, CASE WHEN n % 3 = 0 THEN $5::uuid END,
       CASE WHEN n % 5 = 0 THEN 'crowd' END, 'N' || n, 'N' || n, to_timestamp(1772323200 + n / 1000.0), now()
FROM generate_series(1, 200000) AS n
"""
# Two pages read a thousand ids each along an index, and look each up by its key and that of its coupon; a count thirty
# times as many.
PAGE_BUFFERS, COUNT_BUFFERS = 16_000, 300_000


class Explained:
    """A connection that explains what it runs: no table is read from end to end, and the pages read are bounded."""

    def __init__(self, connection: "asyncpg.Connection[asyncpg.Record]") -> None:
        self._connection = connection
        self.buffers = 0

    async def fetch(self, text: str, *arguments: Any) -> list[asyncpg.Record]:
        explain = f"EXPLAIN (ANALYZE, BUFFERS, FORMAT JSON) {text}"
        plan = json.loads(await self._connection.fetchval(explain, *arguments))[0]["Plan"]
        assert not _sequential(plan), text
        self.buffers += plan["Shared Hit Blocks"] + plan["Shared Read Blocks"]
        return await self._connection.fetch(text, *arguments)


def _sequential(node: dict[str, Any]) -> list[str]:
    own = [node["Relation Name"]] if node["Node Type"] == "Seq Scan" and node["Relation Name"] != "coupons" else []
    return own + [name for child in node.get("Plans", []) for name in _sequential(child)]


@pytest.mark.timeout(120)
async def test_every_filter_of_two_hundred_thousand_codes_reads_a_bounded_number_of_pages(
    service: Service, database: Database, program: Owner
) -> None:
    partner, other = [uuid.UUID((await service.partner(program, name=name)).id) for name in ("Mine", "Other")]
    coupons = [uuid.UUID(await _coupon(service, program, name)) for name in ("one", "two")]
    batch = uuid.uuid4()
    connection = await asyncpg.connect(database.admin, server_settings={"search_path": "codes", "jit": "off"})
    try:
        await connection.execute(FILL, uuid.UUID(program.id), coupons, partner, other, batch, timeout=90)
        await connection.execute("VACUUM ANALYZE promotion_codes")
        every = Wanted(program_id=uuid.UUID(program.id), now=datetime.now(UTC))
        moment = datetime(2026, 3, 1, 0, 1, tzinfo=UTC)
        ways = [
            every,
            *(replace(every, partner_id=each) for each in (partner, other, uuid.uuid4())),
            *(replace(every, coupon_id=each) for each in (coupons[0], uuid.uuid4())),
            *(replace(every, customer_id=each) for each in ("crowd", "nobody")),
            *(replace(every, batch_id=each) for each in (batch, uuid.uuid4())),
            *(replace(every, prefix=each) for each in ("N100", "NONE")),
        ]
        narrowed: list[dict[str, Any]] = [
            *({}, {"status": "redeemed"}, {"is_active": False}, {"created_before": moment, "status": "expired"}),
            {"created_from": moment, "created_before": moment + timedelta(seconds=1)},
        ]
        for mode in ("force_custom_plan", "force_generic_plan"):
            await connection.execute(f"SET plan_cache_mode = {mode}")
            for wanted in [replace(way, **more) for way in ways for more in narrowed]:
                explained: Any = Explained(connection)
                first = await code_lists.list_ids(explained, wanted, Part(None, 0, 50))
                if first.next_after is not None:
                    await code_lists.list_ids(explained, wanted, Part(first.next_after, 0, 50))
                assert explained.buffers <= PAGE_BUFFERS, (wanted, explained.buffers)
        for wanted in [replace(way, **more) for way in ways for more in narrowed[:2]]:
            explained = Explained(connection)
            count = await code_lists.count_ids(explained, wanted)
            assert explained.buffers <= COUNT_BUFFERS, (wanted, explained.buffers)
            assert count.is_exact or count.count == 10_000 or wanted.status is not None, wanted
        assert await code_lists.count_ids(Explained(connection), every) == replace(count, count=10_000, is_exact=False)  # type: ignore[arg-type]
    finally:
        await connection.close()
