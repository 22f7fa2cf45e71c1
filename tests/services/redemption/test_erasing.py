"""An erased customer is found nowhere in the service, and whatever it used still counts."""

import asyncio
import json
import uuid
from collections.abc import AsyncIterator, Sequence
from dataclasses import replace
from datetime import timedelta
from typing import Any

import asyncpg
import pytest

from services.redemption.app import build_customer_runner
from services.redemption.consumers import CheckoutConsumer
from services.redemption.domain.customers import Digests
from services.redemption.usecases.customer_jobs import RunCustomerJobs
from services.redemption.usecases.take_in_checkouts import TakeInCheckouts
from shared.database.customer_parts import Chunk, Outside, Step
from shared.database.erased_letters import erased_letter
from shared.database.pool import Connection
from shared.database.pool import Database as Pool
from shared.erasing import CustomerJob
from shared.modes import in_mode
from shared.periodic import ElementsFailed
from tests.canary import found_in
from tests.services.redemption.conftest import DIGESTS, Decider, Reply, Shop, open_shop, received, told
from tests.services.redemption.merchant import NOW, Merchant, checkout, taken_back

ID, EMAIL = "canary-customer-77", "Canary.Bird+shop@example.org"
MAILBOX = "canary.bird@example.org"
CANARIES = (ID, "anary.ird", MAILBOX, "canary", "canary.bird+shop")
JANE = {"id": ID, "email": EMAIL}
OTHER = {"id": "other-1", "email": "other@example.org"}
NAMES = {"recipient_name": "canary Sarah", "card_id": "canary-card"}
LATER = timedelta(minutes=5)
COUNT_RUNNING = "SELECT count(*) FROM redemption.customer_jobs WHERE state = 'running'"
# In the order of keys, a mailbox comes before an id.
DIGEST_OF = "SELECT digests[$2::int] FROM redemption.customer_jobs WHERE id = $1::text::uuid"
# What the other services would do.
DONE_ELSEWHERE = """
INSERT INTO {}.customer_parts (job_id, started_at, done_at) SELECT id, now(), now() FROM redemption.customer_jobs
ON CONFLICT DO NOTHING
"""


@pytest.fixture
async def shop(pool: Pool, merchant: Merchant, decider: Decider) -> AsyncIterator[Shop]:
    program = await merchant.program()
    async with open_shop(pool, program, await merchant.key(program, "checkout", "manage"), decider) as opened:
        yield opened


@pytest.fixture
def runner(pool: Pool, decider: Decider) -> RunCustomerJobs:
    return run_with(pool, decider)


def run_with(pool: Pool, decider: Decider, digests: Digests = DIGESTS) -> RunCustomerJobs:
    async def no_letters(_: object) -> int:
        return 0

    return build_customer_runner(pool, lambda: decider.now, digests, Outside(no_letters, "dead_letters"))


class Died(Exception):
    """A process ends here."""


class Erasure:
    """Runs jobs to their end."""

    def __init__(self, shop: Shop, runner: RunCustomerJobs, admin: "asyncpg.Connection[asyncpg.Record]") -> None:
        self.shop = shop
        self.runner = runner
        self.admin = admin

    async def start(self, kind: str = "erase", **customer: str) -> dict[str, Any]:
        reply = await self.shop.send("POST", f"/v1/customers/{kind}", customer or {"customer_id": ID})
        assert reply.status == 202, reply.body
        job: dict[str, Any] = reply.data
        return job

    async def finish(self) -> None:
        for service in ("codes", "webhooks"):
            await self.admin.execute(DONE_ELSEWHERE.format(service))
        # An erasure waits for the transactions of before, those of other databases of the server among them.
        async with asyncio.timeout(60):
            while await self.admin.fetchval(COUNT_RUNNING):
                await self.runner()

    async def __call__(self, kind: str = "erase", **customer: str) -> dict[str, Any]:
        job = await self.start(kind, **customer)
        async with asyncio.timeout(30):
            while True:
                # An erasure waits for who is writing at this moment.
                await self.finish()
                done = await self.shop.send("GET", f"/v1/customers/jobs/{job['id']}")
                if done.data["state"] == "done":
                    break
        shown: dict[str, Any] = done.data
        return shown

    async def file(self, job: dict[str, Any]) -> list[dict[str, Any]]:
        async with self.shop.http.get(
            f"/v1/customers/jobs/{job['id']}/file", headers={"Authorization": f"Bearer {self.shop.key}"}
        ) as response:
            assert response.status == 200
            lines = [json.loads(line) for line in (await response.text()).splitlines()]
        assert lines[-1]["export"]["count"] == len(lines) - 1
        return lines[:-1]


