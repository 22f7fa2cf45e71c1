"""Who acts on the objects of a program, and how far they reach."""

import uuid
from collections.abc import Collection
from dataclasses import dataclass

from shared.modes import is_test


@dataclass(frozen=True, slots=True)
class Actor:
    """Whoever asks. `program_id` is the program that they are confined to; None is the operator, who reaches all.

    `key_id` is the id of the key, or of the account (`is_account`), that what they make goes back to.
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
        """Whether this actor may see the program and what belongs to it."""
        return self.program_id is None or self.program_id == program_id

    @property
    def is_test(self) -> bool:
        """Whether this is a key of test mode."""
        return self.program_id is not None and is_test(self.program_id)

    def lacks(self, scopes: Collection[str]) -> list[str]:
        """Return which of these scopes this actor does not have and so cannot grant; the operator lacks none."""
        return [] if self.is_operator else sorted(set(scopes) - self.scopes)
