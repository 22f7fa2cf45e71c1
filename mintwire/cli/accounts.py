"""`mintwire account`: the accounts of people at the dashboard; requires the operator's token."""

from __future__ import annotations

from cyclopts import App

from mintwire.cli.client import CallFailed, address, fetch, fetch_page, given
from mintwire.cli.config import Target, read_target
from mintwire.cli.output import AsJSON, Cursor, Limit, command, show, show_page
from mintwire.terminal import ask_secret
from shared.accounts import Grade, Role

app = App(name="account")


@app.command
@command
async def create(
    email: str,
    *,
    name: str,
    role: Role,
    grade: Grade = "change",
    program: str | None = None,
    partner: str | None = None,
    password: str | None = None,
    as_json: AsJSON = False,
) -> None:
    """Create an account with a password that you choose; invite people instead where they can choose their own.

    Example: mintwire account create ada@example.com --name "Ada Okafor" --role operator --password "a long password"

    Parameters
    ----------
    name
        The person's name.
    role
        What the person is: `partner`, `merchant` or `operator`.
    grade
        `change` may change and start things, `look` may not.
    program
        The id of the program that a partner or a merchant acts for.
    partner
        The id of the partner that a partner acts for.
    password
        The password, of at least 12 characters. Without it you are asked, which keeps it out of the shell's history.
    """
    target = read_target()
    chosen = password if password is not None else ask_secret("Password: ")
    account = given(email=email, name=name, password=chosen)
    body = {**account, **given(role=role, grade=grade, program_id=program, partner_id=partner)}
    show(await fetch("POST", _accounts(target), key=target.operator_token, body=body), as_json)


@app.command
@command
async def invite(
    email: str,
    *,
    role: Role,
    grade: Grade = "look",
    program: str | None = None,
    partner: str | None = None,
    as_json: AsJSON = False,
) -> None:
    """Invite a person and print the link, which works once within 72 hours; an earlier invitation ends.

    Example: mintwire account invite ada@example.com --role operator --grade change

    Parameters
    ----------
    role
        What the person will be: `partner`, `merchant` or `operator`.
    grade
        `change` may change and start things, `look` may not.
    program
        The id of the program that a partner or a merchant acts for.
    partner
        The id of the partner that a partner acts for.
    """
    target = read_target()
    body = given(email=email, role=role, grade=grade, program_id=program, partner_id=partner)
    url = address(_accounts(target), "invitations")
    _show_link(await fetch("POST", url, key=target.operator_token, body=body), as_json)


@app.command
@command
async def reset(email: str, *, as_json: AsJSON = False) -> None:
    """Print a link with which the person sets a new password, once within 30 minutes.

    Example: mintwire account reset ada@example.com
    """
    target = read_target()
    url = address(_accounts(target), await _id_of(target, email), "resets")
    _show_link(await fetch("POST", url, key=target.operator_token), as_json)


@app.command(name="list")
@command
async def list_accounts(*, limit: Limit = 50, cursor: Cursor = None, as_json: AsJSON = False) -> None:
    """List accounts, newest first.

    Example: mintwire account list
    """
    target = read_target()
    query = {"limit": limit, "cursor": cursor}
    page = await fetch_page(_accounts(target), key=target.operator_token, query=query)
    show_page(page, ("email", "name", "last_seen_at", "disabled_at"), as_json)


@app.command
@command
async def disable(email: str, *, as_json: AsJSON = False) -> None:
    """Switch an account off; its sign-ins end at once.

    Example: mintwire account disable ada@example.com
    """
    await _switch(email, "disable", as_json)


@app.command
@command
async def enable(email: str, *, as_json: AsJSON = False) -> None:
    """Switch an account on again.

    Example: mintwire account enable ada@example.com
    """
    await _switch(email, "enable", as_json)


async def _switch(email: str, act: str, as_json: bool) -> None:
    target = read_target()
    url = address(_accounts(target), await _id_of(target, email), act)
    show(await fetch("POST", url, key=target.operator_token), as_json)


async def _id_of(target: Target, email: str) -> str:
    page = await fetch_page(_accounts(target), key=target.operator_token, query={"email": email})
    if not page.rows:
        raise CallFailed(f"no account has the address {email}")
    found: str = page.rows[0]["id"]
    return found


def _accounts(target: Target) -> str:
    return address(target.dashboard_url, "v1", "operator", "dashboard", "accounts")


def _show_link(made: dict[str, object], as_json: bool) -> None:
    show({"link": made["url"], "expires_at": made["expires_at"]}, as_json)
