"""Changes a program's settings."""

import uuid
from dataclasses import dataclass, replace

from services.codes.domain.access import Actor
from services.codes.domain.audit import difference
from services.codes.domain.errors import Missing, OperatorOnly, UnknownTimezone
from services.codes.domain.given import Given
from services.codes.domain.programs import MERCHANTS_OWN, ChangedProgram, ProgramSettings, check_code_space
from services.codes.store import audit, programs
from shared.clock import Clock
from shared.database.pool import Database


@dataclass(frozen=True, slots=True)
class ChangeProgram:
    """Codes that exist keep their terms; the next mint sees the change within five seconds."""

    database: Database
    clock: Clock

    async def __call__(self, actor: Actor, program_id: uuid.UUID, changes: Given[ProgramSettings]) -> ChangedProgram:
        """Replace the settings that are given, of which a merchant has some of its own.

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
            told = difference(program.settings, settings)
            await audit.record(connection, actor, program_id, "program.updated", program_id, told, now)
        return ChangedProgram(program, replace(program, settings=settings, updated_at=now))
