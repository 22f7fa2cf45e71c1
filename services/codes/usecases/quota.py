"""A partner's quota: moved by the operator, and its ledger."""

import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime

from services.codes.domain.access import Actor
from services.codes.domain.audit import difference
from services.codes.domain.errors import Missing, OperatorOnly
from services.codes.domain.partners import Partner
from services.codes.domain.quota import LedgerEntry, MoveKind, Movement, Quota, after_movement
from services.codes.store import audit, partners, quota
from services.codes.usecases.announcements import quota_moved
from shared.database.idempotency import AnswerOnce
from shared.database.outbox import insert_events
from shared.database.pool import Connection, Database
from shared.events.envelope import OutboxEvent
from shared.idempotency import Answer, Once


@dataclass(frozen=True, slots=True)
class MoveQuota:
    """Counters and ledger change together, under the same lock as mints."""

    answer_once: AnswerOnce
    new_id: Callable[[], uuid.UUID]
    hand_over: Callable[[Sequence[OutboxEvent]], None]

    async def __call__(
        self,
        actor: Actor,
        partner_id: uuid.UUID,
        kind: MoveKind,
        amount: int,
        reason: str | None,
        once: Once[Quota],
    ) -> Answer:
        """Move the quota; raises Missing, OperatorOnly, QuotaWouldBeNegative or RefundExceedsMints."""
        events: list[OutboxEvent] = []

        async def work(connection: Connection, now: datetime) -> Quota:
            partner = await partners.lock_partner(connection, partner_id, actor.program_id)
            if partner is None:
                raise Missing
            if kind == "refund" and not actor.is_operator:
                raise OperatorOnly
            movement = Movement(kind, amount, reason)
            after = await move_quota(connection, actor, partner, movement, entry_id=self.new_id(), now=now)
            events.extend(quota_moved(partner, after, now))
            await insert_events(connection, events)
            return after

        answer = await self.answer_once(once, work)
        self.hand_over(events)
        return answer


async def move_quota(
    connection: Connection, actor: Actor, partner: Partner, movement: Movement, *, entry_id: uuid.UUID, now: datetime
) -> Quota:
    """Write a movement of a locked partner's quota with its audit entry; return the quota after it.

    Raises QuotaWouldBeNegative or RefundExceedsMints.
    """
    after = after_movement(partner.quota, movement.kind, movement.amount)
    entry = LedgerEntry(
        id=entry_id,
        kind=movement.kind,
        amount=movement.amount,
        code_ids=(),
        actor=actor.name,
        reason=movement.reason,
        created_at=now,
        code_order_id=movement.code_order_id,
    )
    await quota.move_quota(connection, partner.id, after, entry)
    delta = difference(partner.quota, after)
    await audit.record(connection, actor, partner.program_id, f"quota.{movement.kind}", partner.id, delta, now=now)
    return after


@dataclass(frozen=True, slots=True)
class ReadLedger:
    """A page of the ledger; a mint's row names its codes."""

    database: Database

    async def __call__(
        self, actor: Actor, partner_id: uuid.UUID, after: uuid.UUID | None, limit: int
    ) -> Sequence[LedgerEntry]:
        """Return up to `limit` movements, newest first, older than `after`; raises Missing."""
        async with self.database.connection() as connection:
            if await partners.find_partner(connection, partner_id, actor.program_id) is None:
                raise Missing
            return await quota.list_ledger(connection, partner_id, after, limit)
