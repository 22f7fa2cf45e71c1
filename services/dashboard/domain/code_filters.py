"""The filters of a partner's list of codes: what the form says, in words and as the codes service takes it."""

from dataclasses import dataclass
from typing import Final

from services.dashboard.domain import times, words

STATES: Final = ("active", "redeemed", "expired", "inactive")
_SHORTEST_PREFIX: Final = 4


@dataclass(frozen=True, slots=True)
class CodeFilters:
    """What the form says; empty members filter nothing. Days are of the zone, and both are among those that match."""

    code: str
    state: str
    minted_from: str
    minted_to: str
    reference: str
    zone: str

    @property
    def errors(self) -> dict[str, str]:
        """What is wrong, by field."""
        found = {}
        if self.code and sum(each.isalnum() for each in self.code) < _SHORTEST_PREFIX:
            found["code"] = f"Give at least {_SHORTEST_PREFIX} letters or digits of the code"
        if self.state and self.state not in STATES:
            found["state"] = "Choose a state of the list"
        for name, text in (("from", self.minted_from), ("to", self.minted_to)):
            if text and times.first_moment(text, self.zone, 1) is None:
                found[name] = "Give a day, such as 2026-11-24"
        if not found and self.minted_from and self.minted_to and self.minted_from > self.minted_to:
            found["to"] = "The last day is before the first"
        return found

    @property
    def query(self) -> dict[str, str]:
        """The parameters of the codes service; only without errors."""
        first = times.first_moment(self.minted_from, self.zone)
        behind = times.first_moment(self.minted_to, self.zone, 1)
        return {
            "code_prefix": self.code,
            "status": self.state,
            "created_from": times.machine(first) if first else "",
            "created_before": times.machine(behind) if behind else "",
            "reference": self.reference,
        }

    @property
    def on(self) -> list[tuple[str, str]]:
        """The filters that are on, in words, with the parameter that takes each off."""
        state = words.state("code", self.state).word
        named = (
            (self.code, f"Code begins with {self.code}", "code"),
            (self.state, f"State: {state}", "state"),
            (self.minted_from, f"Minted from {self.minted_from}", "from"),
            (self.minted_to, f"Minted to {self.minted_to}", "to"),
            (self.reference, f"Reference: {self.reference}", "reference"),
        )
        return [(text, name) for value, text, name in named if value]
