"""A demo receiver: verifies webhooks with the independent library `standardwebhooks` and logs each verified one.

`python -m mintwire.stack.receiver PORT SECRET_FILE LOG_FILE [HOST]`; without HOST it listens on 127.0.0.1. The log has
one JSON object per line with `headers`, `body` (the text as signed) and `time`. Webhooks that fail verification get
a 401 and are not logged.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from pathlib import Path

from aiohttp import web
from standardwebhooks import Webhook, WebhookVerificationError

from mintwire.stack import ports
from mintwire.terminal import printable
from shared.clock import utc_now
from shared.times import format_milliseconds

PATH = "/webhooks"
_MAX_BODY_BYTES = 1024 * 1024


class Receiver:
    """Answers the POSTs of one endpoint."""

    def __init__(self, secret_file: Path, log_file: Path) -> None:
        self._secret_file = secret_file
        self._log_file = log_file

    async def receive(self, request: web.Request) -> web.Response:
        """Verify a webhook and log it before acknowledging it."""
        body = await request.text()
        headers = {name.lower(): value for name, value in request.headers.items()}
        try:
            secret = self._secret_file.read_text().strip()
        except FileNotFoundError:
            return web.Response(status=503, text="no secret yet")
        try:
            Webhook(secret).verify(body, headers)
        except WebhookVerificationError as refused:
            print(printable(f"refused a webhook: {refused}"), flush=True)
            return web.Response(status=401, text="not verified")
        self._write(headers, body)
        print(printable(f"verified {headers['webhook-id']} {body}"), flush=True)
        return web.Response(status=204)

    def _write(self, headers: dict[str, str], body: str) -> None:
        line = json.dumps({"headers": headers, "body": body, "time": format_milliseconds(utc_now())}) + "\n"
        descriptor = os.open(self._log_file, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
        try:
            # One write per line, so that a kill leaves whole lines.
            os.write(descriptor, line.encode())
        finally:
            os.close(descriptor)


async def serve(port: int, secret_file: Path, log_file: Path, host: str = ports.HOST) -> None:
    """Serve until SIGTERM or SIGINT."""
    receiver = Receiver(secret_file, log_file)
    app = web.Application(client_max_size=_MAX_BODY_BYTES)
    app.router.add_post(PATH, receiver.receive)
    app.router.add_get("/readyz", lambda _: _ready())
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    try:
        await web.TCPSite(runner, host, port).start()
        await stop.wait()
    finally:
        await runner.cleanup()


async def _ready() -> web.Response:
    return web.Response(text="ready\n")


if __name__ == "__main__":
    asyncio.run(serve(int(sys.argv[1]), Path(sys.argv[2]), Path(sys.argv[3]), *sys.argv[4:5]))
