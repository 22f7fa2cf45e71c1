"""`mintwire webhook dead`: lists, replays and purges dead deliveries."""

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
    """Filters for dead deliveries.

    Parameters
    ----------
    endpoint
        Deliveries to this endpoint.
    event_type
        Deliveries of this event type, or of a group such as code.*
    since
        Deliveries that died at or after this time, RFC 3339.
    reason
        Deliveries given up for this reason.
    """

    endpoint: str | None = None
    event_type: str | None = None
    since: str | None = None
    reason: str | None = None

    def members(self) -> dict[str, object]:
        """Return the given filters, as the API names them."""
        return given(endpoint_id=self.endpoint, event_type=self.event_type, since=self.since, reason=self.reason)


app = App(name="dead", help="List, replay and purge dead deliveries.")


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
    """Replay dead deliveries, once the receiver works.

    Example: mintwire webhook dead replay --all --endpoint 0192…

    Parameters
    ----------
    deliveries
        The ids, as `webhook dead list` shows them; or use `--all`.
    all_
        All that match the filters, or all without filters; up to 10,000 at a time.
    """
    target = read_target()
    chosen = (filters or Filters()).members()
    if bool(deliveries) == all_:
        raise Misused("give deliveries or --all")
    if deliveries and chosen:
        raise Misused("filters require --all")
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
    """Purge dead deliveries for good, up to 10,000 at a time.

    Example: mintwire webhook dead purge --reason endpoint_gone

    Parameters
    ----------
    all_
        All of them; otherwise give a filter.
    """
    chosen = (filters or Filters()).members()
    if bool(chosen) == all_:
        raise Misused("give filters or --all")
    target = read_target()
    show(await fetch("POST", path(target, "dead-letters", "purge"), key=key_of(target, program), body=chosen), as_json)
