"""Statements with named parameters, and records that go in and come out by name."""

from dataclasses import dataclass

import asyncpg
import pytest

from shared.database.rows import Rows, Statement, Values, sparse
from tests.databases import Database

READ = Statement("SELECT p.id, p.note FROM @p(id int, note text) WHERE p.id > $after AND p.id > $after - 1")


@dataclass(frozen=True, slots=True, kw_only=True)
class Thing:
    """A row of the tests."""

    id: int
    note: str | None


def test_each_name_has_one_number_wherever_it_stands() -> None:
    assert READ.names == ("p.id", "p.note", "after")
    text, *values = READ(after=1, p={"note": ["a"], "id": [2]})
    assert (
        text
        == "SELECT p.id, p.note FROM unnest($1::int[], $2::text[]) AS p (id, note) WHERE p.id > $3 AND p.id > $3 - 1"
    )
    assert values == [[2], ["a"], 1]


@pytest.mark.parametrize("text", ["SELECT 1", "SELECT $1", "SELECT $1, $name"])
def test_a_statement_without_names_or_with_numbers_is_none(text: str) -> None:
    with pytest.raises(ValueError, match="has a name"):
        Statement(text)


@pytest.mark.parametrize("given", [{"p": {"id": [1]}, "after": 1}, {"p": {"id": [1], "note": [], "x": []}, "after": 1}])
def test_a_value_that_is_missing_or_left_over_is_refused(given: dict[str, object]) -> None:
    with pytest.raises(TypeError, match=r"p\.(note|x)"):
        READ(**given)


def test_names_that_differ_are_found_when_the_module_is_read() -> None:
    with pytest.raises(TypeError, match="after is no field of Thing"):
        Values(READ.tables["p"] + ("after",), Thing)
    with pytest.raises(TypeError, match="other is not taken of Thing"):
        Values(READ.tables["p"], Thing, other=str)
    with pytest.raises(TypeError, match="other is no field of Thing"):
        Rows(Thing, other=str)


async def test_what_goes_in_by_name_comes_out_by_name(database: Database) -> None:
    """Columns that hold nothing are left empty, and what is NULL is not converted."""
    things = [Thing(id=2, note=None), Thing(id=3, note=None)]
    columns = Values(READ.tables["p"], Thing, "after", note=str.upper).columns(things)
    assert columns == {"id": [2, 3], "note": []}
    connection = await asyncpg.connect(database.admin)
    try:
        rows = await connection.fetch(*READ(p=columns, after=1))
    finally:
        await connection.close()
    read = Rows(Thing, note=str.lower)
    assert [read(row) for row in rows] == things
    assert Rows(Thing, "note")(rows[0], note="given") == Thing(id=2, note="given")


@dataclass(frozen=True, slots=True)
class Placed:
    """A record whose members have places."""

    a: int
    b: int | None
    c: int = 3


@dataclass(frozen=True, slots=True)
class Single:
    """A record of one member."""

    a: int


def test_the_places_of_a_record_s_members_are_its_own() -> None:
    """Columns come in any order, and a member that is given besides may stand anywhere."""
    row = {"c": 30, "b": 20, "a": 10}
    assert Rows(Placed)(row) == Placed(a=10, b=20, c=30)
    assert Rows(Placed, "c", b=str)(row, c=7) == Placed(a=10, b="20", c=7)  # type: ignore[arg-type]  # converted
    assert Rows(Placed, "a", b=str)({**row, "b": None}, a=7) == Placed(a=7, b=None, c=30)
    with pytest.raises(KeyError, match="b"):
        Rows(Placed)({"a": 1, "c": 3})


def test_records_of_one_member_and_no_records_have_columns_too() -> None:
    assert Values(["a"], Single).columns([Single(1), Single(2)]) == {"a": [1, 2]}
    assert Values(["a", "b"], Placed).columns([]) == {"a": [], "b": []}
    assert Values(["a"], Single).of(Single(1)) == {"a": 1}
    assert Rows(Single)({"a": 1}) == Single(1)


def test_a_column_with_anything_in_it_stays_whole() -> None:
    assert sparse([None, 1]) == [None, 1]
    assert sparse([None, None]) == []
