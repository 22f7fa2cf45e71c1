"""The composition root: opens what the service needs, wires it, and runs its parts until told to stop."""

import asyncio
from collections.abc import Callable, Sequence
from datetime import timedelta

from aiohttp import web

from services.codes.api.errors import translate
from services.codes.api.routes import ROUTES
from services.codes.api.use_cases import USE_CASES, UseCases
from services.codes.config import CodesSettings
from services.codes.consumers import RedemptionsHandler
from services.codes.domain.jobs import JobKind
from services.codes.integrations.redemption import RedemptionClient
from services.codes.usecases import remove_old
from services.codes.usecases.batches import BatchChunk, CreateBatch
from services.codes.usecases.change_many_codes import BulkChunk, ChangeManyCodes
from services.codes.usecases.check_secrets import CheckSecrets
from services.codes.usecases.code_orders import DecideCodeOrder, PlaceCodeOrder, ReadCodeOrders
from services.codes.usecases.coupons import ArchiveCoupon, ChangeCoupon, CreateCoupon, ReadCoupons
from services.codes.usecases.customer_parts import steps_of
from services.codes.usecases.export_codes import ExportCodes
from services.codes.usecases.generate_code import GenerateCode
from services.codes.usecases.import_codes import ImportChunk
from services.codes.usecases.jobs import CancelJob, ReadJobErrors, ReadJobs
from services.codes.usecases.keys import AdmitAccount, ChangeKey, CreateKey, ReadKeys, RevokeKey, RotateKey
from services.codes.usecases.operate_jobs import OperateJobs
from services.codes.usecases.partners import (
    ArchivePartner,
    ChangePartner,
    CreatePartner,
    ReadPartners,
    SetPartnerStatus,
)
from services.codes.usecases.programs import ChangeProgram, CreateProgram, ReadPrograms
from services.codes.usecases.promotion_codes import ArchivePromotionCode, ChangePromotionCode, CreatePromotionCode
from services.codes.usecases.quota import MoveQuota, ReadLedger
from services.codes.usecases.read_audit_log import ReadAuditLog
from services.codes.usecases.read_codes import ReadCodes
from services.codes.usecases.read_profile import ReadProfile
from services.codes.usecases.read_promotion_codes import ReadPromotionCodes
from services.codes.usecases.read_stats import ReadStats, add_up_stats
from services.codes.usecases.record_usage import RecordUsage
from services.codes.usecases.redeem_code import RedeemCode
from services.codes.usecases.run_jobs import Chunk, RunJobs
from services.codes.usecases.start_import import StartImport
from shared import metrics
from shared.account_tokens import AccountKeys
from shared.broker import topology
from shared.broker.consumer import BatchConsumer
from shared.broker.overflow import Overflow
from shared.broker.publisher import Publisher
from shared.broker.relay import OutboxRelay
from shared.clock import Clock, utc_now
from shared.config import decode_secret_key
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
from shared.database.purging import INTERVAL_SECONDS, Removal
from shared.database.sealing import Seal
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

SERVICE = "codes"
DRAIN_SECONDS = 5.0
# Nobody waits for our events or the uses that we count; work that customers wait for on this machine goes first.
GATHER_SECONDS = 0.25


async def run(settings: CodesSettings, stop: asyncio.Event) -> None:
    """Serve until `stop` is set; then take no new work, finish what is in hand, and close in reverse order."""
    amqp_url = settings.amqp_url.get_secret_value()
    async with (
        pool.connect(settings.database_url.get_secret_value(), SERVICE, settings.database_pool_size) as database,
        # A statement with arrays of any length: planning it each time would cost as much as running it.
        pool.connect(settings.database_url.get_secret_value(), SERVICE, 2, generic_plans=True) as minting,
        Publisher(amqp_url, topology.EXCHANGE_CODES) as publisher,
        RedemptionClient.connected(settings.redemption_url) as redemption,
    ):
        relay = OutboxRelay(publisher, OutboxTable(database), gather_seconds=GATHER_SECONDS)
        runner = build_runner(database, utc_now, relay.hand_over)
        seal = Seal(decode_secret_key(settings.secret_key))
        secrets = CheckSecrets(database, seal)
        use_cases = build_use_cases(
            database,
            minting,
            utc_now,
            seal,
            hand_over=relay.hand_over,
            wake_runner=runner.wake,
            redemption=redemption,
        )
        overflow = Overflow(amqp_url, topology.QUEUE_CODES_REDEMPTIONS, OverflowTable(database))
        customer_steps = steps_of(utc_now, letters_outside(overflow.rewrite))
        consumer = BatchConsumer(
            amqp_url,
            topology.QUEUE_CODES_REDEMPTIONS,
            RedemptionsHandler(RecordUsage(database)),
            utc_now,
            gather_seconds=GATHER_SECONDS,
            on_full=overflow.make_room,
        )
        credentials = CredentialReader(database, utc_now)
        tasks = [
            runner.task,
            secrets.task,
            overflow.task,
            Periodic("add_up_stats", ADD_UP_SECONDS, add_up_stats(database)),
            Periodic("record_key_uses", KEY_USES_SECONDS, credentials.uses.write),
            Periodic("run_customer_jobs", PARTS_SECONDS, CustomerParts(database, utc_now, customer_steps)),
            *(Periodic(f"purge_{each.table}", INTERVAL_SECONDS, each) for each in build_removals(database, settings)),
        ]
        operated_jobs = OperateJobs(database, utc_now)
        periodic = [*consumer.tasks, *relay.tasks, *tasks]
        app = build_app(
            use_cases,
            credentials,
            AccountReader(database, utc_now, AccountKeys.parse(settings.account_keys), SERVICE),
            Parts(database, publisher, consumer, [*periodic, secrets]),
            build_operating(
                database,
                utc_now,
                amqp_url,
                Own(
                    queue=topology.QUEUE_CODES_REDEMPTIONS,
                    tasks=periodic,
                    jobs=operated_jobs,
                    cancel_job=operated_jobs.cancel,
                ),
                token=settings.operator_token_text(),
                inbox_kept=settings.inbox_kept,
            ),
            settings.public_url,
        )
        async with use_cases.generate_code.running(), serve_http(app, settings.host, settings.port) as server:

            async def finish() -> None:
                await runner.stop()
                await consumer.stop()
                await server.close()
                await relay.drain(DRAIN_SECONDS)

            parts = {
                "consumer": consumer.run(),
                "relay": relay.run(),
                **{task.name: task.run() for task in tasks},
            }
            await supervise(parts, stop, finish)


