"""Who acts on the objects of a program, and what they can reach."""

import uuid
from collections.abc import Collection
from dataclasses import dataclass

from shared.modes import is_test


@dataclass(frozen=True, slots=True)
class Actor:
    """The caller. `program_id` is the program that it is confined to; None is the operator, who reaches all.

    `key_id` is the id of the key, or of the account (`is_account`), recorded as the creator of what it creates.
    """

    program_id: uuid.UUID | None
    name: str
    key_id: uuid.UUID | None = None
    scopes: frozenset[str] = frozenset()
    is_account: bool = False

    @property
    def is_operator(self) -> bool:
        """Whether nothing confines this actor."""
        return self.program_id is None

    def reaches(self, program_id: uuid.UUID) -> bool:
        """Whether this actor may see the program and its objects."""
        return self.program_id is None or self.program_id == program_id

    @property
    def is_test(self) -> bool:
        """Whether this is a key of test mode."""
        return self.program_id is not None and is_test(self.program_id)

    def lacks(self, scopes: Collection[str]) -> list[str]:
        """Return the scopes that this actor lacks and so cannot grant; the operator lacks none."""
        return [] if self.is_operator else sorted(set(scopes) - self.scopes)
