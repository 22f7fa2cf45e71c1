"""What stands in a page for a part whose service does not answer."""

from dataclasses import dataclass
from typing import Literal

from services.dashboard.domain import words


@dataclass(frozen=True, slots=True)
class Missing:
    """A part of a page whose service does not answer: its place has this sentence."""

    service: str
    is_missing: Literal[True] = True

    @property
    def sentence(self) -> str:
        """What is missing, in words."""
        return words.SERVICE_DOWN[self.service]
