"""Dry runs of coupons: how one is asked for, and what a request would create or change."""

from datetime import datetime
from typing import Annotated, Final, Literal

from aiohttp import web
from pydantic import Field, PlainSerializer, WithJsonSchema

from services.codes.api.fields import QueryBool, is_true
from services.codes.api.management.answers import CouponAnswer, coupon_data
from services.codes.domain.promotion_codes import TriedCoupon
from shared.times import zone_named
from shared.web import QueryModel, ResponseModel, json_response

_TRIED: Final = "Nothing was changed: this was a dry run."

LocalMoment = Annotated[
    datetime,
    PlainSerializer(lambda moment: moment.isoformat(timespec="microseconds"), return_type=str),
    WithJsonSchema({"type": "string", "format": "date-time"}, mode="serialization"),
]


class DryRunQuery(QueryModel):
    """Whether to do it."""

    dry_run: QueryBool | None = Field(
        None,
        description="`true` checks the request in full, against what exists too, and responds with the coupon as it "
        "would be (200). Nothing is created, changed, audited, emitted or stored under the `Idempotency-Key`.",
    )

    @property
    def is_dry_run(self) -> bool:
        """Whether nothing is to be done."""
        return bool(is_true(self.dry_run))


class TriedCode(ResponseModel):
    """A code that would be created, and its own limits in time."""

    code: str
    starts_at: LocalMoment | None
    ends_at: LocalMoment | None


class TriedCouponAnswer(CouponAnswer):
    """A coupon as it would be. New ids, and names and codes that are generated, are examples; the request gets others.

    Times here have the offset of the program's time zone.
    """

    dry_run: Literal[True] = True
    timezone: str
    starts_at: LocalMoment | None
    ends_at: LocalMoment | None = Field(description="A bare date is the last moment of that day.")
    codes: list[TriedCode] = Field(description="Those that would be created, or the newest of those that there are.")


def tried_response(tried: TriedCoupon) -> web.Response:
    """Answer with a coupon as it would be."""
    coupon, zone = tried.shown.coupon, zone_named(tried.timezone)

    def local(moment: datetime | None) -> datetime | None:
        return None if moment is None else moment.astimezone(zone)

    return json_response(
        TriedCouponAnswer(
            data=coupon_data(tried.shown),
            message=_TRIED,
            timezone=tried.timezone,
            starts_at=local(coupon.starts_at),
            ends_at=local(coupon.expires_at),
            codes=[
                TriedCode(code=code.code, starts_at=local(code.starts_at), ends_at=local(code.expires_at))
                for code in tried.shown.codes
            ],
        )
    )
