"""`/v1/stats/redemptions`: redemptions, discounts, commissions, voids and refusals, over time."""

from collections.abc import Iterator, Sequence
from datetime import datetime
from itertools import groupby
from typing import Final

from aiohttp import web
from pydantic import Field

from services.redemption.api.context import use_cases
from services.redemption.domain.stats import Figure, GroupBy, Stats
from shared.steps import StatsFilter, Step
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
from shared.web.stats import TOO_MANY, StatsParameters, filter_of, key_of, refusing_too_much

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


class StatsData(ResponseModel):
    """Figures in whole steps, from the beginning of the first to the end of the last."""

    since: Moment = Field(serialization_alias="from")
    until: Moment = Field(serialization_alias="to")
    step: Step
    zone: str
    group_by: GroupBy | None
    as_of: Moment | None = Field(
        description="Everything written until then is counted: the time of this response, or seconds before it under "
        "heavy load. Null while data from before an upgrade is still being counted."
    )
    is_test: bool
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
        wanted, zone = await reader.filter(filter_of(request, query, query.group_by), query.span, query.coupon_id)
        stats = await reader(wanted)
    if wants_csv(request.http):
        return csv_response("redemptions.csv", _table(wanted, stats))
    bounds = wanted.bounds
    return data_response(
        StatsData(
            since=bounds[0],
            until=bounds[-1],
            step=query.step,
            zone=zone,
            group_by=query.group_by,
            as_of=stats.as_of,
            is_test=request.is_test,
            series=list(_series(wanted, stats)),
        )
    )


def _series(wanted: StatsFilter, stats: Stats) -> Iterator[SeriesData]:
    groups = [(key, list(found)) for key, found in groupby(stats.figures, lambda each: (each.is_rest, each.key))]
    if not groups and wanted.group_by is None:
        groups = [((False, None), [])]
    for (is_rest, key), figures in groups:
        by_step: dict[int, list[Figure]] = {}
        for figure in figures:
            by_step.setdefault(figure.step, []).append(figure)
        points = [_point(at, by_step.get(step, ())) for step, at in enumerate(wanted.bounds[:-1], 1)]
        yield SeriesData(key=key_of(wanted, key), is_rest=is_rest, points=points)


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
