"""How receivers do: their health now, and what became of their deliveries."""

from datetime import timedelta
from typing import Any, Final

from aiohttp import web
from pydantic import Field

from services.webhooks.api.exchange import COMMON, owner, use_cases
from services.webhooks.api.shapes import HealthData, StatsData, health_data, stats_data
from services.webhooks.domain.stats import LOOKED_AT
from shared.clock import utc_now
from shared.web import Data, Instant, QueryModel, Request, Route, data_response, invalid_field

_SPAN: Final = timedelta(days=1)


class StatsQuery(QueryModel):
    """A span of time; the last day unless said otherwise."""

    since: Instant | None = Field(None, description="Deliveries that were made at this time or later.")
    until: Instant | None = Field(None, description="Deliveries that were made before this time.")


async def health(request: Request) -> web.StreamResponse:
    """Show how the receiver does."""
    found, missing = await use_cases(request).read_endpoints.health(owner(request), request.path_id("endpoint_id"))
    return data_response(health_data(found, missing))


async def stats(request: Request) -> web.StreamResponse:
    """Sum up what became of deliveries."""
    query = request.query(StatsQuery)
    now = utc_now()
    until = min(query.until or now, now)
    since = query.since or until - _SPAN
    if since >= until:
        raise invalid_field("since", "The since field must lie before until, and in the past.")
    endpoint_id = request.path_id("endpoint_id")
    found = await use_cases(request).read_endpoints.stats(owner(request), endpoint_id, since, until)
    return data_response(stats_data(found))


_ONE: Final = "/v1/webhooks/endpoints/{endpoint_id}"
_COMMON: Final[dict[str, Any]] = {**COMMON, "tag": "endpoints"}
_MISSING: Final = "No such endpoint, or it belongs to somebody else"

ROUTES: Final = (
    Route(
        method="GET",
        path=f"{_ONE}/stats",
        handler=stats,
        summary="Show what became of the deliveries of a span of time",
        description=f"Looks at the newest {LOOKED_AT} deliveries of the span at most; `since` tells how far that went.",
        query=StatsQuery,
        responses={200: Data[StatsData], 404: _MISSING},
        **_COMMON,
    ),
    Route(
        method="GET",
        path=f"{_ONE}/health",
        handler=health,
        summary="Show how the receiver does",
        responses={200: Data[HealthData], 404: _MISSING},
        **_COMMON,
    ),
)
