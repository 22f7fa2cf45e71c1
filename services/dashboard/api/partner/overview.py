"""The partner's overview: codes left, codes by day, the state of its endpoints, the latest codes."""

from typing import Any, Final

from aiohttp import web

from services.dashboard.api.page import Page
from services.dashboard.api.pages import Pages
from services.dashboard.domain import plots, series, times
from services.dashboard.domain.quotas import Quota, lasts_until
from services.dashboard.domain.series import MintedDay

PAGES: Final = Pages()
_LATEST: Final = 6
_MOST_ENDPOINTS: Final = 20


@PAGES.get("/partner", "overview.see")
async def overview(page: Page) -> web.Response:
    """Show how many codes are left, and how many of those minted were redeemed."""
    days = series.period_of(page.query("days"))
    start = times.days_before(page.now, days - 1, page.zone)
    quota, minted, latest, endpoints = await page.ask(
        page.codes.get("/api/partners/quota"),
        page.codes.get("/v1/stats/codes", **{"from": start, "step": "1d", "zone": page.zone}),
        page.codes.get("/api/partners/codes", limit=_LATEST),
        page.webhooks.get("/v1/webhooks/endpoints", limit=_MOST_ENDPOINTS),
    )
    by_day = [] if minted.is_missing else _days(minted.data)
    return page.render(
        "partner/overview.html",
        days=days,
        quota=quota if quota.is_missing else _quota(quota.data),
        until=None if quota.is_missing else lasts_until(_quota(quota.data), [day.minted for day in by_day], page.now),
        minted=minted,
        by_day=by_day,
        plot=series.minted_plot(by_day, page.zone),
        dated=[(times.date(day.at, page.zone), day.minted, day.redeemed) for day in by_day],
        parts=() if quota.is_missing else _parts(_quota(quota.data)),
        latest=latest,
        endpoints=endpoints,
    )


def _quota(data: Any) -> Quota:
    return Quota(**{name: data[name] for name in Quota.__dataclass_fields__})


def _days(data: Any) -> list[MintedDay]:
    points = data["series"][0]["points"] if data["series"] else []
    return [MintedDay(times.read(each["at"]), each["minted"], each["redeemed"]) for each in points]


def _parts(quota: Quota) -> tuple[plots.Part, ...]:
    return plots.parts([("Minted", "f", quota.minted), ("Left", "rest", quota.remaining)])
