"""The composition root: opens what the service needs, wires it, and runs its parts until told to stop."""

import asyncio
from collections.abc import Callable, Sequence
from contextlib import AbstractAsyncContextManager
from datetime import timedelta

from aiohttp import web

from services.redemption.api import ROUTES
from services.redemption.api.errors import translate
from services.redemption.api.use_cases import USE_CASES, UseCases
from services.redemption.config import RedemptionSettings
from services.redemption.consumers import CheckoutConsumer
from services.redemption.domain.customers import Digests
from services.redemption.usecases import remove_old
from services.redemption.usecases.book_commissions import INTERVAL_SECONDS as BOOK_SECONDS
from services.redemption.usecases.book_commissions import BookCommissions
from services.redemption.usecases.commission_statements import PayStatement, ReadStatements
from services.redemption.usecases.customer_jobs import (
    ReadCustomerJobs,
    RunCustomerJobs,
    StartCustomerJob,
    list_own_jobs,
)
from services.redemption.usecases.decide_requests import DecideRequests
from services.redemption.usecases.erase_customer import EraseCustomer
from services.redemption.usecases.export_customer import EXPORT
from services.redemption.usecases.fill_mailboxes import INTERVAL_SECONDS as FILL_SECONDS
from services.redemption.usecases.fill_mailboxes import FillMailboxes
from services.redemption.usecases.operate_jobs import OperateJobs
from services.redemption.usecases.read_orders import ReadOrder
from services.redemption.usecases.read_redemptions import ReadRedemptions
from services.redemption.usecases.read_rejections import ReadRejections
from services.redemption.usecases.read_stats import ReadStats, add_up_stats
from services.redemption.usecases.remove_old import ForgetOrders
from services.redemption.usecases.reservations import ReadReservation, ReleaseReservation
from services.redemption.usecases.resolve_days import ResolveDays
from services.redemption.usecases.take_in_checkouts import TakeInCheckouts
from services.redemption.usecases.validate_codes import ValidateCodes
from services.redemption.usecases.validate_publicly import ValidatePublicly
from shared import metrics
from shared.account_tokens import AccountKeys
from shared.broker import topology
from shared.broker.consumer import BatchConsumer
from shared.broker.overflow import Overflow
from shared.broker.publisher import Publisher
from shared.broker.relay import OutboxRelay
from shared.clock import Clock, utc_now
from shared.config import decode_secret_keys
from shared.database import pool, retention
from shared.database.accounts import AccountReader
from shared.database.credentials import CredentialReader
from shared.database.customer_parts import INTERVAL_SECONDS as PARTS_SECONDS
from shared.database.customer_parts import CustomerParts, Outside, Steps
from shared.database.erased_letters import letters_outside
from shared.database.idempotency import AnswerOnce, KeptAnswers
from shared.database.key_uses import INTERVAL_SECONDS as KEY_USES_SECONDS
from shared.database.outbox import OutboxTable
from shared.database.overflow import OverflowTable
from shared.database.pool import Database
from shared.database.purging import INTERVAL_SECONDS, Removal
from shared.database.stats import INTERVAL_SECONDS as ADD_UP_SECONDS
from shared.events.envelope import OutboxEvent
from shared.grouping import Grouping
from shared.ids import new_id
from shared.operating import Own, build_operating
from shared.periodic import Periodic
from shared.process import serve_http, supervise
from shared.readiness import Parts
from shared.web import build_application
from shared.web.health import Ready
from shared.web.operator import OPERATING, Operating

SERVICE = "redemption"
DRAIN_SECONDS = 5.0
# Decisions and validations are worked on in groups, each over a connection that it keeps.
GROUPS = 2


