"""The partner's deliveries, on the real webhooks service and a receiver that fails first."""

import asyncio
import re
import uuid

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from mintwire.stack.dashboard_keys import signing_key
from services.dashboard.clients.errors import CallFailed
from services.dashboard.clients.service import Answer, ServiceClient
from shared.account_tokens import Acting, Signer
from tests.databases import Database
from tests.running import DASHBOARD_SEED
from tests.services.dashboard.conftest import Dashboard, HeldClock
from tests.services.dashboard.partners import PartnerSide, partner_side

PAGE = "/partner/deliveries"
_ROW = re.compile(r'<td><a href="(/partner/deliveries/[^"]+)">')


async def send_test(side: PartnerSide, webhooks_url: str, receiver: str) -> None:
    """Make an endpoint of the partner and send a test to it, once the webhooks service knows the program."""
    dashboard, key = side.dashboard, signing_key(DASHBOARD_SEED)
    client = ServiceClient("webhooks", webhooks_url, dashboard.http, Signer.parse(key), dashboard.clock)
    acting = Acting(
        account_id=uuid.uuid4(),
        role="partner",
        grade="change",
        request_id="for-a-test",
        program_id=uuid.UUID(side.program_id),
        partner_id=uuid.UUID(side.partner_id),
    )
    body = {"url": receiver, "event_types": ["*"]}
    made: Answer | None = None
    last: CallFailed | None = None
    for _ in range(50):
        try:
            made = await client.call(acting, "POST", "/v1/webhooks/endpoints", body=body)
            break
        except CallFailed as error:
            last = error
            await asyncio.sleep(0.2)
    assert made is not None, last
    await client.call(acting, "POST", f"/v1/webhooks/endpoints/{made.data['id']}/test", body={}, seconds=20)


@pytest.mark.timeout(120)
async def test_a_failed_delivery_is_found_explained_and_sent_again(
    database: Database, clean_broker: dict[str, str], clock: HeldClock
) -> None:
    answers = [503, 200]

    async def receive(_: web.Request) -> web.Response:
        return web.Response(status=answers.pop(0), text="<script>alert(1)</script>")

    receiver = web.Application()
    receiver.router.add_post("/hook", receive)
    names = ("codes", "webhooks")
    async with (
        TestServer(receiver) as server,
        partner_side(database, clean_broker, clock, quota=1, names=names) as side,
    ):
        partner = await side.browser()
        assert "Nothing sent yet" in (await partner.get(PAGE)).text
        await send_test(side, side.urls["webhooks"], str(server.make_url("/hook")))

        page = await partner.get(PAGE)
        (path,) = _ROW.findall(page.text)
        assert _ROW.findall((await partner.get(f"{PAGE}?event_type=code.redeemed")).text) == []
        assert "No delivery matches" in (await partner.get(f"{PAGE}?status=dead")).text
        for query in ("status=nonsense", "code=%21", "endpoint_id=x"):
            assert (await partner.get(f"{PAGE}?{query}")).status == 422, query
        one = await partner.get(path)
        assert "503" in one.text
        assert "Attempt 1" in one.text
        assert "&lt;script&gt;alert(1)" in one.text
        assert "<script>alert" not in one.text

        looking = await side.browser("l@x.example", "look")
        seen = await looking.get(path)
        assert seen.status == 200
        assert "Send again" not in seen.text
        assert (await looking.post(f"{path}/send")).status == 403
        assert answers == [200]

        assert (await partner.post(f"{path}/send")).status == 303
        again = await partner.get(path)
        assert answers == []
        assert "Attempt 2" in again.text
        assert "sent by hand" in again.text
        assert (await partner.get(f"{PAGE}/{uuid.uuid4()}")).status == 404


async def test_a_service_that_is_away_is_said(dashboard: Dashboard) -> None:
    partner = await dashboard.signed_in(role="partner")
    page = await partner.get(PAGE)
    assert page.status == 200
    assert "The webhooks service does not answer" in page.text
    assert "Nothing sent yet" not in page.text
    assert (await partner.get(f"{PAGE}/{uuid.uuid4()}")).status == 503
