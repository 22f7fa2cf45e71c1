"""Whatever a shop does in whatever order, on a real database: a model of sets says what must be left behind."""

import asyncio
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import partial
from typing import Any

import asyncpg
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule, run_state_machine_as_test

from services.redemption.app import open_database
from services.redemption.domain.customers import is_one
from services.redemption.domain.decision import Redeemed
from services.redemption.domain.moments import OWN_CLOCK
from services.redemption.domain.purchase import Buyer, Cancellation, HoldRequest, VoidRequest
from services.redemption.domain.reserving import Reserved
from services.redemption.store.terms import TermsChanged
from services.redemption.usecases.decide_batch import Outcome, decide_batch
from services.redemption.usecases.purchases import Ask, CompletedCheckout, purchase_of
from shared.events.checkout import Customer, Order
from shared.ids import new_id
from tests.conftest import NewDatabase
from tests.services.redemption.conftest import DIGESTS
from tests.services.redemption.merchant import NOW, Merchant

SECOND = timedelta(seconds=1)
CODE_LIMITS = (1, 2, None)
COUPON_LIMIT = 4
CUSTOMER_LIMIT = 2
SUBTOTAL, REFUND = 100, 50
STATE = """
SELECT (SELECT coalesce(sum(uses), 0) FROM redemption.code_counters) AS code_uses,
       (SELECT coalesce(sum(uses), 0) FROM redemption.coupon_counters) AS coupon_uses,
       (SELECT coalesce(sum(spent_minor), 0) FROM redemption.coupon_counters) AS spent,
       (SELECT coalesce(sum(uses), 0) FROM redemption.period_counters WHERE period = 'day') AS day_uses,
       (SELECT count(*) FROM redemption.redemptions WHERE is_counted) AS counted,
       (SELECT count(*) FROM redemption.redemptions WHERE voided_at IS NULL) AS standing,
       (SELECT count(*) FROM redemption.events WHERE type = 'code.redeemed') AS told,
       (SELECT count(*) FROM redemption.events WHERE type = 'code.redemption_voided') AS told_voided,
       (SELECT count(*) FROM redemption.events WHERE type = 'code.redemption_skipped') AS told_skipped,
       (SELECT coalesce(sum(times), 0) FROM redemption.rejections) AS rejected
"""

Orders = st.integers(0, 4)
Codes = st.lists(st.integers(0, len(CODE_LIMITS) - 1), min_size=1, max_size=3, unique=True)
Actions = st.lists(
    st.one_of(
        st.tuples(st.just("redeem"), Orders, Codes),
        st.tuples(st.just("redeem"), Orders, Codes),
        st.tuples(st.just("reserve"), Orders, Codes),
        st.tuples(st.just("reserve"), Orders, Codes),
        st.tuples(st.just("cancel"), Orders, st.just([])),
        st.tuples(st.just("cancel and keep"), Orders, st.just([])),
        st.tuples(st.just("refund"), Orders, st.just([])),
        st.tuples(st.just("void"), Orders, Codes),
    ),
    min_size=2,
    max_size=10,
)


