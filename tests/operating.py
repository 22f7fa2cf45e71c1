"""The operators' API of a service under test."""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import replace
from datetime import timedelta

from services.codes.usecases.operate_jobs import OperateJobs as CodesJobs
from services.redemption.usecases.operate_jobs import OperateJobs as RedemptionJobs
from services.webhooks.usecases.operate_jobs import OperateJobs as WebhooksJobs
from shared.broker import topology
from shared.clock import Clock
from shared.database.pool import Database
from shared.operating import Own, build_operating
from shared.periodic import Periodic
from shared.web import Route
from shared.web.operator import Operating

QUEUES = {
    "codes": topology.QUEUE_CODES_REDEMPTIONS,
    "redemption": topology.QUEUE_REDEMPTION_CHECKOUT,
    "webhooks": topology.QUEUE_WEBHOOKS_EVENTS,
}
# Nobody listens there: for tests that need no broker.
NO_BROKER = "amqp://nobody:nothing@127.0.0.1:9/mintwire"


def operating(
    service: str,
    pool: Database,
    clock: Clock,
    *,
    token: str | None = None,
    amqp_url: str = NO_BROKER,
    tasks: Sequence[Periodic] = (),
) -> Operating:
    """Wire it as `app` does."""
    own = Own(queue=QUEUES[service], tasks=tasks, jobs=RedemptionJobs(pool))
    if service != "redemption":
        jobs = CodesJobs(pool, clock) if service == "codes" else WebhooksJobs(pool, clock)
        own = replace(own, jobs=jobs, cancel_job=jobs.cancel)
    return build_operating(pool, clock, amqp_url, own, token=token, inbox_kept=timedelta(days=36))


def operator_routes_of(routes: Sequence[Route]) -> list[Route]:
    """Return those of the operators' API."""
    return [route for route in routes if route.path.startswith("/v1/operator/")]


async def refused_to_others(
    routes: Sequence[Route], ask: Callable[[Route, str | None], Awaitable[tuple[int, str]]], refused: Mapping[str, str]
) -> None:
    """Ask at every route of the operators' API without a key and with each that is refused, by the refusal's code."""
    own = operator_routes_of(routes)
    assert len(own) >= 7
    for route in own:
        assert await ask(route, None) == (401, "invalid_api_key"), route.path
        for key, code in refused.items():
            status = 401 if code == "invalid_api_key" else 403
            assert await ask(route, key) == (status, code), route.path
