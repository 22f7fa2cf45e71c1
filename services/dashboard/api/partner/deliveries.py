"""A partner's deliveries: the list with its filters, one delivery with its attempts, and sending it again."""

from typing import Any, Final

from aiohttp import web

from services.dashboard.api.page import Page
from services.dashboard.api.pages import Pages
from services.dashboard.clients.errors import Refused
from services.dashboard.domain import words

PAGES: Final = Pages()
_PATH: Final = "/partner/deliveries"
_API: Final = "/v1/webhooks/deliveries"
_FILTERS: Final = ("status", "event_type", "code", "endpoint_id")
_MOST_ENDPOINTS: Final = 100
# A receiver may take 30 seconds to answer.
_SEND_SECONDS: Final = 35.0


@PAGES.get(_PATH, "deliveries.see")
async def deliveries(page: Page) -> web.Response:
    """List the deliveries that match, newest first."""
    given = {name: page.query(name) for name in _FILTERS}
    rows = page.viewer.account.rows_per_page
    try:
        listed, endpoints = await page.ask(
            page.webhooks.get(_API, limit=rows, cursor=page.query("cursor"), **given),
            page.webhooks.get("/v1/webhooks/endpoints", limit=_MOST_ENDPOINTS),
        )
    except Refused as refused:
        at_fields = {name: " ".join(found) for name, found in refused.errors.items() if name in _FILTERS}
        errors = at_fields or {"": words.REFUSALS.get(refused.code, refused.detail)}
        return page.refuse("partner/deliveries.html", errors, listed=None, urls={}, on=_on(given, {}), form=given)
    urls = {} if endpoints.is_missing else {each["id"]: each["url"] for each in endpoints.data}
    return page.render("partner/deliveries.html", listed=listed, urls=urls, on=_on(given, urls), form=given)


@PAGES.get(_PATH + "/{delivery_id}", "deliveries.see")
async def delivery(page: Page) -> web.Response:
    """Show a delivery with its attempts, the newest first."""
    return page.render("partner/delivery.html", **await _shown(page))


@PAGES.post(_PATH + "/{delivery_id}/send", "deliveries.send")
async def send(page: Page) -> web.Response:
    """Send it now, once; what came back is the newest attempt."""
    delivery_id = page.path_id("delivery_id")
    try:
        await page.webhooks.post(_API + "/{}/retry", delivery_id, seconds=_SEND_SECONDS)
    except Refused as refused:
        errors = {"": words.REFUSALS.get(refused.code, refused.detail)}
        return page.refuse("partner/delivery.html", errors, **await _shown(page))
    return page.redirect(_PATH + "/{}", delivery_id, note="delivery_sent")


async def _shown(page: Page) -> dict[str, Any]:
    found = (await page.webhooks.get(_API + "/{}", page.path_id("delivery_id"))).data
    (endpoints,) = await page.ask(page.webhooks.get("/v1/webhooks/endpoints", limit=_MOST_ENDPOINTS))
    urls = {} if endpoints.is_missing else {each["id"]: each["url"] for each in endpoints.data}
    attempts = sorted(found["attempts"], key=lambda each: int(each["number"]), reverse=True)
    return {"delivery": found, "attempts": attempts, "url": urls.get(found["endpoint_id"], "")}


def _on(given: dict[str, str], urls: dict[str, str]) -> list[tuple[str, str]]:
    said = {
        "status": f"State: {words.state('delivery', given['status']).word}",
        "event_type": f"Event: {given['event_type']}",
        "code": f"Code: {given['code']}",
        "endpoint_id": f"Endpoint: {urls.get(given['endpoint_id'], given['endpoint_id'])}",
    }
    return [(said[name], name) for name in _FILTERS if given[name]]