@dataclass
class Model:
    """What was redeemed and is held, by (order, code); every code costs one unit.

    With what stands goes when its purchase was last reported: only what is paid back later takes it back. `kept` are
    uses that stay taken by what was taken back.
    """

    standing: dict[tuple[int, int], datetime] = field(default_factory=dict)
    held: dict[int, tuple[set[int], datetime]] = field(default_factory=dict)
    refunds: dict[int, list[datetime]] = field(default_factory=dict)
    customer_limit: int | None = CUSTOMER_LIMIT
    combination: str = "other_coupons"
    combinations: dict[tuple[int, int], str] = field(default_factory=dict)
    policy: str = "always"
    policies: dict[tuple[int, int], str] = field(default_factory=dict)
    kept: list[tuple[int, int]] = field(default_factory=list)
    skipped: int = 0

    def redeem(self, order: int, codes: list[int], now: datetime, moment: datetime) -> bool:
        taken: list[int] = []
        skipped: list[int] = []
        for code in codes:
            if (order, code) in self.standing:
                continue
            if not self._fits(order, [code], now, is_alone=True):
                return False
            if self._is_blocked(order, taken) or not self._fits(order, [*taken, code], now):
                skipped.append(code)
            else:
                taken.append(code)
        self.standing |= {(order, code): moment for code in codes if code not in skipped}
        self.combinations |= {(order, code): self.combination for code in taken}
        self.policies |= {(order, code): self.policy for code in taken}
        self.skipped += len(skipped)
        self.held.pop(order, None)
        return True

    def reserve(self, order: int, codes: list[int], now: datetime, until: datetime) -> bool:
        if any((order, code) in self.standing for code in codes) or not self._fits(order, codes, now):
            return False
        if any(self._is_blocked(order, codes[:place]) for place in range(len(codes))):
            return False
        self.held[order] = (set(codes), until)
        return True

    def _is_blocked(self, order: int, taken: list[int]) -> bool:
        """Whether one more code of the coupon may not join: now, or as it was when another was redeemed."""
        earlier = [self.combinations[pair] for pair in self.standing if pair[0] == order]
        others = [*earlier, *(self.combination for _ in taken)]
        return bool(others) and "other_coupons" in (self.combination, *others)

    def cancel(self, order: int, *, frees: bool) -> int:
        gone = [pair for pair in self.standing if pair[0] == order]
        return self._take_back(order, gone, ends_hold=True, frees=frees)

    def refund(self, order: int, moment: datetime) -> int:
        self.refunds.setdefault(order, []).append(moment)
        mine = [pair for pair in self.standing if pair[0] == order]
        paid = SUBTOTAL - len(mine)
        gone = [
            pair
            for pair in mine
            if sum(REFUND for refund in self.refunds[order] if refund >= self.standing[pair]) >= paid
        ]
        return self._take_back(order, gone, ends_hold=bool(gone))

    def void(self, order: int, code: int) -> int:
        gone = [pair for pair in self.standing if pair == (order, code)]
        return self._take_back(order, gone, ends_hold=False)

    def _take_back(self, order: int, gone: list[tuple[int, int]], *, ends_hold: bool, frees: bool = True) -> int:
        for pair in gone:
            del self.standing[pair]
            if not frees or self.policies[pair] == "never":
                self.kept.append(pair)
        if ends_hold:
            self.held.pop(order, None)
        return len(gone)

    def _fits(self, order: int, new: list[int], now: datetime, *, is_alone: bool = False) -> bool:
        """Whether the limits leave room for these; `is_alone` if what the order has redeemed is not to count."""
        others = [(o, c) for o, (codes, until) in self.held.items() if o != order and until > now for c in codes]
        taken = [*(pair for pair in self.standing if not is_alone or pair[0] != order), *self.kept, *others]
        for code in new:
            limit = CODE_LIMITS[code]
            if limit is not None and sum(c == code for _, c in taken) >= limit:
                return False
        if not new:
            return True
        mine = sum(is_one(KEYS[o], KEYS[order]) for o, _ in taken)
        fits_customer = self.customer_limit is None or mine + len(new) <= self.customer_limit
        return fits_customer and len(taken) + len(new) <= COUPON_LIMIT


# Anna buys as a guest, signed in, and without a mailbox; the first and the third of these have nothing in common.
CUSTOMERS = (
    Customer(email="Anna+1@b.example"),
    Customer(id="anna", email="anna@b.example"),
    Customer(id="anna"),
    Customer(id="bob", email="bob@b.example"),
    Customer(email="bob@b.example"),
)
KEYS = [Buyer(each.id, each.email).keys for each in CUSTOMERS]
ORDER = Order(currency="USD", subtotal=SUBTOTAL)


class OnDatabase(RuleBasedStateMachine):
    """A machine whose requests are decided on a database of its own."""

    def __init__(self, new_database: NewDatabase) -> None:
        super().__init__()
        self.runner = asyncio.Runner()
        self.stack = AsyncExitStack()
        self.now = NOW
        self.runner.run(self._open(new_database))

    async def _open(self, new_database: NewDatabase) -> None:
        database = await self.stack.enter_async_context(new_database())
        self.pool = await self.stack.enter_async_context(open_database(database.redemption, 2))
        self.admin = await asyncpg.connect(database.admin)
        self.stack.push_async_callback(self.admin.close)
        self.merchant = Merchant(self.admin)
        self.program = await self.merchant.program()

    def teardown(self) -> None:
        self.runner.run(self.stack.aclose())
        self.runner.close()

    async def _decide(self, asks: list[Ask]) -> list[Outcome]:
        # As the use cases do: what a purchase may change is known once its orders are locked.
        try:
            async with self.pool.transaction() as connection:
                return (await decide_batch(connection, asks, self.now, DIGESTS)).outcomes
        except TermsChanged:
            async with self.pool.transaction() as connection:
                return (await decide_batch(connection, asks, self.now, DIGESTS, is_again=True)).outcomes

    async def _standing(self, ref: str, code: str) -> Any:
        return await self.admin.fetchval(
            "SELECT id FROM redemption.redemptions WHERE order_ref = $1 AND canonical = $2 AND voided_at IS NULL",
            ref,
            code,
        )


def run_machine(machine: type[OnDatabase], new_database: NewDatabase, examples: int) -> None:
    """Run a machine on new databases."""
    made: Any = partial(machine, new_database)
    run_state_machine_as_test(
        made,
        settings=settings(
            max_examples=examples,
            stateful_step_count=12,
            deadline=None,
            suppress_health_check=list(HealthCheck),
            phases=[Phase.generate],
        ),
    )


