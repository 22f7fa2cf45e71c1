"""`/v1/operator/{service}/health` and `…/tasks`: the state of this replica. It keeps no history."""

from collections.abc import Awaitable, Callable
from typing import Final, Literal, TypeVar

from aiohttp import web
from pydantic import Field

from shared import VERSION
from shared.faults import TransientFault
from shared.web.health import LOOP_LAG, NAME, READINESS
from shared.web.models import Data, Moment, ResponseModel
from shared.web.operator.context import COMMON, OPERATING
from shared.web.operator.outbox import OutboxData
from shared.web.request import Request
from shared.web.responses import data_response
from shared.web.routes import Routes

T = TypeVar("T")


class TaskData(ResponseModel):
    """A periodic task of this replica. Every replica runs all of them."""

    name: str
    interval_seconds: float
    last_started_at: Moment | None
    last_ended_at: Moment | None
    last_result: Literal["worked", "failed"] | None = Field(description="Null before the first run has ended.")
    next_at: Moment | None = Field(description="Null while it runs. An event may start it earlier.")
    failing_since: Moment | None
    failures: int = Field(description="The number of failures in a row.")
    kinds: list[str] = Field(description="The kinds of exception with which it fails.")


class TasksData(ResponseModel):
    """The periodic tasks of this replica."""

    replica: str
    tasks: list[TaskData]


class DueData(ResponseModel):
    """Due work that no process has in hand."""

    count: int = Field(description="Counted up to a bound.")
    oldest_seconds: float = Field(description="How long the oldest item has been due.")


class HealthData(ResponseModel):
    """The present state of a replica."""

    service: str
    replica: str = Field(description="The host and the process id.")
    since: Moment = Field(description="When the process started.")
    version: str = Field(description="The version of the code.")
    schema_version: str | None = Field(
        description="The service's latest applied migration; null if the database does not answer."
    )
    is_ready: bool
    missing: dict[str, str] = Field(description="The parts that keep it from being ready, each with the reason.")
    details: dict[str, str] = Field(description="Other details of `/readyz` that are not `ok`.")
    loop_lag_seconds: float = Field(description="The worst lag of the event loop in the last five seconds.")
    outbox: OutboxData | None = Field(description="Null if the database does not answer.")
    due: DueData | None = Field(description="Due deliveries, in `webhooks`; null elsewhere, or without the database.")
    tasks: list[TaskData]


ROUTES: Final = Routes("", **COMMON)


@ROUTES.get("/tasks", Data[TasksData])
async def list_tasks(request: Request) -> web.StreamResponse:
    """List the periodic tasks of the replica that answers."""
    replica = request.dependency(OPERATING).replica
    return data_response(TasksData(replica=replica.name, tasks=[TaskData.of(each.report()) for each in replica.tasks]))


@ROUTES.get("/health", Data[HealthData])
async def show_health(request: Request) -> web.StreamResponse:
    """Show the present state of the replica that answers.

    Returns 200 whether it is ready or not. For a history, poll every replica and store the responses.
    """
    operating = request.dependency(OPERATING)
    replica = operating.replica
    report = await request.dependency(READINESS).report()
    missing = {name: state for name, state in report.parts.items() if state != "ok"}
    outbox = await _unless_away(operating.outbox.state)
    due = None if replica.due is None else await _unless_away(replica.due)
    return data_response(
        HealthData(
            service=request.dependency(NAME),
            replica=replica.name,
            since=replica.since,
            version=VERSION,
            schema_version=await _unless_away(replica.schema),
            is_ready=not missing,
            missing=missing,
            details={name: state for name, state in report.details.items() if state != "ok"},
            loop_lag_seconds=round(request.dependency(LOOP_LAG).worst_seconds, 3),
            outbox=None if outbox is None else OutboxData.of(outbox),
            due=None if due is None else DueData.of(due),
            tasks=[TaskData.of(each.report()) for each in replica.tasks],
        )
    )


async def _unless_away(ask: Callable[[], Awaitable[T]]) -> T | None:
    """Return what the database reports, or None: this must answer even when the database does not."""
    try:
        return await ask()
    except TransientFault:
        return None
