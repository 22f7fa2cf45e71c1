"""The parameters of all statistics: a span, its steps, and the number of groups shown separately."""

from collections.abc import Mapping
from typing import Final

from pydantic import Field

from shared.steps import MOST_STEPS, Span, Step
from shared.web.models import InstantOrDate, QueryInt, QueryModel, Timezone, window
from shared.web.problems import HTTPProblem, invalid_field

MOST_GROUPS: Final = 100
TOO_MANY: Final[Mapping[int, str]] = {
    422: "A field cannot be accepted (`invalid_fields`), or there are too many steps or figures (`too_many_points`)"
}


class SpanQuery(QueryModel):
    """A span and its steps."""

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

    _in_order = window("from", "to")

    @property
    def span(self) -> Span:
        """The requested span."""
        return Span(since=self.since, until=self.until, step=self.step, zone=self.zone)


def too_many_steps() -> HTTPProblem:
    """Return the 422 for a span with too many steps."""
    return invalid_field("step", f"The span has more than {MOST_STEPS:,} such steps.", "too_many_points")


def too_many_figures() -> HTTPProblem:
    """Return the 422 for a span with too many figures."""
    text = "The span has too many figures: use a longer step, fewer groups or a shorter span."
    return invalid_field("step", text, "too_many_points")
