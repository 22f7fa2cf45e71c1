"""The listener of `mintwire webhook listen`: polls for messages, verifies and prints each, and forwards it if asked to.

It verifies with the independent library `standardwebhooks`. This machine needs no public address, because it polls. The
service keeps its position under the listener's name, so nothing on this machine can get lost.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import re
import socket
import time
from typing import Any

import aiohttp
from standardwebhooks import Webhook, WebhookVerificationError

from mintwire.cli.client import CallFailed, address, call, fetch, given
from mintwire.cli.output import tell
from mintwire.cli.waiting import FIRST_PAUSE, LONGEST_PAUSE, WORTH_ASKING_AGAIN, wait_for_stop
from mintwire.terminal import end_if_output_is_closed, json_text, write_json, write_line
from shared.raw_url import as_written

_WAIT_SECONDS = 10
_LOOK_SECONDS = 1.0
_FORWARD_TIMEOUT = aiohttp.ClientTimeout(total=15, connect=5)
_NOT_IN_NAMES = re.compile(r"[^A-Za-z0-9._-]")
# How much of each response is reported, as JSON: the results of all messages of one request fit into the next one.
_MOST_AT_ONCE = 20
_ANSWER_BYTES = 2_800


def usual_name(forward_to: str | None, event_types: list[str] | None, format_: str) -> str:
    """Return the default name: the same on this machine for the same filter, format and target."""
    host = _NOT_IN_NAMES.sub("-", socket.gethostname())[:100] or "host"
    asked = json.dumps([forward_to, sorted(set(event_types or ())), format_])
    return f"{host}-{hashlib.sha256(asked.encode()).hexdigest()[:8]}"


class Listener:
    """A listener of the webhooks API; with `forget` it is closed at the end, otherwise the next start resumes it."""

    def __init__(
        self,
        url: str,
        key: str,
        count: int | None,
        stop: asyncio.Event,
        *,
        as_json: bool,
        forward_to: str | None,
        forget: bool,
    ) -> None:
        self._url = url
        self._key = key
        self._count = count
        self._stop = stop
        self._as_json = as_json
        self._forward_to = forward_to
        self._forget = forget
        self._received = 0

    async def listen(self, name: str, event_types: list[str] | None, format_: str, *, from_now: bool) -> None:
        """Receive waiting and new messages until stopped, or until the count is reached."""
        body = given(name=name, event_types=event_types, format=format_, from_now=from_now)
        listener = await fetch("POST", self._url, key=self._key, body=body)
        target = f" and forwards to {self._forward_to}" if self._forward_to else ""
        tell(f"listener {listener['id']} is open{target}; it signs with {listener['secret']}; Ctrl-C stops it")
        if listener["is_resumed"]:
            tell(f"{name} resumes where it stopped; {listener['waiting']} are waiting")
        try:
            async with aiohttp.ClientSession(timeout=_FORWARD_TIMEOUT, trust_env=False) as session:
                await self._take(address(self._url, listener["id"], "next"), Webhook(listener["secret"]), session)
        finally:
            if self._forget:
                await self._close(listener["id"])
            else:
                tell(f"{name} stopped; {self._received} received; new messages wait for the next start for three days")

    async def _take(self, url: str, webhook: Webhook, session: aiohttp.ClientSession) -> None:
        results: list[dict[str, Any]] = []
        pause = FIRST_PAUSE
        while True:
            # The last request only reports, so that no handled message comes again.
            wait_seconds, limit = (0, 0) if self._stop.is_set() else (_WAIT_SECONDS, self._left())
            question = {"results": results, "wait_seconds": wait_seconds, "limit": limit}
            try:
                handed = await self._until_stopped(url, question)
            except CallFailed as failed:
                if failed.status not in WORTH_ASKING_AGAIN or self._stop.is_set():
                    raise
                tell(f"{failed}; retrying in {pause:g} s")
                await wait_for_stop(self._stop, pause)
                pause = min(2 * pause, LONGEST_PAUSE)
                continue
            pause = FIRST_PAUSE
            if self._stop.is_set() and not results:
                return
            results = [await self._handle(each, webhook, session) for each in handed if not self._stop.is_set()]
            if self._stop.is_set() and not results:
                return

    async def _until_stopped(self, url: str, question: dict[str, Any]) -> list[dict[str, Any]]:
        """Send a request; abandon it when stopped, or when the output is closed."""
        asking = asyncio.create_task(call("POST", url, key=self._key, body=question))
        stopping = asyncio.create_task(self._stop.wait())
        try:
            if question["wait_seconds"]:
                while not asking.done() and not stopping.done():
                    end_if_output_is_closed()
                    await asyncio.wait({asking, stopping}, timeout=_LOOK_SECONDS, return_when=asyncio.FIRST_COMPLETED)
                if not asking.done():
                    return []
            found: list[dict[str, Any]] = (await asking)["data"]
            return found
        finally:
            for task in (asking, stopping):
                task.cancel()
            await asyncio.gather(asking, stopping, return_exceptions=True)

    async def _handle(self, handed: dict[str, Any], webhook: Webhook, session: aiohttp.ClientSession) -> dict[str, Any]:
        headers = {name.lower(): value for name, value in handed["headers"].items()}
        try:
            webhook.verify(handed["body"], headers)
        except (WebhookVerificationError, ValueError) as refused:
            tell(f"{handed['message_id']} failed verification: {refused}")
            result: dict[str, Any] = {"status": 401}
        else:
            result = {"status": 204} if self._forward_to is None else await forward(handed, self._forward_to, session)
        self._print(handed, headers, result)
        self._received += 1
        if self._received == self._count:
            self._stop.set()
        return {"delivery_id": handed["delivery_id"], "token": handed["token"], **result}

    def _print(self, handed: dict[str, Any], headers: dict[str, str], result: dict[str, Any]) -> None:
        webhook = json.loads(handed["body"])
        head = {"webhook_id": handed["message_id"], "webhook_timestamp": headers["webhook-timestamp"]}
        forwarded = None if self._forward_to is None else result.get("status") or result.get("error")
        if self._as_json:
            line = {
                **head,
                "event_type": handed["event_type"],
                "repeated": handed["is_repeated"],
                "forwarded": forwarded,
                "body": webhook,
            }
            write_json(line, indent=None)
            return
        came_of_it = "" if forwarded is None else f" -> {forwarded} in {result['duration_ms']} ms"
        again = " (repeated: it was handed out before)" if handed["is_repeated"] else ""
        write_line(f"{head['webhook_id']} {handed['event_type']}{again}{came_of_it}")
        for text in json_text(webhook).split("\n"):
            write_line(f"  {text}")

    async def _close(self, listener_id: str) -> None:
        try:
            await fetch("DELETE", address(self._url, listener_id), key=self._key)
        except CallFailed as failed:
            tell(f"the listener {listener_id} could not be closed: {failed}; it closes by itself after three days")
        else:
            tell(f"listener {listener_id} closed; {self._received} received")

    def _left(self) -> int:
        return _MOST_AT_ONCE if self._count is None else min(_MOST_AT_ONCE, self._count - self._received)


def reported_text(text: str) -> str:
    """Return the beginning of a response, short enough however JSON escapes its characters."""
    size = 0
    for place, character in enumerate(text):
        size += len(json.dumps(character)) - 2
        if size > _ANSWER_BYTES:
            return text[:place]
    return text


async def forward(handed: dict[str, Any], to: str, session: aiohttp.ClientSession) -> dict[str, Any]:
    """POST a message to an address like a webhook, and return the result."""
    began = time.perf_counter()
    result: dict[str, Any] = {}
    try:
        url = as_written(to)
        async with session.post(
            url, data=handed["body"].encode(), headers=handed["headers"], allow_redirects=False
        ) as response:
            text = (await response.content.read(_ANSWER_BYTES)).decode(errors="replace")
            result = {"status": response.status, "response": reported_text(text.replace("\x00", "\ufffd"))}
    except TimeoutError:
        result = {"error": "timeout"}
    except (aiohttp.ClientError, ValueError) as error:
        tell(f"{to} cannot be reached: {error or type(error).__name__}")
        result = {"error": "connect_failed"}
    return {**result, "duration_ms": round((time.perf_counter() - began) * 1000)}
