"""`GET /v1/meta`: the rules by which webhooks are sent, for anyone who writes or runs a receiver. It needs no key."""

from typing import Final, get_args

from aiohttp import web

from services.webhooks.api.context import use_cases
from services.webhooks.domain import breaker, debugging, deliveries, endpoints, headers, health, messages, schedule
from services.webhooks.domain.addresses import HTTPS_PORTS, MAX_URL_LENGTH
from services.webhooks.domain.event_types import CUSTOM_PREFIX, OPERATIONAL_PREFIX
from services.webhooks.domain.replays import MAX_LIVE_REPLAYS, MOST_RATE
from services.webhooks.domain.signature import (
    LONGEST_GRACE_SECONDS,
    MAX_LIVE_KEYS,
    PRIVATE_PREFIX,
    PUBLIC_PREFIX,
    SECRET_PREFIX,
)
from services.webhooks.usecases.handle_dead_letters import MAX_REPLAYED
from shared.web import Data, Request, ResponseModel, Routes, data_response

_CACHED: Final = "public, max-age=300"


class ScheduleData(ResponseModel):
    """The default retry schedule: seconds before each attempt, with a jitter of `jitter_percent` in both directions.

    A delivery ends `ends_after_seconds` after it started, whatever its schedule. An endpoint may have a schedule of its
    own, of up to `own_steps` steps of up to `own_longest_seconds` each.
    """

    seconds: list[int]
    jitter_percent: int
    ends_after_seconds: int
    longest_retry_after_seconds: int
    own_steps: int
    own_longest_seconds: int


class TimeoutsData(ResponseModel):
    """How long a receiver may take for its complete response."""

    default_seconds: int
    shortest_seconds: int
    longest_seconds: int


class AnswersData(ResponseModel):
    """The statuses that disable an endpoint (`gone`) or slow it down (`overloaded`). All but 2xx are retried."""

    gone: list[int]
    overloaded: list[int]


class BreakerData(ResponseModel):
    """When the circuit breaker of an endpoint opens, and for how long.

    It opens after `failures_in_a_row`, or once `failures_percent` of at least `fewest_attempts` fail within the window.
    It stays open for `first_seconds`, and longer each time up to `longest_seconds`.
    """

    failures_in_a_row: int
    failures_percent: int
    fewest_attempts: int
    window_seconds: int
    first_seconds: int
    longest_seconds: int


class DisablingData(ResponseModel):
    """When a failing endpoint is disabled: after `after_seconds` without a success.

    Its first and last failure must lie at least `failures_apart_seconds` apart. Endpoints that subscribe to
    `webhook.endpoint_failing` are warned once `warnings_percent` of that time have passed.
    """

    after_seconds: int
    failures_apart_seconds: int
    warnings_percent: list[int]


class SigningData(ResponseModel):
    """A signature algorithm, its version in `webhook-signature`, and the prefixes of its keys."""

    algorithm: str
    version: str
    key_prefix: str
    public_key_prefix: str | None


class LimitsData(ResponseModel):
    """Limits of the service."""

    endpoints: int
    headers: int
    url_characters: int
    max_in_flight: int
    default_in_flight: int
    rate_limit_per_second: int
    live_keys: int
    longest_grace_period_seconds: int
    payload_bytes: int
    large_payload_bytes: int
    response_bytes: int
    live_replays: int
    replay_rate_per_second: int
    dead_letters_at_once: int


class RetentionData(ResponseModel):
    """How many days data is kept. A message can be sent again as long as its payload is kept."""

    payloads_days: int
    attempts_days: int
    deliveries_days: int
    own_payloads_days: list[int]


class MetaData(ResponseModel):
    """The rules. `egress_addresses` lists the addresses that webhooks are sent from; null if they are not fixed."""

    schedule: ScheduleData
    timeouts: TimeoutsData
    answers: AnswersData
    breaker: BreakerData
    disabling: DisablingData
    signing: list[SigningData]
    signature_tolerance_seconds: int
    formats: list[str]
    custom_event_types: str
    operational_event_types: str
    ports: list[int]
    limits: LimitsData
    retention: RetentionData
    egress_addresses: list[str] | None


