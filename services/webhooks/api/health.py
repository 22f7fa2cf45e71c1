"""How receivers do: their health now, and what became of their deliveries."""

from datetime import timedelta
from typing import Final, Literal, get_args

from aiohttp import web
from pydantic import Field

from services.webhooks.api.context import COMMON, owner, use_cases
from services.webhooks.domain.deliveries import ShownStatus
from services.webhooks.domain.health import DISABLE_AFTER
from services.webhooks.domain.secrets import SecretKind
from services.webhooks.domain.stats import LOOKED_AT
from shared.clock import utc_now
from shared.web import (
    Data,
    Instant,
    Moment,
    QueryModel,
    Request,
    ResponseModel,
    Routes,
    data_response,
    invalid_field,
)

_SPAN: Final = timedelta(days=1)


class StatsQuery(QueryModel):
    """A span of time; the last day unless said otherwise."""

    since: Instant | None = Field(None, description="Deliveries that were made at this time or later.")
    until: Instant | None = Field(None, description="Deliveries that were made before this time.")


class HealthData(ResponseModel):
    """How a receiver does. `failing_since` is when the failures began that no success has ended.

    If none does until `disables_at`, the endpoint is disabled. An open breaker is tried again at `resume_at`; a pause
    by its owner ends at `paused_until`, or when somebody resumes it. Where `held_back_by` is `secret_unreadable`, a
    secret of the endpoint cannot be opened (`unreadable_secret`): its deliveries wait until that is mended on our side,
    or its owner has rotated the signing key or set `auth` again.
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


class DurationsData(ResponseModel):
    """Milliseconds from the start of an attempt to the end of its answer, at three percentiles."""

    p50: float
    p95: float
    p99: float


class StatsData(ResponseModel):
    """What became of the deliveries that were made from `since` to `until`, and of their attempts.

    Deliveries are counted by status, attempts by the class of the answer (`2xx`, `unanswered` where none came).
    `success_rate` is the part of the deliveries that have come to an end which arrived. `is_whole` is false where there
    may be too many to look at all; `since` is then when the oldest of those looked at was made.
    """

    since: Moment
    until: Moment
    is_whole: bool
    deliveries: dict[str, int]
    attempts: dict[str, int]
    success_rate: float | None
    duration_ms: DurationsData | None


_ROUTES: Final = Routes(
    "/v1/webhooks/endpoints/{endpoint_id}",
    "No such endpoint, or it belongs to somebody else",
    tag="endpoints",
    **COMMON,
)


@_ROUTES.get("/health", Data[HealthData])
async def health(request: Request) -> web.StreamResponse:
    """Show how the receiver does."""
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
    description=f"Looks at the newest {LOOKED_AT} deliveries of the span at most; `since` tells how far that went.",
)
async def stats(request: Request) -> web.StreamResponse:
    """Show what became of the deliveries of a span of time."""
    query = request.query(StatsQuery)
    now = utc_now()
    until = min(query.until or now, now)
    since = query.since or until - _SPAN
    if since >= until:
        raise invalid_field("since", "The since field must lie before until, and in the past.")
    endpoint_id = request.path_id("endpoint_id")
    found = await use_cases(request).read_endpoints.stats(owner(request), endpoint_id, since, until)
    counts = {status: found.deliveries.get(status, 0) for status in get_args(ShownStatus)}
    durations = {f"p{percent}": duration for percent, duration in found.durations.items()} or None
    return data_response(StatsData.of(found, deliveries=counts, duration_ms=durations))


ROUTES: Final = tuple(_ROUTES.all)
