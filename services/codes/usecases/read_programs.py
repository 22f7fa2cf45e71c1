"""Reads programs."""

import uuid
from dataclasses import dataclass

from services.codes.domain.access import Actor
from services.codes.domain.errors import Missing
from services.codes.domain.programs import Program
from services.codes.store import programs
from shared.database.pool import Database


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
