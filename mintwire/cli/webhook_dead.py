"""`mintwire webhook dead`: deliveries that were given up, replayed or purged."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from cyclopts import App, Parameter

from mintwire.cli.client import CallFailed, address, fetch, fetch_page, given
from mintwire.cli.config import read_target
from mintwire.cli.output import AsJSON, Cursor, Limit, Misused, command, show, show_page
from mintwire.cli.webhook_calls import AsProgram, key_of, path


@Parameter(name="*")
@dataclass(frozen=True, kw_only=True)
class Filters:
    """Which dead deliveries are meant.

    Parameters
    ----------
    endpoint
        Only those to this endpoint.
    event_type
        Only those of this type, or of a group such as code.*
    since
        Only those from this time on, RFC 3339.
    reason
        Only those that were given up for this reason.
    """

    endpoint: str | None = None
    event_type: str | None = None
    since: str | None = None
    reason: str | None = None

    def members(self) -> dict[str, object]:
        """Return those that are given, as the API names them."""
        return given(endpoint_id=self.endpoint, event_type=self.event_type, since=self.since, reason=self.reason)


app = App(name="dead", help="Deliveries that used up their attempts.")


@app.command(name="list")
@command
async def list_dead(
    *,
    filters: Filters | None = None,
    program: AsProgram = False,
    limit: Limit = 50,
    cursor: Cursor = None,
    as_json: AsJSON = False,
) -> None:
    """List dead deliveries, newest first.

    Example: mintwire webhook dead list --since 2026-03-18T00:00:00Z
    """
    target = read_target()
    query = {**(filters or Filters()).members(), "limit": limit, "cursor": cursor}
    page = await fetch_page(path(target, "dead-letters"), key=key_of(target, program), query=query)
    show_page(page, ("id", "endpoint_id", "event_type", "reason", "attempts_made", "last_status", "died_at"), as_json)


@app.command(name="replay")
@command
async def replay_dead(
    *deliveries: str,
    all_: Annotated[bool, Parameter(name="--all", negative=())] = False,
    filters: Filters | None = None,
    program: AsProgram = False,
    as_json: AsJSON = False,
) -> None:
    """Make dead deliveries due again, once the receiver works.

    Example: mintwire webhook dead replay --all --endpoint 0192…

    Parameters
    ----------
    deliveries
        Which, as `webhook dead list` shows them; or `--all`.
    all_
        All of them, or of those that the filters mean, which go with this; up to 10,000 at a time.
    """
    target = read_target()
    chosen = (filters or Filters()).members()
    if bool(deliveries) == all_:
        raise Misused("say which: deliveries, or --all")
    if deliveries and chosen:
        raise Misused("filters go with --all")
    url, key = path(target, "dead-letters"), key_of(target, program)
    if all_:
        show(await fetch("POST", address(url, "replay"), key=key, body=chosen), as_json)
        return
    for done, delivery in enumerate(deliveries):
        try:
            await fetch("POST", address(url, delivery, "replay"), key=key)
        except CallFailed as refused:
            raise CallFailed(f"{delivery}: {refused}; {done} replayed before it", refused.status) from refused
    show({"replayed": len(deliveries)}, as_json)


@app.command(name="purge")
@command
async def purge_dead(
    *,
    all_: Annotated[bool, Parameter(name="--all", negative=())] = False,
    filters: Filters | None = None,
    program: AsProgram = False,
    as_json: AsJSON = False,
) -> None:
    """Give dead deliveries up for good, up to 10,000 at a time.

    Example: mintwire webhook dead purge --reason endpoint_gone

    Parameters
    ----------
    all_
        All of them; otherwise there has to be a filter.
    """
    chosen = (filters or Filters()).members()
    if bool(chosen) == all_:
        raise Misused("say which: filters, or --all")
    target = read_target()
    show(await fetch("POST", path(target, "dead-letters", "purge"), key=key_of(target, program), body=chosen), as_json)
