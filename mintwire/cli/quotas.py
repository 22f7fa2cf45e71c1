"""`mintwire quota`: how many codes a partner may mint."""

from __future__ import annotations

from cyclopts import App

from mintwire.cli.client import address, fetch, fetch_page, given
from mintwire.cli.config import Target, read_target
from mintwire.cli.output import AsJSON, Cursor, Limit, command, show, show_page

app = App(name="quota")


@app.command
@command
async def grant(partner_id: str, amount: int, *, reason: str | None = None, as_json: AsJSON = False) -> None:
    """Grant codes to a partner, and show what is left.

    Example: mintwire quota grant 0192… 1000 --reason "spring campaign"

    Parameters
    ----------
    amount
        The number of additional codes.
    reason
        A note for the ledger.
    """
    target = read_target()
    body = given(amount=amount, reason=reason)
    show(await fetch("POST", _quota(target, partner_id), key=target.program_key, body=body), as_json)


@app.command(name="show")
@command
async def show_(partner_id: str, *, as_json: AsJSON = False) -> None:
    """Show how many codes a partner was granted, has minted, and has left.

    Example: mintwire quota show 0192…
    """
    target = read_target()
    show(await fetch("GET", _quota(target, partner_id), key=target.program_key), as_json)


@app.command
@command
async def ledger(partner_id: str, *, limit: Limit = 50, cursor: Cursor = None, as_json: AsJSON = False) -> None:
    """List every grant, mint and correction of a partner, newest first.

    Example: mintwire quota ledger 0192… --limit 10
    """
    target = read_target()
    url = address(_quota(target, partner_id), "ledger")
    page = await fetch_page(url, key=target.program_key, query={"limit": limit, "cursor": cursor})
    show_page(page, ("created_at", "kind", "amount", "actor", "reason"), as_json)


def _quota(target: Target, partner_id: str) -> str:
    return address(target.codes_url, "v1", "partners", partner_id, "quota")
