"""The columns of a file of codes: one table that converts the text of a cell, or a JSON value, to our value.

Files come from spreadsheets and other shops, so all their usual forms are accepted. Anything ambiguous is refused.
"""

import re
from collections.abc import Callable, Mapping
from datetime import UTC, date, datetime
from decimal import Decimal, InvalidOperation
from typing import Any, Final

from services.codes.domain.money import MAX_MINOR, decimal_places
from shared.canonical import checked_code
from shared.cells import could_be_thousands, flag, plain_number, plain_percentage
from shared.strict_json import StrictJSONError, loads
from shared.times import parse_time

# A line is a record: a CSV record with line ends inside quotes is one line.
MAX_LINE_BYTES: Final = 16 * 1024
MAX_TEXT: Final = 255
_MAX_INT: Final = 2**31 - 1
_MAX_MEMBERS, _MAX_MEMBER_NAME, _MAX_MEMBER_TEXT = 50, 100, 500
_INTEGER: Final = re.compile(r"([0-9]{1,10})(?:\.0{1,10})?", re.ASCII)
_TIME_FORM: Final = (
    "must be a date and time, such as 2026-03-18T23:29:28Z or 2026-03-18 23:29, or a date, such as 2026-03-18"
)
_DATE: Final = re.compile(r"\d{4}-\d\d-\d\d", re.ASCII)
# The times of Shopify (2026-03-18 23:29:28 -0500), WooCommerce and Stripe's dashboard (2026-03-18 23:29), and the
# seconds since 1970 of Stripe's API.
_SHOP_TIME: Final = re.compile(
    r"(?P<day>\d{4}-\d\d-\d\d)[Tt ](?P<time>\d\d:\d\d(?::\d\d(?:\.\d{1,6})?)?)"
    r"(?P<offset> ?(?:[Zz]|[Uu][Tt][Cc]|[Gg][Mm][Tt]|[+-]\d\d:?\d\d))?",
    re.ASCII,
)
_SECONDS: Final = re.compile(r"[0-9]{9,10}", re.ASCII)
_YEARS: Final = range(1970, 9999)

Value = str | bool | int | datetime | date | Decimal | Mapping[str, Any] | None


def _as_text(value: Any) -> Any:
    # Shops number their codes and customers, so a whole number is accepted as its text.
    return str(value) if isinstance(value, int) and not isinstance(value, bool) else value


def _text(value: Any) -> str:
    value = _as_text(value)
    if not isinstance(value, str) or not 1 <= len(value) <= MAX_TEXT:
        raise ValueError(f"must be a text of 1 to {MAX_TEXT} characters")
    return value


def _code(value: Any) -> str:
    value = _as_text(value)
    if not isinstance(value, str):
        raise ValueError("must be a text")  # noqa: TRY004 - the text goes to the author of the file
    return checked_code(value)


def _written(value: Any) -> str:
    """Return a value as the text of a cell; empty if no cell can contain it."""
    if isinstance(value, bool):
        return str(value).lower()
    return str(value).strip() if isinstance(value, str | int | float) else ""


def _flag(value: Any) -> bool:
    if (said := flag(_written(value))) is None:
        raise ValueError("must be true or false, yes or no, 1 or 0")
    return said


def _count(value: Any, least: int = 1) -> int:
    # A spreadsheet writes 5 as 5.0; 5.000 could be five thousand.
    text = plain_number(_written(value))
    found = None if could_be_thousands(text) else _INTEGER.fullmatch(text)
    count = int(found[1]) if found else -1
    if not least <= count <= _MAX_INT:
        raise ValueError(f"must be a whole number from {least} to {_MAX_INT}")
    return count


def _uses(value: Any) -> int:
    return _count(value, 0)


def _moment(value: Any) -> datetime | date:
    found = _moment_in(_written(value))
    if found is None:
        raise ValueError(_TIME_FORM)
    if found.year not in _YEARS:
        raise ValueError("must lie between the years 1970 and 9998")
    return found


