"""Two ways to the dead letters of a queue: its service's operators' API, or the broker where the service is down.

Both look, replay and purge alike. `unrouted` belongs to no service, so it is always the broker.
"""

from __future__ import annotations

import base64
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final, Protocol

from mintwire.cli.client import CallFailed, address, fetch, fetch_page, given
from mintwire.cli.config import Target, inbox_retention_days
from mintwire.cli.output import tell
from mintwire.cli.overflow import owner_of
from shared.broker.letters import letter_of
from shared.broker.operator import dead
from shared.broker.topology import QUEUE_UNROUTED, dead_queue
from shared.clock import utc_now
from shared.events.operating import DeadLetter, LetterChoice
from shared.times import parse_time

_PAGE: Final = 250
# A service goes through ten thousand letters at a time.
_SECONDS: Final = 120.0
# The service may make it wait for another request, for half a minute.
_PROBE_SECONDS: Final = 45.0
_NOT_STATED: Final = "not stated (mintwire dead show)"


class Letters(Protocol):
    """The dead letters of one queue."""

    async def count(self) -> int | None:
        """Count them; None if that cannot be found out."""

    async def page(self, reason: str | None, limit: int) -> list[DeadLetter]:
        """Return up to `limit`, oldest first."""

    async def show(self, key: str, why: str | None) -> DeadLetter | None:
        """Return one."""

    async def replay(self, choice: LetterChoice, why: str | None, *, is_forced: bool) -> int:
        """Put them back, and return how many; raises `dead.Forgotten` for what its consumer may not know any more."""

    async def purge(self, choice: LetterChoice, why: str | None) -> int:
        """Remove them for good, and return how many."""


async def letters_of(target: Target, queue: str) -> Letters:
    """Return the way to the dead letters of a queue: by its service if that answers the operator, else the broker."""
    service = None if queue == QUEUE_UNROUTED else owner_of(queue)
    if service and target.get("operator_token") and target.get(f"{service}_url"):
        root = address(getattr(target, f"{service}_url"), "v1", "operator", service)
        try:
            found = await fetch("GET", f"{root}/queues", key=target.operator_token, seconds=_PROBE_SECONDS)
        except CallFailed as failed:
            if not target.get("amqp_url"):
                raise
            tell(f"the broker is used, because {service} does not answer the operator: {failed}")
        else:
            counts = {each["name"]: each["messages"] for each in found["queues"]}
            url = address(root, "dead-letters", queue)
            return _OfService(url, queue, target.operator_token, counts[dead_queue(queue)])
    return _OfBroker(target, queue)


@dataclass(frozen=True)
class _OfService:
    """The dead letters as the service of their queue gives them."""

    url: str
    queue: str
    key: str
    messages: int | None

    async def count(self) -> int | None:
        return self.messages

    async def page(self, reason: str | None, limit: int) -> list[DeadLetter]:
        found: list[DeadLetter] = []
        cursor = None
        while len(found) < limit:
            query = {"reason": reason, "cursor": cursor, "limit": min(_PAGE, limit - len(found))}
            page = await fetch_page(self.url, key=self.key, query=query, seconds=_SECONDS)
            found += [_letter(each) for each in page.rows]
            if (cursor := page.next_cursor) is None:
                break
        return found

    async def show(self, key: str, why: str | None) -> DeadLetter | None:
        try:
            return _letter(await self._post("show", key=key, justification=why or _NOT_STATED))
        except CallFailed as failed:
            if failed.status == 404:
                return None
            raise

    async def replay(self, choice: LetterChoice, why: str | None, *, is_forced: bool) -> int:
        replayed, too_old, known_since = 0, 0, None
        for asked in _asked(choice):
            while True:
                done = await self._post("replay", **asked, justification=why, force=is_forced)
                replayed += done["replayed"]
                if done["unconfirmed"]:
                    raise CallFailed(f"{replayed} replayed; {done['unconfirmed']} were not confirmed and stay")
                if done["is_whole"] or not done["replayed"]:
                    break
            too_old, known_since = too_old + done["too_old"], _time(done["known_since"])
            _tell_of_more(done)
        if too_old:
            raise dead.Forgotten(dead.forgotten(replayed, too_old, known_since, self.queue))
        return replayed

    async def purge(self, choice: LetterChoice, why: str | None) -> int:
        purged = 0
        for asked in _asked(choice):
            while True:
                done = await self._post("purge", **asked, justification=why)
                purged += done["purged"]
                if done["is_whole"] or not done["purged"]:
                    break
            _tell_of_more(done)
        return purged

    async def _post(self, act: str, **members: object) -> dict[str, Any]:
        return await fetch("POST", f"{self.url}/{act}", key=self.key, body=given(**members), seconds=_SECONDS)


@dataclass(frozen=True)
class _OfBroker:
    """The dead letters as the broker gives them to its operator; nobody logs what is done."""

    target: Target
    queue: str

    async def count(self) -> int | None:
        url = self.target.get("amqp_url") if self.queue == QUEUE_UNROUTED else self.target.amqp_url
        return None if url is None else await dead.count_behind(url, self.queue)

    async def page(self, reason: str | None, limit: int) -> list[DeadLetter]:
        choice = dead.chosen(reason=reason)
        found = await dead.list_dead(self.target.amqp_url, self.queue, limit=limit, choice=choice)
        return [letter_of(each) for each in found]

    async def show(self, key: str, why: str | None) -> DeadLetter | None:
        found = await dead.show(self.target.amqp_url, self.queue, key)
        return None if found is None else letter_of(found)

    async def replay(self, choice: LetterChoice, why: str | None, *, is_forced: bool) -> int:
        known_since = None if is_forced else utc_now() - timedelta(days=inbox_retention_days())
        chosen = dead.chosen(choice.keys, choice.reason)
        return await dead.replay(self.target.amqp_url, self.queue, choice=chosen, known_since=known_since)

    async def purge(self, choice: LetterChoice, why: str | None) -> int:
        return await dead.purge(self.target.amqp_url, self.queue, choice=dead.chosen(choice.keys, choice.reason))


def _asked(choice: LetterChoice) -> list[dict[str, Any]]:
    """Return the choice as requests state it: several, if there are more keys than one may have."""
    if choice.keys is None:
        return [given(reason=choice.reason, all=True if choice.reason is None else None)]
    keys = sorted(choice.keys)
    return [given(keys=keys[at : at + _PAGE], reason=choice.reason) for at in range(0, len(keys), _PAGE)]


def _tell_of_more(done: dict[str, Any]) -> None:
    if not done["is_whole"]:
        tell(f"there may be more behind the first 10,000 dead letters of {done['queue']}: replay or purge these first")


def _letter(row: dict[str, Any]) -> DeadLetter:
    members = {name: row[name] for name in ("key", "reason", "detail", "routing_key")}
    return DeadLetter(
        **members,
        first_received_at=_time(row["first_received_at"]),
        died_at=_time(row["died_at"]),
        size=row["bytes"],
        headers=row.get("headers", {}),
        body=base64.b64decode(row.get("body_base64", "")),
    )


def _time(text: str | None) -> datetime | None:
    return None if text is None else parse_time(text)
