"""Writes a demo's history of mints: as the real ones are, each at its own time in the past."""

import random
import uuid
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any

from services.codes.domain.access import Actor
from services.codes.domain.code_terms import CodeDraft, CodeTerms
from services.codes.domain.coupon_terms import CouponDraft, CouponTerms
from services.codes.domain.given import Given
from services.codes.domain.keys import APIKey, KeyOwner, KeyTerms
from services.codes.domain.partners import Partner, PartnerDraft
from services.codes.domain.programs import Program
from services.codes.store import keys, minting, partners, programs, promotion_codes
from services.codes.store.minting import MintRequest
from services.codes.usecases.announcements import codes_minted
from services.codes.usecases.coupons import CreateCoupon
from services.codes.usecases.partners import CreatePartner
from services.codes.usecases.quota import MoveQuota
from shared.canonical import canonical_code
from shared.database.idempotency import AnswerOnce
from shared.database.outbox import OutboxTable, insert_events
from shared.database.pool import Connection, Database
from shared.demo_plan import (
    HOUR,
    LIFETIME,
    PARTNERS,
    WELCOME_COMMISSION_PERCENT,
    WELCOME_COUPON,
    WELCOME_PERCENT,
    DemoAsk,
    DemoPlan,
    DemoRefused,
    PlannedMint,
    id_at,
)
from shared.events.envelope import OutboxEvent
from shared.idempotency import Answer, Once

_ACTOR = Actor(program_id=None, name="demo")
_LEFT = 5_000


