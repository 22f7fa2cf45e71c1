"""Changes a program's settings."""

import uuid
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from services.codes.domain.errors import Missing
from services.codes.domain.programs import Program, check_code_space
from services.codes.store import programs
from shared.clock import Clock
from shared.database.pool import Database


@dataclass(frozen=True, slots=True)
class ChangeProgram:
    """Codes that exist keep their terms; the next mint sees the change within five seconds."""

    database: Database
    clock: Clock

    async def __call__(self, program_id: uuid.UUID, changes: Mapping[str, Any]) -> Program:
        """Replace the settings named in `changes`; raises Missing or WeakCodeSpace."""
        now = self.clock()
        async with self.database.transaction() as connection:
            program = await programs.lock_program(connection, program_id)
            if program is None:
                raise Missing
            settings = replace(program.settings, **changes)
            if settings == program.settings:
                return program
            check_code_space(settings)
            await programs.update_program(connection, program_id, settings, now)
        return replace(program, settings=settings, updated_at=now)
