"""Creates a program together with its partner coupon."""

import uuid
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime

from services.codes.domain.access import Actor
from services.codes.domain.audit import creation
from services.codes.domain.errors import UnknownTimezone
from services.codes.domain.programs import Program, ProgramSettings, check_code_space
from services.codes.store import audit, programs
from shared.database.idempotency import AnswerOnce
from shared.database.pool import Connection
from shared.idempotency import Answer, Once


@dataclass(frozen=True, slots=True)
class CreateProgram:
    """Only the operator's token leads here."""

    answer_once: AnswerOnce
    new_id: Callable[[], uuid.UUID]

    async def __call__(self, actor: Actor, settings: ProgramSettings, once: Once[Program]) -> Answer:
        """Create the program; raises WeakCodeSpace or UnknownTimezone."""
        check_code_space(settings)

        async def work(connection: Connection, now: datetime) -> Program:
            if not await programs.knows_timezone(connection, settings.timezone):
                raise UnknownTimezone
            program = Program(self.new_id(), settings, now, now)
            await programs.insert_program(connection, program, self.new_id())
            await audit.record(connection, actor, program.id, "program.created", program.id, creation(settings), now)
            return program

        return await self.answer_once(once, work)
