"""`/v1/stats/redemptions`: redemptions, discounts, commissions, voids and refusals, over time."""

from collections.abc import Iterator, Sequence
from datetime import datetime
from typing import Final

from aiohttp import web
from pydantic import Field

from services.redemption.api.context import use_cases
from services.redemption.domain.stats import Figure, GroupBy, Stats
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

_AMOUNTS: Final = (
    "redemptions",
    "discount_minor",
    "commission_minor",
    "voids",
    "voided_discount_minor",
    "voided_commission_minor",
)


class StatsQuery(StatsParameters):
    """The figures to return, and their steps."""

    coupon_id: Text | None = Field(None, description="A coupon's id or uuid_code.")
    group_by: GroupBy | None = Field(
        None, description="A series for each of the `groups` largest, and one for the rest. By `reason` only refusals."
    )


class AmountsData(ResponseModel):
    """Amounts redeemed and voided in one currency; null for those without a currency."""

    currency: str | None
    redemptions: int
    discount_minor: int
    commission_minor: int
    voids: int
    voided_discount_minor: int
    voided_commission_minor: int


class PointData(ResponseModel):
    """One step. A redemption counts when it was made, a void when it happened, a refusal when it was first tried."""

    at: Moment
    redemptions: int = Field(description="All redemptions, including those voided later.")
    voids: int
    refusals: int
    amounts: list[AmountsData]


class SeriesData(ResponseModel):
    """The steps of one group, without gaps."""

    key: str | None = Field(
        description="The id or the reason; null for items without one, for the rest, and without `group_by`."
    )
    is_rest: bool
    points: list[PointData]


class StatsData(SpanData):
    """Figures in whole steps, from the beginning of the first to the end of the last."""

    group_by: GroupBy | None
    series: list[SeriesData]


_routes = Routes("/v1/stats", tag="stats", security="either", family="management")


@_routes.get(
    "/redemptions",
    Data[StatsData],
    scope=("manage", "checkout", "codes:read"),
    query=StatsQuery,
    is_tabular=True,
    refusals=TOO_MANY,
)
async def redemptions(request: Request) -> web.StreamResponse:
    """Count redemptions, voids and refusals over time.

    Money is in minor units. Net figures are those of redemptions less those of voids. A partner sees its own figures,
    and a test key those of test mode. With `Accept: text/csv` the answer is a table with a line per step, group and
    currency that has any figures. Refusals are in lines without a currency, so that each column adds up.
    """
    query = request.query(StatsQuery)
    reader = use_cases(request).read_stats
    with refusing_too_much():
        asked = filter_of(request, query, query.group_by, StatsFilter)
        wanted, zone = await reader.filter(asked, query.span, query.coupon_id)
        stats = await reader(wanted)
    if wants_csv(request.http):
        return csv_response("redemptions.csv", _table(wanted, stats))
    span = span_of(request, wanted.bounds, query.step, zone, stats.as_of)
    series = [
        SeriesData(key=key, is_rest=is_rest, points=[_point(at, found) for at, found in steps])
        for key, is_rest, steps in series_of(wanted, stats.figures)
    ]
    return data_response(StatsData(**span, group_by=query.group_by, series=series))


def _point(at: datetime, figures: Sequence[Figure]) -> PointData:
    return PointData(
        at=at,
        redemptions=sum(figure.redemptions for figure in figures),
        voids=sum(figure.voids for figure in figures),
        refusals=sum(figure.refusals for figure in figures),
        amounts=[AmountsData.of(figure) for figure in figures if figure.redemptions or figure.voids],
    )


def _table(wanted: StatsFilter, stats: Stats) -> Iterator[Sequence[object]]:
    yield ("at", wanted.group_by or "group", "is_rest", "currency", *_AMOUNTS, "refusals")
    for figure in stats.figures:
        at = format_microseconds(wanted.bounds[figure.step - 1])
        amounts = [getattr(figure, name) for name in _AMOUNTS]
        yield (at, key_of(wanted, figure.key), figure.is_rest, figure.currency, *amounts, figure.refusals)


ROUTES: Final = tuple(_routes.all)
