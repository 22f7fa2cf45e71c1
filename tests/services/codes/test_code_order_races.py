"""Orders of codes under races and killed processes: one outcome, one grant, and a ledger that adds up."""

import asyncio
import uuid
from collections import Counter
from collections.abc import AsyncIterator

import asyncpg
import pytest

from services.codes.domain.access import Actor
from services.codes.domain.code_order_errors import CodeOrderDecided, CodeOrderUnpaid
from services.codes.domain.code_orders import Act, CodeOrder, CodeOrderDraft
from services.codes.usecases.code_orders import PlacedCodeOrder, WantedCodeOrder
from shared.idempotency import Answer, Once
from tests.databases import Database
from tests.services.codes.code_orders import OF_PARTNER, act, grants, place, quota_of
from tests.services.codes.conftest import Owner, Service

WAITS = "SELECT pid FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND datname = current_database()"


@pytest.fixture
async def admin(database: Database) -> AsyncIterator["asyncpg.Connection[asyncpg.Record]"]:
    connection = await asyncpg.connect(database.admin, server_settings={"search_path": "codes"})
    yield connection
    await connection.close()


@pytest.mark.parametrize("acts", [("approve",), ("approve", "cancel"), ("approve", "refuse", "cancel")])
async def test_of_twenty_decisions_at_once_exactly_one_counts(
    service: Service, second: Service, program: Owner, partner: Owner, database: Database, acts: tuple[str, ...]
) -> None:
    for round_ in range(3):
        before = (await quota_of(service, partner))["granted"]
        order_id = await place(service, partner, 5)
        tries = [acts[(number + round_) % len(acts)] for number in range(20)]
        replies = await asyncio.gather(
            *(
                act((service, second)[number % 2], order_id, name, partner if name == "cancel" else program)
                for number, name in enumerate(tries)
            )
        )
        state = (await service.send("GET", f"{OF_PARTNER}/{order_id}", partner.key)).body["state"]
        won = {"approved": "approve", "refused": "refuse", "cancelled": "cancel"}[state]
        for name, reply in zip(tries, replies, strict=True):
            assert reply.status == (200 if name == won else 409), reply.body
        expected = [5] if won == "approve" else []
        assert await grants(database, order_id) == expected
        assert (await quota_of(service, partner))["granted"] == before + sum(expected)
        told = Counter(event.type for event in service.handed_over + second.handed_over)
        assert told["code_order.created"] == sum(told[f"code_order.{each}"] for each in ENDS) == round_ + 1


ENDS = ("granted", "refused", "cancelled")


async def test_mints_at_the_same_moment_get_what_there_is(
    service: Service, second: Service, program: Owner, database: Database
) -> None:
    """A grant and a mint write the same row: neither may undo the other."""
    partner = await service.partner(program, quota=3)
    orders = [await place(service, partner, 2) for _ in range(4)]
    mints = [(service, second)[number % 2].generate(partner) for number in range(20)]
    approvals = [act(second, order_id, "approve", program) for order_id in orders]
    *minted, _, _, _, _ = await asyncio.gather(*mints, *approvals)
    quota = await quota_of(service, partner)
    assert quota["granted"] == 11
    assert quota["minted"] == sum(reply.status == 200 for reply in minted) <= 11
    assert {reply.body["error"] for reply in minted if reply.status != 200} <= {"No codes remaining"}
    assert [await grants(database, order_id) for order_id in orders] == [[2]] * 4


@pytest.mark.parametrize("named", [{"reference": "PO-1"}, {}])
async def test_one_order_however_often_it_is_placed_at_once(
    service: Service, second: Service, program: Owner, partner: Owner, named: dict[str, str]
) -> None:
    """By reference all get the same order; without one, no more than may be pending are placed."""
    replies = await asyncio.gather(
        *(
            (service, second)[number % 2].send("POST", OF_PARTNER, partner.key, {"count": 1, **named})
            for number in range(25)
        )
    )
    listed = (await service.send("GET", f"{OF_PARTNER}?limit=100", partner.key)).body["orders"]
    statuses = Counter(reply.status for reply in replies)
    if named:
        assert statuses == {201: 1, 200: 24}
        assert {reply.body["id"] for reply in replies} == {listed[0]["id"]}
        assert len(listed) == 1
    else:
        assert statuses == {201: 20, 409: 5}
        assert len(listed) == 20


