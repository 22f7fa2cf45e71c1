"""The demo shop sells with a partner's link, and loses nothing whatever fails between the bag and the receipt."""

import asyncio
import re
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from yarl import URL

from examples.shop.app import serving
from examples.shop.pages import COOKIE
from examples.shop.settings import Settings
from mintwire.stack import ports
from tests.system.stack import Partner, Stack

CARD = {"recipient_name": "Sarah", "email": "ben@mail.example", "occasion": "birthday"}


class Browser:
    """Visits one shop, keeps its cookies, follows its redirects, and presses its buttons."""

    def __init__(self, session: aiohttp.ClientSession, shop: str) -> None:
        self.session = session
        self.shop = URL(shop)
        self.status = 0
        self.at = ""
        self.page = ""

    @classmethod
    @asynccontextmanager
    async def at_shop(cls, shop: str) -> AsyncIterator["Browser"]:
        """A new browser."""
        async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=30)) as session:
            yield cls(session, shop)

    async def opens(self, path: str) -> str:
        """Open a page and return it."""
        async with self.session.get(self.shop.join(URL(path))) as response:
            return await self._shown(response)

    async def sends(self, path: str, **fields: str) -> str:
        """Send a form as a page of the shop does, and return the page that follows."""
        headers = {"Origin": str(self.shop), "Sec-Fetch-Site": "same-origin"}
        async with self.session.post(self.shop.join(URL(path)), data=fields, headers=headers) as response:
            return await self._shown(response)

    async def buys(self, **fields: str) -> str:
        """Press Buy on the page that is open."""
        [total] = re.findall(r'name="total" value="(\d+)"', self.page)
        return await self.sends("/buy", total=total, **{**CARD, **fields})

    async def receipt(self, wanted: str) -> str:
        """Load the receipt until it has the words, as the page itself does."""
        assert self.at.startswith("/orders/"), (self.at, self.status)
        for _ in range(100):
            if wanted in self.page:
                return self.page
            await asyncio.sleep(0.2)
            await self.opens(self.at)
        raise AssertionError(f"never {wanted!r}: {self.page}")

    async def _shown(self, response: aiohttp.ClientResponse) -> str:
        self.status, self.at = response.status, response.url.path
        self.page = await response.text()
        return self.page


@pytest.fixture
async def browser(stack: Stack) -> AsyncIterator[Browser]:
    async with Browser.at_shop(stack.url("shop")) as browser:
        yield browser


@pytest.fixture
def link(stack: Stack) -> str:
    return stack.url("shop") + "/?promo="


def settings(stack: Stack, folder: Path, **changed: object) -> Settings:
    """Return the settings of another shop of the same program."""
    port = ports.free_port()
    usual: dict[str, Any] = {
        "host": "127.0.0.1",
        "port": port,
        "url": URL(f"http://localhost:{port}"),
        "program_id": stack.told["program"]["id"],
        "api_key": stack.told["shop"]["api_key"],
        "redemption_url": URL(stack.url("redemption")),
        "amqp_url": URL(stack.plan.broker_url("checkout")),
        "database": folder / "shop.sqlite3",
    }
    return Settings(**{**usual, **changed})


async def half_off(stack: Stack, uses: int = 1) -> str:
    """Make a code that takes half off, so that something is left to pay."""
    manage, codes = stack.told["program"]["api_key"], stack.url("codes")
    name = f"half-{uuid.uuid4().hex[:10]}"
    coupon = {
        "name": name,
        "uuid_code": name,
        "coupon_discount_type": "percent",
        "coupon_discount_amount": 50,
        "coupon_duration_type": "once",
    }
    await stack.made(f"{codes}/v1/coupons", key=manage, body=coupon)
    limit = {"redemption_times_status": True, "redemption_times_value": uses}
    code = {"coupon_uuid": name, "code": f"HALF-{uuid.uuid4().hex[:8].upper()}", **limit}
    return str((await stack.made(f"{codes}/v1/promotion-codes", key=manage, body=code))["code"])


async def use_elsewhere(stack: Stack, code: str) -> None:
    """Redeem a code by another order."""
    body = {"codes": [code], "order_ref": f"elsewhere-{uuid.uuid4()}", "order": {"currency": "EUR", "subtotal": 100}}
    await stack.made(f"{stack.url('redemption')}/v1/redemptions", key=stack.told["program"]["api_key"], body=body)


