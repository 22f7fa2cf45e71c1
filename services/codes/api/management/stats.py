"""`/v1/stats/codes`: how many codes were minted over time, and how many of those were redeemed."""

from collections.abc import Iterator, Sequence
from itertools import groupby
from typing import Final

from aiohttp import web
from pydantic import Field

from services.codes.api.context import use_cases
from services.codes.domain.stats import GroupBy, Stats
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
        wanted, zone = await reader.filter(filter_of(request, query, query.group_by), query.span, query.coupon_id)
        stats = await reader(wanted)
    if wants_csv(request.http):
        return csv_response("codes.csv", _table(wanted, stats))
    return data_response(
        StatsData(
            since=wanted.bounds[0],
            until=wanted.bounds[-1],
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
        by_step = {figure.step: figure for figure in figures}
        found = [(at, by_step.get(step)) for step, at in enumerate(wanted.bounds[:-1], 1)]
        points = [
            PointData(at=at, minted=figure.minted if figure else 0, redeemed=figure.redeemed if figure else 0)
            for at, figure in found
        ]
        yield SeriesData(key=key_of(wanted, key), is_rest=is_rest, points=points)


def _table(wanted: StatsFilter, stats: Stats) -> Iterator[Sequence[object]]:
    yield ("at", wanted.group_by or "group", "is_rest", "minted", "redeemed")
    for figure in stats.figures:
        at = format_microseconds(wanted.bounds[figure.step - 1])
        yield (at, key_of(wanted, figure.key), figure.is_rest, figure.minted, figure.redeemed)


ROUTES: Final = tuple(_routes.all)
