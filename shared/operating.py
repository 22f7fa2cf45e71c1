"""What the operators' API of a service stands on, wired from its database, its broker and its periodic tasks."""

import os
import platform
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from datetime import timedelta

from shared.broker.operator.own_queues import OwnQueues
from shared.clock import Clock
from shared.database.history import History
from shared.database.operator_log import OperatorLog
from shared.database.outbox_state import OutboxOverview
from shared.database.overflow import OverflowTable
from shared.database.pool import Database
from shared.database.schema_version import SchemaVersion
from shared.events.operating import DueWork
from shared.periodic import Periodic
from shared.web.operator import CancelJob, ListsJobs, Operating, Replica


@dataclass(frozen=True, slots=True, kw_only=True)
class Own:
    """What a service has of its own: the queue that it consumes, its tasks and jobs, and work that may be due."""

    queue: str
    tasks: Sequence[Periodic]
    jobs: ListsJobs
    cancel_job: CancelJob | None = None
    due: Callable[[], Awaitable[DueWork]] | None = None


def build_operating(
    database: Database, clock: Clock, amqp_url: str, own: Own, *, token: str | None, inbox_kept: timedelta
) -> Operating:
    """Wire it; does no I/O."""
    log = OperatorLog(database, clock)
    return Operating(
        token=token,
        history=History(database),
        overflow=OverflowTable(database),
        queues=OwnQueues(amqp_url, own.queue, log, inbox_kept, clock),
        outbox=OutboxOverview(database, clock),
        log=log,
        replica=Replica(
            name=f"{platform.node()}:{os.getpid()}",
            since=clock(),
            tasks=own.tasks,
            schema=SchemaVersion(database),
            due=own.due,
        ),
        jobs=own.jobs,
        cancel_job=own.cancel_job,
    )
