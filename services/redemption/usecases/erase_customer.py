"""Redemption's part of erasing a customer, step by step. Each step finds what is left, so it can be repeated.

Names are replaced by digests, by which the customer's uses are still counted.
"""

import json
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any, Final

from services.redemption.domain.customers import Digests
from services.redemption.store import customer_jobs, customers, erasures
from services.redemption.store.customers import Named
from services.redemption.store.erasures import Told
from services.redemption.usecases.fill_mailboxes import fill_mailboxes
from shared.database.customer_parts import CHUNK, Chunk, Outside, Step, erase_answers, lock_history
from shared.database.erased_letters import erase_kept_letters, erased_event
from shared.database.pool import Connection
from shared.derived_ids import derived_id
from shared.erasing import MAILBOX_KEY, CustomerJob, Erasing
from shared.events.redemption import CodeRedeemedV1, CodeRedemptionVoidedV1
from shared.known_ids import FIRST_ID

_LINES_AT_ONCE = 1_000
_BEGINNING: Final = datetime.fromtimestamp(0, UTC)


@dataclass(frozen=True, slots=True)
class EraseCustomer:
    """The steps in order; `letters` searches the dead queue."""

    digests: Digests
    letters: Outside

    @property
    def steps(self) -> Sequence[Step | Outside]:
        """Return them. Letters move between queue and table meanwhile, so the queue is searched twice."""
        return (
            self.settle,
            self.redemptions,
            self.holds,
            self.counters,
            erase_answers,
            self.exports,
            self.letters,
            erase_kept_letters,
            self.letters,
            # An erasure that runs while processes are replaced identifies its steps by number.
            erase_others,
            erase_reasons,
            erase_history,
        )

    async def settle(self, connection: Connection, job: CustomerJob, _: Sequence[Any]) -> Chunk:
        """Wait for the transactions that may not know of the erasure."""
        is_settled = await customer_jobs.is_settled(connection, job.id)
        return Chunk() if is_settled else Chunk([], must_wait=True)

    async def redemptions(self, connection: Connection, job: CustomerJob, _: Sequence[Any]) -> Chunk:
        """Erase the next redemptions, with the events that name their customer and the texts of their orders."""
        # Those without their mailbox yet would not be found by it.
        if await fill_mailboxes(connection, CHUNK):
            return Chunk(["more"])
        found = await customers.find_redemptions(connection, job.program_id, job.keys, FIRST_ID, CHUNK)
        if not found:
            return Chunk()
        ids = [id_ for id_, _ in found]
        if strays := await self._strays(connection, job, ids):
            # In a chunk of its own: transactions that count uses wait for it, so it must wait for nothing.
            await customers.hold_customers(connection, job.program_id, strays)
            made = [self.digests(job.program_id, key) for key in strays]
            await customers.mark_erased(connection, job.program_id, made, job.created_at)
            return Chunk(["more"])
        await erasures.lock_orders(connection, job.program_id, sorted({order_ref for _, order_ref in found}))
        erased: list[tuple[Named, bool]] = []
        events: dict[uuid.UUID, tuple[Erasing, bool]] = {}
        for named in await customers.read_names(connection, ids):
            digests, is_whole = self._digests(job, named)
            events |= dict.fromkeys(event_ids(named.id), (Erasing(digests, is_whole), is_whole))
            names = [digests.get(name, name) if name else None for name in (named.customer_key, named.mailbox_key)]
            erased.append((replace(named, customer_key=names[0], mailbox_key=names[1]), is_whole))
        count = await self._erase_events(connection, job, events)
        await erasures.erase_redemptions(connection, job.program_id, erased)
        return Chunk(["more"], {"redemptions": len(erased), "events": count})

    async def holds(self, connection: Connection, job: CustomerJob, _: Sequence[Any]) -> Chunk:
        """Erase the next holds."""
        count = await erasures.erase_holds(connection, job.program_id, _pairs(job), CHUNK)
        return Chunk(["more"] if count else None, {"reservations": count})

    async def counters(self, connection: Connection, job: CustomerJob, _: Sequence[Any]) -> Chunk:
        """Move the next counters to the digests."""
        count = await erasures.erase_counters(connection, job.program_id, _pairs(job), CHUNK)
        return Chunk(["more"] if count else None, {"counters": count})

    async def exports(self, connection: Connection, job: CustomerJob, _: Sequence[Any]) -> Chunk:
        """Remove the next lines of exports that were withdrawn."""
        count = await customer_jobs.delete_withdrawn_lines(connection, job.program_id, _LINES_AT_ONCE)
        return Chunk(["more"] if count == _LINES_AT_ONCE else None, {"export_lines": count})

    async def _strays(self, connection: Connection, job: CustomerJob, ids: Sequence[uuid.UUID]) -> list[str]:
        """Return the mailboxes with the customer's ids that were unknown when the job was created."""
        named = await customers.read_names(connection, ids)
        keys = {key for each in named for key in self._digests(job, each)[0]} - set(job.keys)
        wanted = {(job.program_id, self.digests(job.program_id, key)): key for key in keys}
        known = await customers.find_erased(connection, list(wanted)) if wanted else {}
        return sorted(key for digest, key in wanted.items() if digest not in known)

    def _digests(self, job: CustomerJob, named: Named) -> tuple[Mapping[str, str], bool]:
        """Return the replacements for the names of a redemption, and whether all of it is about the customer.

        The mailbox of an erased id is erased too, even if it was unknown when the job was created.
        """
        digests = _pairs(job)
        is_whole = named.customer_key in digests or _is_erased(named.customer_key)
        if is_whole and named.mailbox_key is not None and named.mailbox_key.startswith(MAILBOX_KEY):
            digests = {**digests, named.mailbox_key: self.digests(job.program_id, named.mailbox_key)}
        return digests, is_whole

    async def _erase_events(
        self, connection: Connection, job: CustomerJob, events: Mapping[uuid.UUID, tuple[Erasing, bool]]
    ) -> int:
        await customers.add_events(connection, job.id, {id_: is_whole for id_, (_, is_whole) in events.items()})
        await lock_history(connection)
        bodies = {}
        for event_id, body in await customers.read_events(connection, list(events)):
            if (erased := events[event_id][0].body(body)) is not None:
                bodies[event_id] = erased
        if bodies:
            await erasures.erase_events(connection, bodies)
        return len(bodies)