@pytest.fixture
def erase(shop: Shop, runner: RunCustomerJobs, admin: "asyncpg.Connection[asyncpg.Record]") -> Erasure:
    return Erasure(shop, runner, admin)


async def stock(merchant: Merchant, program: uuid.UUID, *codes: str, limit: int | None = None) -> uuid.UUID:
    coupon = await merchant.coupon(program)
    await merchant.restrict_coupon(coupon, customer_redemption_limit=limit)
    for code in codes or ("MANY",):
        await merchant.code(program, coupon, code, limit=None)
    return coupon


async def live(shop: Shop, merchant: Merchant, decider: Decider) -> None:
    """Bring the customer in by every door."""
    await stock(merchant, shop.program_id, "MANY", limit=50)
    order = {"currency": "EUR", "subtotal": 1000, "items": [{"product_id": "p", "engraving": "canary", "amount": 1000}]}
    assert (
        await shop.redeem(
            "MANY",
            ref="o-1",
            customer=JANE,
            attributes=NAMES,
            order=order,
            idempotency="k-1",
            occurred_at=NOW.isoformat(),
        )
    ).status == 201
    await decider.take(checkout(shop.program_id, "MANY", ref="o-2", customer=JANE, attributes=NAMES))
    await decider.take(checkout(shop.program_id, "MANY", ref="o-3", customer={"email": "CANARY.bird@Example.org."}))
    await decider.take(checkout(shop.program_id, "NONE", ref="o-4", customer=JANE))
    assert (await shop.reserve("MANY", ref="o-5", customer=JANE)).status == 201
    assert (await shop.validate("MANY", customer=JANE)).status == 200
    assert (await shop.void_order("o-1", reason="canary called", amount=5, refund_ref="r")).status == 200
    await decider.take(taken_back(shop.program_id, ref="o-2", reason="canary changed her mind"))
    await decider.take(checkout(shop.program_id, "MANY", ref="o-9", customer=OTHER, attributes={"card_id": "theirs"}))


@pytest.mark.parametrize("named", [{"customer_id": ID}, {"email": "canary.bird@EXAMPLE.org"}])
async def test_an_erased_customer_is_found_in_no_column(
    shop: Shop,
    merchant: Merchant,
    decider: Decider,
    erase: Erasure,
    admin: "asyncpg.Connection[asyncpg.Record]",
    named: dict[str, str],
    capsys: pytest.CaptureFixture[str],
) -> None:
    await live(shop, merchant, decider)
    assert await found_in(admin, CANARIES)
    job = await erase(**named)
    assert await found_in(admin, CANARIES) == []
    assert job["parts"]["redemption"]["counts"]["redemptions"] == 3
    assert "anary" not in json.dumps(job)
    output = capsys.readouterr()
    assert "anary" not in output.out + output.err
    # Another's data is as it was.
    others = (await shop.send("GET", "/v1/redemptions?customer_id=other-1")).body["data"]
    assert [each["order_ref"] for each in others] == ["o-9"]
    bodies = [bytes(row["body"]) for row in await admin.fetch("SELECT body FROM redemption.events")]
    assert any(b'"other@example.org"' in body and b'"theirs"' in body for body in bodies)


