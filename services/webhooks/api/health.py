"""The health of endpoints and statistics of their deliveries."""

import uuid
from datetime import timedelta
from typing import Final, Literal, get_args

from aiohttp import web
from pydantic import Field

from services.webhooks.api.context import COMMON, owner, use_cases
from services.webhooks.api.stats_data import DurationsData, PointData, point_data
from services.webhooks.domain.deliveries import ShownStatus
from services.webhooks.domain.figures import DeliveryStatsFilter
from services.webhooks.domain.health import DISABLE_AFTER
from services.webhooks.domain.secrets import SecretKind
from services.webhooks.domain.stats import LOOKED_AT
from shared.clock import utc_now
from shared.steps import MOST_STEPS, Span, Step
from shared.web import (
    Data,
    Instant,
    Moment,
    QueryModel,
    Request,
    ResponseModel,
    Routes,
    Timezone,
    data_response,
    invalid_field,
    window,
)
from shared.web.stats import TOO_MANY, refusing_too_much, series_of

_SPAN: Final = timedelta(days=1)


class StatsQuery(QueryModel):
    """A time range; by default, the last 24 hours."""

    since: Instant | None = Field(None, description="Deliveries created at or after this time.")
    until: Instant | None = Field(None, description="Deliveries created before this time.")
    step: Step | None = Field(None, description=f"Show the time range in steps, at most {MOST_STEPS:,} of them.")
    zone: Timezone | None = Field(None, description="The IANA time zone of the steps; by default the program's.")
    _in_order = window("since", "until")


class HealthData(ResponseModel):
    """The health of an endpoint.

    `failing_since` is the time of the first failure since the last success; without a success before `disables_at`, the
    endpoint is disabled. An open `breaker` is probed at `resume_at`. A pause by the owner ends at `paused_until`, or
    when the endpoint is resumed. If `held_back_by` is `secret_unreadable`, the secret named in `unreadable_secret`
    cannot be decrypted: deliveries wait until this is fixed on our side, or until the owner rotates the signing key or
    sets `auth` again.
    """

    status: str
    disabled_reason: str | None
    held_back_by: Literal["secret_unreadable"] | None
    unreadable_secret: SecretKind | None
    paused_until: Moment | None
    breaker: str
    resume_at: Moment | None
    failing_since: Moment | None
    disables_at: Moment | None
    last_success_at: Moment | None
    last_failure_at: Moment | None


class StatsData(ResponseModel):
    """Statistics of the deliveries created from `since` to `until`, and of their attempts.

    Deliveries are counted by status, attempts by the class of the response (`2xx`, or `unanswered` without one).
    `success_rate` is the share of completed deliveries that succeeded. If `is_whole` is false, there were too many
    deliveries to count all, and `since` is the creation time of the oldest one counted. With `step`, `points` has the
    whole time range in whole steps, however many deliveries it has.
    """

    since: Moment
    until: Moment
    is_whole: bool
    deliveries: dict[str, int]
    attempts: dict[str, int]
    success_rate: float | None
    duration_ms: DurationsData | None
    points: list[PointData] | None


_ROUTES: Final = Routes(
    "/v1/webhooks/endpoints/{endpoint_id}",
    "No such endpoint, or it belongs to another account",
    tag="endpoints",
    **COMMON,
)


@_ROUTES.get("/health", Data[HealthData])
async def health(request: Request) -> web.StreamResponse:
    """Show the health of an endpoint."""
    found, missing = await use_cases(request).read_endpoints.health(owner(request), request.path_id("endpoint_id"))
    failing_since = found.failing_since
    return data_response(
        HealthData.of(
            found,
            held_back_by=None if missing is None else "secret_unreadable",
            unreadable_secret=missing,
            disables_at=None if failing_since is None else failing_since + DISABLE_AFTER,
        )
    )


@_ROUTES.get(
    "/stats",
    Data[StatsData],
    query=StatsQuery,
    refusals=TOO_MANY,
    description=f"Counts the newest deliveries, up to {LOOKED_AT}; `since` shows how far back that reaches.",
)
async def stats(request: Request) -> web.StreamResponse:
    """Show statistics of the deliveries of an endpoint."""
    query = request.query(StatsQuery)
    now = utc_now()
    until = min(query.until or now, now)
    since = query.since or until - _SPAN
    if since >= until:
        raise invalid_field("since", "The since parameter must be before until, and in the past.")
    endpoint_id = request.path_id("endpoint_id")
    found = await use_cases(request).read_endpoints.stats(owner(request), endpoint_id, since, until)
    counts = {status: found.deliveries.get(status, 0) for status in get_args(ShownStatus)}
    durations = {f"p{percent}": duration for percent, duration in found.durations.items()} or None
    points = None
    if query.step is not None:
        # As far as it was asked for, also beyond this moment.
        span = Span(since=since, until=query.until or now, step=query.step, zone=query.zone)
        points = await _points(request, endpoint_id, span)
    return data_response(StatsData.of(found, deliveries=counts, duration_ms=durations, points=points))


async def _points(request: Request, endpoint_id: uuid.UUID, span: Span) -> list[PointData]:
    reader = use_cases(request).read_stats
    own = owner(request)
    with refusing_too_much():
        wanted = DeliveryStatsFilter(program_id=own.program_id, partner_id=own.partner_id, endpoint_id=endpoint_id)
        wanted, _ = await reader.filter(wanted, span)
        stats = await reader(wanted)
    return [point_data(at, figures) for _, _, steps in series_of(wanted, stats.figures) for at, figures in steps]


ROUTES: Final = tuple(_ROUTES.all)
