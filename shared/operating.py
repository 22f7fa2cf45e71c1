"""What the operators' API of a service stands on, wired from its database and its broker."""

from datetime import timedelta

from shared.broker.operator.own_queues import OwnQueues
from shared.clock import Clock
from shared.database.history import History
from shared.database.operator_log import OperatorLog
from shared.database.overflow import OverflowTable
from shared.database.pool import Database
from shared.web.operator import Operating


def build_operating(
    database: Database, clock: Clock, amqp_url: str, queue: str, *, token: str | None, inbox_kept: timedelta
) -> Operating:
    """Wire it for the service that consumes `queue`; does no I/O."""
    log = OperatorLog(database, clock)
    return Operating(
        token=token,
        history=History(database),
        overflow=OverflowTable(database),
        queues=OwnQueues(amqp_url, queue, log, inbox_kept, clock),
        log=log,
    )