async def test_the_same_id_in_another_program_stays(
    shop: Shop, merchant: Merchant, decider: Decider, erase: Erasure, admin: "asyncpg.Connection[asyncpg.Record]"
) -> None:
    foreign = await merchant.program()
    await stock(merchant, foreign, "THEIRS", limit=5)
    await stock(merchant, shop.program_id, limit=5)
    await decider.take(checkout(foreign, "THEIRS", customer=JANE), checkout(shop.program_id, "MANY", customer=JANE))
    before = await admin.fetch("SELECT * FROM redemption.redemptions WHERE program_id = $1", foreign)
    await erase()
    assert await admin.fetch("SELECT * FROM redemption.redemptions WHERE program_id = $1", foreign) == before
    rows = await admin.fetch("SELECT customer_key FROM redemption.customer_counters ORDER BY customer_key")
    assert [row["customer_key"][:7] for row in rows] == ["email:c", "erased:", "erased:", f"id:{ID}"[:7]]


async def test_an_export_waits_for_the_erasure_that_was_asked_for_before_it(
    shop: Shop, merchant: Merchant, decider: Decider, erase: Erasure, admin: "asyncpg.Connection[asyncpg.Record]"
) -> None:
    """It would gather what is not erased yet, and keep it for a week."""
    await live(shop, merchant, decider)
    async with admin.transaction():
        # Somebody is in the middle of writing, so the erasure waits.
        await admin.execute("SELECT pg_current_xact_id()")
        await erase.start()
        export = await erase.start("export", email=EMAIL)
        other = await erase.start("export", customer_id=OTHER["id"])
        await erase.runner()
    jobs = {each["id"]: each for each in (await shop.send("GET", "/v1/customers/jobs")).data}
    statuses = [jobs[each["id"]]["parts"]["redemption"]["status"] for each in (export, other)]
    assert statuses == ["waiting", "done"]
    await erase.finish()
    await erase.finish()
    assert await erase.file(export) == []
    assert await found_in(admin, CANARIES) == []


async def test_orders_of_others_that_name_the_customer_lose_it_and_nothing_else(
    shop: Shop, merchant: Merchant, decider: Decider, erase: Erasure, admin: "asyncpg.Connection[asyncpg.Record]"
) -> None:
    """A present says whom it is for, and a reason who called."""
    await stock(merchant, shop.program_id)
    gift = {"to": ID, "link": "https://x/?e=Canary.Bird%2Bshop%40example.org", "occasion": "mother"}
    for ref in ("o-1", "o-2", "o-3"):
        items = [{"product_id": "p", "amount": 1000, "for": {"buyer": ID}}]
        order = {"currency": "EUR", "subtotal": 1000, "items": items}
        await decider.take(checkout(shop.program_id, "MANY", ref=ref, customer=OTHER, attributes=gift, order=order))
    await decider.take(taken_back(shop.program_id, ref="o-1", reason=f"{EMAIL.upper()} called"))
    refund = taken_back(shop.program_id, kind="refunded", ref="o-2", reason=f"for {ID}", amount=1)
    await decider.take(refund)
    void = await shop.send("POST", "/v1/orders/o-3/void", {"reason": f"asked by {ID}"})
    assert void.status == 200
    assert await found_in(admin, CANARIES)
    job = await erase("erase", customer_id=ID, email=EMAIL)
    assert await found_in(admin, CANARIES) == []
    order = (await shop.send("GET", "/v1/orders/o-2")).data
    [digest, mail_digest] = [await admin.fetchval(DIGEST_OF, job["id"], at) for at in (2, 1)]
    assert order["attributes"] == {"to": digest, "link": f"https://x/?e={mail_digest}", "occasion": "mother"}
    theirs = await admin.fetch("SELECT customer_id FROM redemption.redemptions")
    assert {row["customer_id"] for row in theirs} == {"other-1"}


