"""`mintwire code-order`: a partner orders more codes, and its program decides."""

from __future__ import annotations

from cyclopts import App

from mintwire.cli.client import address, call, fetch, fetch_page, given
from mintwire.cli.codes import AsProgram
from mintwire.cli.config import Target, read_target
from mintwire.cli.output import AsJSON, Cursor, Limit, Misused, command, show, show_page

app = App(name="code-order")
_COLUMNS = ("id", "state", "count", "reference", "created_at", "decided_at", "reason")


@app.command
@command
async def create(
    count: int,
    *,
    reference: str | None = None,
    note: str | None = None,
    idempotency_key: str | None = None,
    as_json: AsJSON = False,
) -> None:
    """Order more codes, as the partner. The program approves or refuses the order.

    Example: mintwire code-order create 5000 --reference PO-2026-118

    Parameters
    ----------
    count
        The number of codes, 1 to 1,000,000.
    reference
        Your own name for the order: a repeat with it returns the same order.
    note
        A note to the program.
    idempotency_key
        A repeat with the same key returns the same order.
    """
    target = read_target()
    headers = {"Idempotency-Key": idempotency_key} if idempotency_key else {}
    body = given(count=count, reference=reference, note=note)
    show(await call("POST", _own(target), partner_key=target.partner_key, headers=headers, body=body), as_json)


@app.command(name="list")
@command
async def list_(
    *,
    state: str | None = None,
    reference: str | None = None,
    program: AsProgram = False,
    partner: str | None = None,
    since: str | None = None,
    until: str | None = None,
    limit: Limit = 50,
    cursor: Cursor = None,
    as_json: AsJSON = False,
) -> None:
    """List the partner's orders, or the program's that match: pending ones first, then the newest.

    Example: mintwire code-order list --program --state pending

    Parameters
    ----------
    state
        `pending`, `approved`, `refused`, `paid` or `cancelled`.
    reference
        Orders with this reference.
    partner
        As the program: orders of this partner.
    since
        As the program: placed at this time or later.
    until
        As the program: placed up to this time, or the end of this day.
    """
    target = read_target()
    query = {"state": state, "reference": reference, "limit": limit, "cursor": cursor}
    programs = {"partner_id": partner, "from": since, "to": until}
    if program:
        page = await fetch_page(_programs(target), key=target.program_key, query={**query, **programs})
        show_page(page, (*_COLUMNS[:3], "partner_id", *_COLUMNS[3:]), as_json)
        return
    if any(value is not None for value in programs.values()):
        raise Misused("--partner, --since and --until are for the program's list; add --program")
    page = await fetch_page(_own(target), "orders", partner_key=target.partner_key, query=query)
    show_page(page, _COLUMNS, as_json)


@app.command(name="show")
@command
async def show_(order_id: str, *, program: AsProgram = False, as_json: AsJSON = False) -> None:
    """Show one of the partner's orders, or any of the program's.

    Example: mintwire code-order show 0192…
    """
    target = read_target()
    if program:
        show(await fetch("GET", address(_programs(target), order_id), key=target.program_key), as_json)
        return
    show(await call("GET", address(_own(target), order_id), partner_key=target.partner_key), as_json)


@app.command
@command
async def cancel(order_id: str, *, as_json: AsJSON = False) -> None:
    """Cancel one of the partner's orders while it is pending.

    Example: mintwire code-order cancel 0192…
    """
    target = read_target()
    show(await call("POST", address(_own(target), order_id, "cancel"), partner_key=target.partner_key), as_json)


@app.command
@command
async def approve(order_id: str, *, as_json: AsJSON = False) -> None:
    """Approve an order, as the program: its codes are added to the partner's quota, once.

    Example: mintwire code-order approve 0192…
    """
    target = read_target()
    show(await fetch("POST", address(_programs(target), order_id, "approve"), key=target.program_key), as_json)


@app.command
@command
async def refuse(order_id: str, *, reason: str, as_json: AsJSON = False) -> None:
    """Refuse an order, as the program.

    Example: mintwire code-order refuse 0192… --reason "Invoice 2026-117 is not paid yet."

    Parameters
    ----------
    reason
        Why; the partner sees it.
    """
    target = read_target()
    url = address(_programs(target), order_id, "refuse")
    show(await fetch("POST", url, key=target.program_key, body={"reason": reason}), as_json)


def _own(target: Target) -> str:
    return address(target.codes_url, "api", "partners", "code-orders")


def _programs(target: Target) -> str:
    return address(target.codes_url, "v1", "code-orders")
