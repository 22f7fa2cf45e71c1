"""Programs: created with their partner coupon, read, changed."""

import uuid
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import datetime

from services.codes.domain.access import Actor
from services.codes.domain.audit import creation, difference
from services.codes.domain.errors import Missing, OperatorOnly, UnknownTimezone
from services.codes.domain.given import Given
from services.codes.domain.programs import MERCHANTS_OWN, ChangedProgram, Program, ProgramSettings, check_code_space
from services.codes.store import audit, programs
from shared.clock import Clock
from shared.database.idempotency import AnswerOnce
from shared.database.pool import Connection, Database
from shared.idempotency import Answer, Once


@dataclass(frozen=True, slots=True)
class CreateProgram:
    """Only the operator may do this."""

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
            await audit.record(
                connection, actor, program.id, "program.created", program.id, creation(settings), now=now
            )
            return program

        return await self.answer_once(once, work)


@dataclass(frozen=True, slots=True)
class ReadPrograms:
    """One program, or a page of them."""

    database: Database

    async def __call__(self, after: uuid.UUID | None, limit: int) -> list[Program]:
        """Return up to `limit` programs, newest first, older than `after`."""
        async with self.database.connection() as connection:
            return await programs.list_programs(connection, after, limit)

    async def one(self, actor: Actor, program_id: uuid.UUID) -> Program:
        """Return one program; raises Missing."""
        if actor.reaches(program_id):
            async with self.database.connection() as connection:
                if program := await programs.find_program(connection, program_id):
                    return program
        raise Missing


@dataclass(frozen=True, slots=True)
class ChangeProgram:
    """Existing codes keep their terms; mints see the change within five seconds."""

    database: Database
    clock: Clock

    async def __call__(self, actor: Actor, program_id: uuid.UUID, changes: Given[ProgramSettings]) -> ChangedProgram:
        """Replace the given settings; a merchant may change some of them.

        Raises Missing, OperatorOnly, WeakCodeSpace or UnknownTimezone.
        """
        if not actor.reaches(program_id):
            raise Missing
        if not actor.is_operator and (others := changes.names - MERCHANTS_OWN):
            raise OperatorOnly(others)
        now = self.clock()
        async with self.database.transaction() as connection:
            program = await programs.lock_program(connection, program_id)
            if program is None:
                raise Missing
            settings = changes.over(program.settings)
            if settings == program.settings:
                return ChangedProgram(program, program)
            check_code_space(settings)
            is_moved = settings.timezone != program.settings.timezone
            if is_moved and not await programs.knows_timezone(connection, settings.timezone):
                raise UnknownTimezone
            await programs.update_program(connection, program_id, settings, now)
            delta = difference(program.settings, settings)
            await audit.record(connection, actor, program_id, "program.updated", program_id, delta, now=now)
        return ChangedProgram(program, replace(program, settings=settings, updated_at=now))
