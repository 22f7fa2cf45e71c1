"""The receiver of `mintwire webhook listen`: verifies with the independent library `standardwebhooks` and prints."""

from __future__ import annotations

import asyncio
import json
import signal
import socket
from collections.abc import Iterator
from contextlib import contextmanager

from aiohttp import web
from standardwebhooks import Webhook, WebhookVerificationError

from mintwire.cli.client import CallFailed, address, fetch, given
from mintwire.cli.output import Misused, tell
from mintwire.stack.ports import HOST
from mintwire.stack.receiver import PATH

_MAX_BODY_BYTES = 1024 * 1024
_SIGNALS = (signal.SIGINT, signal.SIGTERM)


@contextmanager
def stopped_by_signals() -> Iterator[asyncio.Event]:
    """Give an event that the first SIGINT or SIGTERM sets; a second one ends the process."""
    loop = asyncio.get_running_loop()
    stop = asyncio.Event()

    def on_signal() -> None:
        stop.set()
        restore()

    def restore() -> None:
        for number in _SIGNALS:
            loop.remove_signal_handler(number)

    for number in _SIGNALS:
        loop.add_signal_handler(number, on_signal)
    try:
        yield stop
    finally:
        restore()


class Listener:
    """One endpoint of the webhooks API that lives as long as it listens."""

    def __init__(self, endpoints_url: str, key: str, count: int | None, stop: asyncio.Event, as_json: bool) -> None:
        self._endpoints_url = endpoints_url
        self._key = key
        self._count = count
        self._stop = stop
        self._as_json = as_json
        self._received = 0
        # Known once the endpoint is made, and the first webhook may be quicker than that answer.
        self._webhook: asyncio.Future[Webhook] = asyncio.get_running_loop().create_future()

    async def listen(self, port: int, event_types: list[str] | None) -> None:
        """Listen on the loopback port until told to stop, or until the count is reached."""
        app = web.Application(client_max_size=_MAX_BODY_BYTES)
        app.router.add_post(PATH, self._receive)
        runner = web.AppRunner(app, access_log=None)
        await runner.setup()
        try:
            bound = _bound(port)
            await web.SockSite(runner, bound).start()
            await self._with_endpoint(f"http://{HOST}:{bound.getsockname()[1]}{PATH}", event_types)
        finally:
            self._webhook.cancel()
            await runner.cleanup()

    async def _with_endpoint(self, url: str, event_types: list[str] | None) -> None:
        body = given(url=url, event_types=event_types, description="mintwire webhook listen")
        endpoint = await fetch("POST", self._endpoints_url, key=self._key, body=body)
        try:
            self._webhook.set_result(Webhook(endpoint["secret"]))
            tell(f"endpoint {endpoint['id']} listens on {url}; Ctrl-C ends it")
            await self._stop.wait()
        finally:
            await self._delete(endpoint["id"])

    async def _delete(self, endpoint_id: str) -> None:
        try:
            await fetch("DELETE", address(self._endpoints_url, endpoint_id), key=self._key)
        except CallFailed as failed:
            tell(f"the endpoint {endpoint_id} could not be deleted: {failed}")
        else:
            tell(f"endpoint {endpoint_id} deleted; {self._received} received")

    async def _receive(self, request: web.Request) -> web.Response:
        body = await request.text()
        headers = {name.lower(): value for name, value in request.headers.items()}
        webhook = await self._webhook
        if self._stop.is_set():
            return web.Response(status=503, text="no longer listening")
        try:
            webhook.verify(body, headers)
        except (WebhookVerificationError, ValueError) as refused:
            tell(f"refused a request: {refused}")
            return web.Response(status=401, text="not verified")
        self._print(headers, body)
        self._received += 1
        if self._received == self._count:
            self._stop.set()
        return web.Response(status=204)

    def _print(self, headers: dict[str, str], body: str) -> None:
        webhook = json.loads(body)
        head = {"webhook_id": headers["webhook-id"], "webhook_timestamp": headers["webhook-timestamp"]}
        if self._as_json:
            print(json.dumps({**head, "body": webhook}, ensure_ascii=False), flush=True)
            return
        text = json.dumps(webhook, indent=2, ensure_ascii=False).replace("\n", "\n  ")
        print(f"verified {head['webhook_id']} sent at {head['webhook_timestamp']}\n  {text}", flush=True)


def _bound(port: int) -> socket.socket:
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((HOST, port))
    except OSError as error:
        listener.close()
        raise Misused(f"cannot listen on {HOST}:{port}: {error.strerror}") from error
    return listener
