"""The operators' API that every service has, `/v1/operator/{service}/…`: for the operator only, by token or account."""

from dataclasses import replace

from shared.web.operator import health, history, jobs, log, outbox, queues
from shared.web.operator.context import OPERATING, CancelJob, ListsJobs, Operating, Replica
from shared.web.routes import Route

__all__ = ["OPERATING", "CancelJob", "ListsJobs", "Operating", "Replica", "operator_routes"]


def operator_routes(service: str, *, cancels_jobs: bool = True) -> tuple[Route, ...]:
    """Return the routes for one service; each service has its own, so that all of them can live behind one origin."""
    parts = [health.ROUTES, queues.ROUTES, outbox.ROUTES, jobs.ROUTES, history.ROUTES, log.ROUTES]
    if cancels_jobs:
        parts.append(jobs.CANCELLING)
    return tuple(replace(route, path=f"/v1/operator/{service}{route.path}") for part in parts for route in part.all)
