"""Over any sequence of operations the lists, filters and counters agree with a plain model in memory."""

import asyncio
from collections import Counter
from collections.abc import Coroutine
from contextlib import AsyncExitStack
from dataclasses import dataclass
from typing import Any, TypeVar

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from shared.canonical import canonical_code
from tests.conftest import NewDatabase
from tests.databases import Database
from tests.services.codes.conftest import HeldClock, Owner, Reply, Service, running_service
from tests.services.codes.redemptions import redeem

T = TypeVar("T")

# Few, so that they meet: some spellings of one code, and others.
TEXTS = st.sampled_from(["LOOK-10", "l00k1o", "Look_IO", "A", "a", "B-1", "b1", "BI"])
CUSTOMERS = st.sampled_from([None, "c1", "c2"])
EXTERNAL = st.sampled_from([None, "x1", "x2"])
PICK = st.integers(0, 1000)


@dataclass
class Code:
    """A live code as the model knows it."""

    id: str
    code: str
    coupon: str
    partner: str | None
    customer: str | None
    external: str | None
    is_active: bool
    uses: int = 0


class Machine(RuleBasedStateMachine):
    """Drives the service by HTTP and a model beside it."""

    new_database: NewDatabase

    def __init__(self) -> None:
        super().__init__()
        self.runner = asyncio.Runner()
        self.stack = AsyncExitStack()
        self.coupons: dict[str, str] = {}
        self.codes: list[Code] = []
        self.uses: Counter[str] = Counter()
        self.made = 0

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        return self.runner.run(work)

    def send(self, method: str, path: str, body: Any = None) -> Reply:
        return self.run(self.service.send(method, path, self.program.key, body))

    @initialize()
    def start(self) -> None:
        self.run(self._start())
        self.coupon("one")
        self.coupon("two")

    async def _start(self) -> None:
        self.database: Database = await self.stack.enter_async_context(self.new_database())
        self.service: Service = await self.stack.enter_async_context(running_service(self.database, HeldClock()))
        self.program: Owner = await self.service.program()
        self.partners = [
            await self.service.partner(self.program, quota=100, name=f"P{n}", email=f"p{n}@a.example") for n in range(2)
        ]

    def teardown(self) -> None:
        self.run(self.stack.aclose())
        self.runner.close()

    def coupon(self, name: str) -> None:
        body = {"uuid_code": name, "coupon_discount_type": "percent", "coupon_discount_amount": 5}
        made = self.send("POST", "/v1/coupons", {**body, "coupon_duration_type": "once"})
        assert made.status == 201, made.body
        self.coupons[name] = made.data["id"]

    def picked(self, pick: int) -> Code:
        return self.codes[pick % len(self.codes)]

    def reads_as(self, text: str) -> Code | None:
        wanted = canonical_code(text)
        return next((code for code in self.codes if canonical_code(code.code) == wanted), None)

    @precondition(lambda self: self.coupons)
    @rule(text=TEXTS, pick=PICK, owner=st.sampled_from([None, 0, 1]), customer=CUSTOMERS, external=EXTERNAL)
    def create(self, text: str, pick: int, owner: int | None, customer: str | None, external: str | None) -> None:
        name = sorted(self.coupons)[pick % len(self.coupons)]
        partner = None if owner is None else self.partners[owner].id
        body: dict[str, Any] = {"coupon_uuid": name, "code": text, "external_id": external}
        if partner is not None:
            body |= {"limit_to_specific_partner": True, "coupon_specific_partners": {"id": partner}}
        if customer is not None:
            body |= {"limit_to_specific_customer": True, "coupon_specific_customers": {"id": customer}}
        made = self.send("POST", "/v1/promotion-codes", body)
        is_taken = self.reads_as(text) or (external and any(code.external == external for code in self.codes))
        assert made.status == (422 if is_taken else 201), made.body
        if made.status == 201:
            self.codes.append(Code(made.data["id"], text, name, partner, customer, external, is_active=True))

    @rule(owner=st.sampled_from([0, 1]))
    def generate(self, owner: int) -> None:
        made = self.run(self.service.generate(self.partners[owner]))
        assert made.status == 200
        found = self.send("GET", f"/v1/promotion-codes/{made.body['code']}").data
        self.codes.append(
            Code(found["id"], found["code"], "partner-codes", self.partners[owner].id, None, None, is_active=True)
        )

    @precondition(lambda self: self.codes)
    @rule(pick=PICK, is_active=st.booleans())
    def activate(self, pick: int, is_active: bool) -> None:
        code = self.picked(pick)
        assert self.send("PATCH", f"/v1/promotion-codes/{code.id}", {"active": is_active}).status == 200
        code.is_active = is_active

    @precondition(lambda self: self.codes)
    @rule(pick=PICK, text=TEXTS)
    def rename(self, pick: int, text: str) -> None:
        code = self.picked(pick)
        changed = self.send("PATCH", f"/v1/promotion-codes/{code.id}", {"code": text})
        is_another = canonical_code(code.code) != canonical_code(text)
        if is_another and code.uses:
            assert changed.status == 409, changed.body
        elif is_another and self.reads_as(text):
            assert changed.status == 422, changed.body
        else:
            assert changed.status == 200
            code.code = text

    @precondition(lambda self: self.codes)
    @rule(pick=PICK, owner=st.sampled_from([None, 0, 1]))
    def assign(self, pick: int, owner: int | None) -> None:
        code = self.picked(pick)
        partner = None if owner is None else self.partners[owner].id
        body: dict[str, Any] = {"limit_to_specific_partner": partner is not None}
        if partner is not None:
            body["coupon_specific_partners"] = {"id": partner}
        assert self.send("PATCH", f"/v1/promotion-codes/{code.id}", body).status == 200
        code.partner = partner

    @precondition(lambda self: self.codes)
    @rule(pick=PICK)
    def archive(self, pick: int) -> None:
        code = self.picked(pick)
        assert self.send("DELETE", f"/v1/promotion-codes/{code.id}").status == 200
        self.codes.remove(code)

    @precondition(lambda self: self.coupons)
    @rule(pick=PICK)
    def archive_coupon(self, pick: int) -> None:
        name = sorted(self.coupons)[pick % len(self.coupons)]
        assert self.send("DELETE", f"/v1/coupons/{name}").status == 200
        del self.coupons[name]
        self.codes = [code for code in self.codes if code.coupon != name]
        self.made += 1
        self.coupon(f"new{self.made}")

    @precondition(lambda self: self.codes)
    @rule(pick=PICK)
    def use(self, pick: int) -> None:
        code = self.picked(pick)
        code.uses += 1
        self.uses[code.coupon] += 1
        self.run(redeem(self.database, code.id, self.service.clock(), code.uses))

    @rule(
        coupon=st.sampled_from([None, "one", "two", "partner-codes"]),
        owner=st.sampled_from([None, 0, 1]),
        customer=CUSTOMERS,
        is_active=st.sampled_from([None, True, False]),
        limit=st.integers(1, 4),
    )
    def list_filtered(
        self, coupon: str | None, owner: int | None, customer: str | None, is_active: bool | None, limit: int
    ) -> None:
        query = f"limit={limit}"
        fitting = self.codes
        if coupon is not None:
            query += f"&coupon_id={coupon}"
            fitting = [code for code in fitting if code.coupon == coupon]
        if owner is not None:
            query += f"&partner_id={self.partners[owner].id}"
            fitting = [code for code in fitting if code.partner == self.partners[owner].id]
        if customer is not None:
            query += f"&customer_id={customer}"
            fitting = [code for code in fitting if code.customer == customer]
        if is_active is not None:
            query += f"&active={str(is_active).lower()}"
            fitting = [code for code in fitting if code.is_active == is_active]
        found, cursor = [], ""
        while True:
            page = self.send("GET", f"/v1/promotion-codes?{query}{cursor}")
            found += [(code["id"], code["code"], code["times_redeemed"]) for code in page.data]
            if page.body["meta"]["next_cursor"] is None:
                break
            cursor = f"&cursor={page.body['meta']['next_cursor']}"
        assert found == sorted(((code.id, code.code, code.uses) for code in fitting), reverse=True)

    @rule(text=TEXTS, external=EXTERNAL)
    def look_up(self, text: str, external: str | None) -> None:
        query = f"code={text}" if external is None else f"code={text}&externalId={external}"
        code = self.reads_as(text)
        is_there = code is not None and external in (None, code.external)
        found = self.send("GET", f"/api/v1/promotional-codes?{query}")
        assert found.status == (200 if is_there else 404)
        if code is not None and is_there:
            assert (found.body["id"], found.body["affiliateId"]) == (code.id, code.partner)

    @rule(owner=st.sampled_from([0, 1]))
    def list_of_partner(self, owner: int) -> None:
        partner = self.partners[owner]
        listed = self.run(self.service.send("GET", "/api/partners/codes", partner.key))
        wanted = sorted(((code.id, code.code) for code in self.codes if code.partner == partner.id), reverse=True)
        assert [code["code"] for code in listed.body["codes"]] == [text for _, text in wanted]

    @invariant()
    def coupons_and_their_counts_agree(self) -> None:
        if not hasattr(self, "program"):
            return
        listed = self.send("GET", "/v1/coupons?limit=250").data
        assert {coupon["uuid_code"] for coupon in listed} == {*self.coupons, "partner-codes"}
        for coupon in listed:
            codes = [code for code in self.codes if code.coupon == coupon["uuid_code"]]
            shown = [code["code"] for code in coupon["promotion_codes"]["data"]]
            assert shown == [code.code for code in sorted(codes, key=lambda code: code.id, reverse=True)][:15]
            # Those of its archived codes too.
            assert coupon["times_redeemed"] == self.uses[coupon["uuid_code"]]


def test_lists_filters_and_counters_agree_with_a_model(new_migrated_database: NewDatabase) -> None:
    """One machine of real servers and one of Python dictionaries, and no difference between them."""
    Machine.new_database = staticmethod(new_migrated_database)
    run_state_machine_as_test(
        Machine,
        settings=settings(
            max_examples=6, stateful_step_count=30, deadline=None, suppress_health_check=list(HealthCheck)
        ),
    )
