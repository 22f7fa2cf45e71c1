"""Files of codes: what is written is read again as it was; a bad line says why and harms no other."""

import csv
import json
import sys
import unicodedata
from contextlib import suppress
from datetime import UTC, date, datetime
from decimal import Decimal
from io import StringIO
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.codes.domain.code_columns import MAX_LINE_BYTES
from services.codes.domain.code_files import (
    FileFormat,
    LineRefused,
    Record,
    checked_header,
    checked_names,
    csv_trailer,
    ndjson_line,
    ndjson_trailer,
    read_csv_line,
    read_ndjson_line,
    split_records,
)
from services.codes.domain.file_openings import AsUTF8, opening_of
from shared.csv_lines import csv_line

TEXTS = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\x00"), min_size=1, max_size=60)
NUMBERS = st.integers(-(2**53) + 1, 2**53 - 1) | st.floats(allow_nan=False, allow_infinity=False)
MEMBERS = st.dictionaries(TEXTS, st.booleans() | NUMBERS | TEXTS, max_size=10)
HEADER = ("code", "customer_name", "external_id")


@given(TEXTS, TEXTS)
def test_csv_cells_come_back_as_they_were(name: str, external_id: str) -> None:
    """Spreadsheet guards, quotes, commas and line ends inside a cell must not change what is in it."""
    line = csv_line(["A1", name, external_id]).encode()
    assert read_csv_line(line, HEADER) == {"code": "A1", "customer_name": name, "external_id": external_id}


@pytest.mark.parametrize(
    "cell",
    [
        *("=1+1", "+1", "-1", "@SUM(A1)", "|calc", "%0A", "'=1", "''", "\tx", "\rx", "\nx"),
        *(" =1", "\u3000=1", "\u200b=1", "\ufeff=1", "\u202e=1", "\uff1d1", "\uff0b1", "\uff0d1"),
        *("\uff20x", "\ufe661", "\u22121", "\u207c1"),
    ],
)
def test_no_cell_is_a_formula(cell: str) -> None:
    assert written_cell(cell) == "'" + cell


def test_no_character_that_reads_as_a_formula_s_first_or_cannot_be_seen_begins_a_cell() -> None:
    """A list of characters forgets some; this goes through all of them."""
    for number in (*range(0xD800), *range(0xE000, sys.maxunicode + 1)):
        first = chr(number)
        is_unseen = first.isspace() or unicodedata.category(first) in ("Cc", "Cf")
        if is_unseen or unicodedata.normalize("NFKC", first).lstrip()[:1] in tuple("=+-@|%"):
            assert written_cell(first + "x") == f"'{first}x", hex(number)


@pytest.mark.parametrize("cell", ["Ana", "#1", "ünï", "5 %", "(x)", "“quoted”", "日本", "A=1", "…"])
def test_an_ordinary_cell_is_written_as_it_is(cell: str) -> None:
    assert written_cell(cell) == cell


def written_cell(cell: str) -> str:
    [written] = next(csv.reader(StringIO(csv_line([cell]), newline=""), strict=True))
    return written


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


class TestEncodings:
    @given(TEXTS, st.sampled_from(["utf-8", "utf-8-sig", "utf-16", "utf-16-be"]), st.data())
    def test_utf_16_becomes_utf_8_wherever_it_is_cut(self, text: str, encoding: str, data: st.DataObject) -> None:
        raw = ("\ufeff" + text if encoding == "utf-16-be" else text).encode(encoding)
        places = sorted(data.draw(st.lists(st.integers(0, len(raw)), max_size=5)))
        as_utf8 = AsUTF8()
        pieces = [raw[start:end] for start, end in zip([0, *places], [*places, len(raw)], strict=True)]
        read = b"".join([as_utf8.feed(piece) for piece in pieces]) + as_utf8.end()
        assert read == (text.encode() if encoding.startswith("utf-16") else raw)

    @pytest.mark.parametrize(
        "raw", [b"\xff\xfeA\x00B", "\ufeffA\ud800B".encode("utf-16-le", "surrogatepass"), b"\xff\xfeA\x00\x00\xd8"]
    )
    def test_what_is_no_utf_16_is_refused_with_its_line(self, raw: bytes) -> None:
        as_utf8 = AsUTF8()
        with pytest.raises(LineRefused) as refused:
            read_csv_line(as_utf8.feed(raw) + as_utf8.end(), HEADER)
        assert refused.value.reason == "invalid_utf8"