async def end_hold(stack: Stack, code: str) -> None:
    """Have the holds of a code end, as a quarter of an hour would."""
    await stack.rows(
        "UPDATE redemption.holds SET expires_at = now() - interval '1 second' WHERE code_id = (SELECT id FROM"
        " codes.promotion_codes WHERE code = $1) RETURNING 1",
        code,
    )


class TestBuying:
    async def test_a_partner_s_link_opens_with_the_code_applied_and_one_press_buys(
        self, stack: Stack, partner: Partner, browser: Browser
    ) -> None:
        status, minted = await partner.generate()
        assert status == 200
        assert minted["url"] == f"{stack.url('shop')}/?promo={minted['code']}"
        assert f"<code>{minted['code']}</code> is applied." in await browser.opens(minted["url"])
        assert "Buy for EUR 0.00" in browser.page
        await browser.sends("/buy", total="0")
        assert (browser.status, "Thank you" in browser.page) == (200, True)
        await browser.receipt(f"<code>{minted['code']}</code> redeemed")
        await stack.each_is_used_once([minted["code"]])

    async def test_two_presses_at_once_are_one_order(self, stack: Stack, browser: Browser) -> None:
        code = await half_off(stack, uses=5)
        await browser.opens(f"/?promo={code}")
        await asyncio.gather(*(browser.buys() for _ in range(3)))
        assert browser.at == "/pay"
        await asyncio.gather(*(browser.sends("/pay") for _ in range(3)))
        await browser.receipt("redeemed</b>")
        await stack.each_is_used_once([code])
        # The way back and another press lead to the same receipt.
        ref = browser.at
        await browser.sends("/buy", total="2450", **CARD)
        assert browser.at == ref
        await stack.each_is_used_once([code])

    async def test_the_bag_says_what_each_code_takes_off_or_why_not(self, stack: Stack, browser: Browser) -> None:
        code = await half_off(stack)
        await browser.sends("/bag", into_bag="1", quantity="2", **CARD)
        await browser.sends("/bag", code=code, **{"from": "bag"})
        page = await browser.sends("/bag", code="NO-SUCH", **{"from": "bag"})
        assert browser.at == "/bag"
        assert "It takes 50 % off: EUR 49.00." in page
        assert "<code>NO-SUCH</code> is not one of our codes." in page
        assert "Buy for EUR 49.00" in page
        page = await browser.sends("/bag", remove="NO-SUCH", **{"from": "bag"})
        assert "NO-SUCH" not in page

    async def test_enter_in_the_field_for_a_code_applies_it_and_buys_nothing(
        self, stack: Stack, browser: Browser
    ) -> None:
        code = await half_off(stack)
        await browser.opens("/")
        await browser.buys(code=code)
        assert browser.at == "/"
        assert "Buy for EUR 24.50" in browser.page

    async def test_what_is_missing_is_said_at_its_field_and_the_rest_is_kept(self, browser: Browser) -> None:
        await browser.opens("/")
        page = await browser.buys(recipient_name="", email="nobody", message="Happy birthday")
        assert browser.status == 422
        assert "Enter the name for the card." in page
        assert 'value="nobody"' in page
        assert "Happy birthday</textarea>" in page


