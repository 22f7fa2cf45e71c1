"""`mintwire webhook tail`: polls for the newest deliveries, and prints what is new about each."""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any, Final

from mintwire.cli.client import CallFailed, fetch_page
from mintwire.cli.output import plain, tell
from mintwire.cli.waiting import FIRST_PAUSE, LONGEST_PAUSE, WORTH_ASKING_AGAIN, wait_for_stop
from mintwire.terminal import end_if_output_is_closed, write_json, write_line

POLL_SECONDS: Final = 1.0
# Maximum number of pages per poll: deliveries that arrive faster are not shown.
_PAGE, _MOST_PAGES = 250, 8
# How many deliveries are remembered, to recognise a change.
_REMEMBERED: Final = 4 * _PAGE * _MOST_PAGES
# Two processes of the service may commit in a different order from that of their ids.
_OVERLAP: Final = timedelta(minutes=1)

Row = dict[str, Any]


class Tail:
    """The deliveries that a key may see, live, starting with the latest `lines`."""

    def __init__(
        self,
        url: str,
        key: str,
        query: Mapping[str, object | None],
        stop: asyncio.Event,
        *,
        lines: int,
        count: int | None,
        as_json: bool,
    ) -> None:
        self._url = url
        self._key = key
        self._query = query
        self._stop = stop
        self._lines = lines
        self._left = count
        self._as_json = as_json
        self._seen: OrderedDict[str, tuple[str, int]] = OrderedDict()
        self._since: str | None = None

    async def follow(self) -> None:
        """Print until stopped, until the count is reached, or until the output is closed. Raises CallFailed."""
        rows = await self._newest(self._lines)
        for row in rows[self._lines :]:
            self._note(row)
        self._show(rows[: self._lines])
        if not self._stop.is_set():
            tell("showing deliveries as they arrive; Ctrl-C stops it")
        pause = POLL_SECONDS
        while not self._stop.is_set():
            end_if_output_is_closed()
            await wait_for_stop(self._stop, pause)
            try:
                rows = await self._newest()
            except CallFailed as failed:
                if failed.status not in WORTH_ASKING_AGAIN:
                    raise
                pause = FIRST_PAUSE if pause == POLL_SECONDS else min(2 * pause, LONGEST_PAUSE)
                tell(f"{failed}; retrying in {pause:g} s")
                continue
            pause = POLL_SECONDS
            self._show(rows)

    async def _newest(self, enough: int | None = None) -> list[Row]:
        """Return the newest deliveries, back to a known one, or until there are enough."""
        rows, cursor = list[Row](), None
        for _ in range(_MOST_PAGES):
            query = {**self._query, "since": self._since, "limit": _PAGE, "cursor": cursor}
            page = await fetch_page(self._url, key=self._key, query=query)
            rows += page.rows
            cursor = page.next_cursor
            is_known = any(row["id"] in self._seen for row in page.rows)
            if cursor is None or is_known or (enough is not None and len(rows) >= max(enough, 1)):
                break
        else:
            if enough is None and rows:
                tell("more deliveries arrived than can be shown; filter by endpoint, type or status")
        if self._since is None and rows:
            newest = datetime.fromisoformat(rows[0]["created_at"])
            self._since = (newest - _OVERLAP).isoformat().replace("+00:00", "Z")
        return rows

    def _show(self, rows: list[Row]) -> None:
        """Print what is new, the oldest first."""
        for row in reversed(rows):
            if self._stop.is_set():
                return
            if not self._note(row):
                continue
            if self._as_json:
                write_json(row, indent=None)
            else:
                write_line(_line(row))
            if self._left is not None:
                self._left -= 1
                if self._left == 0:
                    self._stop.set()

    def _note(self, row: Row) -> bool:
        """Remember the state of a delivery, and return whether it is new; being in flight does not count."""
        status = "pending" if row["status"] == "in_flight" else row["status"]
        stands = (status, row["attempts_made"])
        is_new = self._seen.get(row["id"]) != stands
        self._seen[row["id"]] = stands
        self._seen.move_to_end(row["id"])
        while len(self._seen) > _REMEMBERED:
            self._seen.popitem(last=False)
        return is_new


def _line(row: Row) -> str:
    came_of_it = row["last_status"] or row["last_error_code"]
    parts = [row["created_at"], row["id"], row["event_type"], row["status"], plain(came_of_it)]
    if row["attempts_made"] > 1:
        parts.append(f"after {row['attempts_made']} attempts")
    if row["next_attempt_at"] is not None and row["attempts_made"]:
        parts.append(f"next at {row['next_attempt_at']}")
    return "  ".join(parts)
