"""Files of codes: what is written is read again as it was; a bad line says why and harms no other."""

import json
from contextlib import suppress
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.codes.domain.code_columns import MAX_LINE_BYTES
from services.codes.domain.code_files import (
    LineRefused,
    Record,
    checked_header,
    checked_names,
    read_csv_line,
    read_ndjson_line,
    split_records,
)
from shared.csv_lines import csv_line
from shared.export_lines import FileFormat, csv_trailer, ndjson_line, ndjson_trailer

TEXTS = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\x00"), min_size=1, max_size=60)
NUMBERS = st.integers(-(2**53) + 1, 2**53 - 1) | st.floats(allow_nan=False, allow_infinity=False)
MEMBERS = st.dictionaries(TEXTS, st.booleans() | NUMBERS | TEXTS, max_size=10)
HEADER = ("code", "customer_name", "external_id")


@given(TEXTS, TEXTS)
def test_csv_cells_come_back_as_they_were(name: str, external_id: str) -> None:
    """Spreadsheet guards, quotes, commas and line ends inside a cell must not change what is in it."""
    line = csv_line(["A1", name, external_id]).encode()
    assert read_csv_line(line, HEADER) == {"code": "A1", "customer_name": name, "external_id": external_id}


@given(st.lists(st.tuples(TEXTS, TEXTS), max_size=20), st.data())
def test_records_are_cut_the_same_wherever_the_bytes_are_cut(cells: list[tuple[str, str]], data: st.DataObject) -> None:
    """An upload comes in pieces; a piece may end within a character, a quote or a line end."""
    written = [csv_line(["A1", name, other]).encode() for name, other in cells]
    whole = b"".join(written)
    cut = data.draw(st.integers(0, len(whole)))
    first = split_records(whole[:cut], "csv", is_end=False, is_skipping=False, most=1_000)
    second = split_records(whole[first.consumed :], "csv", is_end=True, is_skipping=first.is_skipping, most=1_000)
    assert [record.raw for record in (*first.records, *second.records)] == written


def cut(data: bytes, kind: FileFormat = "csv", **more: Any) -> list[bytes]:
    split = split_records(data, kind, is_end=True, is_skipping=False, most=1_000, **more)
    assert split.consumed == len(data)
    return [record.raw for record in split.records]


class TestCutting:
    def test_a_quote_that_is_never_closed_costs_one_line(self) -> None:
        assert cut(b'A,"b\nB,c\nC,d\n') == [b'A,"b\n', b"B,c\n", b"C,d\n"]

    def test_a_quote_that_the_next_quoted_cell_would_close_costs_one_line(self) -> None:
        """Whatever stands between must not be lost with it."""
        assert cut(b'"A,1\nB,2\n"C",3\nD,"4\n5"\n') == [b'"A,1\n', b"B,2\n", b'"C",3\n', b'D,"4\n5"\n']

    def test_a_quote_open_for_too_long_costs_one_line(self) -> None:
        data = b'A,"b\n' + b"B,c\n" * 10_000
        split = split_records(data, "csv", is_end=False, is_skipping=False, most=3)
        assert [record.raw for record in split.records] == [b'A,"b\n', b"B,c\n", b"B,c\n"]

    def test_a_line_that_is_too_long_is_cut_and_skipped(self) -> None:
        long = b"x" * (3 * MAX_LINE_BYTES)
        first = split_records(long, "ndjson", is_end=False, is_skipping=False, most=9)
        assert [len(record.raw) for record in first.records] == [MAX_LINE_BYTES + 1]
        assert (first.consumed, first.is_skipping) == (len(long), True)
        second = split_records(b"xxx\n{}\n", "ndjson", is_end=True, is_skipping=True, most=9)
        assert second.records == [Record(b"{}\n", 1)]
        assert not second.is_skipping

    def test_what_may_go_on_is_left(self) -> None:
        split = split_records(b'A,b\nB,"c\n', "csv", is_end=False, is_skipping=False, most=9)
        assert ([record.raw for record in split.records], split.consumed) == ([b"A,b\n"], 4)

    def test_no_more_than_asked_for(self) -> None:
        split = split_records(b"A\nB\nC\n", "csv", is_end=True, is_skipping=False, most=2)
        assert (len(split.records), split.consumed) == (2, 4)

    def test_lines_inside_quotes_are_counted(self) -> None:
        split = split_records(b'A,"b\nc\nd"\nB,e', "csv", is_end=True, is_skipping=False, most=9)
        assert [record.lines for record in split.records] == [3, 1]

    def test_a_quote_means_nothing_in_ndjson(self) -> None:
        assert cut(b'{"\n{"a"\n', "ndjson") == [b'{"\n', b'{"a"\n']


