"""The operator's start: whether all is well, from the health and the queues of every service."""

from typing import Any, Final

from aiohttp import web

from services.dashboard.api.page import Page
from services.dashboard.api.pages import Pages
from services.dashboard.domain import times
from services.dashboard.domain.health import QueueHealth, ServiceHealth, verdict

PAGES: Final = Pages()
SERVICES: Final = ("codes", "redemption", "webhooks")


@PAGES.get("/operator", "overview.see")
async def overview(page: Page) -> web.Response:
    """Show the verdict and its proof; a poll gets the part below the head."""
    services = [page.codes, page.redemption, page.webhooks]
    answers = await page.ask(
        *(asked.get(f"/v1/operator/{name}/health") for name, asked in zip(SERVICES, services, strict=True)),
        *(asked.get(f"/v1/operator/{name}/queues") for name, asked in zip(SERVICES, services, strict=True)),
    )
    healths = {
        name: None if each.is_missing else _health(name, each.data)
        for name, each in zip(SERVICES, answers[:3], strict=True)
    }
    queues = [queue for each in answers[3:] if not each.is_missing for queue in _queues(each.data)]
    unknown = [name for name, health in healths.items() if health is None]
    troubles = [
        *(text for health in healths.values() if health for text in health.troubles(page.now)),
        *(text for queue in queues for text in queue.troubles),
    ]
    return page.render(
        "operator/overview.html",
        block="live",
        verdict=verdict(troubles, unknown),
        troubles=troubles,
        unknown=unknown,
        healths=healths,
        queues=sorted({queue.name: queue for queue in queues}.values(), key=lambda queue: queue.name),
    )


def _health(name: str, data: Any) -> ServiceHealth:
    outbox, due = data["outbox"] or {}, data["due"] or {}
    oldest = outbox.get("oldest_at")
    return ServiceHealth(
        name=name,
        version=data["version"],
        since=times.read(data["since"]),
        is_ready=data["is_ready"],
        missing=list(data["missing"]),
        loop_lag_seconds=data["loop_lag_seconds"],
        outbox_waiting=outbox.get("waiting", 0),
        outbox_oldest_at=times.read(oldest) if oldest else None,
        due_oldest_seconds=due.get("oldest_seconds", 0.0),
        failing_tasks=[each["name"] for each in data["tasks"] if each["failing_since"]],
    )


def _queues(data: Any) -> list[QueueHealth]:
    return [QueueHealth(each["name"], each["messages"], each["consumers"]) for each in data["queues"]]