async def erase_others(connection: Connection, job: CustomerJob, position: Sequence[Any]) -> Chunk:
    """Take the customer out of the texts of the next redemptions of others."""
    after = (datetime.fromisoformat(position[0]), uuid.UUID(position[1])) if position else (_BEGINNING, FIRST_ID)
    found = await erasures.read_others(connection, job.program_id, after, _LINES_AT_ONCE)
    erasing = job.erasing.free()
    if named := sorted({each.order_ref for each in found if _without(erasing, each) != each}):
        # Read again: another erasure may have changed it.
        await erasures.lock_orders(connection, job.program_id, named)
        found = await erasures.read_others(connection, job.program_id, after, _LINES_AT_ONCE)
    erased = [changed for each in found if (changed := _without(erasing, each)) != each and each.order_ref in named]
    if erased:
        await erasures.erase_others(connection, erased)
    following = [found[-1].occurred_at.isoformat(), str(found[-1].id)] if len(found) == _LINES_AT_ONCE else None
    return Chunk(following, {"redemptions_of_others": len(erased)})


async def erase_reasons(connection: Connection, job: CustomerJob, position: Sequence[Any]) -> Chunk:
    """Remove the reasons of the next orders that name the customer."""
    found = await erasures.read_reasons(connection, job.program_id, position[0] if position else "", _LINES_AT_ONCE)
    erasing = job.erasing.free()
    named = [order_ref for order_ref, reasons in found if any(erasing.text(reason) != reason for reason in reasons)]
    if named:
        await erasures.lock_orders(connection, job.program_id, named)
        await erasures.erase_reasons(connection, job.program_id, named)
    return Chunk([found[-1][0]] if len(found) == _LINES_AT_ONCE else None, {"orders": len(named)})


async def erase_history(connection: Connection, job: CustomerJob, position: Sequence[Any]) -> Chunk:
    """Take the customer out of the next events, about any customer; the other services search the same."""
    after = uuid.UUID(position[0]) if position else FIRST_ID
    await lock_history(connection)
    found = await erasures.read_history(connection, after, _LINES_AT_ONCE)
    erased = {
        id_: changed for id_, body in found if body is not None and (changed := erased_event(job, body)) is not None
    }
    if erased:
        await customers.add_events(connection, job.id, dict.fromkeys(erased, False))
        await erasures.erase_events(connection, erased)
    return Chunk([str(found[-1][0])] if len(found) == _LINES_AT_ONCE else None, {"events": len(erased)})


def _without(erasing: Erasing, told: Told) -> Told:
    attributes = None if told.attributes is None else json.loads(told.attributes)
    erased = erasing.value(attributes)
    reason = None if told.void_reason is None else erasing.text(told.void_reason)
    return replace(
        told,
        attributes=told.attributes if erased == attributes else json.dumps(erased, ensure_ascii=False),
        void_reason=reason,
    )


def event_ids(redemption_id: uuid.UUID) -> list[uuid.UUID]:
    """Return the events of a redemption that name its customer; there may be only one."""
    return [derived_id(redemption_id, model.type) for model in (CodeRedeemedV1, CodeRedemptionVoidedV1)]


def _pairs(job: CustomerJob) -> dict[str, str]:
    return dict(zip(job.keys, job.digests, strict=True))


def _is_erased(key: str | None) -> bool:
    return key is not None and key.startswith("erased:")