class TestReading:
    def test_every_column_has_its_type(self) -> None:
        header = checked_header(
            b"code,active,starts_at,expires_at,redemption_limit,first_time_order,minimum_order_value,commission_percent,metadata,id\n"
        )
        line = b'A1,false,2026-03-01T00:00:00+01:00,2026-04-01,5,TRUE,12.50,7.5,"{""a"": 1}",ignored\r\n'
        expected = {
            "code": "A1",
            "active": False,
            "starts_at": datetime(2026, 2, 28, 23, tzinfo=UTC),
            "expires_at": date(2026, 4, 1),
            "redemption_limit": 5,
            "first_time_order": True,
            "minimum_order_value": Decimal("12.50"),
            "commission_percent": Decimal("7.5"),
            "metadata": {"a": 1},
        }
        assert read_csv_line(line, header) == expected
        members = {
            "code": "A1",
            "active": False,
            "starts_at": "2026-03-01T00:00:00+01:00",
            "expires_at": "2026-04-01",
            "redemption_limit": 5,
            "first_time_order": True,
            "minimum_order_value": 12.5,
            "commission_percent": 7.5,
            "metadata": {"a": 1},
            "id": "ignored",
            "external_id": None,
        }
        assert read_ndjson_line(ndjson_line(members).encode()) == expected

    @pytest.mark.parametrize("line", [b"", b"\r\n", b"  \n", csv_trailer(3, "ab" * 32).encode()])
    def test_empty_lines_and_the_trailer_say_nothing_in_csv(self, line: bytes) -> None:
        assert read_csv_line(line, HEADER) is None

    @pytest.mark.parametrize("line", [b"", b"\n", ndjson_trailer(3, "ab").encode()])
    def test_empty_lines_and_the_trailer_say_nothing_in_ndjson(self, line: bytes) -> None:
        assert read_ndjson_line(line) is None

    @pytest.mark.parametrize(
        ("line", "reason"),
        [
            (b"A,\xff,b\n", "invalid_utf8"),
            (b"A,\x00,b\n", "nul_character"),
            (b"A," + b"x" * MAX_LINE_BYTES + b",b\n", "line_too_long"),
            (b'A,"b"c,d\n', "invalid_csv"),
            (b'A,"b,c\n', "invalid_csv"),
            (b"A,b\n", "wrong_column_count"),
            (b"A,b,c,d\n", "wrong_column_count"),
            (b",b,c\n", "missing_code"),
            (b"A," + b"x" * 256 + b",c\n", "invalid_value"),
        ],
    )
    def test_a_bad_record_says_why(self, line: bytes, reason: str) -> None:
        with pytest.raises(LineRefused) as refused:
            read_csv_line(line, HEADER)
        assert refused.value.reason == reason

    @pytest.mark.parametrize(
        ("line", "reason"),
        [
            (b'{"code": "A"', "invalid_json"),
            (b'["A"]', "invalid_json"),
            (b'{"code": "A", "code": "B"}', "invalid_json"),
            (b'{"code": "A", "metadata": {"a": NaN}}', "invalid_json"),
            (b'{"code": "A", "metadata": {"a": 1e999}}', "invalid_json"),
            (b'{"code": "A", "metadata": {"a": ["\\u0000"]}}', "invalid_json"),
            (b'{"code": "A", "metadata": {"a": "\\ud800"}}', "invalid_json"),
            (b"[" * 10_000, "invalid_json"),
            (b'{"code": "A", "colour": "red"}', "unknown_column"),
            (b'{"external_id": "A"}', "missing_code"),
            (b'{"code": null}', "missing_code"),
            (b'{"code": 5.5}', "invalid_value"),
            (b'{"code": true}', "invalid_value"),
            (b'{"code": "  "}', "missing_code"),
            (b'{"code": "A", "active": 2}', "invalid_value"),
            (b'{"code": "A", "active": []}', "invalid_value"),
            (b'{"code": "A", "customer_id": 5.0}', "invalid_value"),
            (b'{"code": "A", "redemption_limit": true}', "invalid_value"),
            (b'{"code": "A", "redemption_limit": 0}', "invalid_value"),
            (b'{"code": "A", "redemption_limit": "5.5"}', "invalid_value"),
            (b'{"code": "A", "redemption_limit": 1e300}', "invalid_value"),
            (b'{"code": "A", "expires_at": "2026-13-01"}', "invalid_value"),
            (b'{"code": "A", "expires_at": "1969-03-01"}', "invalid_value"),
            (b'{"code": "A", "expires_at": 5}', "invalid_value"),
            (b'{"code": "A", "minimum_order_value": "1,000"}', "invalid_value"),
            (b'{"code": "A", "minimum_order_value": true}', "invalid_value"),
            (b'{"code": "A", "minimum_order_value": {}}', "invalid_value"),
            (b'{"code": "A", "metadata": "x"}', "invalid_value"),
            (b'{"code": "A", "metadata": {"a": []}}', "invalid_value"),
            (b'{"code": "A", "metadata": {"": 1}}', "invalid_value"),
            (b'{"code": "A", "metadata": {"a": "' + b"x" * 501 + b'"}}', "invalid_value"),
            (b'{"code": "A", "metadata": {"a": 9007199254740992}}', "invalid_value"),
            (b'{"code": "A/B"}', "invalid_value"),
            (b'{"code": "' + b"A" * 101 + b'"}', "invalid_value"),
            (b'{"code": "-"}', "invalid_value"),
        ],
    )
    def test_a_bad_object_says_why(self, line: bytes, reason: str) -> None:
        with pytest.raises(LineRefused) as refused:
            read_ndjson_line(line)
        assert refused.value.reason == reason
        if reason == "invalid_json":
            assert refused.value.detail.startswith("A line must ")

    @pytest.mark.parametrize("cell", ["yep", "2", "tru"])
    def test_flags_in_csv_are_words(self, cell: str) -> None:
        with pytest.raises(LineRefused, match="active must be true or false"):
            read_csv_line(f"A,{cell}\n".encode(), ("code", "active"))

    @given(st.binary(max_size=300))
    def test_any_bytes_are_read_or_refused(self, line: bytes) -> None:
        with suppress(LineRefused):
            read_csv_line(line, HEADER)
        with suppress(LineRefused):
            read_ndjson_line(line)

    @given(MEMBERS)
    def test_metadata_comes_back_as_it_was(self, metadata: dict[str, Any]) -> None:
        read = read_ndjson_line(ndjson_line({"code": "A", "metadata": metadata}).encode())
        assert read is not None
        assert json.dumps(read["metadata"]) == json.dumps(metadata)


