"""Figures of messages, deliveries and attempts as responses show them."""

from collections.abc import Sequence
from datetime import datetime
from typing import Final

from pydantic import Field

from services.webhooks.domain.figures import Figure
from shared.web import Moment, ResponseModel


class DurationsData(ResponseModel):
    """Percentiles of the time from the start of an attempt to the end of the response, in milliseconds."""

    p50: float
    p95: float
    p99: float


class CreatedData(ResponseModel):
    """The deliveries created in a step, by their status now; `pending` are those that have not ended."""

    created: int
    pending: int
    succeeded: int
    failed: int
    dead: int
    canceled: int


class AttemptsData(ResponseModel):
    """The attempts that started in a step: those that got a 2xx, all others, and the first ones of their deliveries."""

    total: int
    succeeded: int
    failed: int
    first_tries: int
    first_try_rate: float | None = Field(description="The share of first tries that succeeded; null without any.")


class AnswersData(ResponseModel):
    """The attempts that started in a step, by the class of the response. A rare 1xx is among the 3xx."""

    answers_2xx: int = Field(serialization_alias="2xx")
    answers_3xx: int = Field(serialization_alias="3xx")
    answers_4xx: int = Field(serialization_alias="4xx")
    answers_5xx: int = Field(serialization_alias="5xx")
    unanswered: int


class PointData(ResponseModel):
    """One step. Messages and deliveries count when they were created, attempts when they started."""

    at: Moment
    messages: int = Field(description="0 by endpoint and by reason: a message belongs to neither.")
    deliveries: CreatedData
    attempts: AttemptsData
    answers: AnswersData
    duration_ms: DurationsData | None = Field(
        description="The attempts that got a response; within 5 %, from a histogram whose classes grow by a tenth."
    )


_NOTHING: Final = Figure(
    step=0,
    key=None,
    is_rest=False,
    messages=0,
    deliveries=0,
    succeeded=0,
    failed=0,
    dead=0,
    canceled=0,
    answers_2xx=0,
    answers_3xx=0,
    answers_4xx=0,
    answers_5xx=0,
    unanswered=0,
    first_tries=0,
    first_successes=0,
    durations="0",
)


def point_data(at: datetime, figures: Sequence[Figure]) -> PointData:
    """Render a step of a group, which has one figure or none."""
    figure = figures[0] if figures else _NOTHING
    return PointData(
        at=at,
        messages=figure.messages,
        deliveries=CreatedData.of(figure, created=figure.deliveries),
        attempts=AttemptsData.of(
            figure, total=figure.attempts, succeeded=figure.answers_2xx, failed=figure.attempts_failed
        ),
        answers=AnswersData.of(figure),
        duration_ms=durations_data(figure),
    )


def durations_data(figure: Figure) -> DurationsData | None:
    """Render the percentiles of a figure; None if no attempt got a response."""
    durations = figure.duration_ms
    return None if durations is None else DurationsData(p50=durations[50], p95=durations[95], p99=durations[99])
