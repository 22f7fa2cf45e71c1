"""`/v1/stats/codes`: how many codes were minted over time, and how many of those were redeemed."""

from collections.abc import Iterator, Sequence
from datetime import datetime
from typing import Final

from aiohttp import web
from pydantic import Field

from services.codes.api.context import use_cases
from services.codes.domain.stats import Figure, GroupBy, Stats
from shared.steps import StatsFilter
from shared.times import format_microseconds
from shared.web import (
    Data,
    Moment,
    Request,
    ResponseModel,
    Routes,
    Text,
    csv_response,
    data_response,
    wants_csv,
)
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


class StatsQuery(StatsParameters):
    """The figures to return, and their steps."""

    coupon_id: Text | None = Field(None, description="The coupon's id or its `uuid_code`.")
    group_by: GroupBy | None = Field(
        None, description="A series for each of the `groups` largest, and one for the rest."
    )


class PointData(ResponseModel):
    """One step: the codes created in it in any way, including archived ones."""

    at: Moment
    minted: int
    redeemed: int = Field(description="The minted codes that have been redeemed so far, here or elsewhere.")


class SeriesData(ResponseModel):
    """The steps of one group, without gaps."""

    key: str | None = Field(description="The id; null for items without one, for the rest, and without `group_by`.")
    is_rest: bool
    points: list[PointData]


class StatsData(SpanData):
    """Figures in whole steps, from the beginning of the first to the end of the last."""

    group_by: GroupBy | None
    series: list[SeriesData]


_routes = Routes("/v1/stats", tag="stats", security="either", family="management")


@_routes.get(
    "/codes",
    Data[StatsData],
    scope=("manage", "codes:read"),
    query=StatsQuery,
    is_tabular=True,
    refusals=TOO_MANY,
)
async def codes(request: Request) -> web.StreamResponse:
    """Count minted codes over time, and how many of them were redeemed.

    A code counts for the partner that has it now. A partner sees its own figures, and a test key those of test mode.
    With `Accept: text/csv` the answer is a table with a line per step and group that has any figures.
    """
    query = request.query(StatsQuery)
    reader = use_cases(request).read_stats
    with refusing_too_much():
        asked = filter_of(request, query, query.group_by, StatsFilter)
        wanted, zone = await reader.filter(asked, query.span, query.coupon_id)
        stats = await reader(wanted)
    if wants_csv(request.http):
        return csv_response("codes.csv", _table(wanted, stats))
    span = span_of(request, wanted.bounds, query.step, zone, stats.as_of)
    series = [
        SeriesData(key=key, is_rest=is_rest, points=[_point(at, found) for at, found in steps])
        for key, is_rest, steps in series_of(wanted, stats.figures)
    ]
    return data_response(StatsData(**span, group_by=query.group_by, series=series))


def _point(at: datetime, figures: Sequence[Figure]) -> PointData:
    # A group has one figure per step, or none.
    minted, redeemed = sum(each.minted for each in figures), sum(each.redeemed for each in figures)
    return PointData(at=at, minted=minted, redeemed=redeemed)


def _table(wanted: StatsFilter, stats: Stats) -> Iterator[Sequence[object]]:
    yield ("at", wanted.group_by or "group", "is_rest", "minted", "redeemed")
    for figure in stats.figures:
        at = format_microseconds(wanted.bounds[figure.step - 1])
        yield (at, key_of(wanted, figure.key), figure.is_rest, figure.minted, figure.redeemed)


ROUTES: Final = tuple(_routes.all)
