"""A customer is its id and its mailbox: counted alike from either side, under any interleaving, and from before too."""

import asyncio
import uuid
from pathlib import Path
from typing import Any

import asyncpg
import pytest
from hypothesis import given
from hypothesis import strategies as st

import services.redemption
from services.redemption.app import open_database
from services.redemption.domain.books import Books, Count
from services.redemption.domain.customers import CustomerKey, is_one, keys_counted
from services.redemption.domain.purchase import Buyer
from services.redemption.usecases.fill_mailboxes import FillMailboxes
from shared.mailboxes import canonical_email, mailbox
from tests.databases import Database
from tests.services.redemption.conftest import Decider, Shop, told
from tests.services.redemption.merchant import Merchant, checkout, taken_back

COUPON = uuid.UUID(int=1)
MIGRATIONS = Path(services.redemption.__file__).parent / "migrations"
MIGRATION = MIGRATIONS / "0103_mailboxes.sql"
IDN_MIGRATION = MIGRATIONS / "0260_idn_mailboxes.sql"
GUEST = {"email": "j.doe@gmail.com"}
MEMBER = {"id": "c-1", "email": "JDoe+news@googlemail.com"}

Ids = st.none() | st.sampled_from(("a", "b", "c"))
Emails = st.none() | st.sampled_from(("x@shop.example", "X+1@shop.example", "y@shop.example", " "))
Buyers = st.builds(Buyer, Ids, Emails)


@given(st.lists(st.tuples(Buyers, st.booleans()), max_size=12), Buyers)
def test_the_uses_are_the_distinct_ones_with_either_key(uses: list[tuple[Buyer, bool]], buyer: Buyer) -> None:
    """Held and redeemed uses of customers with a key in common, each once."""
    counts: dict[CustomerKey, Count] = {key: Count(0, 0) for key in keys_counted(COUPON, *buyer.keys)}
    books = Books({}, {}, {}, customer_counts=counts)
    for user, is_held in uses:
        for count in books.customer(COUPON, *user.keys):
            if is_held:
                count.held += 1
            else:
                count.move()
    if buyer.key is None:
        return
    same = [is_held for user, is_held in uses if is_one(user.keys, buyer.keys)]
    assert books.customer_uses(COUPON, buyer.key, buyer.mailbox_key) == (same.count(False), same.count(True))


@given(Buyers, Buyers)
def test_who_counts_another_is_counted_by_it_and_shares_a_lock(one: Buyer, other: Buyer) -> None:
    assert is_one(one.keys, other.keys) == is_one(other.keys, one.keys)
    locks = [{key for key in keys_counted(COUPON, *each.keys) if key[2] is None} for each in (one, other)]
    assert is_one(one.keys, other.keys) == bool(locks[0] & locks[1])


async def stock(merchant: Merchant, program: uuid.UUID, limit: int = 1) -> None:
    coupon = await merchant.coupon(program)
    await merchant.restrict_coupon(coupon, customer_redemption_limit=limit)
    await merchant.code(program, coupon, "MANY", limit=None)


@pytest.mark.parametrize(
    "customers", [(GUEST, MEMBER), (MEMBER, GUEST), (MEMBER, {"id": "c-1"}), ({"id": "c-1"}, MEMBER)]
)
async def test_a_guest_of_today_is_known_when_it_signs_in_tomorrow(
    shop: Shop, merchant: Merchant, customers: tuple[dict[str, str], ...]
) -> None:
    """One customer had the discount for new customers twice."""
    await stock(merchant, shop.program_id)
    first, second = customers
    assert (await shop.redeem("MANY", ref="1", customer=first)).status == 201
    assert (await shop.redeem("MANY", ref="2", customer=second)).body["code"] == "customer_limit_reached"
    assert (await shop.reserve("MANY", ref="3", customer=second)).body["code"] == "customer_limit_reached"
    asked = await shop.validate("MANY", order_ref="4", customer=second)
    assert asked.data["codes"][0]["reason"] == "customer_limit_reached"
    refused = await shop.decider.take(checkout(shop.program_id, "MANY", ref="5", customer=second))
    assert told(refused) == ["customer_limit_reached"]
    await shop.decider.take(taken_back(shop.program_id, ref="1"))
    assert (await shop.redeem("MANY", ref="6", customer=second)).status == 201


async def test_one_hop_is_as_far_as_it_goes(shop: Shop, merchant: Merchant) -> None:
    """A family that shares a mailbox is not one customer with all of its friends."""
    await stock(merchant, shop.program_id)
    assert (await shop.redeem("MANY", ref="1", customer={"id": "a", "email": "x@b.example"})).status == 201
    assert (await shop.redeem("MANY", ref="2", customer={"id": "b", "email": "y@b.example"})).status == 201
    assert (await shop.redeem("MANY", ref="3", customer={"id": "c"})).status == 201
    assert (await shop.redeem("MANY", ref="4", customer={"id": "d", "email": "x@b.example"})).status == 409


