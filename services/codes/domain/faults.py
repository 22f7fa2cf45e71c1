"""Collects the faults in a request's terms by member, to refuse them together."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime
from decimal import Decimal
from typing import Protocol, TypeVar

from services.codes.domain.days import check_order
from services.codes.domain.errors import InvalidTerms
from services.codes.domain.money import minor_units

T = TypeVar("T")
V = TypeVar("V")


class _Dated(Protocol):
    @property
    def starts_at(self) -> datetime | None: ...
    @property
    def expires_at(self) -> datetime | None: ...


class Faults:
    """Broken rules, by the member that breaks them; see InvalidTerms."""

    def __init__(self) -> None:
        self._rules: dict[str, list[str]] = {}

    def add(self, member: str, rule: str) -> None:
        """Record a broken rule."""
        self._rules.setdefault(member, []).append(rule)

    @contextmanager
    def at(self, member: str) -> Iterator[None]:
        """Record a ValueError, whose text is the rule, for a member."""
        try:
            yield
        except ValueError as error:
            self.add(member, str(error))

    def converted(self, member: str, value: V | None, convert: Callable[[V], T]) -> T | None:
        """Return a converted value; None for None, and for an invalid value, which is recorded."""
        if value is not None:
            with self.at(member):
                return convert(value)
        return None

    def money(
        self, name: str, amount: Decimal | None, currency: str | None, usual: str
    ) -> tuple[int | None, str | None]:
        """Return `<name>_minor` and `<name>_currency`, with a default currency; both None without an amount."""
        if amount is None:
            if currency is not None:
                self.add(f"{name}_minor", f"is required beside {{{name}_currency}}")
            return None, None
        chosen = currency or usual
        return self.converted(f"{name}_minor", amount, lambda each: minor_units(each, chosen)), chosen

    def switched(self, member: str, value: object, switch: str, *, is_on: bool, is_given: bool) -> None:
        """Record a value that is missing although its switch is on, or given although it is off."""
        if is_on and value is None:
            self.add(member, f"is required when {{{switch}}} is true")
        if is_given and not is_on and value is not None:
            self.add(member, f"must be null unless {{{switch}}} is true")

    def check_dates(self, before: _Dated, after: _Dated) -> None:
        """Record an end before the start, unless these dates are unchanged."""
        if (after.starts_at, after.expires_at) != (before.starts_at, before.expires_at):
            with self.at("expires_at"):
                check_order(after.starts_at, after.expires_at)

    def refuse(self) -> None:
        """Raise InvalidTerms if anything was recorded."""
        if self._rules:
            raise InvalidTerms(self._rules)
