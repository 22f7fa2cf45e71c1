"""`mintwire key`: API keys of a partner (`--partner ID`) or of a program (`--program ID`)."""

from __future__ import annotations

from typing import Annotated, Literal

from cyclopts import App, Parameter

from mintwire.cli.client import address, fetch, fetch_page, given
from mintwire.cli.config import Target, read_target
from mintwire.cli.output import AsJSON, Cursor, Limit, Misused, command, show, show_page

app = App(name="key")

Partner = Annotated[str | None, Parameter(help="The partner that owns the key.")]
Program = Annotated[str | None, Parameter(help="The program that owns the key; requires the operator's token.")]
Mode = Annotated[
    Literal["live", "test"] | None,
    Parameter(help="`test` for a key that sees and creates only test objects; by default, the mode of your own key."),
]

_COLUMNS = (
    *("id", "starts_with", "mode", "name", "purpose", "scopes", "rate_limit_per_minute", "made_by", "created_at"),
    *("last_used_at", "revoked_at"),
)


@app.command
@command
async def create(
    *,
    partner: Partner = None,
    program: Program = None,
    name: str | None = None,
    scope: Annotated[list[str] | None, Parameter(negative=())] = None,
    purpose: str | None = None,
    publishable: Annotated[bool, Parameter(negative=())] = False,
    mode: Mode = None,
    as_json: AsJSON = False,
) -> None:
    """Create a key; its text is shown only once.

    Example: mintwire key create --partner 0192… --scope codes:generate --scope codes:read

    Parameters
    ----------
    name
        A note for people.
    scope
        May be given several times; by default, all scopes of the owner that your own key can grant.
    purpose
        Keys of different purposes are counted separately.
    publishable
        A program's key for browsers, which may only validate.
    """
    body = given(name=name, scopes=scope, purpose=purpose, kind="publishable" if publishable else None, mode=mode)
    url, key = _keys(read_target(), partner, program)
    show(await fetch("POST", url, key=key, body=body), as_json)


@app.command(name="list")
@command
async def list_(
    *,
    partner: Partner = None,
    program: Program = None,
    made_by: str | None = None,
    mode: Mode = None,
    limit: Limit = 50,
    cursor: Cursor = None,
    as_json: AsJSON = False,
) -> None:
    """List keys, including revoked ones, without their texts.

    Example: mintwire key list --partner 0192…

    Parameters
    ----------
    made_by
        The id of a key: list the keys it has created instead, of any owner, such as after a leak.
    """
    target = read_target()
    query = {"made_by": made_by, "mode": mode, "limit": limit, "cursor": cursor}
    if made_by is None:
        url, key = _keys(target, partner, program)
    elif partner is not None or program is not None or mode is not None:
        raise Misused("with --made-by no --partner, --program or --mode is needed")
    else:
        url, key = address(target.codes_url, "v1", "keys"), target.get("operator_token") or target.program_key
    page = await fetch_page(url, key=key, query=query)
    show_page(page, _COLUMNS, as_json)


@app.command
@command
async def rotate(key_id: str, *, partner: Partner = None, program: Program = None, as_json: AsJSON = False) -> None:
    """Create a second key like this one; both work until the old one is revoked.

    Example: mintwire key rotate 0192… --partner 0192…
    """
    url, key = _keys(read_target(), partner, program)
    show(await fetch("POST", address(url, key_id, "rotate"), key=key), as_json)


@app.command
@command
async def revoke(key_id: str, *, partner: Partner = None, program: Program = None, as_json: AsJSON = False) -> None:
    """Revoke a key; it stops working everywhere within five seconds.

    Example: mintwire key revoke 0192… --partner 0192…
    """
    url, key = _keys(read_target(), partner, program)
    show(await fetch("DELETE", address(url, key_id), key=key), as_json)


@app.command
@command
async def limit(
    key_id: str, per_minute: str, *, partner: Partner = None, program: Program = None, as_json: AsJSON = False
) -> None:
    """Set how many codes a key may generate per minute.

    Example: mintwire key limit 0192… 1000 --partner 0192…

    Parameters
    ----------
    per_minute
        A number, or `none`.
    """
    if per_minute != "none" and not per_minute.isdecimal():
        raise Misused("the limit must be a whole number or `none`")
    wanted = None if per_minute == "none" else int(per_minute)
    url, key = _keys(read_target(), partner, program)
    show(await fetch("PATCH", address(url, key_id), key=key, body={"rate_limit_per_minute": wanted}), as_json)


def _keys(target: Target, partner: str | None, program: str | None) -> tuple[str, str]:
    if (partner is None) == (program is None):
        raise Misused("give either --partner or --program")
    if partner is not None:
        return address(target.codes_url, "v1", "partners", partner, "keys"), target.program_key
    return address(target.codes_url, "v1", "programs", program or "", "keys"), target.operator_token
