"""`/api/partners/me`: what a partner sees of its own account. Contains no secret."""

import math
import uuid
from functools import partial
from typing import Final, Literal

from aiohttp import web
from pydantic import Field

from services.codes.api.context import use_cases
from services.codes.domain.profiles import OwnAccount, RateWindow
from shared.web import MillisecondMoment, Request, ResponseModel, Route, json_response


class OwnProgram(ResponseModel):
    """The program that the partner belongs to."""

    name: str
    currency: str = Field(description="ISO 4217 code.")
    timezone: str = Field(description="IANA name; the time zone for days, months and bare dates.")
    code_packs: list[int] = Field(description="The numbers of codes that you can order; empty for any number.")


class OwnQuota(ResponseModel):
    """The partner's quota and its use."""

    granted: int
    adjusted: int
    minted: int
    refunded: int
    remaining: int


class OwnPace(ResponseModel):
    """Codes minted over the last seven days, to the hour."""

    minted_7d: int
    codes_per_day: float
    days_left: int | None = Field(description="How long `remaining` lasts at this pace; null if nothing was minted.")


class OwnRate(ResponseModel):
    """The mints of a live key in its window of 60 seconds."""

    key_id: uuid.UUID
    name: str | None
    is_caller: bool = Field(description="Whether this request was made with it.")
    limit_per_minute: int | None = Field(description="Null without a limit; nothing is counted then.")
    used: int
    remaining: int | None
    resets_in_seconds: int = Field(description="0 while no window is open; the next mint opens one.")


class OwnProfile(ResponseModel):
    """The partner's account."""

    ok: Literal[True] = True
    name: str
    prefix: str = Field(description="What its codes begin with.")
    status: Literal["pending", "active", "suspended"]
    status_since: MillisecondMoment | None = Field(
        description="Null if the status has not changed since before this was recorded."
    )
    support_address: str | None = Field(description="The address for this partner, or else the program's.")
    program: OwnProgram
    quota: OwnQuota
    pace: OwnPace
    rate_limits: list[OwnRate] = Field(
        description="One per live key that may mint, up to 100; an account also sees its own window once it has minted."
    )
    is_test: bool


async def me(request: Request) -> web.StreamResponse:
    """Show the partner's account."""
    caller_id = request.credential.key_id
    found = await use_cases(request).read_profile(request.partner_id, caller_id)
    return json_response(_profile(found, caller_id, is_test=request.is_test))


def _profile(found: OwnAccount, caller_id: uuid.UUID, *, is_test: bool) -> OwnProfile:
    profile, quota = found.profile, found.profile.quota
    return OwnProfile(
        name=profile.name,
        prefix=profile.prefix,
        status=profile.status,
        status_since=profile.status_changed_at,
        support_address=profile.support_address,
        program=OwnProgram(
            name=profile.program_name,
            currency=profile.currency,
            timezone=profile.timezone,
            code_packs=list(profile.code_packs),
        ),
        quota=OwnQuota(
            granted=quota.granted,
            adjusted=quota.adjusted,
            minted=quota.minted,
            refunded=quota.refunded,
            remaining=quota.remaining,
        ),
        pace=OwnPace(minted_7d=found.pace.minted, codes_per_day=found.pace.per_day, days_left=found.pace.days_left),
        rate_limits=[_rate(window, caller_id) for window in found.windows],
        is_test=is_test,
    )


def _rate(window: RateWindow, caller_id: uuid.UUID) -> OwnRate:
    return OwnRate(
        key_id=window.key_id,
        name=window.name,
        is_caller=window.key_id == caller_id,
        limit_per_minute=window.limit,
        used=window.used,
        # A limit lowered within the window may be below what is used.
        remaining=None if window.limit is None else max(0, window.limit - window.used),
        resets_in_seconds=math.ceil(window.resets_in_seconds),
    )


_route = partial(Route, tag="partner", security="partner_key", scope="codes:read", family="partner")

ROUTES: Final = (
    _route(
        method="GET",
        path="/api/partners/me",
        handler=me,
        summary="Show your account",
        description="Its program and support address, the quota with its pace, and the use of the rate limits.",
        responses={200: OwnProfile},
    ),
)