@pytest.mark.parametrize(
    ("said", "modes"),
    [
        ({}, {"live"}),
        ({"mode": "live"}, {"live"}),
        ({"mode": "test"}, {"test"}),
        ({"is_test": True}, {"test"}),
        ({"is_test": True, "mode": "test"}, {"test"}),
        ({"is_test": True, "mode": "live"}, {"live", "test"}),
        ({"is_test": False, "mode": "test"}, {"live", "test"}),
        ({"mode": "TEST"}, {"live", "test"}),
        ({"mode": ["test"]}, {"live", "test"}),
        (None, {"live", "test"}),
    ],
)
def test_a_dead_letter_that_says_no_mode_is_of_both(said: dict[str, Any] | None, modes: set[str]) -> None:
    program = uuid.UUID("01890a5d-ac96-774b-bcce-b302099a8057")
    data = {"program_id": str(program), "customer": {"id": ID, "phone": "+49 30 123"}, **(said or {})}
    body = json.dumps({"data": data}).encode()
    for mode in ("live", "test"):
        tenant = in_mode(program, test=mode == "test")
        job = CustomerJob(uuid.uuid4(), tenant, "erase", (f"id:{ID}",), ("erased:1",), "key", NOW)
        # Without a word of its mode it is one that was cut off.
        erased = erased_letter(job, body if said is not None else body[:-1])
        assert (erased is not None) is (mode in modes)
        assert erased is None or ID.encode() not in erased
        assert erased is None or said is None or b"+49" not in erased
        # A checkout does not say its mode by `is_test` alone.
        checkouts = erased_letter(job, json.dumps({"type": "checkout.completed", "data": data}).encode())
        assert said is None or (checkouts is not None) is (said == {"is_test": True} or mode in modes)