class TestDialects:
    @pytest.mark.parametrize(
        ("head", "delimiter"),
        [
            (b"code\nA1\n", ","),
            (b"code,active\r\nA1,\r\n", ","),
            (b"code;active\nA1;1,5\n", ";"),
            (b"code\tactive\n", "\t"),
            (b'code;"a,b,c,d"\n', ";"),
            (b"code,active\rA1,1\r", ","),
            (b"code;active\rA1;1", ";"),
            (b"code", ","),
        ],
    )
    def test_it_shows_in_the_header(self, head: bytes, delimiter: str) -> None:
        assert opening_of(head) == (0, 0, delimiter)
        before = b";;,\t\r\n \r"
        assert opening_of(before + head) == (len(before), 2, delimiter)

    @pytest.mark.parametrize(
        ("before", "lines", "delimiter"),
        [
            (b"sep=;\r\n", 1, ";"),
            (b"SEP=\t\n", 1, "\t"),
            (b'"sep=|"\n', 1, "|"),
            (b"\n;;;\nsep=;;;;\n,,\n", 4, ";"),
            (b"sep=,\n\n", 2, ","),
        ],
    )
    def test_what_spreadsheets_put_before_the_header_is_no_header(
        self, before: bytes, lines: int, delimiter: str
    ) -> None:
        header = b"code,a;active,b;c,d\n"
        assert opening_of(before + header) == (len(before), lines, delimiter)

    @pytest.mark.parametrize("head", [b"", b"\n", b";;\n\n", b"sep=x\n", b"sep=;", b"sep=code\nA1\n"])
    def test_a_file_without_a_header_has_none(self, head: bytes) -> None:
        with pytest.raises(LineRefused):
            checked_header(head[opening_of(head).size :].partition(b"\n")[0])

    @pytest.mark.parametrize("kind", ["csv", "ndjson"])
    @given(st.lists(st.sampled_from(["\n", "\r", "\r\n"]), max_size=9), st.data())
    def test_line_ends_of_all_kinds_end_a_line_wherever_the_bytes_are_cut(
        self, kind: Any, ends: list[str], data: st.DataObject
    ) -> None:
        """A file that was put together from others must not lose a line, nor count one twice."""
        lines = [f"A{n}{end}".encode() for n, end in enumerate(ends)]
        whole = b"".join(lines)
        cut_at = data.draw(st.integers(0, len(whole)))
        first = split_records(whole[:cut_at], kind, is_end=False, is_skipping=False, most=99)
        rest = split_records(whole[first.consumed :], kind, is_end=True, is_skipping=False, most=99)
        assert [*first.records, *rest.records] == [Record(line, 1) for line in lines]

    def test_a_line_that_is_too_long_may_end_with_both(self) -> None:
        first = split_records(b"x" * MAX_LINE_BYTES * 2 + b"\r", "csv", is_end=False, is_skipping=False, most=9)
        assert (len(first.records), first.consumed, first.is_skipping) == (1, MAX_LINE_BYTES * 2, True)
        again = split_records(b"\r", "csv", is_end=False, is_skipping=True, most=9)
        assert (again.records, again.consumed, again.is_skipping) == ([], 0, True)
        assert split_records(b"\r\nA", "csv", is_end=True, is_skipping=True, most=9).records == [Record(b"A", 1)]

    def test_records_of_a_file_with_returns_alone(self) -> None:
        split = split_records(b'A;"x\ny"\r\rB;2', "csv", is_end=True, is_skipping=False, most=9, delimiter=";")
        assert [record.raw for record in split.records] == [b'A;"x\ny"\r', b"\r", b"B;2"]

    @pytest.mark.parametrize(
        ("cells", "name", "value"),
        [
            *((flag, "active", True) for flag in ("yes", "Y", "1", "TRUE", " true ", "WAHR", "Oui", "sí")),
            *((flag, "active", False) for flag in ("No", "n", "0", "false", "FALSCH", "faux", "nein")),
            *((text, "redemption_limit", 5) for text in ("5", "5.0", " 5.00 ", "5,0", "5,00")),
            *((text, "redemption_limit", 5000) for text in ("5000", "5 000", "5\xa0000", "5,000.00", "5.000,0")),
            *((text, "commission_percent", Decimal("12.5")) for text in ("12.5", "12,5%", "12.50 %")),
            *((text, "minimum_order_value", Decimal("1234.5")) for text in ("1,234.50", "1.234,50", "1'234.50")),
            ("1,234,567.00", "minimum_order_value", Decimal("1234567.00")),
            ("0", "opening_uses", 0),
            ("12,50", "minimum_order_value", Decimal("12.50")),
            ("12.5", "minimum_order_value", Decimal("12.5")),
            # Shopify's, WooCommerce's and Stripe's times; without an offset they are the program's.
            ("2026-03-01 09:30:00 -0500", "starts_at", datetime(2026, 3, 1, 14, 30, tzinfo=UTC)),
            ("2026-03-01 09:30:00 GMT", "starts_at", datetime(2026, 3, 1, 9, 30, tzinfo=UTC)),
            ("2026-03-01 09:30:00 UTC", "starts_at", datetime(2026, 3, 1, 9, 30, tzinfo=UTC)),
            ("2026-03-01T09:30", "starts_at", datetime(2026, 3, 1, 9, 30)),  # noqa: DTZ001 - it has none
            ("2026-03-01 09:30:15", "starts_at", datetime(2026, 3, 1, 9, 30, 15)),  # noqa: DTZ001 - it has none
            ("1772357400", "expires_at", datetime(2026, 3, 1, 9, 30, tzinfo=UTC)),
            ("2026-03-01", "expires_at", date(2026, 3, 1)),
        ],
    )
    def test_cells_are_read_in_all_usual_forms(self, cells: str, name: str, value: object) -> None:
        """An object may have in a text whatever a cell may have."""
        line = f"A1;{cells};;\n".encode()
        assert read_csv_line(line, ("code", name, None), ";") == {"code": "A1", name: value}
        assert read_ndjson_line(json.dumps({"code": "A1", name: cells}).encode()) == {"code": "A1", name: value}

    @pytest.mark.parametrize(
        ("given", "name", "value"),
        [
            *((flag, "active", flag) for flag in (True, False)),
            (1, "active", True),
            (0, "partner_only", False),
            (4711, "customer_id", "4711"),
            (5, "redemption_limit", 5),
            (5.0, "redemption_limit", 5),
            (1772357400, "expires_at", datetime(2026, 3, 1, 9, 30, tzinfo=UTC)),
            (12.5, "minimum_order_value", Decimal("12.5")),
            ('{"a": 1}', "metadata", {"a": 1}),
        ],
    )
    def test_values_of_an_object_are_read_as_a_cell_would_write_them(
        self, given: object, name: str, value: object
    ) -> None:
        line = json.dumps({"code": "A1", name: given, "external_id": "", "starts_at": " "}).encode()
        assert read_ndjson_line(line) == {"code": "A1", name: value}
        assert read_ndjson_line(b'{"code": 4711}') == {"code": "4711"}

    @pytest.mark.parametrize(
        ("cell", "name"),
        [
            *((text, "active") for text in ("2", "maybe", "yes no")),
            *((text, "redemption_limit") for text in ("5.5", "0", "5e1", "-1", "five", "1,000", "1.000", "5%")),
            *(
                (text, "minimum_order_value")
                for text in ("1,000", "1.000", "1.250", "1,00.50", "1,000,00", "$5", "10%")
            ),
            *((text, "expires_at") for text in ("03/01/2026", "01.03.2026", "2026-03-01 25:00", "12345", "tomorrow")),
        ],
    )
    def test_what_could_mean_two_things_or_none_is_refused(self, cell: str, name: str) -> None:
        with pytest.raises(LineRefused) as refused:
            read_csv_line(f"A1;{cell}\n".encode(), ("code", name), ";")
        assert (refused.value.reason, refused.value.code) == ("invalid_value", "A1")
        with pytest.raises(LineRefused) as refused:
            read_ndjson_line(json.dumps({"code": "A1", name: cell}).encode())
        assert (refused.value.reason, refused.value.code) == ("invalid_value", "A1")

    def test_three_decimal_places_are_what_the_currency_has(self) -> None:
        """A minimum of 1.250 was one and a bit where a merchant meant more than a thousand."""
        header = ("code", "minimum_order_value", "minimum_order_currency")
        read = read_csv_line(b"A1,1.250,kwd\n", header)
        assert read is not None
        assert read["minimum_order_value"] == Decimal("1.250")
        for currency in (b"EUR", b"JPY", b""):
            with pytest.raises(LineRefused, match="thousands separator"):
                read_csv_line(b"A1,1.250," + currency + b"\n", header)

    @pytest.mark.parametrize("cell", ['="00123"', '"=""00123"""', ' ="00123" '])
    def test_a_cell_that_is_kept_from_being_a_number_is_its_text(self, cell: str) -> None:
        assert read_csv_line(f"{cell},Ana,\n".encode(), HEADER) == {"code": "00123", "customer_name": "Ana"}
        # An export has an apostrophe before what only looks like it.
        shown = read_csv_line(b'A1,"\'=""Ana""",\n', HEADER)
        assert shown == {"code": "A1", "customer_name": '="Ana"'}

    @pytest.mark.parametrize("line", [b",,\n", b' , ,""\n', csv_trailer(3, "ab" * 32).strip().encode() + b",,\n"])
    def test_rows_of_empty_cells_say_nothing(self, line: bytes) -> None:
        assert read_csv_line(line, HEADER) is None

    def test_a_line_that_begins_like_a_comment_is_a_line(self) -> None:
        assert read_csv_line(b"#1,Ana,\n", HEADER) == {"code": "#1", "customer_name": "Ana"}
        assert read_csv_line(b"#1,Ana,,,\n", HEADER) == {"code": "#1", "customer_name": "Ana"}

    def test_members_of_an_object_are_known_the_same(self) -> None:
        names = checked_names("Gutschein=code", ignores_unknown=True)
        line = b'{"gutschein": "A1", "Redemption Limit": 5.0, "colour": "red"}'
        assert read_ndjson_line(line, names) == {"code": "A1", "redemption_limit": 5}
