"""`/v1/stats/codes`: how many codes were minted over time, and how many of those were redeemed."""

import uuid
from collections.abc import Iterator, Sequence
from itertools import groupby
from typing import Final

from aiohttp import web
from pydantic import Field

from services.codes.api.exchange import use_cases
from services.codes.domain.stats import Figure, GroupBy, Stats, StatsFilter, TooMuch
from shared.known_ids import NOBODY
from shared.modes import shown_id
from shared.steps import Step, TooManySteps
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
from shared.web.stats import TOO_MANY, SpanQuery, too_many_figures, too_many_steps


class StatsQuery(SpanQuery):
    """The figures to return, and their steps."""

    partner_id: uuid.UUID | None = None
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
    as_of: Moment = Field(
        description="Everything written until then is counted: the time of this response, or seconds before it under "
        "heavy load."
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
    own = request.credential.partner_id
    named = None if query.partner_id is None else request.tenant(query.partner_id)
    if own is not None and named not in (None, own):
        # For another partner, the figures are those of a partner that does not exist.
        named = NOBODY
    wanted = StatsFilter(
        program_id=request.program_id,
        bounds=(),
        partner_id=named or own,
        group_by=query.group_by,
        groups=query.groups,
    )
    reader = use_cases(request).read_stats
    try:
        wanted, zone = await reader.filter(wanted, query.span, query.coupon_id)
        stats = await reader(wanted)
    except TooManySteps:
        raise too_many_steps() from None
    except TooMuch:
        raise too_many_figures() from None
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
    groups = [list(found) for _, found in groupby(stats.figures, lambda each: (each.is_rest, each.key))]
    if not groups and wanted.group_by is None:
        groups = [[]]
    for figures in groups:
        by_step = {figure.step: figure for figure in figures}
        found = [(at, by_step.get(step)) for step, at in enumerate(wanted.bounds[:-1], 1)]
        points = [
            PointData(at=at, minted=figure.minted if figure else 0, redeemed=figure.redeemed if figure else 0)
            for at, figure in found
        ]
        yield SeriesData(key=_key(wanted, figures), is_rest=any(each.is_rest for each in figures), points=points)


def _key(wanted: StatsFilter, figures: Sequence[Figure]) -> str | None:
    key = figures[0].key if figures else None
    # Groups are named by the ids that callers know, not by tenants.
    return shown_id(uuid.UUID(key)) if key is not None and wanted.group_by == "partner_id" else key


def _table(wanted: StatsFilter, stats: Stats) -> Iterator[Sequence[object]]:
    yield ("at", wanted.group_by or "group", "is_rest", "minted", "redeemed")
    for figure in stats.figures:
        at = format_microseconds(wanted.bounds[figure.step - 1])
        yield (at, _key(wanted, [figure]), figure.is_rest, figure.minted, figure.redeemed)


ROUTES: Final = tuple(_routes.all)
