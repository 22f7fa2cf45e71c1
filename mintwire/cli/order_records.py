"""`mintwire order`: orders and refused requests."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

from cyclopts import App

from mintwire.cli import jobs
from mintwire.cli.client import address, fetch, fetch_page
from mintwire.cli.config import read_target
from mintwire.cli.output import (
    AsJSON,
    Counted,
    Cursor,
    Limit,
    bounded,
    command,
    show,
    show_many,
    show_page,
)
from mintwire.terminal import write_json, write_line

app = App(name="order")

_TRIES = ("last_occurred_at", "order_ref", "door", "code", "reason", "times")
_LISTS = ("lines", "refunds", "redemptions", "rejections")


@app.command(name="show")
@command
async def show_(order_ref: str, *, as_json: AsJSON = False) -> None:
    """Show an order: its codes, amounts, voids and refusals.

    Example: mintwire order show order-1
    """
    target = read_target()
    url = address(target.redemption_url, "v1", "orders", order_ref)
    order = await fetch("GET", url, key=target.program_key)
    if as_json:
        write_json(order)
        return
    show({name: member for name, member in order.items() if name not in _LISTS}, as_json=False)
    _section("lines", order, ("line", "product_id", "discount_minor"))
    _section("redemptions", order, ("id", "code", "status", "discount", "occurred_at"))
    _section("refunds", order, ("occurred_at", "amount", "reason"))
    _section("rejections", order, _TRIES)


@app.command
@command
async def rejections(
    *,
    order_ref: str | None = None,
    code: str | None = None,
    reason: str | None = None,
    partner: str | None = None,
    door: str | None = None,
    since: str | None = None,
    until: str | None = None,
    count: Counted = False,
    limit: Limit = 50,
    cursor: Cursor = None,
    as_json: AsJSON = False,
) -> None:
    """List refused requests, the latest first: by event, and redemptions and reservations over HTTP.

    Example: mintwire order rejections --reason code_unknown

    Parameters
    ----------
    order_ref
        The shop's name for the order.
    code
        The refused code, in any spelling.
    reason
        A reason, such as `code_expired`.
    partner
        The id of the code's partner.
    door
        `event`, `redemption` or `reservation`.
    since
        A time with an offset.
    until
        A time with an offset.
    """
    target = read_target()
    query = {
        "order_ref": order_ref,
        "code": code,
        "reason": reason,
        "partner_id": partner,
        "door": door,
        "from": since,
        "to": until,
        "count": bounded(count),
        "limit": limit,
        "cursor": cursor,
    }
    page = await fetch_page(address(target.redemption_url, "v1", "rejections"), key=target.program_key, query=query)
    show_page(page, _TRIES, as_json)


@app.command
@command
async def export(
    *,
    output: jobs.Output = None,
    file_format: jobs.FileFormat = "csv",
    code: str | None = None,
    coupon: str | None = None,
    partner: str | None = None,
    customer: str | None = None,
    status: Literal["redeemed", "voided"] | None = None,
    since: str | None = None,
    before: str | None = None,
    as_json: jobs.FileAsJSON = False,
) -> None:
    """Export redemptions, the latest first; an incomplete file is an error.

    Example: mintwire order export --since 2026-11-01 --output november.csv

    Parameters
    ----------
    code
        A code, in any spelling.
    coupon
        A coupon's id or uuid_code.
    partner
        The id of the code's partner.
    customer
        The customer's id.
    status
        `redeemed` or `voided`.
    since
        A time with an offset, or a day.
    before
        A time with an offset, or a day that is not included.
    """
    query = {
        "format": file_format,
        "code": code,
        "coupon_id": coupon,
        "partner_id": partner,
        "customer_id": customer,
        "status": status,
        "occurred_from": since,
        "occurred_before": before,
    }
    url = address(read_target().redemption_url, "v1", "redemptions", "export")
    await jobs.save(url, output, query, "redemptions", as_json)


@app.command
@command
async def export_rejections(
    *,
    output: jobs.Output = None,
    file_format: jobs.FileFormat = "csv",
    code: str | None = None,
    reason: str | None = None,
    partner: str | None = None,
    door: str | None = None,
    since: str | None = None,
    until: str | None = None,
    as_json: jobs.FileAsJSON = False,
) -> None:
    """Export refused requests, the latest first; an incomplete file is an error.

    Example: mintwire order export-rejections --reason code_expired --output refused.csv

    Parameters
    ----------
    code
        The refused code, in any spelling.
    reason
        A reason, such as `code_expired`.
    partner
        The id of the code's partner.
    door
        `event`, `redemption` or `reservation`.
    since
        A time with an offset, or a day.
    until
        A time with an offset, or a day that is included.
    """
    query = {
        "format": file_format,
        "code": code,
        "reason": reason,
        "partner_id": partner,
        "door": door,
        "from": since,
        "to": until,
    }
    url = address(read_target().redemption_url, "v1", "rejections", "export")
    await jobs.save(url, output, query, "refused requests", as_json)


def _section(name: str, order: Mapping[str, Any], columns: tuple[str, ...]) -> None:
    if rows := order[name]:
        write_line("")
        write_line(name)
        show_many(rows, columns, as_json=False)