async def run(settings: RedemptionSettings, stop: asyncio.Event) -> None:
    """Serve until `stop` is set; then take nothing more, finish what is in hand, and close in reverse order."""
    amqp_url = settings.amqp_url.get_secret_value()
    async with (
        open_database(settings.database_url.get_secret_value(), settings.database_pool_size) as database,
        Publisher(amqp_url, topology.EXCHANGE_REDEMPTION) as publisher,
    ):
        relay = OutboxRelay(publisher, OutboxTable(database))
        digests = Digests(*decode_secret_keys(settings.secret_key))
        customers_asked = asyncio.Event()
        use_cases = build_use_cases(
            database, utc_now, relay.hand_over, digests, customers_asked.set, settings.trusted_proxies
        )
        overflow = Overflow(amqp_url, topology.QUEUE_REDEMPTION_CHECKOUT, OverflowTable(database))
        customers = build_customer_runner(database, utc_now, digests, letters_outside(overflow.rewrite))
        consumer = BatchConsumer(
            amqp_url,
            topology.QUEUE_REDEMPTION_CHECKOUT,
            CheckoutConsumer(TakeInCheckouts(database, utc_now, relay.hand_over, digests)),
            utc_now,
            on_full=overflow.make_room,
        )
        credentials = CredentialReader(database, utc_now)
        tasks = [
            overflow.task,
            Periodic("fill_mailboxes", FILL_SECONDS, FillMailboxes(database)),
            Periodic("add_up_stats", ADD_UP_SECONDS, add_up_stats(database)),
            Periodic("book_commissions", BOOK_SECONDS, BookCommissions(database, utc_now)),
            Periodic("record_key_uses", KEY_USES_SECONDS, credentials.uses.write),
            Periodic("run_customer_jobs", PARTS_SECONDS, customers, wake=customers_asked),
            *(Periodic(f"purge_{each.table}", INTERVAL_SECONDS, each) for each in build_removals(database, settings)),
        ]
        periodic = [*consumer.tasks, *relay.tasks, *tasks]
        ready = Parts(database, publisher, consumer, periodic)
        operating = build_operating(
            database,
            utc_now,
            amqp_url,
            Own(queue=topology.QUEUE_REDEMPTION_CHECKOUT, tasks=periodic, jobs=OperateJobs(database)),
            token=settings.operator_token_text(),
            inbox_kept=settings.inbox_kept,
        )
        accounts = AccountReader(database, utc_now, AccountKeys.parse(settings.account_keys), SERVICE)
        app = build_app(use_cases, credentials, accounts, ready, operating)
        async with (
            use_cases.decide.running(),
            use_cases.validate_codes.running(),
            serve_http(app, settings.host, settings.port) as server,
        ):

            async def finish() -> None:
                await consumer.stop()
                await server.close()
                await relay.drain(DRAIN_SECONDS)

            parts = {
                "consumer": consumer.run(),
                "relay": relay.run(),
                **{task.name: task.run() for task in tasks},
            }
            await supervise(parts, stop, finish)


def build_removals(
    database: Database, settings: RedemptionSettings, clock: Clock = utc_now
) -> list[Removal | ForgetOrders]:
    """Wire what removes old rows, table by table; does no I/O."""
    events_kept = timedelta(days=settings.event_retention_days)
    inbox_kept = settings.inbox_kept
    rejections_kept = timedelta(days=settings.rejection_retention_days)
    return [
        *retention.removals(database, clock, events_kept, inbox_kept),
        *remove_old.removals(database, clock, inbox_kept, rejections_kept),
    ]


def build_customer_runner(database: Database, clock: Clock, digests: Digests, letters: Outside) -> RunCustomerJobs:
    """Wire what exports and erases customers; does no I/O."""
    steps: Steps = {"export": EXPORT, "erase": EraseCustomer(digests, letters).steps}
    return RunCustomerJobs(database, clock, CustomerParts(database, clock, steps, list_jobs=list_own_jobs))


def build_use_cases(
    database: Database,
    clock: Clock,
    hand_over: Callable[[Sequence[OutboxEvent]], None],
    digests: Digests,
    wake_customers: Callable[[], None],
    trusted_proxies: int = 0,
) -> UseCases:
    """Wire what the handlers call; does no I/O."""
    answer_once = AnswerOnce(database, clock, None)
    return UseCases(
        clock=clock,
        new_id=new_id,
        decide=Grouping(
            "checkout", database, clock, DecideRequests(hand_over, digests), KeptAnswers(), metrics.CHECKOUT_GROUP
        ),
        validate_codes=Grouping(
            "validation", database, clock, ValidateCodes(digests), KeptAnswers(), metrics.VALIDATION_GROUP
        ),
        validate_publicly=ValidatePublicly(database, clock, trusted_proxies),
        read_redemptions=ReadRedemptions(database),
        read_order=ReadOrder(database, clock),
        read_rejections=ReadRejections(database),
        read_stats=ReadStats(database, clock),
        read_statements=ReadStatements(database, clock),
        pay_statement=PayStatement(answer_once),
        resolve_days=ResolveDays(database),
        read_reservation=ReadReservation(database, clock),
        release_reservation=ReleaseReservation(database),
        start_customer_job=StartCustomerJob(answer_once, digests, new_id, wake_customers),
        read_customer_jobs=ReadCustomerJobs(database, clock),
    )


def build_app(
    use_cases: UseCases, credentials: CredentialReader, accounts: AccountReader, ready: Ready, operating: Operating
) -> web.Application:
    """Wire the HTTP side; does no I/O."""
    app = build_application(
        SERVICE,
        ROUTES,
        authenticate=credentials.find,
        identify=accounts.find,
        ready=ready,
        title="Mintwire redemption",
        version="1",
        operator_token=operating.token,
        translate=translate,
    )
    app[USE_CASES] = use_cases
    app[OPERATING] = operating
    return app


def open_database(url: str, size: int) -> AbstractAsyncContextManager[Database]:
    """Open the pool with the settings that the service's statements are written for."""
    return pool.connect(url, SERVICE, size + GROUPS, generic_plans=True)
