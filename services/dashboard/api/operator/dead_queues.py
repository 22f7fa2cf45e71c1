"""The dead queues: by reason, one letter at a time, its body for a reason, replay and purge."""

import base64
import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal

from aiohttp import web

from services.dashboard.api.operator.overview import SERVICES
from services.dashboard.api.page import Asking, Page
from services.dashboard.api.pages import Pages
from services.dashboard.clients.errors import Refused
from services.dashboard.domain import dead_letters, times, words
from services.dashboard.domain.dead_letters import Letter
from services.dashboard.domain.errors import NothingThere
from services.dashboard.domain.health import QueueHealth
from shared.times import parse_time

PAGES: Final = Pages()
_PATH: Final = "/operator/dead-queues"
# As many letters as one answer of a service has; those behind them follow once these are gone.
_LOOKED_AT: Final = 250
_SHORTEST_WHY: Final = 10


@dataclass(frozen=True, slots=True)
class Choice:
    """The letters that a question is about: all of a queue, or those of one reason."""

    queue: str
    reason: str
    count: int
    is_whole: bool
    """Whether these are all; otherwise there may be more behind those that were looked at."""

    @property
    def body(self) -> dict[str, Any]:
        """The members that state this choice to the service."""
        return {"reason": self.reason} if self.reason else {"all": True}


@PAGES.get(_PATH, "queues.see")
async def dead_queues(page: Page) -> web.Response:
    """Show how many letters each dead queue has, and those of one queue by reason; a poll gets the counts."""
    answers = await page.ask(*(_asking(page, name).get(f"/v1/operator/{name}/queues") for name in SERVICES))
    queues = [each for answer in answers if not answer.is_missing for each in _dead_queues(answer.data)]
    unknown = [name for name, answer in zip(SERVICES, answers, strict=True) if answer.is_missing]
    names = [queue.name for queue in queues]
    queue = page.query("queue") or next((each.name for each in queues if each.messages), "")
    is_shown = queue in names and not page.is_htmx
    letters, is_whole = await _letters(page, queue.removesuffix(".dead")) if is_shown else ([], True)
    groups = dead_letters.by_reason(letters)
    chosen = next((group for group in groups if group.reason == page.query("reason")), groups[0] if groups else None)
    at = min(int(page.query("at") or 0), len(chosen.letters) - 1) if chosen and page.query("at").isdecimal() else 0
    return page.render(
        "operator/dead_queues.html",
        block="live",
        queues=queues,
        unknown=unknown,
        queue=queue if queue in names else "",
        groups=groups,
        is_whole=is_whole,
        chosen=chosen,
        at=at,
        looked_at=_LOOKED_AT,
    )


@PAGES.post(_PATH + "/{queue}/show", "queues.look")
async def show(page: Page) -> web.Response:
    """Show a letter's body, for a reason that the operators' log records."""
    queue, key, why = page.path("queue"), page.text("key"), page.text("why")
    if len(why) < _SHORTEST_WHY:
        errors = {"why": f"Say in at least {_SHORTEST_WHY} characters why you look"}
        return page.refuse("operator/dead_letter.html", errors, queue=queue, key=key, letter=None)
    answer = await _asking(page, _service(queue)).post(
        f"/v1/operator/{_service(queue)}/dead-letters/{{}}/show", queue, body={"key": key, "justification": why}
    )
    return page.render(
        "operator/dead_letter.html", queue=queue, key=key, why=why, letter=answer.data, body=_readable(answer.data)
    )


@PAGES.get(_PATH + "/{queue}/replay", "queues.replay")
async def ask_replay(page: Page) -> web.Response:
    """Say how many letters would go back, and what follows."""
    return page.render("operator/replay_letters.html", choice=await _choice(page), moved=False)


@PAGES.post(_PATH + "/{queue}/replay", "queues.replay")
async def replay(page: Page) -> web.Response:
    """Put the letters back into their queue."""
    return await _decide(page, "replay")


@PAGES.get(_PATH + "/{queue}/purge", "queues.purge")
async def ask_purge(page: Page) -> web.Response:
    """Say how many letters would be lost for good."""
    return page.render("operator/purge_letters.html", choice=await _choice(page), moved=False)


@PAGES.post(_PATH + "/{queue}/purge", "queues.purge", is_fresh=True)
async def purge(page: Page) -> web.Response:
    """Remove the letters for good."""
    return await _decide(page, "purge")


async def _decide(page: Page, act: Literal["replay", "purge"]) -> web.Response:
    template = f"operator/{act}_letters.html"
    choice = await _choice(page)
    asked = page.text("count")
    moved = not asked.isdecimal() or dead_letters.has_moved(int(asked), choice.count)
    if moved or dead_letters.is_answer_late(parse_time(page.text("asked_at")), page.now):
        return page.render(template, status=422, choice=choice, moved=True)
    if act == "purge" and page.text("typed_name") != choice.queue:
        return page.refuse(template, {"typed_name": "Type the name of the queue"}, choice=choice, moved=False)
    service, body = _service(choice.queue), {**choice.body, "limit": dead_letters.MOST_AT_ONCE}
    try:
        await _asking(page, service).post(f"/v1/operator/{service}/dead-letters/{{}}/{act}", choice.queue, body=body)
    except Refused as refused:
        text = words.REFUSALS.get(refused.code, refused.detail)
        return page.refuse(template, {"": text}, choice=choice, moved=False)
    return page.redirect(_PATH, note={"replay": "letters_replayed", "purge": "letters_purged"}[act])


async def _choice(page: Page) -> Choice:
    """Count the letters that the address or the form names; those of a queue that no service has are nothing."""
    queue = page.path("queue")
    reason = page.text("reason") or page.query("reason")
    letters, is_whole = await _letters(page, queue, reason)
    if not letters:
        raise NothingThere
    return Choice(queue, reason, len(letters), is_whole)


async def _letters(page: Page, queue: str, reason: str = "") -> tuple[list[Letter], bool]:
    service = _service(queue)
    path = f"/v1/operator/{service}/dead-letters/{{}}"
    answer = await _asking(page, service).get(path, queue, limit=_LOOKED_AT, reason=reason)
    return [_letter(each) for each in answer.data], answer.next_cursor is None


def _service(queue: str) -> str:
    service = queue.partition(".")[0]
    if service not in SERVICES:
        raise NothingThere
    return service


def _asking(page: Page, service: str) -> Asking:
    return Asking(page, page.site.services.named(service))


def _dead_queues(data: Any) -> Sequence[QueueHealth]:
    found = [QueueHealth(each["name"], each["messages"], each["consumers"]) for each in data["queues"]]
    return [queue for queue in found if queue.is_dead_queue]


def _letter(data: Any) -> Letter:
    times_of = {name: times.read(data[name]) if data[name] else None for name in ("first_received_at", "died_at")}
    return Letter(data["key"], data["reason"], data["detail"], data["routing_key"], size=data["bytes"], **times_of)


def _readable(letter: Any) -> str:
    """Return the body as text; JSON is indented, and nothing is made of it."""
    raw = base64.b64decode(letter["body_base64"])
    try:
        return json.dumps(json.loads(raw), indent=2, ensure_ascii=False)
    except (ValueError, RecursionError):
        return raw.decode(errors="replace")
