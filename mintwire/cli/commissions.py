"""`mintwire commission`: what partners earned by month, and payments of it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

from cyclopts import App, Parameter

from mintwire.cli import jobs
from mintwire.cli.client import Asked, address, fetch, fetch_page, given
from mintwire.cli.config import Target, read_target
from mintwire.cli.output import AsJSON, Cursor, Limit, command, show, show_many, show_page
from mintwire.terminal import write_json, write_line

app = App(name="commission")

_COLUMNS = ("month", "partner_id", "currency", "state", "redemptions", "reversals", "adjustments", "total_minor", "id")
_LINES = ("at", "kind", "amount_minor", "currency", "code", "order_ref")
_PAYMENTS = ("paid_at", "amount_minor", "currency", "reference", "actor", "taken_back_at", "reason")

Own = Annotated[bool, Parameter(negative=(), help="As the partner, with its key.")]


@app.command(name="list")
@command
async def list_(
    *,
    partner: str | None = None,
    month: str | None = None,
    own: Own = False,
    limit: Limit = 50,
    cursor: Cursor = None,
    as_json: AsJSON = False,
) -> None:
    """List commission statements, the newest month first; amounts are in minor units.

    Example: mintwire commission list --month 2026-11

    Parameters
    ----------
    partner
        Only those of the partner with this id.
    month
        Only those of this month.
    """
    target = read_target()
    query = {"partner_id": partner, "month": month, "limit": limit, "cursor": cursor}
    show_page(await fetch_page(_url(target), **_asked(target, own, query)), _COLUMNS, as_json)


@app.command(name="show")
@command
async def show_(statement_id: str, *, own: Own = False, as_json: AsJSON = False) -> None:
    """Show a commission statement with its payments.

    Example: mintwire commission show 0192…
    """
    target = read_target()
    _show(await fetch("GET", _url(target, statement_id), **_asked(target, own, {})), as_json)


@app.command
@command
async def lines(
    statement_id: str, *, own: Own = False, limit: Limit = 50, cursor: Cursor = None, as_json: AsJSON = False
) -> None:
    """List the lines of a commission statement, the earliest first.

    Example: mintwire commission lines 0192…
    """
    target = read_target()
    query = {"limit": limit, "cursor": cursor}
    show_page(await fetch_page(_url(target, statement_id, "lines"), **_asked(target, own, query)), _LINES, as_json)


@app.command
@command
async def export(
    statement_id: str,
    *,
    output: jobs.Output = None,
    file_format: jobs.FileFormat = "csv",
    as_json: jobs.FileAsJSON = False,
) -> None:
    """Download the lines of a commission statement; an incomplete file is an error.

    Example: mintwire commission export 0192… --output november.csv
    """
    url = _url(read_target(), statement_id, "export")
    await jobs.save(url, output, {"format": file_format}, "lines", as_json)


@app.command
@command
async def pay(
    statement_id: str,
    *,
    amount: int,
    reference: str,
    currency: str | None = None,
    paid_at: str | None = None,
    as_json: AsJSON = False,
) -> None:
    """Mark a commission statement as paid; a repeat changes nothing.

    Example: mintwire commission pay 0192… --amount 12500 --currency EUR --reference transfer-4711

    Parameters
    ----------
    amount
        In minor units.
    reference
        Your name for the payment.
    currency
        That of the statement.
    paid_at
        A time with an offset; by default now.
    """
    target = read_target()
    body = given(amount_minor=amount, currency=currency, reference=reference, paid_at=paid_at)
    _show(await fetch("POST", _url(target, statement_id, "payment"), key=target.program_key, body=body), as_json)


@app.command
@command
async def take_back(statement_id: str, *, reason: str, as_json: AsJSON = False) -> None:
    """Take the payment of a commission statement back; it stays on record with the reason.

    Example: mintwire commission take-back 0192… --reason "The transfer came back."

    Parameters
    ----------
    reason
        Why it is taken back.
    """
    target = read_target()
    url = _url(target, statement_id, "payment", "take-back")
    _show(await fetch("POST", url, key=target.program_key, body={"reason": reason}), as_json)


def _asked(target: Target, own: bool, query: Mapping[str, object | None]) -> Asked:
    if own:
        return {"partner_key": target.partner_key, "query": query}
    return {"key": target.program_key, "query": query}


def _show(statement: dict[str, Any], as_json: bool) -> None:
    if as_json:
        write_json(statement)
        return
    show({name: member for name, member in statement.items() if name != "payments"}, as_json=False)
    if statement["payments"]:
        write_line("")
        show_many(statement["payments"], _PAYMENTS, as_json=False)


def _url(target: Target, *parts: str) -> str:
    return address(target.redemption_url, "v1", "commission-statements", *parts)
