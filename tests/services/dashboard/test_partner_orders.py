"""The partner's orders of codes, on the real codes service: asked, placed once, decided, cancelled."""

import re

import pytest

from tests.databases import Database
from tests.services.dashboard.conftest import Dashboard, HeldClock
from tests.services.dashboard.partners import partner_side

PAGE = "/partner/orders"
_HIDDEN = re.compile(r'<input type="hidden" name="(form_id|count|reference|note)" value="([^"]*)"')
_CANCEL = re.compile(r'action="(/partner/orders/[^"]+/cancel)"')


@pytest.mark.timeout(120)
async def test_a_partner_orders_codes_and_cancels_what_waits(
    database: Database, clean_broker: dict[str, str], clock: HeldClock
) -> None:
    async with partner_side(database, clean_broker, clock, quota=3) as side:
        partner = await side.browser()
        page = await partner.get(PAGE)
        assert "<b>3 codes</b> are left." in page.text
        assert "No orders yet" in page.text

        for count in ("0", "1000001", "many", "", "\u0665"):
            refused = await partner.get(f"{PAGE}/new?count={count}&reference=kept")
            assert refused.status == 422
            assert "Give a number of codes from 1 to 1,000,000" in refused.text
            assert 'value="kept"' in refused.text
        asked = await partner.get(f"{PAGE}/new?count=5000&reference=PO-1&note=For+spring")
        assert "Order 5,000 codes?" in asked.text
        assert "No orders yet" in (await partner.get(PAGE)).text
        form = dict(_HIDDEN.findall(asked.text))
        for _ in range(2):
            assert (await partner.post(PAGE, form)).status == 303
        page = await partner.get(PAGE)
        assert len(_CANCEL.findall(page.text)) == 1
        taken = await partner.post(PAGE, {**form, "form_id": "0" * 32, "count": "7"})
        assert taken.status == 422
        assert 'id="reference-e"' in taken.text

        looking = await side.browser("l@x.example", "look")
        seen = await looking.get(PAGE)
        assert "PO-1" in seen.text
        assert "Order more codes" not in seen.text
        assert not _CANCEL.findall(seen.text)
        assert (await looking.post(PAGE, form)).status == 403

        cancel = _CANCEL.findall(page.text)[0]
        assert (await partner.post(cancel)).status == 303
        assert "Cancelled" in (await partner.get(f"{PAGE}?state=cancelled")).text
        late = await partner.post(cancel.replace("/cancel", "x/cancel"))
        assert late.status == 404
        assert "No order matches" in (await partner.get(f"{PAGE}?state=refused")).text

        assert (await partner.post(PAGE, {"count": "9"})).status == 303
        order_id = _CANCEL.findall((await partner.get(PAGE)).text)[0].split("/")[3]
        await side.decide(f"/v1/code-orders/{order_id}/refuse", {"reason": "Ask <us> first"})
        listed = (await partner.get(f"{PAGE}?state=refused")).text
        assert 'Refused</span><br><span class="small muted">Ask &lt;us&gt; first</span></td>' in listed

        assert (await partner.post(PAGE, {"count": "20", "reference": "PO-2"})).status == 303
        order_id = _CANCEL.findall((await partner.get(PAGE)).text)[0].split("/")[3]
        await side.decide(f"/v1/code-orders/{order_id}/approve", {})
        page = await partner.get(PAGE)
        assert "<b>23 codes</b> are left." in page.text
        decided = await partner.post(f"{PAGE}/{order_id}/cancel")
        assert decided.status == 422
        assert "decided already" in decided.text


async def test_without_the_service_the_form_stays_with_its_values(dashboard: Dashboard) -> None:
    partner = await dashboard.signed_in(role="partner")
    form = {"count": "12", "reference": "PO-3", "note": "", "form_id": "a" * 32}
    refused = await partner.post(PAGE, form)
    assert refused.status == 503
    assert "Try again: the order is sent once" in refused.text
    # With the same id of the form, so that an order that did arrive is found again.
    assert dict(_HIDDEN.findall(refused.text)) == form
