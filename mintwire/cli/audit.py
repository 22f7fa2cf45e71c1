"""`mintwire audit`: who changed what, as the program."""

from __future__ import annotations

from cyclopts import App

from mintwire.cli import jobs
from mintwire.cli.client import address, fetch_page
from mintwire.cli.config import read_target
from mintwire.cli.output import AsJSON, Cursor, Limit, command, show_page

app = App(name="audit")


@app.command(name="list")
@command
async def list_(
    *,
    object_: str | None = None,
    key: str | None = None,
    account: str | None = None,
    action: str | None = None,
    since: str | None = None,
    limit: Limit = 50,
    cursor: Cursor = None,
    as_json: AsJSON = False,
) -> None:
    """List changes, newest first: who changed what, from which value to which.

    Example: mintwire audit list --action coupon.updated

    Parameters
    ----------
    object_
        The id of the changed object.
    key
        The id of the API key that made the change.
    account
        The id of the account that made the change.
    action
        An action, such as `coupon.updated`.
    since
        Changes at or after this time, with an offset.
    """
    target = read_target()
    who = {"key_id": key, "account_id": account}
    query = {"object_id": object_, **who, "action": action, "since": since, "limit": limit, "cursor": cursor}
    page = await fetch_page(address(target.codes_url, "v1", "audit-log"), key=target.program_key, query=query)
    show_page(page, ("created_at", "actor", "action", "object_id", "changes"), as_json)


@app.command
@command
async def export(
    *,
    output: jobs.Output = None,
    file_format: jobs.FileFormat = "csv",
    object_: str | None = None,
    key: str | None = None,
    account: str | None = None,
    action: str | None = None,
    since: str | None = None,
    until: str | None = None,
    as_json: jobs.FileAsJSON = False,
) -> None:
    """Export changes, newest first; an incomplete file is an error.

    Example: mintwire audit export --since 2026-11-01 --output changes.csv

    Parameters
    ----------
    object_
        The id of the changed object.
    key
        The id of the API key that made the change.
    account
        The id of the account that made the change.
    action
        An action, such as `coupon.updated`.
    since
        A time with an offset, or a day.
    until
        A time with an offset, or a day that is included.
    """
    query = {
        "format": file_format,
        "object_id": object_,
        "key_id": key,
        "account_id": account,
        "action": action,
        "since": since,
        "until": until,
    }
    await jobs.save(address(read_target().codes_url, "v1", "audit-log", "export"), output, query, "changes", as_json)
