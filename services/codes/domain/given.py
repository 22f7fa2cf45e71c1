"""The members that a request gives, and how they are merged into an object."""

from collections.abc import Mapping
from dataclasses import Field, dataclass, replace
from typing import Any, ClassVar, Generic, Protocol, TypeVar

# JSON that callers store with us: names to strings, numbers, true, false; null removes a name.
Metadata = Mapping[str, str | int | float | bool | None]


class Record(Protocol):
    """Any dataclass."""

    __dataclass_fields__: ClassVar[dict[str, Field[Any]]]


T = TypeVar("T", bound=Record)
S = TypeVar("S", bound=Record)


@dataclass(frozen=True, slots=True)
class Given(Generic[T]):
    """Some members of a T: those of `values` that `names` lists; the others were absent and mean nothing."""

    values: T
    names: frozenset[str] = frozenset()

    def over(self, before: S) -> S:
        """Return an object with the given members replaced; metadata is merged."""
        changes: dict[str, Any] = {name: getattr(self.values, name) for name in self.names}
        if "metadata" in changes:
            changes["metadata"] = merged(getattr(before, "metadata"), changes["metadata"])  # noqa: B009 - S need not have it
        return replace(before, **changes)

    def without(self, *names: str) -> "Given[T]":
        """Return the same without some members."""
        return Given(self.values, self.names.difference(names))

    def without_nulls(self, *names: str) -> "Given[T]":
        """Return the same without those of some members that are null, where null means absence."""
        return self.without(*(name for name in names if getattr(self.values, name) is None))


def merged(before: Metadata, changes: Metadata) -> Metadata:
    """Return metadata with changes merged in; null removes a member."""
    return {name: value for name, value in {**before, **changes}.items() if value is not None}
