"""Changes a promotion code: whose it is and whether it is active at any time, its terms until a redemption is known."""

import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from services.codes.domain.access import Actor
from services.codes.domain.audit import difference
from services.codes.domain.code_terms import CodeTerms, changed_code
from services.codes.domain.errors import Missing, NoSuchPartner
from services.codes.domain.given import Given
from services.codes.domain.promotion_codes import CodeRef, PromotionCode, ShownCode, check_code_terms
from services.codes.store import audit, partners, programs, promotion_codes
from services.codes.usecases.announcements import code_updated
from services.codes.usecases.read_promotion_codes import find_code, with_owners
from shared.clock import Clock
from shared.database.outbox import insert_events
from shared.database.pool import Connection, Database
from shared.events.envelope import OutboxEvent


@dataclass(frozen=True, slots=True)
class ChangePromotionCode:
    """Redemptions keep the terms that they were made under."""

    database: Database
    clock: Clock
    hand_over: Callable[[Sequence[OutboxEvent]], None]

    async def __call__(self, actor: Actor, program_id: uuid.UUID, ref: CodeRef, changes: Given[CodeTerms]) -> ShownCode:
        """Apply the changes to a live code.

        Raises Missing, InvalidTerms, TermsFrozen, CodeTaken, ExternalIdTaken or NoSuchPartner.
        """
        now = self.clock()
        events: list[OutboxEvent] = []
        async with self.database.transaction() as connection:
            program = await programs.find_program(connection, program_id)
            code = await lock_code(connection, program_id, ref)
            if program is None or code.archived_at is not None:
                raise Missing
            after = changed_code(code, changes, program.settings)
            check_code_terms(code, after)
            if told := difference(code, after):
                await _check_partner(connection, code, after)
                # What a partner calls a code means nothing to another one.
                reference = code.reference if after.partner_id == code.partner_id else None
                after = replace(after, updated_at=now, reference=reference)
                await promotion_codes.update_code(connection, after)
                await audit.record(connection, actor, program_id, "promotion_code.updated", code.id, told, now)
                events.append(code_updated(after, told, now))
                await insert_events(connection, events)
            (shown,) = await with_owners(connection, program_id, [after])
        self.hand_over(events)
        return shown


async def lock_code(connection: Connection, program_id: uuid.UUID, ref: CodeRef) -> PromotionCode:
    """Read the code that is meant, archived or not, and keep others from changing it; raises Missing."""
    code_id = await find_code(connection, program_id, ref)
    code = code_id and await promotion_codes.lock_code(connection, program_id, code_id)
    # Its string may have gone to another code while the lock was waited for.
    if not code or (ref.as_id is None and code.archived_at is not None):
        raise Missing
    return code


async def _check_partner(connection: Connection, before: PromotionCode, after: PromotionCode) -> None:
    if after.partner_id in (None, before.partner_id):
        return
    if await partners.find_partner(connection, after.partner_id, after.program_id) is None:
        raise NoSuchPartner
