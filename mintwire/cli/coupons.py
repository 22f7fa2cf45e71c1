"""`mintwire coupon`: the terms that codes share, as the program."""

from __future__ import annotations

from typing import Annotated, Any

from cyclopts import App

from mintwire.cli.client import address, fetch, fetch_page, given
from mintwire.cli.config import read_target
from mintwire.cli.members import Flag, Many, Set, assigned
from mintwire.cli.output import AsJSON, Cursor, Limit, Misused, command, show, show_page

app = App(name="coupon")
_COLUMNS = ("uuid_code", "name", "active", "coupon_discount_type", "coupon_discount_amount", "times_redeemed", "id")


@app.command
@command
async def create(
    uuid_code: str | None = None,
    *,
    percent: float | None = None,
    amount: float | None = None,
    currency: str | None = None,
    duration: str = "once",
    duration_value: int | None = None,
    name: str | None = None,
    limit: int | None = None,
    expires: str | None = None,
    code: Annotated[list[str] | None, Many] = None,
    set_: Set = None,
    as_json: AsJSON = False,
) -> None:
    """Create a coupon, and codes of it if wanted.

    Example: mintwire coupon create spring --percent 25 --limit 1000 --expires 2030-06-30 --code SPRING-25

    Parameters
    ----------
    uuid_code
        Its unique name; made if not given.
    percent
        What it takes off, in percent. Either this or an amount.
    amount
        What it takes off, in whole units of the currency.
    currency
        Of the amount; the program's if not given.
    duration
        `once`, `hours`, `days`, `months`, `years` or `lifetime`.
    duration_value
        How many hours, days, months or years.
    name
        What customers read.
    limit
        How often it can be redeemed, all codes together.
    expires
        A time with an offset, or a date, which means the end of that day.
    code
        A code to be made with it; again for more.
    """
    if (percent is None) == (amount is None):
        raise Misused("name either --percent or --amount")
    target = read_target()
    body = _members(
        percent=percent,
        amount=amount,
        currency=currency,
        duration=duration,
        duration_value=duration_value,
        name=name,
        limit=limit,
        expires=expires,
    )
    body |= given(uuid_code=uuid_code, promotion_codes=code) | assigned(set_)
    show(await fetch("POST", address(target.codes_url, "v1", "coupons"), key=target.program_key, body=body), as_json)


@app.command(name="list")
@command
async def list_(
    *, active: bool | None = None, limit: Limit = 50, cursor: Cursor = None, as_json: AsJSON = False
) -> None:
    """List the program's coupons, newest first.

    Example: mintwire coupon list --active

    Parameters
    ----------
    active
        Only those that are active, or are not.
    """
    target = read_target()
    query = {"active": None if active is None else str(active).lower(), "limit": limit, "cursor": cursor}
    page = await fetch_page(address(target.codes_url, "v1", "coupons"), key=target.program_key, query=query)
    show_page(page, _COLUMNS, as_json)


@app.command(name="show")
@command
async def show_(coupon: str, *, as_json: AsJSON = False) -> None:
    """Show a coupon by its `uuid_code` or id.

    Example: mintwire coupon show spring
    """
    target = read_target()
    show(await fetch("GET", address(target.codes_url, "v1", "coupons", coupon), key=target.program_key), as_json)


@app.command
@command
async def update(
    coupon: str,
    *,
    active: bool | None = None,
    percent: float | None = None,
    amount: float | None = None,
    currency: str | None = None,
    duration: str | None = None,
    duration_value: int | None = None,
    name: str | None = None,
    limit: int | None = None,
    unlimited: Annotated[bool, Flag] = False,
    expires: str | None = None,
    never_expires: Annotated[bool, Flag] = False,
    set_: Set = None,
    as_json: AsJSON = False,
) -> None:
    """Change a coupon; its terms only as long as it has not been redeemed.

    Example: mintwire coupon update spring --limit 2000 --expires 2030-07-31

    Parameters
    ----------
    active
        Whether its codes can be redeemed.
    percent
        What it takes off, in percent.
    amount
        What it takes off, in whole units of the currency.
    currency
        Of the amount.
    duration
        `once`, `hours`, `days`, `months`, `years` or `lifetime`.
    duration_value
        How many hours, days, months or years.
    name
        What customers read.
    limit
        How often it can be redeemed, all codes together.
    unlimited
        Take the limit away.
    expires
        A time with an offset, or a date, which means the end of that day.
    never_expires
        Take the expiry away.
    """
    target = read_target()
    body = _members(
        percent=percent,
        amount=amount,
        currency=currency,
        duration=duration,
        duration_value=duration_value,
        name=name,
        limit=limit,
        expires=expires,
    ) | given(active=active)
    if unlimited:
        body |= {"redemption_times_status": False, "redemption_times_value": None}
    if never_expires:
        body |= {"redemption_specific_date_status": False, "redemption_specific_date_value": None}
    body |= assigned(set_)
    url = address(target.codes_url, "v1", "coupons", coupon)
    show(await fetch("PATCH", url, key=target.program_key, body=body), as_json)


@app.command
@command
async def archive(coupon: str, *, as_json: AsJSON = False) -> None:
    """Archive a coupon and its codes; their names are free again.

    Example: mintwire coupon archive spring
    """
    target = read_target()
    show(await fetch("DELETE", address(target.codes_url, "v1", "coupons", coupon), key=target.program_key), as_json)


def _members(
    *,
    percent: float | None,
    amount: float | None,
    currency: str | None,
    duration: str | None,
    duration_value: int | None,
    name: str | None,
    limit: int | None,
    expires: str | None,
) -> dict[str, Any]:
    if percent is not None and amount is not None:
        raise Misused("name either --percent or --amount")
    body = given(
        name=name,
        coupon_discount_currency=currency,
        coupon_duration_type=duration,
        coupon_duration_value=duration_value,
    )
    if percent is not None:
        body |= {"coupon_discount_type": "percent", "coupon_discount_amount": percent}
    if amount is not None:
        body |= {"coupon_discount_type": "static", "coupon_discount_amount": amount}
    if limit is not None:
        body |= {"redemption_times_status": True, "redemption_times_value": limit}
    if expires is not None:
        body |= {"redemption_specific_date_status": True, "redemption_specific_date_value": expires}
    return body