class Shopping(OnDatabase):
    """Sends batches of requests about few orders and few codes, and lets time pass."""

    def __init__(self, new_database: NewDatabase) -> None:
        super().__init__(new_database)
        self.model = Model()
        self.redeemed = self.voided = self.refused = 0

    @initialize()
    def stock(self) -> None:
        self.runner.run(self._stock())

    async def _stock(self) -> None:
        merchant = self.merchant
        self.coupon = await merchant.coupon(self.program, amount=1, currency="USD", limit=COUPON_LIMIT)
        await merchant.restrict_coupon(
            self.coupon,
            customer_redemption_limit=CUSTOMER_LIMIT,
            daily_redemption_limit=COUPON_LIMIT,
            budget_minor=COUPON_LIMIT,
            budget_currency="USD",
            combination=self.model.combination,
        )
        for number, limit in enumerate(CODE_LIMITS):
            await merchant.code(self.program, self.coupon, f"C{number}", limit=limit)

    @rule(limit=st.sampled_from((None, 1, CUSTOMER_LIMIT)))
    def limit_customers(self, limit: int | None) -> None:
        """What is used and held meanwhile counts under every later limit."""
        self.model.customer_limit = limit
        self.runner.run(self.merchant.restrict_coupon(self.coupon, customer_redemption_limit=limit))

    @rule(combination=st.sampled_from(("any", "other_coupons")))
    def combine(self, combination: str) -> None:
        """What an order has redeemed goes by what was said then, what it asks for by what is said now."""
        self.model.combination = combination
        self.runner.run(self.merchant.restrict_coupon(self.coupon, combination=combination))

    @rule(policy=st.sampled_from(("always", "never")))
    def release(self, policy: str) -> None:
        """A redemption keeps the policy that it was made under."""
        self.model.policy = policy
        self.runner.run(self.merchant.restrict_coupon(self.coupon, release_policy=policy))

    @rule(actions=Actions, seconds=st.integers(1, 20))
    def ask(self, actions: list[tuple[str, int, list[int]]], seconds: int) -> None:
        """Ask for several things in one batch; each is answered as the model says."""
        self.now += seconds * SECOND
        asks: dict[int, Ask] = {}
        # One after the other: what is bought after a cancellation is another purchase.
        moments = [self.now + number * timedelta(microseconds=1) for number in range(len(actions))]
        for number, action in enumerate(actions):
            if (ask := self._ask(*action, moments[number])) is not None:
                asks[number] = ask
        outcomes = self.runner.run(self._decide(list(asks.values())))
        for number, outcome in zip(asks, outcomes, strict=True):
            self._check(*actions[number], moments[number], outcome)

    def _ask(self, kind: str, order: int, codes: list[int], moment: datetime) -> Ask | None:
        ref = f"order-{order}"
        if kind in ("cancel", "cancel and keep"):
            release = None if kind == "cancel" else False
            return Cancellation(new_id(), self.program, ref, moment, release=release, clock=OWN_CLOCK)
        if kind == "refund":
            return Cancellation(new_id(), self.program, ref, moment, amount_minor=REFUND, clock=OWN_CLOCK)
        if kind == "void":
            row = self.runner.run(self._standing(ref, f"C{codes[0]}"))
            return VoidRequest(self.program, ref, row, moment) if row else None
        purchase = purchase_of(
            self.program,
            "/shop",
            event_id=str(new_id()),
            order_ref=ref,
            codes=[f"C{code}" for code in codes],
            occurred_at=moment,
            customer=CUSTOMERS[order],
            order=ORDER,
            clock=OWN_CLOCK,
        )
        if kind == "reserve":
            return HoldRequest(purchase, new_id(), self.now + 30 * SECOND)
        return CompletedCheckout(purchase, None, None)

    def _check(self, kind: str, order: int, codes: list[int], moment: datetime, outcome: Outcome) -> None:
        before = len(self.model.standing)
        if kind == "redeem":
            fits = self.model.redeem(order, codes, self.now, moment)
            assert isinstance(outcome, Redeemed) == fits
            self.refused += not fits
            self.redeemed += len(self.model.standing) - before
        elif kind == "reserve":
            fits = self.model.reserve(order, codes, self.now, self.now + 30 * SECOND)
            assert isinstance(outcome, Reserved) == fits
            self.refused += not fits
        elif kind == "refund":
            self.voided += self.model.refund(order, moment)
        elif kind == "void":
            self.voided += self.model.void(order, codes[0])
        else:
            self.voided += self.model.cancel(order, frees=kind == "cancel")

    @invariant()
    def the_books_balance(self) -> None:
        standing = len(self.model.standing)
        uses = standing + len(self.model.kept)
        state = dict(self.runner.run(self._state()))
        assert state == {
            "code_uses": uses,
            "coupon_uses": uses,
            "spent": uses,
            "day_uses": uses,
            "counted": uses,
            "standing": standing,
            "told": self.redeemed,
            "told_voided": self.voided,
            "told_skipped": self.model.skipped,
            "rejected": self.refused + self.model.skipped,
        }

    async def _state(self) -> Any:
        return await self.admin.fetchrow(STATE)


def test_the_books_balance_whatever_happens(new_migrated_database: NewDatabase) -> None:
    run_machine(Shopping, new_migrated_database, 15)
