"""The encodings and dialects of files of codes, as their first bytes show them."""

import json
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
from services.codes.domain.file_openings import AsUTF8, opening_of
from shared.export_lines import csv_trailer

TEXTS = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\x00"), min_size=1, max_size=60)
HEADER = ("code", "customer_name", "external_id")


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