@dataclass
class FillDemo:
    """Writes partners, their quotas, a coupon and all mints of a plan, once.

    What the broker would have confirmed long ago is not published.
    """

    database: Database
    ask: DemoAsk
    plan: DemoPlan

    async def __call__(self) -> int:
        """Return how many codes were minted, none if they were before; raises DemoRefused."""
        async with self.database.connection() as connection:
            program = await programs.find_program(connection, self.ask.program_id)
            if program is None or not program.settings.is_demo:
                raise DemoRefused
            first = canonical_code(self.plan.mints[0].code)
            if await promotion_codes.find_by_canonical(connection, program.id, first):
                return 0
        at = self.ask.until - timedelta(days=self.ask.days) - HOUR
        owners = await self._partners(program, at)
        await self._welcome_coupon(program, owners, at)
        for prefix, partner in owners.items():
            number = sum(mint.prefix == prefix for mint in self.plan.mints)
            await self._grant(partner, number // 2 + _LEFT, "First order", at)
            await self._grant(partner, number - number // 2, "Second order", at + (self.ask.until - at) / 2)
        await self._mint(owners)
        return len(self.plan.mints)

    async def _partners(self, program: Program, at: datetime) -> dict[str, Partner]:
        found: dict[str, Partner] = {}
        for name, prefix, _ in PARTNERS:
            draft = PartnerDraft(name=name, prefix=prefix, email=f"{prefix.lower()}@partner.example", status="active")
            known = await self._partner(program, prefix)
            if known is None:
                create = CreatePartner(self._answer_once(at), self._ids(at, prefix))
                await create(_ACTOR, program.id, draft, Once(None, _no_answer))
                known = await self._partner(program, prefix)
            if known is None:
                raise DemoRefused(f"The program has no partner with the prefix {prefix}.")
            found[prefix] = known
        return found

    async def _partner(self, program: Program, prefix: str) -> Partner | None:
        async with self.database.connection() as connection:
            page = await partners.list_partners(connection, program.id, None, None, None, 250)
        return next((partner for partner in page.items if partner.prefix == prefix), None)

    async def _welcome_coupon(self, program: Program, owners: dict[str, Partner], at: datetime) -> None:
        terms = CouponTerms(
            name="Welcome",
            discount=Decimal(WELCOME_PERCENT),
            commission_hundredths=WELCOME_COMMISSION_PERCENT * 100,
        )
        given = Given(terms, frozenset({"name", "discount", "commission_hundredths"}))
        codes = [
            CodeDraft(
                Given(
                    CodeTerms(code=f"{prefix}-WELCOME", has_partner=True, partner_id=partner.id),
                    frozenset({"code", "has_partner", "partner_id"}),
                )
            )
            for prefix, partner in owners.items()
        ]
        made: list[OutboxEvent] = []
        create = CreateCoupon(self._answer_once(at), self._ids(at, "coupon"), made.extend)
        await create(
            _ACTOR, program.id, CouponDraft(terms=given, uuid_code=WELCOME_COUPON), codes, Once(None, _no_answer)
        )
        await self._published(made)

    async def _grant(self, partner: Partner, amount: int, reason: str, at: datetime) -> None:
        made: list[OutboxEvent] = []
        move = MoveQuota(self._answer_once(at), self._ids(at, partner.prefix + reason), made.extend)
        await move(_ACTOR, partner.id, "grant", amount, reason, Once(None, _no_answer))
        await self._published(made)

    async def _mint(self, owners: dict[str, Partner]) -> None:
        new_id = self._ids(self.plan.mints[0].at, "keys")
        key_ids = {prefix: new_id() for prefix in owners}
        async with self.database.transaction() as connection:
            for prefix, partner in owners.items():
                await keys.insert_key(connection, _key(key_ids[prefix], partner, self.plan.mints[0].at), bytes(32))
        for day in _days(self.plan.mints_by_hour()):
            made: list[OutboxEvent] = []
            async with self.database.transaction() as connection:
                terms = {p: await minting.find_terms(connection, partner.id) for p, partner in owners.items()}
                for mints in day:
                    made += await self._mint_together(connection, mints, terms, key_ids)
            await self._published(made)
        async with self.database.transaction() as connection:
            for prefix, partner in owners.items():
                owner = KeyOwner(partner.program_id, partner.id)
                await keys.revoke_key(connection, key_ids[prefix], owner, self.ask.until)

    async def _mint_together(
        self, connection: Connection, mints: Sequence[PlannedMint], terms: dict[str, Any], key_ids: dict[str, uuid.UUID]
    ) -> list[OutboxEvent]:
        at = mints[0].at
        requests = [
            MintRequest(
                key_id=key_ids[mint.prefix],
                terms=terms[mint.prefix],
                code_id=mint.code_id,
                code=mint.code,
                canonical=canonical_code(mint.code),
                expires_at=at + LIFETIME,
            )
            for mint in mints
        ]
        new_id = self._ids(at, "ledger")
        rows = await minting.mint_group(connection, requests, set(key_ids.values()), new_id, at)
        if others := Counter(row.result for row in rows if row.result != "minted"):
            raise DemoRefused(f"Codes could not be minted: {dict(others)}.")
        events = codes_minted(requests, rows, at)
        await insert_events(connection, events)
        return events

    async def _published(self, events: Sequence[OutboxEvent]) -> None:
        await OutboxTable(self.database).confirm([event.id for event in events])

    def _answer_once(self, at: datetime) -> AnswerOnce:
        return AnswerOnce(self.database, lambda: at, None)

    def _ids(self, at: datetime, what: str) -> Callable[[], uuid.UUID]:
        chance = random.Random(f"{self.ask.seed} {at} {what}")  # noqa: S311 - an id of a demo, the same each time
        return lambda: id_at(at, chance)


def _days(hours: Iterator[list[PlannedMint]]) -> Iterator[list[list[PlannedMint]]]:
    day: list[list[PlannedMint]] = []
    for mints in hours:
        if day and mints[0].at.date() != day[0][0].at.date():
            yield day
            day = []
        day.append(mints)
    if day:
        yield day


def _key(key_id: uuid.UUID, partner: Partner, at: datetime) -> APIKey:
    """Return a key that nobody has the text of; it is revoked once the history is written."""
    terms = KeyTerms("secret", "history", "History", ("codes:generate",), None)
    return APIKey(
        id=key_id, owner=KeyOwner(partner.program_id, partner.id), terms=terms, created_at=at, revoked_at=None
    )


def _no_answer(_: Any) -> Answer:
    return Answer(200, b"")