_ROUTES: Final = Routes("/v1/meta", tag="rules", security="none", family="management")


@_ROUTES.get("", Data[MetaData])
async def show(request: Request) -> web.StreamResponse:
    """Show the rules by which webhooks are sent.

    Schedule, timeouts, limits, when an endpoint is paused or disabled, and the addresses that webhooks are sent from.
    """
    shown = use_cases(request).shown_settings
    found = MetaData(
        schedule=ScheduleData(
            seconds=list(schedule.STEPS),
            jitter_percent=round(schedule.JITTER * 100),
            ends_after_seconds=round(schedule.LIFETIME.total_seconds()),
            longest_retry_after_seconds=round(schedule.LONGEST_RETRY_AFTER.total_seconds()),
            own_steps=endpoints.MAX_STEPS,
            own_longest_seconds=endpoints.LONGEST_STEP_SECONDS,
        ),
        timeouts=TimeoutsData(
            default_seconds=endpoints.DEFAULT_TIMEOUT,
            shortest_seconds=endpoints.SHORTEST_TIMEOUT,
            longest_seconds=endpoints.LONGEST_TIMEOUT,
        ),
        answers=AnswersData(gone=[deliveries.GONE], overloaded=sorted(deliveries.OVERLOADED)),
        breaker=BreakerData(
            failures_in_a_row=breaker.FAILURES_IN_A_ROW,
            failures_percent=round(breaker.SHARE_OF_FAILURES * 100),
            fewest_attempts=breaker.FEWEST_IN_WINDOW,
            window_seconds=round(breaker.WINDOW_SECONDS),
            first_seconds=breaker.FIRST_SECONDS,
            longest_seconds=breaker.LONGEST_SECONDS,
        ),
        disabling=DisablingData(
            after_seconds=round(health.DISABLE_AFTER.total_seconds()),
            failures_apart_seconds=round(health.MIN_FAILING.total_seconds()),
            warnings_percent=list(health.WARNING_LEVELS),
        ),
        signing=[
            SigningData(algorithm="hmac", version="v1", key_prefix=SECRET_PREFIX, public_key_prefix=None),
            SigningData(algorithm="ed25519", version="v1a", key_prefix=PRIVATE_PREFIX, public_key_prefix=PUBLIC_PREFIX),
        ],
        signature_tolerance_seconds=debugging.TOLERANCE_SECONDS,
        formats=list(get_args(endpoints.Format)),
        custom_event_types=f"{CUSTOM_PREFIX}*",
        operational_event_types=f"{OPERATIONAL_PREFIX}*",
        ports=sorted(HTTPS_PORTS),
        limits=_limits(),
        retention=RetentionData(
            payloads_days=shown.retention.payloads.days,
            attempts_days=shown.retention.attempts.days,
            deliveries_days=shown.retention.deliveries.days,
            own_payloads_days=[messages.SHORTEST_RETENTION_DAYS, messages.LONGEST_RETENTION_DAYS],
        ),
        egress_addresses=list(shown.egress_addresses) or None,
    )
    return data_response(found, headers={"Cache-Control": _CACHED})


def _limits() -> LimitsData:
    return LimitsData(
        endpoints=endpoints.MAX_ENDPOINTS,
        headers=headers.MAX_HEADERS,
        url_characters=MAX_URL_LENGTH,
        max_in_flight=endpoints.MAX_IN_FLIGHT,
        default_in_flight=endpoints.DEFAULT_IN_FLIGHT,
        rate_limit_per_second=endpoints.MAX_RATE_PER_SECOND,
        live_keys=MAX_LIVE_KEYS,
        longest_grace_period_seconds=LONGEST_GRACE_SECONDS,
        payload_bytes=messages.MAX_PAYLOAD_BYTES,
        large_payload_bytes=messages.LARGE_PAYLOAD_BYTES,
        response_bytes=deliveries.MAX_RESPONSE_BYTES,
        live_replays=MAX_LIVE_REPLAYS,
        replay_rate_per_second=MOST_RATE,
        dead_letters_at_once=MAX_REPLAYED,
    )


ROUTES: Final = tuple(_ROUTES.all)
