"""The composition root: opens what the service needs, wires it, and runs its parts until stopped."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import Final

from aiohttp import web

from services.webhooks.api.context import USE_CASES, UseCases
from services.webhooks.api.errors import translate
from services.webhooks.api.routes import ROUTES, WEBHOOKS
from services.webhooks.config import WebhooksSettings, split_addresses, split_hosts
from services.webhooks.consumers import EventConsumer, read_event
from services.webhooks.dispatcher.dispatcher import Dispatcher
from services.webhooks.dispatcher.sending import Sending
from services.webhooks.domain.retention import Retention, ShownSettings
from services.webhooks.sender.client import Sender
from services.webhooks.sender.names import Lookup, NameService, look_up
from services.webhooks.sender.urls import URLChecker
from services.webhooks.usecases.change_endpoint import ArchiveEndpoint, ChangeEndpoint
from services.webhooks.usecases.check_secrets import CheckSecrets
from services.webhooks.usecases.create_endpoint import CreateEndpoint
from services.webhooks.usecases.customer_parts import CustomerMessages
from services.webhooks.usecases.debug_signature import DebugSignature
from services.webhooks.usecases.delivery_queue import DeliveryQueue
from services.webhooks.usecases.endpoint_events import HandOver
from services.webhooks.usecases.follow_partners import FOLLOW_SECONDS, FollowPartners
from services.webhooks.usecases.handle_dead_letters import HandleDeadLetters
from services.webhooks.usecases.handle_delivery import HandleDelivery
from services.webhooks.usecases.handle_messages import HandleMessages
from services.webhooks.usecases.listen import Listen, ListenerHub
from services.webhooks.usecases.maintain_endpoints import MaintainEndpoints
from services.webhooks.usecases.manage_keys import ManageKeys
from services.webhooks.usecases.manage_replays import ManageReplays
from services.webhooks.usecases.operate_jobs import OperateJobs
from services.webhooks.usecases.publish_message import PublishMessage
from services.webhooks.usecases.read_deliveries import ReadDeliveries
from services.webhooks.usecases.read_endpoints import ReadEndpoints
from services.webhooks.usecases.read_stats import ReadStats, add_up_stats
from services.webhooks.usecases.resend_message import ResendMessage
from services.webhooks.usecases.restate_bodies import RestateBodies
from services.webhooks.usecases.run_replays import RunReplays
from services.webhooks.usecases.send_test import SendTest
from services.webhooks.usecases.take_in_events import TakeInEvents
from services.webhooks.usecases.take_turns import TakeTurn
from services.webhooks.usecases.warn_of_certificates import INTERVAL_SECONDS as WARN_SECONDS
from services.webhooks.usecases.warn_of_certificates import WarnOfCertificates
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
from shared.database.customer_parts import CustomerParts
from shared.database.erased_letters import letters_outside
from shared.database.idempotency import AnswerOnce, KeptAnswers
from shared.database.key_uses import INTERVAL_SECONDS as KEY_USES_SECONDS
from shared.database.outbox import OutboxTable
from shared.database.overflow import OverflowTable
from shared.database.pool import Database
from shared.database.purging import INTERVAL_SECONDS
from shared.database.sealing import Seal
from shared.database.stats import INTERVAL_SECONDS as ADD_UP_SECONDS
from shared.events.operating import DueWork
from shared.grouping import Grouping
from shared.ids import new_id
from shared.operating import Own, build_operating
from shared.periodic import Periodic
from shared.process import serve_http, supervise
from shared.readiness import Parts
from shared.web import build_application
from shared.web.health import Ready
from shared.web.operator import OPERATING, Operating

SERVICE: Final = "webhooks"
DRAIN_SECONDS: Final = 2.0


async def run(settings: WebhooksSettings, stop: asyncio.Event) -> None:
    """Serve until `stop` is set; then accept nothing more, finish the work in hand, and close in reverse order."""
    amqp_url = settings.amqp_url.get_secret_value()
    async with (
        pool.connect(settings.database_url.get_secret_value(), SERVICE, settings.database_pool_size) as database,
        # For statements over arrays of any length: planning each of them would cost as much as running it.
        pool.connect(settings.database_url.get_secret_value(), SERVICE, 5, generic_plans=True) as batches,
        Publisher(amqp_url, topology.EXCHANGE_WEBHOOKS) as publisher,
        open_sender(
            utc_now,
            is_development=settings.environment == "development",
            development_hosts=split_hosts(settings.development_hosts),
        ) as (sender, urls),
    ):
        relay = OutboxRelay(publisher, OutboxTable(batches))
        seal = Seal(*decode_secret_keys(settings.secret_key))
        secrets = CheckSecrets(database, utc_now, seal, relay.hand_over)
        queue = DeliveryQueue(database, batches, utc_now, seal, secrets.observe, relay.hand_over)
        dispatcher = Dispatcher(queue, sender.post, utc_now, max_in_flight=settings.max_in_flight)
        courier = dispatcher.sending
        take_in = TakeInEvents(batches, courier, utc_now)
        overflow = Overflow(amqp_url, topology.QUEUE_WEBHOOKS_EVENTS, OverflowTable(database))
        customers = CustomerMessages(database, take_in, read_event, letters_outside(overflow.rewrite))
        consumer = BatchConsumer(
            amqp_url, topology.QUEUE_WEBHOOKS_EVENTS, EventConsumer(take_in), utc_now, on_full=overflow.make_room
        )
        answer_once = AnswerOnce(database, utc_now, seal)
        worker = RunReplays(database, utc_now, new_id, courier.wake, relay.hand_over)
        hub = ListenerHub(database, utc_now)
        limits = Retention(
            timedelta(days=settings.payload_retention_days),
            timedelta(days=settings.attempt_retention_days),
            timedelta(days=settings.delivery_retention_days),
        )
        shown = ShownSettings(limits, split_addresses(settings.egress_addresses))
        follow = FollowPartners(database, utc_now, ArchiveEndpoint(database, utc_now, courier.renew, relay.hand_over))
        maintenance = MaintainEndpoints(database, utc_now, limits, courier.renew, relay.hand_over)
        history = retention.removals(
            database,
            utc_now,
            timedelta(days=settings.event_retention_days),
            settings.inbox_kept,
        )
        credentials = CredentialReader(database, utc_now)
        tasks = [
            *maintenance.tasks(),
            hub.task,
            secrets.task,
            Periodic("archive_endpoints", FOLLOW_SECONDS, follow),
            Periodic("warn_of_certificates", WARN_SECONDS, WarnOfCertificates(database, utc_now, relay.hand_over)),
            Periodic("add_up_stats", ADD_UP_SECONDS, add_up_stats(database)),
            Periodic("restate_bodies", INTERVAL_SECONDS, RestateBodies(database)),
            overflow.task,
            Periodic("record_key_uses", KEY_USES_SECONDS, credentials.uses.write),
            Periodic("run_customer_jobs", PARTS_SECONDS, CustomerParts(database, utc_now, customers.steps)),
            *(Periodic(f"purge_{each.table}", INTERVAL_SECONDS, each) for each in history),
        ]
        operated_jobs = OperateJobs(database, utc_now)
        periodic = [*dispatcher.tasks, *relay.tasks, *consumer.tasks, worker.task, *tasks]

        async def due_deliveries() -> DueWork:
            backlog = await queue.measure()
            return DueWork(count=backlog.due, oldest_seconds=backlog.age.total_seconds())

        use_cases = build_use_cases(
            database=database,
            batches=batches,
            clock=utc_now,
            seal=seal,
            answer_once=answer_once,
            sender=sender,
            urls=urls,
            courier=courier,
            worker=worker,
            hub=hub,
            shown=shown,
            hand_over=relay.hand_over,
        )
        app = build_app(
            use_cases,
            credentials,
            AccountReader(database, utc_now, AccountKeys.parse(settings.account_keys), SERVICE),
            Parts(
                database,
                publisher,
                consumer,
                [*periodic, secrets],
                dispatcher=(dispatcher.claiming, "no recent claim of due deliveries"),
                secrets=(
                    secrets,
                    "no stored secret can be decrypted: another WEBHOOKS_SECRET_KEY encrypted them",
                ),
            ),
            build_operating(
                database,
                utc_now,
                amqp_url,
                Own(
                    queue=topology.QUEUE_WEBHOOKS_EVENTS,
                    tasks=periodic,
                    jobs=operated_jobs,
                    cancel_job=operated_jobs.cancel,
                    due=due_deliveries,
                ),
                token=settings.operator_token_text(),
                inbox_kept=settings.inbox_kept,
            ),
        )
        async with use_cases.publish_message.running(), serve_http(app, settings.host, settings.port) as server:

            async def finish() -> None:
                await consumer.stop()
                await dispatcher.stop()
                hub.close()
                await server.close()
                await relay.drain(DRAIN_SECONDS)

            parts = {
                "consumer": consumer.run(),
                "dispatcher": dispatcher.run(),
                "relay": relay.run(),
                "replays": worker.run(),
                **{task.name: task.run() for task in tasks},
            }
            await supervise(parts, stop, finish)


@asynccontextmanager
async def open_sender(
    clock: Clock,
    *,
    is_development: bool,
    development_hosts: frozenset[str] = frozenset(),
    lookup: Lookup = look_up,
) -> AsyncIterator[tuple[Sender, URLChecker]]:
    """Open the outgoing HTTP client with its own name service."""
    names = NameService(lookup)
    urls = URLChecker(names, is_development=is_development, development_hosts=development_hosts)
    try:
        async with Sender(urls, names, clock) as sender:
            yield sender, urls
    finally:
        names.close()


def build_use_cases(
    *,
    database: Database,
    batches: Database,
    clock: Clock,
    seal: Seal,
    answer_once: AnswerOnce,
    sender: Sender,
    urls: URLChecker,
    courier: Sending,
    worker: RunReplays,
    hub: ListenerHub,
    shown: ShownSettings,
    hand_over: HandOver,
) -> UseCases:
    """Wire what the handlers call; does no I/O."""
    renew, wake = courier.renew, courier.wake
    take_turn = TakeTurn(database)
    return UseCases(
        create_endpoint=CreateEndpoint(answer_once, clock, urls, seal, new_id, hand_over),
        change_endpoint=ChangeEndpoint(
            database=database,
            clock=clock,
            urls=urls,
            seal=seal,
            new_id=new_id,
            renew=renew,
            hand_over=hand_over,
        ),
        archive_endpoint=ArchiveEndpoint(database, clock, renew, hand_over),
        read_endpoints=ReadEndpoints(database, clock, seal),
        read_stats=ReadStats(database, clock),
        keys=ManageKeys(
            database=database,
            clock=clock,
            answer_once=answer_once,
            seal=seal,
            new_id=new_id,
            renew=renew,
            hand_over=hand_over,
        ),
        send_test=SendTest(database, clock, seal, sender.post, take_turn, new_id),
        read_deliveries=ReadDeliveries(database, clock),
        handle_delivery=HandleDelivery(database, clock, seal, sender.post, take_turn),
        dead_letters=HandleDeadLetters(answer_once, wake),
        replays=ManageReplays(database, clock, answer_once, new_id, worker.wake),
        messages=HandleMessages(database, clock),
        resend_message=ResendMessage(answer_once, new_id, wake),
        publish_message=Grouping(
            "message",
            batches,
            clock,
            PublishMessage(shown.retention, new_id, wake),
            KeptAnswers(seal),
            metrics.MESSAGE_GROUP,
        ),
        debug_signature=DebugSignature(database, clock, seal),
        listen=Listen(database, clock, seal, hub, new_id),
        shown_settings=shown,
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
        title="Mintwire webhooks",
        version="1",
        operator_token=operating.token,
        translate=translate,
        webhooks=WEBHOOKS,
    )
    app[USE_CASES] = use_cases
    app[OPERATING] = operating
    return app