class TestWhatFails:
    async def test_nothing_can_be_paid_at_a_price_that_nobody_has_seen(self, browser: Browser) -> None:
        """Two cards would cost as much as one."""
        await browser.sends("/bag", into_bag="1")
        await browser.opens("/bag")
        await browser.buys()
        assert "Pay EUR 49.00" in browser.page
        await browser.sends("/bag", quantity="2", **{"from": "bag"})
        await browser.sends("/pay")
        assert browser.at == "/bag"
        assert "Buy for EUR 98.00" in browser.page

    async def test_a_code_used_up_between_page_and_press_costs_nobody_anything(
        self, stack: Stack, partner: Partner, browser: Browser
    ) -> None:
        [code] = await partner.codes(1)
        await browser.opens(f"/?promo={code}")
        await use_elsewhere(stack, code)
        page = await browser.buys()
        assert browser.status == 409
        assert f"<code>{code}</code> has been used already." in page
        assert "The price is EUR 49.00 now." in page
        await browser.buys()
        assert browser.at == "/pay"
        await browser.sends("/pay")
        assert "EUR 49.00" in browser.page
        assert "What became" not in browser.page

    async def test_a_hold_that_ended_is_renewed_if_the_code_is_free(self, stack: Stack, browser: Browser) -> None:
        code = await half_off(stack)
        await browser.opens(f"/?promo={code}")
        await browser.buys()
        assert "until <time" in browser.page
        await end_hold(stack, code)
        await browser.sends("/pay")
        await browser.receipt("redeemed</b>")
        await stack.each_is_used_once([code])

    async def test_a_hold_that_ended_and_was_taken_changes_the_price_before_anything_is_paid(
        self, stack: Stack, browser: Browser
    ) -> None:
        code = await half_off(stack)
        await browser.opens(f"/?promo={code}")
        await browser.buys()
        await end_hold(stack, code)
        await use_elsewhere(stack, code)
        page = await browser.sends("/pay")
        assert browser.status == 409
        assert "has been used already." in page
        assert "Buy for EUR 49.00" in page

    async def test_without_mintwire_the_shop_keeps_the_code_and_sells_at_the_full_price(
        self, stack: Stack, tmp_path: Path
    ) -> None:
        lonely = settings(stack, tmp_path, redemption_url=URL(f"http://127.0.0.1:{ports.free_port()}"))
        async with serving(lonely), Browser.at_shop(str(lonely.url)) as browser:
            page = await browser.opens("/?promo=DEMO-1")
            assert (browser.status, "cannot be checked now." in page) == (200, True)
            await browser.sends("/buy", total="0")
            assert browser.status == 503
            assert "It is still yours." in browser.page
            await browser.sends("/bag", full_price="1")
            await browser.buys()
            await browser.sends("/pay")
            assert "Thank you" in browser.page

    async def test_without_the_broker_the_receipt_waits_and_a_restart_publishes(
        self, stack: Stack, partner: Partner, tmp_path: Path
    ) -> None:
        """An order that was paid while the broker was away must reach the partner all the same."""
        [code] = await partner.codes(1)
        mute = settings(stack, tmp_path, amqp_url=URL(f"amqp://127.0.0.1:{ports.free_port()}"))
        async with serving(mute), Browser.at_shop(str(mute.url)) as browser:
            await browser.opens(f"/?promo={code}")
            await browser.buys()
            assert "Waiting for the broker" in browser.page
            receipt = browser.at
        again = settings(stack, tmp_path)
        async with serving(again), Browser.at_shop(str(again.url)) as browser:
            await browser.opens(receipt)
            await browser.receipt("redeemed</b>")
        await stack.each_is_used_once([code])


class TestAtTheDoor:
    async def test_pages_load_nothing_from_elsewhere_and_need_no_inline_style(self, browser: Browser) -> None:
        async with browser.session.get(browser.shop) as response:
            policy, page = response.headers["Content-Security-Policy"], await response.text()
        assert "default-src 'none'" in policy
        assert "unsafe" not in policy
        assert not re.search(r"""\s(style|on\w+)\s*=|<style|(src|href)=["']?(https?:)?//""", page)

    async def test_another_site_s_form_changes_nothing(self, browser: Browser) -> None:
        for headers in ({"Origin": "http://localhost:1"}, {"Sec-Fetch-Site": "same-site"}, {"Origin": "null"}):
            async with browser.session.post(browser.shop / "bag", data={"code": "X"}, headers=headers) as response:
                assert response.status == 403
                assert COOKIE not in response.cookies

    async def test_it_answers_under_one_name_only(self, browser: Browser) -> None:
        """Under the services' name it would be sent the dashboard's cookies."""
        other = browser.shop.with_host("127.0.0.1")
        async with browser.session.get(other / "bag", allow_redirects=False) as response:
            assert (response.status, response.headers["Location"]) == (307, str(browser.shop / "bag"))
        async with browser.session.post(other / "bag", allow_redirects=False) as response:
            assert response.status == 421

    async def test_neither_log_nor_page_has_a_cookie(self, stack: Stack, partner: Partner, browser: Browser) -> None:
        [code] = await partner.codes(1)
        browser.session.cookie_jar.update_cookies({"canary": "canary-cookie-value"}, browser.shop)
        await browser.opens(f"/?promo={code}")
        bag = browser.session.cookie_jar.filter_cookies(browser.shop)[COOKIE].value
        assert "canary-cookie-value" not in browser.page
        assert bag not in browser.page
        log = (stack.folder / "logs" / "shop.log").read_text()
        assert "GET / 200" in log
        assert not [secret for secret in ("canary-cookie-value", bag, code) if secret in log]

    async def test_hostile_text_is_shown_as_text(self, browser: Browser) -> None:
        await browser.opens("/")
        name = '"><script>alert(1)</script>'
        page = await browser.sends("/bag", **{**CARD, "recipient_name": name, "code": name})
        assert "<script>alert" not in page
        assert "&lt;script&gt;" in page