class TestHeader:
    @pytest.mark.parametrize(
        ("line", "reason"),
        [
            (b"code,colour\n", "unknown_column"),
            (b"code,code\n", "repeated_column"),
            (b"code,Redemption limit,redemption_limit\n", "repeated_column"),
            (b"external_id\n", "missing_column"),
            (b"\n", "missing_column"),
            (b"\xff\n", "invalid_utf8"),
        ],
    )
    def test_a_bad_one_says_why(self, line: bytes, reason: str) -> None:
        with pytest.raises(LineRefused) as refused:
            checked_header(line)
        assert refused.value.reason == reason

    def test_names_may_have_spaces_around(self) -> None:
        assert checked_header(b" code , active\r\n") == ("code", "active")

    def test_names_are_known_in_any_case_and_by_others_that_stand_for_them(self) -> None:
        names = checked_names("Coupon-Code=code, Ende = Expires at", ignores_unknown=False)
        assert checked_header(b"coupon code,ENDE,Redemption Limit,,\n", ",", names) == (
            *("code", "expires_at", "redemption_limit"),
            *(None, None),
        )
        with pytest.raises(LineRefused):
            checked_header(b"code,colour\n", ",", names)
        careless = checked_names("", ignores_unknown=True)
        assert checked_header(b"code,colour\n", ",", careless) == ("code", None)

    @pytest.mark.parametrize("pairs", ["code", "=code", "a=b", "a=", "a=times_redeemed", "a=code,"])
    def test_a_pair_that_names_no_column_is_refused(self, pairs: str) -> None:
        with pytest.raises(ValueError, match="yours=ours"):
            checked_names(pairs, ignores_unknown=False)
