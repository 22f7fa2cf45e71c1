"""What clients send and receive about statements of commissions, as JSON and as tables."""

import uuid
from collections.abc import Iterator, Sequence
from typing import Final

from pydantic import Field

from services.redemption.api.shapes import Reference, RequiredText
from services.redemption.domain.commission_statements import (
    CommissionStatement,
    Line,
    LineKind,
    Payment,
    StatementState,
)
from services.redemption.usecases.commission_statements import ShownStatement
from shared.events.checkout import Currency, MinorUnits
from shared.modes import is_test, shown_id
from shared.times import format_microseconds
from shared.web import Instant, Moment, RequestModel, ResponseModel, TenantId
from shared.web.files import Row

STATEMENT_COLUMNS: Final = (
    *("id", "partner_id", "month", "currency", "state", "redemptions", "redemptions_minor", "reversals"),
    *("reversals_minor", "adjustments", "adjustments_minor", "total_minor", "closed_at"),
)
LINE_COLUMNS: Final = ("at", "kind", "amount_minor", "currency", "code", "order_ref", "redemption_id", "is_test")


class SumData(ResponseModel):
    """A number of lines and their sum in minor units; reversals, and adjustments downward, are negative."""

    count: int
    amount_minor: int


class PaymentData(ResponseModel):
    """A payment. Who entered it or took it back, and why, is null for partners."""

    amount_minor: int
    currency: str | None
    reference: str
    paid_at: Moment
    actor: str | None
    created_at: Moment
    taken_back_at: Moment | None
    taken_back_by: str | None
    reason: str | None


class StatementData(ResponseModel):
    """What a partner earned in a month of the program's time zone, in one currency."""

    id: uuid.UUID
    partner_id: TenantId
    month: str
    zone: str
    currency: str | None = Field(description="Null for redemptions without a currency.")
    state: StatementState = Field(
        description="`open` while the month is not closed; then `closed`, and `paid` while a payment counts."
    )
    redemptions: SumData
    reversals: SumData
    adjustments: SumData
    total_minor: int
    closed_at: Moment | None
    as_of: Moment | None = Field(
        description="Everything written until then is counted. Null while data from before an upgrade is still counted."
    )
    is_test: bool


class PaidStatementData(StatementData):
    """A statement with its payments, the newest first."""

    payments: list[PaymentData]


class LineData(ResponseModel):
    """One movement: a redemption, its reversal by a void or refund, or a change of its commission."""

    at: Moment
    kind: LineKind
    amount_minor: int
    currency: str | None
    code: str
    order_ref: str
    redemption_id: uuid.UUID
    is_test: bool


class PaymentBody(RequestModel):
    """A payment, in minor units of the statement's currency."""

    amount_minor: MinorUnits
    currency: Currency | None = Field(None, description="That of the statement; null only for one that has none.")
    reference: Reference = Field(description="Your name for the payment, such as a transfer's number.")
    paid_at: Instant | None = Field(None, description="Not in the future; by default now.")


class TakeBackBody(RequestModel):
    """Why the payment is taken back."""

    reason: RequiredText


def statement_data(statement: CommissionStatement) -> StatementData:
    """Return a statement in the form of this API."""
    return StatementData(**_members(statement))


def paid_data(shown: ShownStatement, *, is_for_partner: bool) -> PaidStatementData:
    """Return a statement with its payments; a partner does not see who entered them."""
    payments = [_payment(payment, is_for_partner=is_for_partner) for payment in shown.payments]
    return PaidStatementData(**_members(shown.statement), payments=payments)


def _members(statement: CommissionStatement) -> dict[str, object]:
    return {
        "id": statement.id,
        "partner_id": statement.partner_id,
        "month": f"{statement.month:%Y-%m}",
        "zone": statement.zone,
        "currency": statement.currency or None,
        "state": statement.state,
        "redemptions": SumData(count=statement.redemptions, amount_minor=statement.redemptions_minor),
        "reversals": SumData(count=statement.reversals, amount_minor=statement.reversals_minor),
        "adjustments": SumData(count=statement.adjustments, amount_minor=statement.adjustments_minor),
        "total_minor": statement.total_minor,
        "closed_at": statement.closed_at,
        "as_of": statement.as_of,
        "is_test": is_test(statement.partner_id),
    }


def _payment(payment: Payment, *, is_for_partner: bool) -> PaymentData:
    return PaymentData(
        amount_minor=payment.amount_minor,
        currency=payment.currency or None,
        reference=payment.reference,
        paid_at=payment.paid_at,
        actor=None if is_for_partner else payment.actor,
        created_at=payment.created_at,
        taken_back_at=payment.taken_back_at,
        taken_back_by=None if is_for_partner else payment.taken_back_by,
        reason=None if is_for_partner else payment.reason,
    )


def line_data(line: Line) -> LineData:
    """Return a line in the form of this API."""
    return LineData(
        at=line.at,
        kind=line.kind,
        amount_minor=line.amount_minor,
        currency=line.currency or None,
        code=line.code,
        order_ref=line.order_ref,
        redemption_id=line.redemption_id,
        is_test=is_test(line.partner_id),
    )


def line_row(line: Line) -> Row:
    """Return a line as a row of a file."""
    return {
        "at": format_microseconds(line.at),
        "kind": line.kind,
        "amount_minor": line.amount_minor,
        "currency": line.currency or None,
        "code": line.code,
        "order_ref": line.order_ref,
        "redemption_id": str(line.redemption_id),
        "is_test": is_test(line.partner_id),
    }


def line_table(lines: Sequence[Line]) -> Iterator[Sequence[object]]:
    """Return lines as a table."""
    yield LINE_COLUMNS
    for line in lines:
        yield tuple(line_row(line).values())


def statement_table(statements: Sequence[CommissionStatement]) -> Iterator[Sequence[object]]:
    """Return statements as a table."""
    yield STATEMENT_COLUMNS
    for each in statements:
        closed_at = None if each.closed_at is None else format_microseconds(each.closed_at)
        named = str(each.id), shown_id(each.partner_id), f"{each.month:%Y-%m}", each.currency or None, each.state
        sums = each.redemptions, each.redemptions_minor, each.reversals, each.reversals_minor
        yield (*named, *sums, each.adjustments, each.adjustments_minor, each.total_minor, closed_at)