class TestLimits:
    async def test_hold_for_whoever_comes_back_by_id_or_by_mailbox(
        self, shop: Shop, merchant: Merchant, decider: Decider, erase: Erasure
    ) -> None:
        await stock(merchant, shop.program_id, limit=2)
        await decider.take(checkout(shop.program_id, "MANY", ref="o-1", customer=JANE))
        await erase()
        decider.now += LATER
        assert (await shop.redeem("MANY", ref="o-2", customer={"id": ID})).status == 201
        for customer in ({"id": ID}, JANE, {"id": "new", "email": MAILBOX}):
            reply = await shop.redeem("MANY", ref="o-3", customer=customer)
            # By mailbox alone there is one use; the id has both.
            expected = 201 if customer.get("id") == "new" else 409
            assert reply.status == expected, (customer, reply.body)
            if expected == 409:
                assert reply.body["code"] == "customer_limit_reached"
                judged = (await shop.validate("MANY", customer=customer)).data["codes"][0]
                assert judged["reason"] == "customer_limit_reached"

    async def test_hold_for_a_purchase_of_before_and_one_of_after_in_one_batch(
        self,
        shop: Shop,
        merchant: Merchant,
        decider: Decider,
        erase: Erasure,
        admin: "asyncpg.Connection[asyncpg.Record]",
    ) -> None:
        await stock(merchant, shop.program_id, limit=1)
        await erase()
        decider.now += LATER
        events = await decider.take(
            checkout(shop.program_id, "MANY", ref="late", customer=JANE, attributes=NAMES, time=NOW),
            checkout(shop.program_id, "MANY", ref="new", customer=JANE, time=decider.now),
        )
        assert told(events) == ["code.redeemed", "customer_limit_reached"]
        assert await found_in(admin, CANARIES) == []

    async def test_hold_under_many_at_once(
        self, shop: Shop, merchant: Merchant, decider: Decider, erase: Erasure
    ) -> None:
        await stock(merchant, shop.program_id, limit=3)
        await decider.take(checkout(shop.program_id, "MANY", ref="o-0", customer=JANE))
        job = asyncio.create_task(erase())
        late = [decider.handle(checkout(shop.program_id, "MANY", ref=f"l-{n}", customer=JANE)) for n in range(10)]
        new = [shop.redeem("MANY", ref=f"n-{n}", customer={"email": EMAIL}) for n in range(10)]
        await asyncio.gather(*late, *new)
        await job
        decider.now += LATER
        reply = await shop.redeem("MANY", ref="last", customer=JANE)
        assert reply.status == 409
        assert sum(told([event]) == ["code.redeemed"] for event in shop.announced()) == 3

    async def test_a_void_gives_the_use_back(
        self, shop: Shop, merchant: Merchant, decider: Decider, erase: Erasure
    ) -> None:
        await stock(merchant, shop.program_id, limit=1)
        await decider.take(checkout(shop.program_id, "MANY", ref="o-1", customer=JANE))
        await erase()
        decider.now += LATER
        assert (await shop.redeem("MANY", ref="o-2", customer=JANE)).status == 409
        assert (await shop.void_order("o-1")).status == 200
        assert (await shop.redeem("MANY", ref="o-2", customer=JANE)).status == 201

    async def test_a_code_that_is_made_for_the_customer_stays_the_customers(
        self, shop: Shop, merchant: Merchant, decider: Decider, erase: Erasure
    ) -> None:
        coupon = await merchant.coupon(shop.program_id)
        code = await merchant.code(shop.program_id, coupon, "HERS", limit=None)
        await merchant.restrict_code(code, is_limited_to_customer=True, customer_id=ID)
        await erase()
        await merchant.restrict_code(code, customer_id=DIGESTS(shop.program_id, f"id:{ID}"))
        decider.now += LATER
        assert (await shop.redeem("HERS", ref="o-1", customer=JANE)).status == 201
        assert (await shop.redeem("HERS", ref="o-2", customer=OTHER)).body["code"] == "customer_mismatch"

    async def test_hold_when_the_secret_has_changed_since(
        self, shop: Shop, pool: Pool, merchant: Merchant, decider: Decider, erase: Erasure
    ) -> None:
        await stock(merchant, shop.program_id, limit=2)
        await decider.take(checkout(shop.program_id, "MANY", ref="o-1", customer=JANE))
        await erase()
        decider.now += LATER
        await decider.take(checkout(shop.program_id, "MANY", ref="o-2", customer=JANE, time=decider.now))
        rotated = Digests(b"n" * 32, b"d" * 32)
        take_in = TakeInCheckouts(pool, lambda: decider.now, decider.handed_over.extend, rotated)
        third = checkout(shop.program_id, "MANY", ref="o-3", customer=JANE, time=decider.now)
        assert await CheckoutConsumer(take_in)(received([third], decider.now)) == [None]
        assert told(shop.announced())[-1] == "customer_limit_reached"


async def test_what_is_heard_late_of_before_brings_nobody_back(
    shop: Shop, merchant: Merchant, decider: Decider, erase: Erasure, admin: "asyncpg.Connection[asyncpg.Record]"
) -> None:
    """A dead letter that is replayed, a queue that is behind: taken in, counted, and without the customer."""
    await stock(merchant, shop.program_id, limit=50)
    first = checkout(shop.program_id, "MANY", ref="o-1", event="e-1", customer=JANE, attributes=NAMES)
    await decider.take(first)
    await erase()
    decider.now += timedelta(days=3)
    late = checkout(shop.program_id, "MANY", ref="o-2", customer=JANE, attributes=NAMES, time=NOW - LATER)
    (event,) = await decider.take(first, late)
    digest = DIGESTS(shop.program_id, f"id:{ID}")
    assert event["customer"]["id"] == digest
    assert event["attributes"] == {"recipient_name": None, "card_id": None}
    (voided,) = await decider.take(taken_back(shop.program_id, ref="o-2", time=decider.now))
    assert voided["customer_id"] == digest
    assert await found_in(admin, CANARIES) == []


