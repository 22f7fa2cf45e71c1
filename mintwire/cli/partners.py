"""`mintwire partner`: who may mint codes for a program."""

from __future__ import annotations

from typing import Annotated

from cyclopts import App, Parameter

from mintwire.cli.client import address, fetch, fetch_page, given
from mintwire.cli.config import read_target
from mintwire.cli.members import Set, assigned
from mintwire.cli.output import (
    AsJSON,
    Counted,
    Cursor,
    Limit,
    bounded,
    command,
    show,
    show_page,
)

app = App(name="partner")


@app.command
@command
async def create(
    name: str | None = None,
    *,
    first_name: str | None = None,
    last_name: str | None = None,
    email: str | None = None,
    prefix: str | None = None,
    active: Annotated[bool, Parameter(negative=())] = False,
    support_email: str | None = None,
    as_json: AsJSON = False,
) -> None:
    """Create a partner of the program; it is pending until approved.

    Example: mintwire partner create "Flower Shop" --email hi@flowers.example --prefix FLOWER

    Parameters
    ----------
    name
        The name; by default, first and last name together.
    first_name
        The first name, for codes that include it.
    last_name
        The last name.
    email
        The e-mail address, unique within the program.
    prefix
        The prefix of its codes; by default, derived from the name.
    active
        Approve it at once.
    support_email
        The e-mail address for the partner's questions.
    """
    target = read_target()
    status = "active" if active else None
    body = given(name=name, first_name=first_name, last_name=last_name, email=email, prefix=prefix)
    body |= given(support_email=support_email, status=status)
    url = address(target.codes_url, "v1", "partners")
    show(await fetch("POST", url, key=target.program_key, body=body), as_json)


@app.command(name="show")
@command
async def show_(partner_id: str, *, as_json: AsJSON = False) -> None:
    """Show a partner.

    Example: mintwire partner show 0192…
    """
    target = read_target()
    show(await fetch("GET", address(target.codes_url, "v1", "partners", partner_id), key=target.program_key), as_json)


@app.command
@command
async def update(
    partner_id: str,
    *,
    name: str | None = None,
    first_name: str | None = None,
    last_name: str | None = None,
    email: str | None = None,
    prefix: str | None = None,
    support_email: str | None = None,
    quota_low_threshold: int | None = None,
    set_: Set = None,
    as_json: AsJSON = False,
) -> None:
    """Change a partner.

    Example: mintwire partner update 0192… --email new@flowers.example

    Parameters
    ----------
    first_name
        The first name, for codes that include it.
    last_name
        The last name.
    email
        The e-mail address, unique within the program.
    prefix
        The prefix of its new codes.
    support_email
        The e-mail address for the partner's questions.
    quota_low_threshold
        `quota.low` is emitted when this many codes remain.
    """
    target = read_target()
    body = given(name=name, first_name=first_name, last_name=last_name, email=email, prefix=prefix)
    body |= given(support_email=support_email, quota_low_threshold=quota_low_threshold) | assigned(set_)
    url = address(target.codes_url, "v1", "partners", partner_id)
    show(await fetch("PATCH", url, key=target.program_key, body=body), as_json)


@app.command
@command
async def archive(partner_id: str, *, as_json: AsJSON = False) -> None:
    """Archive a partner: its keys are revoked, its codes refused, and its names can be used again.

    Example: mintwire partner archive 0192…
    """
    target = read_target()
    url = address(target.codes_url, "v1", "partners", partner_id)
    show(await fetch("DELETE", url, key=target.program_key), as_json)


@app.command
@command
async def approve(partner_id: str, *, as_json: AsJSON = False) -> None:
    """Let a partner mint.

    Example: mintwire partner approve 0192…
    """
    await _set_status(partner_id, "approve", as_json)


@app.command
@command
async def suspend(partner_id: str, *, as_json: AsJSON = False) -> None:
    """Stop a partner from minting and its codes from being redeemed.

    Example: mintwire partner suspend 0192…
    """
    await _set_status(partner_id, "suspend", as_json)


@app.command(name="list")
@command
async def list_(
    *,
    status: str | None = None,
    count: Counted = False,
    limit: Limit = 50,
    cursor: Cursor = None,
    as_json: AsJSON = False,
) -> None:
    """List the program's partners, newest first.

    Example: mintwire partner list --status pending

    Parameters
    ----------
    status
        Partners that are `pending`, `active` or `suspended`.
    """
    target = read_target()
    query = {"status": status, "limit": limit, "cursor": cursor, "count": bounded(count)}
    page = await fetch_page(address(target.codes_url, "v1", "partners"), key=target.program_key, query=query)
    show_page(page, ("id", "name", "status", "prefix", "email", "quota"), as_json)


async def _set_status(partner_id: str, act: str, as_json: bool) -> None:
    target = read_target()
    url = address(target.codes_url, "v1", "partners", partner_id, act)
    show(await fetch("POST", url, key=target.program_key), as_json)
