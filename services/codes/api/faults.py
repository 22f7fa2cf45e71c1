"""Faults that show only with the program's settings or between fields: gathered, then refused together as one 422."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, TypeVar

from services.codes.domain.days import check_order
from shared.web import invalid_fields

T = TypeVar("T")


class Faults:
    """What is wrong with a request, by field; `prefix` stands before each field's name."""

    def __init__(self, prefix: str = "") -> None:
        self._prefix = prefix
        self._texts: dict[str, list[str]] = {}

    def add(self, field: str, text: str) -> None:
        """Note a fault; the text follows the name of the field."""
        path = self._prefix + field
        self._texts.setdefault(path, []).append(f"The {path} field {text}.")

    @contextmanager
    def at(self, field: str) -> Iterator[None]:
        """Note a ValueError as a fault of the field."""
        try:
            yield
        except ValueError as error:
            self.add(field, str(error))

    def converted(self, field: str, value: Any, convert: Callable[[Any], T]) -> T | None:
        """Return a value converted; None for None, and for what cannot be, which is noted."""
        if value is not None:
            with self.at(field):
                return convert(value)
        return None

    def check_dates(self, field: str, made: Mapping[str, Any], before: Any) -> None:
        """Note it at the field of the end if something would end before it starts.

        What is so already and is not given other dates, `before` a change, can still be changed otherwise.
        """
        dates = made["starts_at"], made["expires_at"]
        if before is None or dates != (before.starts_at, before.expires_at):
            with self.at(field):
                check_order(*dates)

    def flagged(self, values: Mapping[str, Any], flag: str, field: str) -> Any:
        """Return a value that is required when its flag is true, and must not be there otherwise."""
        value = values.get(field)
        if values.get(flag):
            if value is None:
                self.add(field, f"is required when {flag} is true")
            return value
        if value is not None:
            self.add(field, f"must be null unless {flag} is true")
        return None

    def refuse(self) -> None:
        """Raise the 422 if anything was noted."""
        if self._texts:
            raise invalid_fields(self._texts)
