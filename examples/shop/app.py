"""The shop's routes: the card, the bag, the checkout, the receipt."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import timedelta
from http import HTTPStatus
from typing import Any
from weakref import WeakValueDictionary

import aiohttp
from aiohttp import web

from .checkout import Checkout, PriceChangedError
from .orders import Order, Orders, now
from .outbox import Outbox
from .pages import COOKIE, HERE, added, faults, fill_in, guard, page, problem, remember, see
from .promo import Promo, UnavailableError
from .quote import Line, Quote, quote
from .sentences import refusal
from .settings import Settings

# So long a receipt asks by itself what became of its codes.
_ASKING = timedelta(minutes=5)


class Shop:
    """The handlers. Requests of one bag take turns, so a second press finds what the first one did."""

    def __init__(self, settings: Settings, orders: Orders, promo: Promo, outbox: Outbox) -> None:
        self._settings = settings
        self._orders = orders
        self._promo = promo
        self._checkout = Checkout(orders, promo, outbox, settings.program_id)
        self._turns: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()

    async def card(self, request: web.Request) -> web.StreamResponse:
        """Show the card; `promo`, from a partner's link, is a code to apply."""
        order = self._open_order(request)
        code = request.query.get("promo", "")
        async with self._turn(order):
            refused = added(order.details, code) if code.strip() not in order.details.codes else None
            if code.strip() and refused is None:
                self._orders.save(order)
        response = await self._shown("card", order, refused=refused)
        if code.strip():
            remember(response, order, self._settings.url)
        return response

    async def bag(self, request: web.Request) -> web.StreamResponse:
        """Show the bag."""
        order = self._orders.of_bag(request.cookies.get(COOKIE, ""))
        if order is None or order.paid_at or not order.details.is_in_bag:
            return page("empty", order)
        return await self._shown("bag", order)

    async def change(self, request: web.Request) -> web.StreamResponse:
        """Take over a form: its fields, a typed code, a removed one; then show the page that it came from."""
        form = await request.post()
        order = self._open_order(request)
        async with self._turn(order):
            before = (order.details.codes[:], order.details.quantity)
            fill_in(order.details, form)
            if form.get("remove") in order.details.codes:
                order.details.codes.remove(str(form["remove"]))
            if form.get("full_price"):
                order.details.codes.clear()
            refused = added(order.details, form.get("code"))
            order.details.is_in_bag |= bool(form.get("into_bag"))
            if before != (order.details.codes, order.details.quantity):
                await self._checkout.forget_hold(order)
            self._orders.save(order)
        to = "/bag" if form.get("into_bag") or form.get("from") == "bag" else "/"
        response: web.StreamResponse = see(to)
        if refused is not None:
            response = await self._shown(to.strip("/") or "card", order, HTTPStatus.CONFLICT, refused=refused)
        remember(response, order, self._settings.url)
        return response

    async def buy(self, request: web.Request) -> web.StreamResponse:
        """Hold the codes for the price that was shown; a free order is paid with that."""
        form = await request.post()
        # Enter in the field for a code sends the form by its first button, and must not buy.
        if str(form.get("code", "")).strip() or form.get("full_price"):
            return await self.change(request)
        order = self._orders.of_bag(request.cookies.get(COOKIE, "")) or self._orders.make()
        name = "bag" if form.get("from") == "bag" else "card"
        async with self._turn(order):
            order = self._orders.of_bag(order.bag) or order
            if order.paid_at:
                return see(f"/orders/{order.ref}")
            fill_in(order.details, form)
            self._orders.save(order)
            response: web.StreamResponse
            if missing := faults(order.details):
                response = await self._shown("card", order, HTTPStatus.UNPROCESSABLE_ENTITY, missing=missing)
            else:
                response = await self._held(order, str(form.get("total", "")), name)
        remember(response, order, self._settings.url)
        return response

    async def _held(self, order: Order, seen: str, name: str) -> web.StreamResponse:
        try:
            await self._checkout.hold(order, int(seen[:12]) if seen.isdecimal() else -1)
            if order.details.total:
                return see("/pay")
            await self._checkout.pay(order)
        except PriceChangedError as changed:
            return self._changed(name, order, changed)
        except UnavailableError:
            return await self._shown(name, order, HTTPStatus.SERVICE_UNAVAILABLE)
        return see(f"/orders/{order.ref}")

    async def payment(self, request: web.Request) -> web.StreamResponse:
        """Show what is to be paid, and until when the codes are held; on POST, pay it."""
        order = self._orders.of_bag(request.cookies.get(COOKIE, ""))
        if order is None or faults(order.details):
            return problem("Nothing is to be paid", "Choose a card first.", status=HTTPStatus.NOT_FOUND)
        async with self._turn(order):
            order = self._orders.of_bag(order.bag) or order
            if order.paid_at:
                return see(f"/orders/{order.ref}")
            if order.details.total is None or (order.details.codes and order.details.hold is None):
                return see("/bag" if order.details.is_in_bag else "/")
            if request.method == "GET":
                return page("pay", order)
            try:
                await self._checkout.pay(order)
            except PriceChangedError as changed:
                return self._changed("card", order, changed)
            except UnavailableError:
                text = "Nothing was paid. The codes cannot be checked now; your order is kept as it is."
                return problem("Try again", text, status=503, to="/pay", link="Back to the payment")
        return see(f"/orders/{order.ref}")

    async def receipt(self, request: web.Request) -> web.StreamResponse:
        """Show a paid order, and what became of its codes as far as it is known."""
        order = self._orders.of_ref(request.match_info["ref"])
        if order is None or order.paid_at is None:
            raise web.HTTPNotFound
        is_asking = order.event is not None and order.outcome is None
        if is_asking and order.published_at:
            order.outcome = await self._outcome(order)
        reasons = {code: refusal(reason) for code, reason in (order.outcome or {}).get("refused", {}).items()}
        is_open = is_asking and order.outcome is None
        refresh = 2 if is_open and now() - order.paid_at < _ASKING else None
        dashboard = self._settings.dashboard_url
        return page("receipt", order, is_open=is_open, refresh=refresh, reasons=reasons, dashboard=dashboard)

    async def _outcome(self, order: Order) -> dict[str, Any] | None:
        """Ask a few times, because the answer usually comes within the second."""
        is_new = order.published_at is not None and now() - order.published_at < timedelta(seconds=3)
        for pause in (0.1, 0.2, 0.4, 0.0) if is_new else (0.0,):
            try:
                outcome = await self._promo.outcome(order)
            except UnavailableError:
                return None
            if outcome is not None:
                self._orders.note(order.ref, outcome=outcome)
                return outcome
            await asyncio.sleep(pause)
        return None

    def _changed(self, name: str, order: Order, changed: PriceChangedError) -> web.Response:
        """Show the new price and the reason; nothing was paid, and the codes stay in the bag."""
        order.details.codes = [line.code for line in changed.quote.lines]
        order.details.hold = order.details.total = None
        self._orders.save(order)
        return self._page(name, order, changed.quote, HTTPStatus.CONFLICT, is_changed=True)

    async def _shown(
        self, name: str, order: Order, status: int = HTTPStatus.OK, *, refused: Line | None = None, **values: Any
    ) -> web.Response:
        found = await quote(order, self._orders, self._promo)
        if refused is not None:
            found = replace(found, lines=[*found.lines, refused])
        return self._page(name, order, found, status, **values)

    def _page(self, name: str, order: Order, found: Quote, status: int, **values: Any) -> web.Response:
        return page(name, order, status=status, quote=found, **{"missing": {}, "is_changed": False, **values})

    def _open_order(self, request: web.Request) -> Order:
        """Return the browser's order, or a new one if it has none or has paid it."""
        order = self._orders.of_bag(request.cookies.get(COOKIE, ""))
        return self._orders.make() if order is None or order.paid_at else order

    def _turn(self, order: Order) -> asyncio.Lock:
        return self._turns.setdefault(order.bag, asyncio.Lock())

    def routes(self) -> list[web.RouteDef]:
        """Return what the shop answers."""
        return [
            web.get("/", self.card),
            web.get("/bag", self.bag),
            web.post("/bag", self.change),
            web.post("/buy", self.buy),
            web.get("/pay", self.payment),
            web.post("/pay", self.payment),
            web.get("/orders/{ref}", self.receipt),
            web.get("/readyz", _ready),
        ]


async def _ready(_: web.Request) -> web.Response:
    return web.Response(text="ready\n")


@asynccontextmanager
async def serving(settings: Settings) -> AsyncIterator[None]:
    """Run the shop; it needs neither Mintwire nor the broker to start."""
    async with aiohttp.ClientSession() as session:
        orders = Orders(settings.database)
        outbox = Outbox(orders, settings.amqp_url)
        shop = Shop(settings, orders, Promo(session, settings.redemption_url, settings.api_key), outbox)
        app = web.Application(middlewares=[guard(settings.url)], client_max_size=32 * 1024)
        app.add_routes([*shop.routes(), web.static("/static", HERE / "static")])
        runner = web.AppRunner(app, access_log=None)
        await runner.setup()
        publishing = asyncio.create_task(outbox.run())
        try:
            await web.TCPSite(runner, settings.host, settings.port).start()
            yield
        finally:
            await runner.cleanup()
            publishing.cancel()
            await asyncio.wait({publishing})
            orders.close()
