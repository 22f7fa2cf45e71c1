"""No list, look-up or clean-up looks at more than a bounded number of rows, however many there are."""

import uuid
from collections.abc import AsyncIterator, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import asyncpg
import pytest

from services.redemption.store import operated_jobs, redemptions, rejections, retention
from tests.databases import Database
from tests.plans import MODES, Plans
from tests.services.redemption.merchant import Merchant

MANY = 60_000
PAGE, BOUND = 51, 2_000
_FIRST, _LAST = datetime(1, 1, 1, tzinfo=UTC), datetime(9999, 12, 31, tzinfo=UTC)
_FIRST_ID, _LAST_ID = uuid.UUID(int=0), uuid.UUID(int=2**128 - 1)
STATEMENTS = {
    "LIST_REDEMPTIONS": redemptions.LIST_REDEMPTIONS.text,
    "LIST_OF_CODES": redemptions.LIST_OF_CODES.text,
    "LIST_OPERATED": operated_jobs.LIST_OPERATED.text,
    "LIST_REJECTIONS": rejections.LIST_REJECTIONS.text,
    "FIND_CODES": redemptions.FIND_CODES,
    "FIND_COUPON": redemptions.FIND_COUPON,
    "FIND_OLD_RESERVATIONS": redemptions.FIND_OLD_RESERVATIONS,
    "LOCK_TOUCHED": retention.LOCK_TOUCHED,
    "PURGE_GUESSES": retention.PURGE_GUESSES,
}
# One public code has nearly all uses, of one coupon and one partner; some are voided, and each customer has few.
FILL_REDEMPTIONS = """
INSERT INTO redemption.redemptions (id, program_id, order_ref, canonical, code, code_id, coupon_id, partner_id,
    customer_key, discount_type, release_policy, occurred_at, confirmed_at, is_counted, voided_at, terms, decided_at)
SELECT gen_random_uuid(), $1, 'order-' || n, 'PUBLIC', 'PUBLIC', $2, $3, $4, 'id:c' || n % 20000, 'percent', 'always',
       now() - n * interval '1 second', now(), n % 3 > 0, CASE WHEN n % 3 = 0 THEN now() END, '{}', now()
FROM generate_series(1, $5::int) AS n
"""
# Nearly all are of one order and one code of one partner.
FILL_REJECTIONS = """
INSERT INTO redemption.rejections (id, program_id, order_ref, code, canonical, partner_id, reason, detail, source,
    event_id, occurred_at, decided_at)
SELECT gen_random_uuid(), $1, CASE WHEN n % 100 = 0 THEN 'order-' || n ELSE 'often' END, 'C', 'C', $2, 'code_used', '',
       '/shop', 'e', now() - n * interval '1 second', now()
FROM generate_series(1, $3::int) AS n
"""
FILL_ORDERS = """
INSERT INTO redemption.orders (program_id, order_ref, created_at, touched_at, reservation_id, reserved_at,
    reserved_until)
SELECT $1, 'order-' || n, now(), CASE WHEN n % 10 = 0 THEN now() - interval '1 day' END,
       CASE WHEN n % 20 = 0 THEN gen_random_uuid() END, CASE WHEN n % 20 = 0 THEN now() END,
       CASE WHEN n % 20 = 0 THEN now() END
FROM generate_series(1, $2::int) AS n
"""
FILL_CODES = """
INSERT INTO codes.promotion_codes (id, program_id, coupon_id, code, canonical, created_at, updated_at, archived_at)
SELECT gen_random_uuid(), $1, ($2::uuid[])[1 + n % 2], CASE WHEN n % 2 = 0 THEN 'OFTEN' ELSE 'N' || n END,
       CASE WHEN n % 2 = 0 THEN 'OFTEN' ELSE 'N' || n END, now(), now(), now()
FROM generate_series(1, $3::int) AS n
"""
FILL_JOBS = """
INSERT INTO redemption.customer_jobs (id, program_id, kind, keys, digests, actor, marked_by, created_at)
SELECT gen_random_uuid(), $1, 'erase', '{}', '{}', 'operator', pg_current_xact_id(), now()
FROM generate_series(1, $2::int) AS n
"""
FILL_GUESSES = """
INSERT INTO redemption.guesses SELECT gen_random_uuid(), '192.0.2.1', now() - n * interval '1 second', 1
FROM generate_series(1, $1::int) AS n
"""