def _moment_in(text: str) -> datetime | date | None:
    """Also read the forms of shops and spreadsheets; a time without an offset is later placed in the program's zone."""
    try:
        if _DATE.fullmatch(text):
            return date.fromisoformat(text)
        if _SECONDS.fullmatch(text):
            return datetime.fromtimestamp(int(text), UTC)
        if (moment := parse_time(text)) is not None:
            return moment
        if (found := _SHOP_TIME.fullmatch(text)) is None:
            return None
        offset = (found["offset"] or "").strip().upper().replace("UTC", "Z").replace("GMT", "Z")
        return datetime.fromisoformat(f"{found['day']}T{found['time']}{offset}")
    except (ValueError, OverflowError):
        return None


def _amount(value: Any) -> Decimal:
    return _number(plain_number(_written(value)))


def _percentage(value: Any) -> Decimal:
    return _number(plain_percentage(_written(value)))


def _number(text: str) -> Decimal:
    try:
        amount = Decimal(text)
    except InvalidOperation:
        raise ValueError("must be a number") from None
    if not amount.is_finite():
        raise ValueError("must be a number")
    return amount


def _object(value: Any) -> dict[str, Any]:
    if isinstance(value, str):
        value = json_value(value)
    if not isinstance(value, dict):
        raise ValueError("must be a JSON object")  # noqa: TRY004 - the text goes to the author of the file
    if len(value) > _MAX_MEMBERS or not all(1 <= len(name) <= _MAX_MEMBER_NAME for name in value):
        raise ValueError(f"must have at most {_MAX_MEMBERS} members with names of 1 to {_MAX_MEMBER_NAME} characters")
    if not all(_is_scalar(member) for member in value.values()):
        raise ValueError("must have members that are short strings, numbers, true, false or null")
    return {name: member for name, member in value.items() if member is not None}


def _is_scalar(value: Any) -> bool:
    if isinstance(value, str):
        return len(value) <= _MAX_MEMBER_TEXT
    if isinstance(value, int):
        return abs(value) <= MAX_MINOR
    return value is None or isinstance(value, float)


# The conversion of a cell's text (CSV), or of a JSON value in any form that a cell may have.
COLUMNS: Final[Mapping[str, Callable[[Any], Value]]] = {
    "code": _code,
    "external_id": _text,
    "active": _flag,
    "starts_at": _moment,
    "expires_at": _moment,
    "redemption_limit": _count,
    "first_time_order": _flag,
    "minimum_order_value": _amount,
    "minimum_order_currency": _text,
    "customer_id": _text,
    "customer_name": _text,
    "partner_id": _text,
    "partner_only": _flag,
    "commission_percent": _percentage,
    "metadata": _object,
    "opening_uses": _uses,
}
# The names of columns that differ from the members of a code.
COLUMN_NAMES: Final[Mapping[str, str]] = {
    "canonical": "code",
    "is_active": "active",
    "is_first_order_only": "first_time_order",
    "minimum_minor": "minimum_order_value",
    "minimum_currency": "minimum_order_currency",
    "is_limited_to_customer": "customer_id",
    "is_limited_to_partner": "partner_only",
    "commission_hundredths": "commission_percent",
}
# Further columns of an export, for people and other programs; ignored by an import.
SHOWN_COLUMNS: Final = ("id", "coupon", "url", "times_redeemed", "batch_id", "created_at", "updated_at")
ALL_COLUMNS: Final = (*COLUMNS, *SHOWN_COLUMNS)


def check_thousands(values: Mapping[str, Value]) -> None:
    """Raise ValueError if an amount written as 1.250 could mean more than a thousand.

    Only the currency decides: if it has three decimal places, so may its amounts.
    """
    amount, currency = values.get("minimum_order_value"), values.get("minimum_order_currency")
    if isinstance(amount, Decimal) and could_be_thousands(str(amount)) and decimal_places(str(currency).upper()) != 3:
        raise ValueError(f"must be written without a thousands separator; {amount} could be one")


def json_value(text: str) -> Any:
    """Read strict JSON; raises ValueError, whose text follows the field's name."""
    try:
        return loads(text.encode(), max_bytes=MAX_LINE_BYTES)
    except StrictJSONError as error:
        raise ValueError(error.rule) from None
