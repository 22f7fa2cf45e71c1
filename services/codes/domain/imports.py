"""Imports: what to do with existing codes, and the members of a code in a line of a file."""

import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any, Final, Literal

from services.codes.domain.code_columns import Value
from services.codes.domain.code_files import OUR_NAMES, LineRefused, Names
from services.codes.domain.days import as_end, as_start, check_order
from services.codes.domain.money import hundredths, minor_units
from shared.currencies import checked_currency
from shared.export_lines import FileFormat
from shared.times import zone_named

OnConflict = Literal["fail", "skip", "update"]

MAX_UPLOAD_BYTES: Final = 256 * 1024 * 1024
# A file of up to this many bytes is imported while the caller waits.
MAX_INLINE_BYTES: Final = 64 * 1024

# Read separately, not as one member each.
_ELSEWHERE: Final = frozenset({"code", "minimum_order_value", "minimum_order_currency", "opening_uses"})
# The conversion of a column, if it is not a plain text or number.
_RENAMED: Final = {
    "active": "is_active",
    "first_time_order": "is_first_order_only",
    "partner_only": "is_limited_to_partner",
}


@dataclass(frozen=True, slots=True)
class ImportOptions:
    """How to read a file, and what to do with existing codes."""

    format: FileFormat
    on_conflict: OnConflict
    is_dry_run: bool
    names: Names = OUR_NAMES


@dataclass(frozen=True, slots=True)
class ImportedCode:
    """The members of a code in a line: `members` are columns of the table, without those that the line does not have.

    `opening_uses` are earlier uses elsewhere; only a new code starts with them.
    """

    line: int
    code: str
    canonical: str
    members: Mapping[str, Any]
    opening_uses: int = 0


def members_of(values: Mapping[str, Value], timezone: str) -> dict[str, Any]:
    """Turn the cells of a line into members of a code; raises LineRefused."""
    members: dict[str, Any] = {}
    for name, value in values.items():
        if name not in _ELSEWHERE:
            try:
                members |= _member(name, value, timezone)
            except ValueError as error:
                raise LineRefused("invalid_value", f"{name} {error}.") from None
    members |= _minimum(values)
    check_dates(members.get("starts_at"), members.get("expires_at"))
    return members


def check_dates(starts_at: datetime | None, expires_at: datetime | None) -> None:
    """Raise LineRefused if a code would end before it starts."""
    try:
        check_order(starts_at, expires_at)
    except ValueError as error:
        raise LineRefused("invalid_value", f"expires_at {error}.") from None


def _member(name: str, value: Value, timezone: str) -> dict[str, Any]:
    match name:
        case "starts_at" if isinstance(value, date):
            return {name: as_start(_placed(value, timezone, fold=0), timezone)}
        case "expires_at" if isinstance(value, date):
            return {name: as_end(_placed(value, timezone, fold=1), timezone)}
        case "customer_id":
            return {name: value, "is_limited_to_customer": True}
        case "partner_id":
            return {name: _partner_id(value)}
        case "commission_percent":
            return {"commission_hundredths": hundredths(Decimal(str(value)))}
        case _:
            return {_RENAMED.get(name, name): value}


def _placed(value: date, timezone: str, *, fold: Literal[0, 1]) -> date:
    """Return a time without an offset in the program's zone; in a repeated hour, the first or the second."""
    if isinstance(value, datetime) and value.tzinfo is None:
        return value.replace(tzinfo=zone_named(timezone), fold=fold).astimezone(UTC)
    return value


def _partner_id(value: Value) -> uuid.UUID:
    try:
        return uuid.UUID(str(value))
    except ValueError:
        raise ValueError("must be the id of a partner") from None


def _minimum(values: Mapping[str, Value]) -> dict[str, Any]:
    amount, currency = values.get("minimum_order_value"), values.get("minimum_order_currency")
    if amount is None and currency is None:
        return {}
    if not isinstance(amount, Decimal) or not isinstance(currency, str):
        raise LineRefused("invalid_value", "minimum_order_value and minimum_order_currency must be given together.")
    try:
        currency = checked_currency(currency)
        return {"minimum_minor": minor_units(amount, currency), "minimum_currency": currency}
    except ValueError as error:
        raise LineRefused("invalid_value", f"minimum_order_value or minimum_order_currency {error}.") from None
