"""Statements with named parameters, and records written and read by name: nothing depends on an order.

If the names of a statement and of a record differ, importing the module fails.
"""

import re
from collections.abc import Callable, Iterable, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import fields
from operator import attrgetter, itemgetter
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
            raise ValueError(f"Every parameter of a statement has a name: {text[:80]}")
        self._set = frozenset(self.names)
        numbers = {name: f"${number}" for number, name in enumerate(self.names, 1)}
        self.text = _NAME.sub(lambda found: numbers[found[1]], named)

    def __call__(self, **values: Any) -> list[Any]:
        """Return the driver's arguments: the text, and the values in the order of their numbers.

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
    """The parameters that a statement takes from records of one type: for each of its `names`, the field of that name.

    `besides` are names that are passed separately; `converted` maps fields to the conversion of their values, unless
    they are None.
    """

    __slots__ = ("_converted", "_names", "_read")

    def __init__(self, names: Iterable[str], record: type[R], *besides: str, **converted: Callable[[Any], Any]) -> None:
        """Raise TypeError for a name that is no field, and for a conversion of a field that is not used."""
        self._names = tuple(name for name in names if name not in besides)
        self._converted = tuple(converted.items())
        self._read = _all_of(attrgetter, self._names)
        _refuse(set(self._names) - {each.name for each in fields(record)}, "is no field of", record)
        _refuse(converted.keys() - set(self._names), "is not taken of", record)

    def of(self, record: R) -> dict[str, Any]:
        """Return the values of one record."""
        values = dict(zip(self._names, self._read(record), strict=True))
        for name, convert in self._converted:
            values[name] = None if values[name] is None else convert(values[name])
        return values

    def columns(self, records: Iterable[R]) -> dict[str, list[Any]]:
        """Return the values of many records as the columns of a table."""
        rows = list(map(self._read, records))
        if not rows:
            return {name: [] for name in self._names}
        columns = dict(zip(self._names, map(list, zip(*rows, strict=True)), strict=True))
        for name, convert in self._converted:
            columns[name] = [None if value is None else convert(value) for value in columns[name]]
        return {name: sparse(column) for name, column in columns.items()}


class Rows(Generic[R]):
    """How rows become records of one type: each field is the column of its name.

    `besides` are the fields without a column; `converted` maps columns to the conversion of their values, unless they
    are NULL. A long record is built several times faster if it is not `kw_only` and its `besides` come last.
    """

    __slots__ = ("_converted", "_is_placed", "_names", "_read", "_record", "columns")

    def __init__(self, record: type[R], *besides: str, **converted: Callable[[Any], Any]) -> None:
        """Raise TypeError for a name that is no field."""
        members = fields(record)
        _refuse({*besides, *converted} - {each.name for each in members}, "is no field of", record)
        self._record = record
        self._names = tuple(each.name for each in members if each.name not in besides)
        self.columns = frozenset(self._names)
        self._converted = tuple((self._names.index(name), convert) for name, convert in converted.items())
        self._read = _all_of(itemgetter, self._names)
        # The positions are those of the record itself, so nothing else depends on them.
        first = members[: len(self._names)]
        self._is_placed = not any(each.kw_only or each.name in besides for each in first)

    def __call__(self, row: Any, **besides: Any) -> R:
        """Return the record of a row. Raises KeyError for a missing column."""
        values = self._read(row)
        if self._converted:
            values = list(values)
            for place, convert in self._converted:
                if values[place] is not None:
                    values[place] = convert(values[place])
        if self._is_placed:
            return self._record(*values, **besides)
        return self._record(**dict(zip(self._names, values, strict=True)), **besides)


def _all_of(getter: Callable[..., Callable[[Any], Any]], names: Sequence[str]) -> Callable[[Any], Sequence[Any]]:
    """Return a function that reads all of the names as a tuple; a getter of a single name returns none."""
    if len(names) > 1:
        return getter(*names)
    one = [getter(name) for name in names]
    return lambda thing: [get(thing) for get in one]


def sparse(column: list[Any]) -> list[Any]:
    """Return a column, or an empty one if it has only NULLs: `unnest` pads shorter columns with NULL.

    Each NULL costs nearly as much as a value, and many columns are empty for most groups of rows.
    """
    return [] if column and column[0] is None and column.count(None) == len(column) else column


def _refuse(names: AbstractSet[str], what: str, record: type[Any]) -> None:
    if names:
        raise TypeError(f"{', '.join(sorted(names))} {what} {record.__name__}")