async def test_an_approval_that_dies_half_way_grants_nothing_and_its_repeat_grants_once(
    service: Service,
    program: Owner,
    partner: Owner,
    database: Database,
    admin: "asyncpg.Connection[asyncpg.Record]",
) -> None:
    """The order is approved already when its process dies before the grant: both must be gone together."""
    order_id = await place(service, partner, 5)
    for _ in range(3):
        async with admin.transaction():
            await admin.execute("SELECT FROM partners WHERE id = $1 FOR UPDATE", uuid.UUID(partner.id))
            approving = asyncio.create_task(act(service, order_id, "approve", program, idempotency="a"))
            async with asyncio.timeout(10):
                while (pid := await admin.fetchval(WAITS)) is None:  # noqa: ASYNC110 - the server tells nobody
                    await asyncio.sleep(0.01)
            assert await admin.fetchval("SELECT pg_terminate_backend($1)", pid)
            died = await approving
        assert died.status == 503
        assert await grants(database, order_id) == []
        assert (await service.send("GET", f"{OF_PARTNER}/{order_id}", partner.key)).body["state"] == "pending"
    done = await act(service, order_id, "approve", program, idempotency="a")
    assert (done.status, done.data["state"]) == (200, "approved")
    assert await grants(database, order_id) == [5]


async def test_the_ledger_itself_refuses_a_second_grant_of_an_order(
    service: Service, program: Owner, partner: Owner, admin: "asyncpg.Connection[asyncpg.Record]"
) -> None:
    """Behind the lock of the order stands a key: no other program and no release of ours can grant it twice."""
    order_id = await place(service, partner, 5)
    await act(service, order_id, "approve", program)
    with pytest.raises(asyncpg.UniqueViolationError, match="quota_ledger_code_order"):
        await admin.execute(
            "INSERT INTO quota_ledger (id, partner_id, kind, amount, actor, created_at, code_order_id)"
            " SELECT gen_random_uuid(), partner_id, kind, amount, actor, created_at, code_order_id"
            " FROM quota_ledger WHERE code_order_id = $1",
            uuid.UUID(order_id),
        )


class TestPaying:
    """The use case of a provider of payments, which no route offers."""

    async def pay(self, service: Service, program: Owner, order_id: str, name: Act = "pay") -> CodeOrder:
        seen: list[CodeOrder] = []

        def render(order: CodeOrder) -> Answer:
            seen.append(order)
            return Answer(200, b"{}")

        wanted = WantedCodeOrder(uuid.UUID(order_id), uuid.UUID(program.id))
        actor = Actor(uuid.UUID(program.id), "payment 4711")
        await service.use_cases.decide_code_order(actor, wanted, name, Once(None, render))
        return seen[0]

    async def place(self, service: Service, program: Owner, partner: Owner) -> str:
        seen: list[PlacedCodeOrder] = []

        def render(placed: PlacedCodeOrder) -> Answer:
            seen.append(placed)
            return Answer(200, b"{}")

        program_id, partner_id = uuid.UUID(program.id), uuid.UUID(partner.id)
        draft = CodeOrderDraft(5, must_be_paid=True)
        actor = Actor(program_id, "account 1")
        await service.use_cases.place_code_order(actor, program_id, partner_id, draft, Once(None, render))
        return str(seen[0].order.id)

    async def test_grants_once_with_approvals_at_the_same_moment(
        self, service: Service, second: Service, program: Owner, partner: Owner, database: Database
    ) -> None:
        order_id = await place(service, partner, 5)
        await asyncio.gather(
            *(self.pay((service, second)[number % 2], program, order_id) for number in range(10)),
            *(act((service, second)[number % 2], order_id, "approve", program) for number in range(10)),
        )
        shown = (await service.send("GET", f"{OF_PARTNER}/{order_id}", partner.key)).body
        assert shown["state"] == "paid"
        assert await grants(database, order_id) == [5]
        told = Counter(event.type for event in service.handed_over + second.handed_over)
        assert told["code_order.granted"] == 1

    async def test_is_what_grants_an_order_that_must_be_paid(
        self, service: Service, program: Owner, partner: Owner, database: Database
    ) -> None:
        order_id = await self.place(service, program, partner)
        refused = await act(service, order_id, "approve", program)
        assert (refused.status, refused.body["code"]) == (409, "code_order_unpaid")
        with pytest.raises(CodeOrderUnpaid):
            await self.pay(service, program, order_id, "approve")
        await service.send("POST", f"/v1/partners/{partner.id}/suspend", program.key)
        assert (await self.pay(service, program, order_id)).decided_by == "payment 4711"
        assert await grants(database, order_id) == [5]

    async def test_of_a_cancelled_order_is_refused(
        self, service: Service, program: Owner, partner: Owner, database: Database
    ) -> None:
        """The provider has to return the money."""
        order_id = await place(service, partner, 5)
        await act(service, order_id, "cancel", partner)
        with pytest.raises(CodeOrderDecided):
            await self.pay(service, program, order_id)
        assert await grants(database, order_id) == []
