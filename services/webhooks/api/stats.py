"""`/v1/stats/webhooks`: messages, deliveries and attempts, over time."""

import uuid
from collections.abc import Iterator, Sequence
from typing import Final

from aiohttp import web
from pydantic import Field

from services.webhooks.api.context import use_cases
from services.webhooks.api.event_types import TypeFilter
from services.webhooks.api.stats_data import PointData, point_data
from services.webhooks.domain.figures import DeliveryStats, DeliveryStatsFilter, GroupBy
from shared.times import format_microseconds
from shared.web import Data, Request, ResponseModel, Routes, Text, csv_response, data_response, wants_csv
from shared.web.stats import (
    TOO_MANY,
    SpanData,
    StatsParameters,
    filter_of,
    key_of,
    refusing_too_much,
    series_of,
    span_of,
)

_COUNTS: Final = (
    *("messages", "deliveries", "pending", "succeeded", "failed", "dead", "canceled"),
    *("attempts", "answers_2xx", "answers_3xx", "answers_4xx", "answers_5xx", "unanswered"),
    *("first_tries", "first_successes"),
)


class StatsQuery(StatsParameters):
    """The figures to return, and their steps."""

    endpoint_id: uuid.UUID | None = None
    event_type: TypeFilter = None
    reason: Text | None = Field(
        None,
        description="Only attempts that failed for this reason: an `error_code` such as `timeout`, or a status such as "
        "`http_503`.",
    )
    group_by: GroupBy | None = Field(
        None,
        description="A series for each of the `groups` largest, and one for the rest. By `reason` only attempts that "
        "failed.",
    )


class SeriesData(ResponseModel):
    """The steps of one group, without gaps."""

    key: str | None = Field(
        description="The id, event type or reason; null for items without one, for the rest, and without `group_by`."
    )
    is_rest: bool
    points: list[PointData]


class WebhookStatsData(SpanData):
    """Figures in whole steps, from the beginning of the first to the end of the last."""

    group_by: GroupBy | None
    series: list[SeriesData]


_ROUTES: Final = Routes("/v1/stats", tag="stats", security="either", family="management")


@_ROUTES.get(
    "/webhooks",
    Data[WebhookStatsData],
    scope=("manage", "webhooks"),
    query=StatsQuery,
    is_tabular=True,
    refusals=TOO_MANY,
)
async def webhooks(request: Request) -> web.StreamResponse:
    """Count messages, deliveries and attempts over time.

    Deliveries are counted in the step in which they were created, by their status now, so a replay or a late success
    changes it; attempts in the step in which they started, with manual ones, replays, tests and those of listeners.
    Nothing is subtracted when old deliveries are removed. Percentiles of durations are within 5 %. A partner sees its
    own figures, and a test key those of test mode. With `Accept: text/csv` the answer is a table with a line per step
    and group that has any figures.
    """
    query = request.query(StatsQuery)
    reader = use_cases(request).read_stats
    more = {"endpoint_id": query.endpoint_id, "event_type": query.event_type, "reason": query.reason}
    with refusing_too_much():
        asked = filter_of(request, query, query.group_by, DeliveryStatsFilter, **more)
        wanted, zone = await reader.filter(asked, query.span)
        stats = await reader(wanted)
    if wants_csv(request.http):
        return csv_response("webhooks.csv", _table(wanted, stats))
    span = span_of(request, wanted.bounds, query.step, zone, stats.as_of)
    series = [
        SeriesData(key=key, is_rest=is_rest, points=[point_data(at, found) for at, found in steps])
        for key, is_rest, steps in series_of(wanted, stats.figures)
    ]
    return data_response(WebhookStatsData(**span, group_by=query.group_by, series=series))


def _table(wanted: DeliveryStatsFilter, stats: DeliveryStats) -> Iterator[Sequence[object]]:
    yield ("at", wanted.group_by or "group", "is_rest", *_COUNTS, "p50_ms", "p95_ms", "p99_ms")
    for figure in stats.figures:
        at = format_microseconds(wanted.bounds[figure.step - 1])
        durations = (figure.duration_ms or dict.fromkeys((50, 95, 99))).values()
        counts = [getattr(figure, name) for name in _COUNTS]
        yield (at, key_of(wanted, figure.key), figure.is_rest, *counts, *durations)


ROUTES: Final = tuple(_ROUTES.all)