async def test_a_hold_counts_for_both_and_stands_in_nobodys_own_way(shop: Shop, merchant: Merchant) -> None:
    await stock(merchant, shop.program_id)
    assert (await shop.reserve("MANY", ref="1", customer=GUEST)).status == 201
    assert (await shop.redeem("MANY", ref="2", customer=MEMBER)).body["code"] == "customer_limit_reached"
    assert (await shop.redeem("MANY", ref="1", customer=MEMBER)).status == 201
    await shop.void_order("1")
    assert (await shop.reserve("MANY", ref="3", customer=MEMBER)).status == 201
    assert (await shop.redeem("MANY", ref="4", customer=GUEST)).body["code"] == "customer_limit_reached"
    assert (await shop.redeem("MANY", ref="3", customer=GUEST)).status == 201


async def test_what_is_taken_back_makes_room_by_both_keys_in_the_same_batch(
    decider: Decider, merchant: Merchant
) -> None:
    program = await merchant.program()
    await stock(merchant, program)
    await decider.take(checkout(program, "MANY", ref="1", customer=MEMBER))
    both = await decider.take(taken_back(program, ref="1"), checkout(program, "MANY", ref="2", customer=GUEST))
    assert told(both) == ["code.redemption_voided", "code.redeemed"]


async def test_twenty_orders_at_once_by_either_name_are_no_more_than_the_limit(
    database: Database, merchant: Merchant, admin: "asyncpg.Connection[asyncpg.Record]"
) -> None:
    program = await merchant.program()
    await stock(merchant, program, limit=3)
    async with open_database(database.redemption, 8) as pool:
        deciders = [Decider(pool) for _ in range(4)]
        customers = (GUEST, MEMBER, {"id": "c-1"}, {"id": "c-1", "email": "j.doe@gmail.com"}, MEMBER)
        await asyncio.gather(
            *(deciders[n % 4].take(checkout(program, "MANY", ref=str(n), customer=customers[n % 5])) for n in range(20))
        )
    # Those by the mailbox alone and by the id alone have nothing in common but what bears both.
    rows = await admin.fetch("SELECT customer_key, mailbox_key FROM redemption.redemptions WHERE is_counted")
    for keys in ({"id:c-1"}, {"email:jdoe@gmail.com"}):
        assert sum(bool(keys & set(row)) for row in rows) <= 3
    assert 3 <= len(rows) <= 6


Locals = st.text('ab.+"', min_size=1, max_size=8)
Addresses = st.builds(
    lambda local, domain: f"{local}@{domain}",
    Locals,
    st.sampled_from(("b.example", "Gmail.com", "googlemail.com.", "gmail.com", "b@c.example", "", "B.example.")),
)


async def test_rows_of_before_are_filled_from_the_history_and_compared_as_new_ones(
    decider: Decider, merchant: Merchant, admin: "asyncpg.Connection[asyncpg.Record]"
) -> None:
    program = await merchant.program()
    await stock(merchant, program)
    await decider.take(checkout(program, "MANY", ref="1", customer=MEMBER))
    await decider.take(checkout(program, "MANY", ref="2", customer={"email": "k.doe@gmail.com"}))
    await decider.take(checkout(program, "MANY", ref="3", customer={"id": "c-2"}))
    before = await admin.fetch("SELECT id, customer_key, mailbox_key FROM redemption.redemptions ORDER BY id")
    await admin.execute("UPDATE redemption.redemptions SET mailbox_key = NULL")
    await admin.execute(
        "UPDATE redemption.redemptions SET customer_key = 'email:k.doe@gmail.com' WHERE order_ref = '2'"
    )
    text = MIGRATION.read_text("utf-8")
    text = text[text.index("-- As `domain") :]
    await admin.execute("SET search_path = redemption, public")
    await admin.execute(text)
    assert await admin.fetch("SELECT id, customer_key, mailbox_key FROM redemptions ORDER BY id") == before
    found: list[Any] = []

    @given(st.lists(Addresses | st.text('ab@.+" ', max_size=9), min_size=20, max_size=40))
    def collect(addresses: list[str]) -> None:
        found.extend(addresses)

    collect()
    shown = await admin.fetch("SELECT e, pg_temp.mailbox(e) AS m FROM unnest($1::text[]) AS e", sorted(set(found)))
    assert {row["e"]: row["m"] for row in shown} == {each: mailbox(each) for each in set(found)}


