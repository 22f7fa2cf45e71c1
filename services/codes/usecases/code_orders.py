"""Orders of codes: placed and cancelled by the partner, decided by its program, granted once on the quota's ledger."""

import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime

from services.codes.domain.access import Actor
from services.codes.domain.audit import creation, difference
from services.codes.domain.code_order_errors import (
    CodeOrderReferenceTaken,
    OrderedByInactive,
    PartnerInactive,
    TooManyPendingCodeOrders,
)
from services.codes.domain.code_orders import (
    MOST_PENDING,
    Act,
    CodeOrder,
    CodeOrderDraft,
    CodeOrderFilter,
    check_pack,
    decided,
)
from services.codes.domain.days import as_end, as_start
from services.codes.domain.errors import Missing
from services.codes.domain.pages import Place, Ranked
from services.codes.domain.quota import Movement
from services.codes.store import audit, code_orders, partners, programs
from services.codes.usecases.announcements import code_order_created, code_order_ended, code_order_granted, quota_moved
from services.codes.usecases.quota import move_quota
from shared.database.idempotency import AnswerOnce
from shared.database.outbox import insert_events
from shared.database.pool import Connection, Database
from shared.events.envelope import OutboxEvent
from shared.idempotency import Answer, Once


@dataclass(frozen=True, slots=True)
class WantedCodeOrder:
    """An order as a caller names it: of its program, and of its partner if a partner asks."""

    order_id: uuid.UUID
    program_id: uuid.UUID
    partner_id: uuid.UUID | None = None


@dataclass(frozen=True, slots=True)
class PlacedCodeOrder:
    """An order, and whether this request placed it."""

    order: CodeOrder
    is_new: bool


@dataclass(frozen=True, slots=True)
class PlaceCodeOrder:
    """One order per reference of a partner: a repeat gets the same one, in whatever state it is."""

    answer_once: AnswerOnce
    new_id: Callable[[], uuid.UUID]
    hand_over: Callable[[Sequence[OutboxEvent]], None]

    async def __call__(
        self,
        actor: Actor,
        program_id: uuid.UUID,
        partner_id: uuid.UUID,
        draft: CodeOrderDraft,
        once: Once[PlacedCodeOrder],
    ) -> Answer:
        """Place an order.

        Raises PartnerInactive, CodeOrderReferenceTaken, NotACodePack or TooManyPendingCodeOrders.
        """
        events: list[OutboxEvent] = []

        async def work(connection: Connection, now: datetime) -> PlacedCodeOrder:
            partner = await partners.lock_partner(connection, partner_id, program_id)
            if partner is None or partner.status != "active":
                raise PartnerInactive
            if (known := await _known(connection, partner_id, draft)) is not None:
                return PlacedCodeOrder(known, is_new=False)
            program = await programs.find_program(connection, program_id)
            if program is None:
                raise Missing
            check_pack(draft.count, program.settings.code_packs)
            if not await code_orders.has_room(connection, partner_id):
                raise TooManyPendingCodeOrders(MOST_PENDING)
            order = self._order(actor, program_id, partner_id, draft, now)
            await code_orders.insert_code_order(connection, order)
            await audit.record(connection, actor, program_id, "code_order.created", order.id, creation(order), now=now)
            events.append(code_order_created(order))
            await insert_events(connection, events)
            return PlacedCodeOrder(order, is_new=True)

        answer = await self.answer_once(once, work)
        self.hand_over(events)
        return answer

    def _order(
        self, actor: Actor, program_id: uuid.UUID, partner_id: uuid.UUID, draft: CodeOrderDraft, now: datetime
    ) -> CodeOrder:
        return CodeOrder(
            id=self.new_id(),
            program_id=program_id,
            partner_id=partner_id,
            count=draft.count,
            reference=draft.reference,
            note=draft.note,
            must_be_paid=draft.must_be_paid,
            state="pending",
            reason=None,
            placed_by=actor.name,
            decided_by=None,
            created_at=now,
            decided_at=None,
        )


@dataclass(frozen=True, slots=True)
class DecideCodeOrder:
    """Every act on an order, under the lock of its row: approve, refuse, cancel, and pay for a provider of payments."""

    answer_once: AnswerOnce
    new_id: Callable[[], uuid.UUID]
    hand_over: Callable[[Sequence[OutboxEvent]], None]

    async def __call__(
        self,
        actor: Actor,
        wanted: WantedCodeOrder,
        act: Act,
        once: Once[CodeOrder],
        reason: str | None = None,
    ) -> Answer:
        """Decide an order; what is done already stays as it is.

        Raises Missing, CodeOrderDecided, CodeOrderUnpaid or OrderedByInactive.
        """
        events: list[OutboxEvent] = []

        async def work(connection: Connection, now: datetime) -> CodeOrder:
            order = await code_orders.lock_code_order(connection, wanted.order_id, wanted.program_id, wanted.partner_id)
            if order is None:
                raise Missing
            after = decided(order, act, by=actor.name, now=now, reason=reason)
            if after is order:
                return order
            await code_orders.update_code_order(connection, after)
            action = f"code_order.{after.state}"
            await audit.record(connection, actor, order.program_id, action, order.id, difference(order, after), now=now)
            if not after.is_granted:
                events.append(code_order_ended(after, now))
            elif not order.is_granted:
                events.extend(await self._granted(connection, actor, after, act, now))
            await insert_events(connection, events)
            return after

        answer = await self.answer_once(once, work)
        self.hand_over(events)
        return answer

    async def _granted(
        self, connection: Connection, actor: Actor, order: CodeOrder, act: Act, now: datetime
    ) -> list[OutboxEvent]:
        """Grant an order's codes; what is paid is granted to a suspended partner too."""
        partner = await partners.lock_partner(connection, order.partner_id, order.program_id)
        if partner is None or (act != "pay" and partner.status != "active"):
            raise OrderedByInactive
        movement = Movement("grant", order.count, f"Code order {order.name}", order.id)
        after = await move_quota(connection, actor, partner, movement, entry_id=self.new_id(), now=now)
        return [code_order_granted(order, after.remaining, now), *quota_moved(partner, after, now)]


@dataclass(frozen=True, slots=True)
class ReadCodeOrders:
    """One order, or a page of them: pending ones first, then the newest."""

    database: Database

    async def __call__(self, wanted: CodeOrderFilter, after: Place | None, limit: int) -> Ranked[CodeOrder]:
        """Return up to `limit` matching orders after a place; bare dates are the program's days."""
        async with self.database.connection() as connection:
            program = await programs.find_program(connection, wanted.program_id)
            if program is None:
                return Ranked([], None)
            timezone = program.settings.timezone
            wanted = replace(wanted, since=as_start(wanted.since, timezone), until=as_end(wanted.until, timezone))
            return await code_orders.list_code_orders(connection, wanted, after, limit)

    async def one(self, wanted: WantedCodeOrder) -> CodeOrder:
        """Return one order; raises Missing."""
        async with self.database.connection() as connection:
            order = await code_orders.find_code_order(connection, wanted.order_id, wanted.program_id, wanted.partner_id)
        if order is None:
            raise Missing
        return order


async def _known(connection: Connection, partner_id: uuid.UUID, draft: CodeOrderDraft) -> CodeOrder | None:
    if draft.reference is None:
        return None
    known = await code_orders.find_by_reference(connection, partner_id, draft.reference)
    if known is not None and known.count != draft.count:
        raise CodeOrderReferenceTaken(known.count)
    return known
