"""What all statistics share: their parameters, what they ask for, series without gaps, and refusals of too much."""

import uuid
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime
from itertools import groupby
from typing import Any, Final, TypeVar

from pydantic import Field

from shared.known_ids import NOBODY
from shared.modes import shown_id
from shared.steps import MOST_STEPS, BeginsLate, Counted, Span, StatsFilter, Step, TooManySteps, TooMuch
from shared.web.models import InstantOrDate, Moment, QueryInt, QueryModel, ResponseModel, Timezone, window
from shared.web.problems import invalid_field
from shared.web.request import Request

F = TypeVar("F", bound=StatsFilter)
C = TypeVar("C", bound=Counted)

MOST_GROUPS: Final = 100
TOO_MANY: Final[Mapping[int, str]] = {
    422: "A field cannot be accepted (`invalid_fields`), or there are too many steps or figures (`too_many_points`)"
}


class StatsParameters(QueryModel):
    """The span of the figures, their steps and their partner; each service adds its groups."""

    since: InstantOrDate | None = Field(
        None,
        alias="from",
        description="The first step contains this time; a bare date is its first moment in the zone. By default "
        "30 days before `to`.",
    )
    until: InstantOrDate | None = Field(
        None,
        alias="to",
        description="The last step contains the moment before this time; a bare date is the end of that day in the "
        "zone. By default now.",
    )
    step: Step = Field(
        "1d", description=f"An hour and a day are those of the zone. There are at most {MOST_STEPS:,} steps."
    )
    zone: Timezone | None = Field(None, description="An IANA time zone; by default the program's.")
    groups: QueryInt = Field(12, ge=1, le=MOST_GROUPS, description="The number of groups with their own series.")
    partner_id: uuid.UUID | None = None

    _in_order = window("from", "to")

    @property
    def span(self) -> Span:
        """The requested span."""
        return Span(since=self.since, until=self.until, step=self.step, zone=self.zone)


class SpanData(ResponseModel):
    """Whole steps, from the beginning of the first to the end of the last."""

    since: Moment = Field(serialization_alias="from")
    until: Moment = Field(serialization_alias="to")
    step: Step
    zone: str
    as_of: Moment | None = Field(
        description="Everything written until then is counted: the time of this response, or seconds before it under "
        "heavy load. Null while data from before an upgrade is still being counted."
    )
    is_test: bool


def span_of(
    request: Request, bounds: Sequence[datetime], step: Step, zone: str, as_of: datetime | None
) -> dict[str, Any]:
    """Return the members of SpanData."""
    since, until = bounds[0], bounds[-1]
    return {"since": since, "until": until, "step": step, "zone": zone, "as_of": as_of, "is_test": request.is_test}


def filter_of(request: Request, query: StatsParameters, group_by: str | None, kind: type[F], **more: Any) -> F:
    """Return the figures that a request may see of those that it asks for."""
    own = request.credential.partner_id
    named = None if query.partner_id is None else request.tenant(query.partner_id)
    if own is not None and named not in (None, own):
        # For another partner, the figures are those of a partner that does not exist.
        named = NOBODY
    asked = {"group_by": group_by, "groups": query.groups, **more}
    return kind(program_id=request.program_id, partner_id=named or own, **asked)


def key_of(wanted: StatsFilter, key: str | None) -> str | None:
    """Return the key of a group as callers know it: a partner's id, not its tenant's."""
    return shown_id(uuid.UUID(key)) if key is not None and wanted.group_by == "partner_id" else key


def series_of(
    wanted: StatsFilter, figures: Sequence[C]
) -> Iterator[tuple[str | None, bool, list[tuple[datetime, list[C]]]]]:
    """Return the figures group by group, with a list of them for each step: its key, whether it is the rest, its steps.

    They come in the order of groups. What is not grouped is one series, without figures too.
    """
    groups = [(key, list(found)) for key, found in groupby(figures, lambda each: (each.is_rest, each.key))]
    if not groups and wanted.group_by is None:
        groups = [((False, None), [])]
    for (is_rest, key), found in groups:
        by_step: dict[int, list[C]] = {}
        for figure in found:
            by_step.setdefault(figure.step, []).append(figure)
        steps = [(at, by_step.get(step, [])) for step, at in enumerate(wanted.bounds[:-1], 1)]
        yield key_of(wanted, key), is_rest, steps


@contextmanager
def refusing_too_much() -> Iterator[None]:
    """Answer 422 for a span that has too many steps or figures, or none because it begins after now."""
    try:
        yield
    except BeginsLate:
        raise invalid_field("from", "The from field must not lie after now without a to field.") from None
    except TooManySteps:
        raise invalid_field("step", f"The span has more than {MOST_STEPS:,} such steps.", "too_many_points") from None
    except TooMuch:
        text = "The span has too many figures: use a longer step, fewer groups or a shorter span."
        raise invalid_field("step", text, "too_many_points") from None
