"""Statements whose parameters have names, and records that go in and come out by name: nothing counts on an order.

Where the names of a statement and of a record differ, the module that says so cannot be imported.
"""

import re
from collections.abc import Callable, Iterable, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import fields
from typing import Any, ClassVar, Final, Generic, Protocol, TypeVar

_NAME: Final = re.compile(r"\$([a-z][a-z0-9_]*(?:\.[a-z][a-z0-9_]*)?)")
_NUMBER: Final = re.compile(r"\$[0-9]")
_TABLE: Final = re.compile(r"@([a-z]+)\(([^()]+)\)")


class _Record(Protocol):
    __dataclass_fields__: ClassVar[dict[str, Any]]


R = TypeVar("R", bound=_Record)


class Statement:
    """An SQL statement with `$name` for each value: `connection.fetch(*FIND(id=id))`.

    `@r(id uuid, status text)` is a table `r` of given rows: its value is a column, as a list, for each of its names.
    `$r.id` is such a column by itself.
    """

    __slots__ = ("_set", "names", "tables", "text")

    def __init__(self, text: str) -> None:
        """Raise ValueError for a text without names, or with numbers beside them."""
        self.tables: dict[str, tuple[str, ...]] = {}
        named = _TABLE.sub(self._unnested, text)
        self.names = tuple(dict.fromkeys(_NAME.findall(named)))
        if _NUMBER.search(text) or not self.names:
            raise ValueError(f"The parameters of a statement have names, all of them: {text[:80]}")
        self._set = frozenset(self.names)
        numbers = {name: f"${number}" for number, name in enumerate(self.names, 1)}
        self.text = _NAME.sub(lambda found: numbers[found[1]], named)

    def __call__(self, **values: Any) -> list[Any]:
        """Return what the driver is given: the text, and the values in the order of their numbers.

        Raises TypeError for a value that is missing or left over.
        """
        for table in self.tables:
            values.update((f"{table}.{name}", column) for name, column in values.pop(table).items())
        if values.keys() != self._set:
            raise TypeError(f"Missing or left over: {', '.join(sorted(values.keys() ^ self._set))}")
        return [self.text, *(values[name] for name in self.names)]

    def _unnested(self, found: re.Match[str]) -> str:
        table = found[1]
        columns = [column.split() for column in found[2].split(",")]
        names = [name for name, _ in columns]
        self.tables[table] = tuple(dict.fromkeys([*self.tables.get(table, ()), *names]))
        arrays = ", ".join(f"${table}.{name}::{type_}[]" for name, type_ in columns)
        return f"unnest({arrays}) AS {table} ({', '.join(names)})"


class Values(Generic[R]):
    """What a statement takes of records of one type: for each of its `names` the field of that name.

    `besides` are names that are given otherwise; `converted` says of fields how they become values, unless they are
    None.
    """

    __slots__ = ("_converted", "_names")

    def __init__(self, names: Iterable[str], record: type[R], *besides: str, **converted: Callable[[Any], Any]) -> None:
        """Raise TypeError for a name that is no field, and for a conversion of what is not taken."""
        self._names = tuple(name for name in names if name not in besides)
        self._converted = converted
        _refuse(set(self._names) - {each.name for each in fields(record)}, "is no field of", record)
        _refuse(converted.keys() - set(self._names), "is not taken of", record)

    def of(self, record: R) -> dict[str, Any]:
        """Return the values of one record."""
        return {name: self._value(record, name) for name in self._names}

    def columns(self, records: Sequence[R]) -> dict[str, list[Any]]:
        """Return the values of many records as the columns of a table."""
        return {name: sparse([self._value(record, name) for record in records]) for name in self._names}

    def _value(self, record: R, name: str) -> Any:
        value = getattr(record, name)
        convert = self._converted.get(name)
        return value if convert is None or value is None else convert(value)


class Rows(Generic[R]):
    """How rows become records of one type: each field is the column of its name.

    `besides` are the fields that no column has; `converted` says of columns how they become fields, unless they are
    NULL.
    """

    __slots__ = ("_columns", "_converted", "_record", "columns")

    def __init__(self, record: type[R], *besides: str, **converted: Callable[[Any], Any]) -> None:
        """Raise TypeError for a name that is no field."""
        names = {each.name for each in fields(record)}
        _refuse({*besides, *converted} - names, "is no field of", record)
        self._record = record
        self.columns = names - set(besides)
        self._columns = tuple(self.columns - converted.keys())
        self._converted = tuple(converted.items())

    def __call__(self, row: Any, **besides: Any) -> R:
        """Return the record of a row. Raises KeyError for a column that is not there."""
        values = {name: row[name] for name in self._columns}
        for name, convert in self._converted:
            value = row[name]
            values[name] = None if value is None else convert(value)
        return self._record(**values, **besides)


def sparse(column: list[Any]) -> list[Any]:
    """Return a column, and an empty one if it holds nothing: `unnest` fills up what is shorter with NULL.

    Each NULL costs nearly as much as a value, and many columns hold nothing for most groups of rows.
    """
    return [] if column.count(None) == len(column) else column


def _refuse(names: AbstractSet[str], what: str, record: type[Any]) -> None:
    if names:
        raise TypeError(f"{', '.join(sorted(names))} {what} {record.__name__}")