async def test_what_is_bought_afterwards_is_new(
    shop: Shop, merchant: Merchant, decider: Decider, erase: Erasure, admin: "asyncpg.Connection[asyncpg.Record]"
) -> None:
    await stock(merchant, shop.program_id, limit=50)
    await decider.take(checkout(shop.program_id, "MANY", ref="o-1", customer=JANE))
    await erase()
    decider.now += LATER
    await decider.take(checkout(shop.program_id, "MANY", ref="o-2", customer=JANE, time=decider.now))
    listed = (await shop.send("GET", f"/v1/redemptions?customer_id={ID}")).body["data"]
    assert [each["order_ref"] for each in listed] == ["o-2"]
    await erase(email=EMAIL)
    assert await found_in(admin, CANARIES) == []


async def test_a_process_that_dies_in_the_middle_leaves_the_rest_to_the_next(
    shop: Shop,
    pool: Pool,
    merchant: Merchant,
    decider: Decider,
    erase: Erasure,
    admin: "asyncpg.Connection[asyncpg.Record]",
) -> None:
    await live(shop, merchant, decider)
    job = await erase.start()
    runner = run_with(pool, decider)
    died: set[int] = set()

    def dying(nth: int, step: Step | Outside) -> Step | Outside:
        """Die once after the work of a chunk, before it is committed."""
        if isinstance(step, Outside):
            return step

        async def act(connection: Connection, job: CustomerJob, position: Sequence[Any]) -> Chunk:
            done = await step(connection, job, position)
            if nth not in died:
                died.add(nth)
                raise Died
            return done

        return act

    steps = [dying(nth, step) for nth, step in enumerate(runner.parts.steps["erase"])]
    mortal = replace(runner, parts=replace(runner.parts, steps={"erase": steps}))
    for turn in range(1, len(steps) - 1):
        # An erasure waits for the transactions of before: until then a run ends well, with nothing done.
        with pytest.raises(ElementsFailed):
            async with asyncio.timeout(30):
                while True:
                    await mortal()
        assert len(died) == turn
    await erase.finish()
    assert await found_in(admin, CANARIES) == []
    shown = await shop.send("GET", f"/v1/customers/jobs/{job['id']}")
    assert shown.data["parts"]["redemption"]["counts"]["redemptions"] == 3


async def test_two_erasures_at_once_are_as_one(
    shop: Shop,
    pool: Pool,
    merchant: Merchant,
    decider: Decider,
    erase: Erasure,
    admin: "asyncpg.Connection[asyncpg.Record]",
) -> None:
    await live(shop, merchant, decider)
    await asyncio.gather(erase.start(), erase.start(email=EMAIL))
    await asyncio.gather(*(run_with(pool, decider)() for _ in range(4)))
    await erase.finish()
    assert await found_in(admin, CANARIES) == []
    states = [job["state"] for job in (await shop.send("GET", "/v1/customers/jobs")).body["data"]]
    assert states == ["done", "done"]


async def test_an_erasure_waits_for_who_may_not_know_of_it(
    shop: Shop, merchant: Merchant, decider: Decider, erase: Erasure, admin: "asyncpg.Connection[asyncpg.Record]"
) -> None:
    await stock(merchant, shop.program_id)
    transaction = admin.transaction()
    await transaction.start()
    await admin.execute("SELECT pg_current_xact_id()")
    job = await erase.start()
    await erase.runner()
    part = (await shop.send("GET", f"/v1/customers/jobs/{job['id']}")).data["parts"]["redemption"]
    assert part == {"status": "running", "counts": {}}
    await transaction.rollback()
    await erase.finish()
    assert (await shop.send("GET", f"/v1/customers/jobs/{job['id']}")).data["state"] == "done"


