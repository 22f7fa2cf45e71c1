"""`/v1/promotion-codes/bulk`: one change to all codes of a selection, by a job."""

import uuid
from typing import Annotated, Final, Literal

from aiohttp import web
from pydantic import AfterValidator, Field, model_validator

from services.codes.api.context import actor, once, use_cases
from services.codes.api.management.jobs import JobData, job_data, job_url
from services.codes.domain.bulk import BulkDraft
from services.codes.domain.code_selection import CodeSelection
from services.codes.domain.jobs import Job
from shared.idempotency import Once
from shared.web import (
    Data,
    InstantOrDate,
    Int,
    Request,
    RequestModel,
    ResponseModel,
    Route,
    Text,
    data_response,
    field_error,
    respond,
    window,
)

MAX_IDS: Final = 1_000
_TEN_YEARS_SECONDS: Final = 315_360_000


def _id(text: str) -> str:
    try:
        return str(uuid.UUID(text))
    except ValueError:
        raise ValueError("must be an id") from None


Id = Annotated[Text, AfterValidator(_id)]


class BulkFilter(RequestModel):
    """The live codes to change: every condition must match, and at least one is required."""

    coupon_id: Text | None = Field(None, description="The coupon's id or its `uuid_code`.")
    partner_id: Id | None = None
    partner_email: Text | None = None
    customer_id: Text | None = None
    batch_id: Id | None = Field(None, description="The job that created them.")
    active: bool | None = None
    created_from: InstantOrDate | None = None
    expires_from: InstantOrDate | None = None
    expires_before: InstantOrDate | None = None
    _in_order = window("expires_from", "expires_before")


class BulkChange(RequestModel):
    """The action and its codes: `ids` or `filter`."""

    action: Literal["deactivate", "activate", "expire", "extend", "assign", "archive"]
    ids: Annotated[list[Id], Field(min_length=1, max_length=MAX_IDS)] | None = None
    filter: BulkFilter | None = None
    expires_at: InstantOrDate | None = Field(
        None, description="For `extend`: the new time. Codes that expire later or never are unchanged."
    )
    extend_by_seconds: Annotated[Int, Field(ge=1, le=_TEN_YEARS_SECONDS)] | None = Field(
        None, description="For `extend`, instead of `expires_at`: added to each code's own time."
    )
    partner_id: Id | None = Field(None, description="For `assign`: the partner who gets the codes.")
    dry_run: bool = Field(False, description="Only count the selected codes.")

    @model_validator(mode="after")
    def _hangs_together(self) -> "BulkChange":
        if (self.ids is None) == (self.filter is None):
            raise field_error("filter", "or ids must be given, and not both")
        if self.filter is not None and not self.filter.model_dump(exclude_none=True):
            raise field_error("filter", "must have at least one condition")
        if self.action == "extend" and (self.expires_at is None) == (self.extend_by_seconds is None):
            raise field_error("expires_at", "or extend_by_seconds must be given for extend, and not both")
        if self.action != "extend" and self.expires_at is not None:
            raise field_error("expires_at", "is for extend only")
        if self.action != "extend" and self.extend_by_seconds is not None:
            raise field_error("extend_by_seconds", "is for extend only")
        if (self.action == "assign") != (self.partner_id is not None):
            raise field_error("partner_id", "must be given for assign, and only then")
        return self


class BulkCount(ResponseModel):
    """The result of a dry run: if `is_whole` is false, `matched` is a minimum."""

    dry_run: Literal[True] = True
    matched: int
    is_whole: bool


def _draft(request: Request, body: BulkChange) -> BulkDraft:
    wanted = body.filter or BulkFilter.model_construct()
    return BulkDraft(
        action=body.action,
        ids=None if body.ids is None else tuple(dict.fromkeys(uuid.UUID(each) for each in body.ids)),
        selection=CodeSelection(
            coupon=wanted.coupon_id,
            partner_email=wanted.partner_email,
            partner_id=_partner(request, wanted.partner_id),
            customer_id=wanted.customer_id,
            batch_id=_as_id(wanted.batch_id),
            is_active=wanted.active,
            created_from=wanted.created_from,
            expires_from=wanted.expires_from,
            expires_before=wanted.expires_before,
        ),
        expires_at=body.expires_at,
        extend_seconds=body.extend_by_seconds,
        partner_id=_partner(request, body.partner_id),
    )


def _partner(request: Request, text: str | None) -> uuid.UUID | None:
    return None if text is None else request.tenant(uuid.UUID(text))


def _as_id(text: str | None) -> uuid.UUID | None:
    return None if text is None else uuid.UUID(text)


async def change(request: Request) -> web.StreamResponse:
    """Change many codes, or count them."""
    body = request.body(BulkChange)
    change_many = use_cases(request).change_many_codes
    if body.dry_run:
        counted = await change_many.count(request.program_id, _draft(request, body))
        return data_response(BulkCount(matched=counted.matched, is_whole=counted.is_whole))
    made: Once[Job] = once(request, lambda job: data_response(job_data(job), 202, {"Location": job_url(job)}))
    answer = await change_many(actor(request), request.program_id, _draft(request, body), made)
    return respond(request, answer)


ROUTES: Final = (
    Route(
        method="POST",
        path="/v1/promotion-codes/bulk",
        handler=change,
        summary="Change many promotion codes",
        description=(
            "Done by a job that `Location` leads to: each code that is meant and was there at the request is changed "
            "once; `updated` counts those, `skipped` those that had the change already. With `dry_run` the codes are "
            "only counted (200), among the first 50,000 that are looked at: where there are more, `is_whole` is false "
            "and `matched` is the least that it can be."
        ),
        tag="batches",
        security="bearer",
        scope="manage",
        family="management",
        body=BulkChange,
        idempotent=True,
        responses={
            200: Data[BulkCount],
            202: Data[JobData],
            404: "No such coupon or partner",
            429: "The program has the maximum number of unfinished jobs",
        },
        examples={"request": {"action": "deactivate", "filter": {"coupon_id": "spring-2026"}}},
    ),
)
