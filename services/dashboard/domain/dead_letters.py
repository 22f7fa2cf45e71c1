"""Dead letters as the operator's page shows them: grouped by reason, and what a choice of them is called."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

# A question holds for this long, and while the number of letters that it was asked about stays.
ANSWER_WITHIN: Final = timedelta(minutes=10)
MOST_AT_ONCE: Final = 1_000


@dataclass(frozen=True, slots=True)
class Letter:
    """A dead letter without its content."""

    key: str
    reason: str
    detail: str
    routing_key: str
    first_received_at: datetime | None
    died_at: datetime | None
    size: int


@dataclass(frozen=True, slots=True)
class Group:
    """The letters of one reason, oldest first."""

    reason: str
    letters: Sequence[Letter]

    @property
    def title(self) -> str:
        """Return what went wrong, in the words of the first letter."""
        return self.letters[0].detail or self.reason

    @property
    def first_at(self) -> datetime | None:
        """When the first of them died."""
        return min((each.died_at for each in self.letters if each.died_at), default=None)

    @property
    def newest_at(self) -> datetime | None:
        """When the newest of them died."""
        return max((each.died_at for each in self.letters if each.died_at), default=None)


def by_reason(letters: Iterable[Letter]) -> list[Group]:
    """Group letters by reason: the reason with the most letters first."""
    found: dict[str, list[Letter]] = {}
    for letter in letters:
        found.setdefault(letter.reason, []).append(letter)
    groups = [Group(reason, each) for reason, each in found.items()]
    return sorted(groups, key=lambda group: (-len(group.letters), group.reason))


def is_answer_late(asked_at: datetime | None, now: datetime) -> bool:
    """Return whether a question was asked too long ago, or at no time that can be read."""
    return asked_at is None or not asked_at <= now <= asked_at + ANSWER_WITHIN


def has_moved(asked: int, found: int) -> bool:
    """Return whether the number of letters has moved by more than a hundredth since the question."""
    return abs(found - asked) > asked // 100
