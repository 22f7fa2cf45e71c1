"""The use cases that the handlers call, and the key under which the application holds them."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final
from uuid import UUID

from aiohttp import web

from services.redemption.usecases.commission_statements import PayStatement, ReadStatements
from services.redemption.usecases.customer_jobs import ReadCustomerJobs, StartCustomerJob
from services.redemption.usecases.decide_requests import Requests
from services.redemption.usecases.read_orders import ReadOrder
from services.redemption.usecases.read_redemptions import ReadRedemptions
from services.redemption.usecases.read_rejections import ReadRejections
from services.redemption.usecases.read_stats import ReadStats
from services.redemption.usecases.reservations import ReadReservation, ReleaseReservation
from services.redemption.usecases.resolve_days import ResolveDays
from services.redemption.usecases.validate_codes import Validations
from services.redemption.usecases.validate_publicly import ValidatePublicly
from shared.clock import Clock


@dataclass(frozen=True, slots=True, kw_only=True)
class UseCases:
    """Everything that this service does over HTTP; `clock` and `new_id` stamp the requests."""

    clock: Clock
    new_id: Callable[[], UUID]
    decide: Requests
    validate_codes: Validations
    validate_publicly: ValidatePublicly
    read_redemptions: ReadRedemptions
    read_order: ReadOrder
    read_rejections: ReadRejections
    read_stats: ReadStats
    read_statements: ReadStatements
    pay_statement: PayStatement
    resolve_days: ResolveDays
    read_reservation: ReadReservation
    release_reservation: ReleaseReservation
    start_customer_job: StartCustomerJob
    read_customer_jobs: ReadCustomerJobs


USE_CASES: Final = web.AppKey("use_cases", UseCases)