class TestExport:
    async def test_has_what_is_there(self, shop: Shop, merchant: Merchant, decider: Decider, erase: Erasure) -> None:
        await live(shop, merchant, decider)
        job = await erase("export")
        lines = await erase.file(job)
        kinds = {kind: [line["data"] for line in lines if line["kind"] == kind] for kind in {x["kind"] for x in lines}}
        assert sorted(each["order_ref"] for each in kinds["redemption"]) == ["o-1", "o-2", "o-3"]
        assert len(kinds["hold"]) == 1
        assert {each["type"] for each in kinds["event"]} == {"code.redeemed", "code.redemption_voided"}
        assert len(kinds["event"]) == 4
        assert [each["reason"] for each in kinds["refund"]] == ["canary called"]
        assert len(kinds["kept_answer"]) == 1
        assert "other-1" not in json.dumps(lines)

    async def test_of_an_erased_customer_has_nothing_and_those_of_before_are_withdrawn(
        self, shop: Shop, merchant: Merchant, decider: Decider, erase: Erasure
    ) -> None:
        await live(shop, merchant, decider)
        job = await erase("export", email=EMAIL)
        await erase()
        gone = await shop.send("GET", f"/v1/customers/jobs/{job['id']}/file")
        assert (gone.status, gone.body["code"]) == (410, "export_gone")
        assert await erase.file(await erase("export")) == []

    async def test_is_no_file_before_it_is_done_nor_a_week_later(
        self, shop: Shop, decider: Decider, erase: Erasure, merchant: Merchant
    ) -> None:
        await stock(merchant, shop.program_id)
        job = await erase.start("export")
        path = f"/v1/customers/jobs/{job['id']}/file"
        assert (await shop.send("GET", path)).body["code"] == "export_running"
        await erase.finish()
        assert await erase.file(job) == []
        decider.now += timedelta(days=8)
        assert (await shop.send("GET", path)).body["code"] == "export_gone"


class TestAccess:
    async def test_is_for_secret_keys_that_manage(self, shop: Shop, merchant: Merchant) -> None:
        for scopes in (("checkout",), ("webhooks",)):
            key = await merchant.key(shop.program_id, *scopes)
            for path in ("export", "erase"):
                reply = await shop.send("POST", f"/v1/customers/{path}", {"customer_id": ID}, key=key)
                assert (reply.status, reply.body["code"]) == (403, "scope_missing")

    async def test_a_foreign_job_answers_like_a_missing_one(
        self, shop: Shop, merchant: Merchant, erase: Erasure
    ) -> None:
        job = await erase.start("export")
        foreign = await merchant.key(await merchant.program(), "manage")
        for path in (f"/v1/customers/jobs/{job['id']}", f"/v1/customers/jobs/{job['id']}/file"):
            assert (await shop.send("GET", path, key=foreign)).status == 404
        assert (await shop.send("GET", "/v1/customers/jobs", key=foreign)).body["data"] == []

    async def test_needs_a_name_and_says_so(self, shop: Shop) -> None:
        reply = await shop.send("POST", "/v1/customers/erase", {})
        assert reply.status == 422
        assert set(reply.body["errors"]) == {"customer_id", "email"}

    async def test_is_started_once_per_key(self, shop: Shop) -> None:
        ask = ("POST", "/v1/customers/erase", {"customer_id": ID})
        first, second = await shop.send(*ask, idempotency="k"), await shop.send(*ask, idempotency="k")
        assert first.data["id"] == second.data["id"]
        assert len((await shop.send("GET", "/v1/customers/jobs")).body["data"]) == 1

    async def test_a_program_has_twenty_under_way_at_most(self, shop: Shop) -> None:
        path = "/v1/customers/export"
        replies: list[Reply] = [await shop.send("POST", path, {"email": f"{n}@x.example"}) for n in range(21)]
        assert [reply.status for reply in replies] == [202] * 20 + [429]
        assert replies[-1].body["code"] == "too_many_jobs"