async def test_rows_of_before_with_an_encoded_domain_are_compared_as_new_ones(
    decider: Decider, merchant: Merchant, admin: "asyncpg.Connection[asyncpg.Record]"
) -> None:
    """Who bought as `ana@xn--…` before would have all uses again."""
    program = await merchant.program()
    await stock(merchant, program)
    await decider.take(checkout(program, "MANY", ref="1", customer={"email": "ana@münchen.example"}))
    await decider.take(checkout(program, "MANY", ref="2", customer={"id": "c-2", "email": "ana@münchen.example"}))
    keys = "SELECT order_ref, customer_key, mailbox_key FROM redemption.redemptions ORDER BY order_ref"
    before = await admin.fetch(keys)
    encoded = "email:ana@xn--mnchen-3ya.example"
    await admin.execute("UPDATE redemption.redemptions SET customer_key = $1 WHERE order_ref = '1'", encoded)
    await admin.execute("UPDATE redemption.redemptions SET mailbox_key = $1 WHERE order_ref = '2'", encoded)
    await admin.execute("SET search_path = redemption, public")
    await admin.execute(IDN_MIGRATION.read_text("utf-8"))
    assert await admin.fetch(keys) == before
    found: list[str] = []

    @given(st.lists(st.text("aäßéжд水-b", min_size=1, max_size=12), min_size=20, max_size=40))
    def collect(labels: list[str]) -> None:
        found.extend(f"a@xn--{label.lower().encode('punycode').decode()}.example" for label in labels)

    collect()
    wanted = sorted({*found, "a@xn--", "a@xn--zz99zz99zz99", "a@xn--a-.b", "a@b.example"})
    shown = await admin.fetch("SELECT e, pg_temp.idn(e) AS m FROM unnest($1::text[]) AS e", wanted)
    assert {row["e"]: row["m"] for row in shown} == {each: canonical_email(each) for each in wanted}


async def as_written_before(admin: "asyncpg.Connection[asyncpg.Record]") -> None:
    """Make all redemptions what a process of the release before writes: it names no column that it does not know."""
    await admin.execute("UPDATE redemption.redemptions SET mailbox_key = NULL, is_mailbox_kept = DEFAULT")
    await admin.execute(
        "UPDATE redemption.redemptions SET customer_key = 'email:j.doe@gmail.com' WHERE customer_key LIKE 'email:%'"
    )


async def test_rows_that_an_old_process_writes_during_an_upgrade_are_filled_too(
    shop: Shop, merchant: Merchant, admin: "asyncpg.Connection[asyncpg.Record]"
) -> None:
    """Once the migration had run, nothing told them from customers without an address."""
    await stock(merchant, shop.program_id, limit=9)
    customers: list[dict[str, str] | None] = [MEMBER, GUEST, {"id": "c-2"}, None]
    for number, customer in enumerate(customers):
        assert (await shop.redeem("MANY", ref=str(number), customer=customer)).status == 201 or customer is None
    state = "SELECT id, customer_key, mailbox_key, is_mailbox_kept FROM redemption.redemptions ORDER BY id"
    before = await admin.fetch(state)
    await as_written_before(admin)
    assert await FillMailboxes(shop.decider.pool)() == len(before)
    assert await admin.fetch(state) == before
    assert await FillMailboxes(shop.decider.pool)() == 0


async def test_what_an_old_process_writes_counts_as_soon_as_it_is_filled(
    shop: Shop, merchant: Merchant, admin: "asyncpg.Connection[asyncpg.Record]"
) -> None:
    await stock(merchant, shop.program_id)
    assert (await shop.redeem("MANY", ref="1", customer=MEMBER)).status == 201
    await as_written_before(admin)
    await FillMailboxes(shop.decider.pool)()
    assert (await shop.redeem("MANY", ref="2", customer=GUEST)).body["code"] == "customer_limit_reached"


async def test_one_whose_event_is_gone_is_left_with_its_id(
    shop: Shop, merchant: Merchant, admin: "asyncpg.Connection[asyncpg.Record]"
) -> None:
    await stock(merchant, shop.program_id)
    assert (await shop.redeem("MANY", ref="1", customer=MEMBER)).status == 201
    await as_written_before(admin)
    await admin.execute("DELETE FROM redemption.outbox; DELETE FROM redemption.events")
    assert await FillMailboxes(shop.decider.pool)() == 1
    row = await admin.fetchrow("SELECT customer_key, mailbox_key, is_mailbox_kept FROM redemption.redemptions")
    assert row is not None
    assert tuple(row) == ("id:c-1", None, True)
