"""The program's side of `mintwire code`: codes of its coupons, made, listed, changed and archived."""

from __future__ import annotations

from typing import Annotated, Any

from mintwire.cli.client import address, fetch, fetch_page, given
from mintwire.cli.config import Target, read_target
from mintwire.cli.members import Flag, Set, assigned
from mintwire.cli.output import AsJSON, command, show, show_page

COLUMNS = (
    "code",
    "active",
    "coupon",
    "partner_id",
    "times_redeemed",
    "expiration_date_value",
    "created_by_key_id",
    "id",
)


@command
async def create(
    coupon: str,
    code: str | None = None,
    *,
    partner: str | None = None,
    customer: str | None = None,
    limit: int | None = None,
    expires: str | None = None,
    set_: Set = None,
    as_json: AsJSON = False,
) -> None:
    """Create a code of a coupon, as the program.

    Example: mintwire code create spring SPRING-VIP --limit 1

    Parameters
    ----------
    coupon
        The coupon's `uuid_code` or id.
    code
        What customers type; made if not given.
    partner
        Id of the partner that it belongs to.
    customer
        Id of the one customer who may use it.
    limit
        How often it can be redeemed.
    expires
        A time with an offset, or a date, which means the end of that day.
    """
    target = read_target()
    body = given(coupon_uuid=coupon, code=code) | _members(partner, customer, limit, expires) | assigned(set_)
    show(await fetch("POST", _codes(target), key=target.program_key, body=body), as_json)


@command
async def update(
    code: str,
    *,
    active: bool | None = None,
    rename: str | None = None,
    partner: str | None = None,
    no_partner: Annotated[bool, Flag] = False,
    customer: str | None = None,
    limit: int | None = None,
    expires: str | None = None,
    set_: Set = None,
    as_json: AsJSON = False,
) -> None:
    """Change a code, as the program; its terms only as long as it has not been redeemed.

    Example: mintwire code update SPRING-VIP --no-active

    Parameters
    ----------
    code
        The code in any spelling, or its id.
    active
        Whether it can be redeemed.
    rename
        What customers are to type from now on.
    partner
        Id of the partner that it belongs to.
    no_partner
        Take it away from its partner.
    customer
        Id of the one customer who may use it.
    limit
        How often it can be redeemed.
    expires
        A time with an offset, or a date, which means the end of that day.
    """
    target = read_target()
    body = given(active=active, code=rename) | _members(partner, customer, limit, expires)
    if no_partner:
        body["limit_to_specific_partner"] = False
    body |= assigned(set_)
    show(await fetch("PATCH", address(_codes(target), code), key=target.program_key, body=body), as_json)


@command
async def archive(code: str, *, as_json: AsJSON = False) -> None:
    """Archive a code, as the program; its string is free again.

    Example: mintwire code archive SPRING-VIP
    """
    target = read_target()
    show(await fetch("DELETE", address(_codes(target), code), key=target.program_key), as_json)


async def list_codes(target: Target, query: dict[str, Any], as_json: bool) -> None:
    """Print a page of the program's codes."""
    page = await fetch_page(_codes(target), key=target.program_key, query=query)
    if not as_json:
        page = type(page)([row | {"coupon": row["coupon"]["uuid_code"]} for row in page.rows], page.next_cursor)
    show_page(page, COLUMNS, as_json)


async def show_code(target: Target, code: str, as_json: bool) -> None:
    """Print one of the program's codes."""
    show(await fetch("GET", address(_codes(target), code), key=target.program_key), as_json)


def _members(partner: str | None, customer: str | None, limit: int | None, expires: str | None) -> dict[str, Any]:
    body: dict[str, Any] = {}
    if partner is not None:
        body |= {"limit_to_specific_partner": True, "coupon_specific_partners": {"id": partner}}
    if customer is not None:
        body |= {"limit_to_specific_customer": True, "coupon_specific_customers": {"id": customer}}
    if limit is not None:
        body |= {"redemption_times_status": True, "redemption_times_value": limit}
    if expires is not None:
        body |= {"expiration_date_status": True, "expiration_date_value": expires}
    return body


def _codes(target: Target) -> str:
    return address(target.codes_url, "v1", "promotion-codes")