def build_removals(database: Database, settings: CodesSettings, clock: Clock = utc_now) -> list[Removal]:
    """Wire the purges, table by table; does no I/O."""
    events_kept = timedelta(days=settings.event_retention_days)
    inbox_kept = settings.inbox_kept
    audit_kept = timedelta(days=settings.audit_retention_days)
    return [
        *retention.removals(database, clock, events_kept, inbox_kept),
        *remove_old.removals(database, clock, audit_kept),
    ]


def build_runner(database: Database, clock: Clock, hand_over: Callable[[Sequence[OutboxEvent]], None]) -> RunJobs:
    """Wire the runner of jobs; does no I/O."""
    chunks: dict[JobKind, Chunk] = {
        "batch": BatchChunk(new_id),
        "import": ImportChunk(new_id),
        "bulk": BulkChunk(),
    }
    return RunJobs(database, clock, hand_over, chunks)


def build_use_cases(
    database: Database,
    minting: Database,
    clock: Clock,
    seal: Seal,
    *,
    hand_over: Callable[[Sequence[OutboxEvent]], None],
    wake_runner: Callable[[], None],
    redemption: RedemptionClient,
) -> UseCases:
    """Wire the use cases; does no I/O."""
    answer_once = AnswerOnce(database, clock, seal)
    return UseCases(
        create_program=CreateProgram(answer_once, new_id),
        read_programs=ReadPrograms(database),
        change_program=ChangeProgram(database, clock),
        create_partner=CreatePartner(answer_once, new_id),
        read_partners=ReadPartners(database),
        change_partner=ChangePartner(database, clock),
        set_partner_status=SetPartnerStatus(answer_once),
        create_key=CreateKey(answer_once, new_id),
        read_keys=ReadKeys(database),
        change_key=ChangeKey(database, clock),
        rotate_key=RotateKey(answer_once, new_id),
        revoke_key=RevokeKey(database, clock),
        admit_account=AdmitAccount(database, clock),
        move_quota=MoveQuota(answer_once, new_id, hand_over),
        read_ledger=ReadLedger(database),
        place_code_order=PlaceCodeOrder(answer_once, new_id, hand_over),
        decide_code_order=DecideCodeOrder(answer_once, new_id, hand_over),
        read_code_orders=ReadCodeOrders(database),
        generate_code=Grouping("mint", minting, clock, GenerateCode(hand_over), KeptAnswers(seal), metrics.MINT_GROUP),
        read_codes=ReadCodes(database, clock),
        read_profile=ReadProfile(database, clock, ReadStats(database, clock)),
        create_batch=CreateBatch(answer_once, new_id, hand_over, wake_runner),
        read_jobs=ReadJobs(database),
        read_job_errors=ReadJobErrors(database),
        cancel_job=CancelJob(answer_once),
        export_codes=ExportCodes(database, clock),
        start_import=StartImport(database, answer_once, clock, new_id, ImportChunk(new_id), wake_runner),
        change_many_codes=ChangeManyCodes(database, answer_once, clock, new_id, wake_runner),
        redeem_code=RedeemCode(database, redemption),
        archive_partner=ArchivePartner(database, clock),
        create_coupon=CreateCoupon(answer_once, new_id, hand_over),
        read_coupons=ReadCoupons(database),
        change_coupon=ChangeCoupon(database, clock, hand_over),
        archive_coupon=ArchiveCoupon(database, clock, hand_over),
        create_promotion_code=CreatePromotionCode(answer_once, new_id),
        read_promotion_codes=ReadPromotionCodes(database, clock),
        change_promotion_code=ChangePromotionCode(database, clock, hand_over),
        archive_promotion_code=ArchivePromotionCode(database, clock, hand_over),
        read_stats=ReadStats(database, clock),
        read_audit_log=ReadAuditLog(database),
    )


def build_app(
    use_cases: UseCases,
    credentials: CredentialReader,
    accounts: AccountReader,
    ready: Ready,
    operating: Operating,
    public_url: str = "",
) -> web.Application:
    """Wire the HTTP side; does no I/O."""
    app = build_application(
        SERVICE,
        ROUTES,
        authenticate=credentials.find,
        identify=accounts.find,
        ready=ready,
        title="Mintwire codes",
        version="1",
        operator_token=operating.token,
        translate=translate,
        public_url=public_url,
    )
    app[USE_CASES] = use_cases
    app[OPERATING] = operating
    return app