@pytest.fixture
async def crowd(database: Database, merchant: Merchant) -> AsyncIterator[dict[str, Any]]:
    """A large program beside a small one, and the plans of the service's own connections."""
    large, small = await merchant.program(), await merchant.program()
    old, partner = await merchant.coupon(large), await merchant.partner(large)
    coupon = await merchant.coupon(large)
    await merchant.restrict_coupon(old, uuid_code="old", archived_at=datetime.now(UTC))
    await merchant.restrict_coupon(coupon, uuid_code="live")
    code, little = await merchant.code(large, coupon, "PUBLIC"), await merchant.code(large, coupon, "LITTLE")
    settings = {"search_path": "redemption", "enable_seqscan": "off", "jit": "off"}
    connection = await asyncpg.connect(database.admin, server_settings=settings)
    plans = Plans(connection, STATEMENTS)
    members = {"plans": plans, "large": large, "small": small, "coupon": coupon, "old": old, "partner": partner}
    try:
        fill = merchant.connection
        await fill.execute(FILL_REDEMPTIONS, large, code, coupon, partner, MANY)
        await fill.execute(FILL_REJECTIONS, large, partner, MANY // 2)
        await fill.execute(FILL_ORDERS, large, MANY)
        await fill.execute(FILL_CODES, large, [coupon, old], MANY // 2)
        await fill.execute(FILL_GUESSES, MANY // 2)
        await fill.execute(FILL_JOBS, large, MANY // 2)
        yield {**members, "code": code, "little": little, "fill": fill}
    finally:
        await connection.close()


def cases(of: dict[str, Any]) -> list[tuple[str, tuple[Any, ...]]]:
    """Return each way of each list, with what is plenty and with what there is none of."""
    found: list[tuple[str, tuple[Any, ...]]] = []
    end = (_LAST, _LAST_ID)
    middle = (datetime.now(UTC) - timedelta(hours=8), _LAST_ID)

    def listed(way: str, program: uuid.UUID, *, rest: bool = False, last: Any = end, **wanted: Any) -> None:
        names = ("order_ref", "coupon_id", "partner_id", "is_voided", "customer_key", "code_ids")
        listed = {name: wanted.get(name) for name in names}
        listed |= {"since": _FIRST, "before": last[0], "before_id": last[1]}
        listed |= {"limit": PAGE, "scanned": BOUND if rest else PAGE}
        if way == "codes":
            _, *arguments = redemptions.LIST_OF_CODES(**listed)
            found.append(("LIST_OF_CODES", tuple(arguments)))
        else:
            _, *arguments = redemptions.LIST_REDEMPTIONS(**listed, program_id=program, way=way)
            found.append(("LIST_REDEMPTIONS", tuple(arguments)))

    large, nobody = of["large"], uuid.uuid4()
    for program in (large, of["small"]):
        for last in (end, middle):
            listed("program", program, last=last)
            listed("voided", program, last=last, is_voided=True)
            listed("coupon", program, last=last, coupon_id=of["coupon"])
            listed("partner", program, last=last, partner_id=of["partner"])
            listed("codes", program, last=last, code_ids=[of["code"], of["little"]])
            listed("customer", program, last=last, customer_key="id:c7")
            listed("order", program, last=last, order_ref="order-7")
    # Nothing fits, so that all that may be looked at is.
    listed("program", large, rest=True, is_voided=False, order_ref=None, customer_key=None, partner_id=nobody)
    listed("coupon", large, rest=True, coupon_id=of["coupon"], partner_id=nobody)
    listed("partner", large, rest=True, partner_id=of["partner"], coupon_id=None, is_voided=False)
    listed("codes", large, rest=True, code_ids=[of["code"]], partner_id=nobody)
    listed("voided", large, rest=True, is_voided=True, partner_id=nobody)
    for coupon in (of["coupon"], of["partner"]):
        listed("coupon", of["small"], rest=True, coupon_id=coupon, partner_id=nobody)
    for program in (large, of["small"]):
        for last in (end, middle):
            for way, wanted in (
                ("program", {}),
                ("order", {"order_ref": "often"}),
                ("code", {"canonical": "C"}),
                ("partner", {"partner_id": of["partner"]}),
            ):
                for reason, bound in ((None, PAGE), ("code_held", BOUND)):
                    refused = {name: wanted.get(name) for name in ("order_ref", "canonical", "partner_id")}
                    refused |= {"program_id": program, "reason": reason, "door": None, "way": way}
                    refused |= {"since": _FIRST, "before": last[0], "before_id": last[1]}
                    _, *arguments = rejections.LIST_REJECTIONS(**refused, limit=PAGE, scanned=bound)
                    found.append(("LIST_REJECTIONS", tuple(arguments)))
    found += [("LIST_OPERATED", each) for each in _operated()]
    found.append(("FIND_CODES", (large, "OFTEN", 100)))
    found += [("FIND_COUPON", (large, name)) for name in ("live", "old", "none")]
    found.append(("FIND_OLD_RESERVATIONS", (datetime.now(UTC) + timedelta(days=1), 200)))
    found.append(("LOCK_TOUCHED", (datetime.now(UTC) + timedelta(days=1), 200)))
    found.append(("PURGE_GUESSES", (datetime.now(UTC), 1000)))
    return found


def _operated() -> Iterator[tuple[Any, ...]]:
    """Yield the values of the list of all programs' jobs, without a filter and with each of both."""
    for is_finished, bound in ((None, PAGE), (False, BOUND // 2), (True, BOUND // 2)):
        whose = {"before": _LAST_ID, "limit": PAGE, "scanned": bound, "is_finished": is_finished}
        _, *arguments = operated_jobs.LIST_OPERATED(**whose)
        yield tuple(arguments)


async def test_every_list_looks_at_a_bounded_number_of_rows(crowd: dict[str, Any]) -> None:
    """By plans for just these parameters and by plans that are kept for any."""
    plans: Plans = crowd["plans"]
    await crowd["fill"].execute("ANALYZE")
    for mode in MODES:
        await plans.prepare(mode)
        for name, arguments in cases(crowd):
            rows = await plans.looked_at(name, *arguments)
            assert rows <= BOUND + 10 * PAGE, (mode, name, arguments, rows)


def test_every_list_and_clean_up_of_the_store_is_held_to_it() -> None:
    ours = {
        name
        for store in (operated_jobs, redemptions, rejections, retention)
        for name in vars(store)
        if name.isupper() and name.startswith(("LIST_", "FIND_OLD", "PURGE_", "LOCK_TOUCHED"))
    }
    # Functions of the database, held to it below.
    assert ours - {"PURGE_REJECTIONS"} <= set(STATEMENTS)
