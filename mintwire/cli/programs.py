"""`mintwire program`: the merchants of this installation; requires the operator's token."""

from __future__ import annotations

from typing import Annotated

from cyclopts import App

from mintwire.cli.client import CallFailed, address, fetch, fetch_page, given
from mintwire.cli.config import read_target
from mintwire.cli.members import Many, Set, assigned
from mintwire.cli.output import AsJSON, Cursor, Limit, command, show, show_page, tell

app = App(name="program")


@app.command
@command
async def create(
    name: str,
    *,
    link_url: str | None = None,
    currency: str | None = None,
    timezone: str | None = None,
    support_email: str | None = None,
    max_codes_per_order: int | None = None,
    commission_cap_percent: float | None = None,
    allow_self_referral: bool | None = None,
    as_json: AsJSON = False,
) -> None:
    """Create a program with its partner coupon and a first key with all scopes, which is shown only once.

    Example: mintwire program create "Acme Cards" --link-url https://acme.example/

    Parameters
    ----------
    link_url
        The address of the shop; links of codes add `?promo=CODE` to it.
    currency
        The currency (ISO 4217), by default USD.
    timezone
        The time zone (IANA name), by default UTC.
    support_email
        The e-mail address shown to partners.
    max_codes_per_order
        Maximum number of codes per order, 1 to 10; by default 10.
    commission_cap_percent
        Maximum commission of all partners of an order together, in percent of what was paid; by default 100.
    allow_self_referral
        Whether partners may buy with their own codes; by default, yes.
    """
    target = read_target()
    body = given(
        name=name,
        link_url=link_url,
        currency=currency,
        timezone=timezone,
        support_email=support_email,
        max_codes_per_order=max_codes_per_order,
        commission_cap_percent=commission_cap_percent,
        allow_self_referral=allow_self_referral,
    )
    programs = address(target.codes_url, "v1", "programs")
    program = await fetch("POST", programs, key=target.operator_token, body=body)
    try:
        key = await fetch("POST", address(programs, program["id"], "keys"), key=target.operator_token)
    except CallFailed:
        tell(f"the program {program['id']} was created without a key: mintwire key create --program {program['id']}")
        raise
    show({**program, "api_key": key["key"]}, as_json)


@app.command
@command
async def update(
    *,
    program: str | None = None,
    name: str | None = None,
    link_url: str | None = None,
    currency: str | None = None,
    timezone: str | None = None,
    support_email: str | None = None,
    webhook_attribute: Annotated[list[str] | None, Many] = None,
    code_pack: Annotated[list[int] | None, Many] = None,
    setting: Set = None,
    as_json: AsJSON = False,
) -> None:
    """Change a program's settings: your own with the program's key, or any with `--program` as the operator.

    Example: mintwire program update --support-email help@acme.example

    Parameters
    ----------
    program
        The id of the program to change as the operator, who alone can change name, currency and `--set` members.
    link_url
        The address of the shop; links of codes add `?promo=CODE` to it.
    currency
        The currency (ISO 4217).
    timezone
        The time zone (IANA name); the command prints what a new one shifts.
    support_email
        The e-mail address shown to partners.
    webhook_attribute
        A checkout attribute for the default webhook body; may be given several times, in order.
    code_pack
        A number of codes that partners can order; may be given several times. `--set code_packs=[]` allows any number.
    """
    target = read_target()
    body = given(name=name, link_url=link_url, currency=currency, timezone=timezone, support_email=support_email)
    body |= given(webhook_attributes=webhook_attribute, code_packs=code_pack) | assigned(setting)
    key = target.program_key if program is None else target.operator_token
    url = address(target.codes_url, "v1", "programs", program or target.program_id)
    show(await fetch("PATCH", url, key=key, body=body), as_json)


@app.command(name="list")
@command
async def list_(*, limit: Limit = 50, cursor: Cursor = None, as_json: AsJSON = False) -> None:
    """List programs, newest first.

    Example: mintwire program list --json
    """
    target = read_target()
    query = {"limit": limit, "cursor": cursor}
    page = await fetch_page(address(target.codes_url, "v1", "programs"), key=target.operator_token, query=query)
    show_page(page, ("id", "name", "currency", "link_url"), as_json)
