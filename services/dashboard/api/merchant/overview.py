"""The merchant's overview: what waits, redemptions and discount by day, partners, coupons."""

from typing import Any, Final

from aiohttp import web

from services.dashboard.api.page import Page
from services.dashboard.api.pages import Pages
from services.dashboard.domain import series, times
from services.dashboard.domain.series import RedeemedDay

PAGES: Final = Pages()
_SHOWN: Final = 6


@PAGES.get("/merchant", "overview.see")
async def overview(page: Page) -> web.Response:
    """Show what waits for the merchant, and how the program does."""
    days = series.period_of(page.query("days"))
    start = times.days_before(page.now, days - 1, page.zone)
    program_id = page.viewer.membership.owner.program_id
    program, redeemed, waiting, coupons, dead = await page.ask(
        page.codes.get("/v1/programs/{}", program_id),
        page.redemption.get("/v1/stats/redemptions", **{"from": start, "step": "1d", "zone": page.zone}),
        page.codes.get("/v1/partners", status="pending", limit=_SHOWN),
        page.codes.get("/v1/coupons", limit=_SHOWN),
        page.webhooks.get("/v1/webhooks/dead-letters", limit=_SHOWN),
    )
    currency = None if program.is_missing else program.data["currency"]
    by_day = [] if redeemed.is_missing else _days(redeemed.data, currency)
    return page.render(
        "merchant/overview.html",
        days=days,
        currency=currency,
        redeemed=redeemed,
        by_day=by_day,
        plot=series.redeemed_plot(by_day, page.zone),
        dated=[(times.date(day.at, page.zone), day.redemptions, day.refusals) for day in by_day],
        waiting=waiting,
        coupons=coupons,
        dead=dead,
    )


def _days(data: Any, currency: str | None) -> list[RedeemedDay]:
    points = data["series"][0]["points"] if data["series"] else []
    return [_day(each, currency) for each in points]


def _day(point: Any, currency: str | None) -> RedeemedDay:
    own = next((each for each in point["amounts"] if each["currency"] == currency), None)
    return RedeemedDay(
        at=times.read(point["at"]),
        redemptions=point["redemptions"],
        refusals=point["refusals"],
        discount_minor=own["discount_minor"] if own else 0,
        commission_minor=own["commission_minor"] if own else 0,
    )
