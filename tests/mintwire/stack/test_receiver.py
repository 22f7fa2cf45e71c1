"""The demo receiver logs webhooks that it could verify, and nothing else."""

import asyncio
import base64
import json
import stat
import time
import uuid
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from pathlib import Path

import aiohttp
import pytest
from standardwebhooks import Webhook

from mintwire.stack import ports
from mintwire.stack.folder import StackFolder
from mintwire.stack.receiver import PATH
from mintwire.stack.units import ModuleProcess

SECRET = "whsec_" + base64.b64encode(b"a secret of thirty-two bytes, ok").decode()


@pytest.fixture
async def receiver(tmp_path: Path) -> AsyncIterator[ModuleProcess]:
    folder = StackFolder(tmp_path)
    folder.prepare()
    port = ports.free_port()
    arguments = ["mintwire.stack.receiver", str(port), str(folder.receiver_secret), str(folder.webhooks_log)]
    unit = ModuleProcess("receiver", arguments, {}, folder, port)
    unit.start()
    deadline = time.monotonic() + 30
    while not await asyncio.to_thread(unit.is_answering):
        assert unit.is_running(), unit.log.read_text()
        assert time.monotonic() < deadline
    yield unit
    await asyncio.to_thread(unit.stop)


async def post(unit: ModuleProcess, body: str, secret: str) -> int:
    message_id, moment = f"msg_{uuid.uuid4()}", datetime.now(UTC)
    headers = {
        "webhook-id": message_id,
        "webhook-timestamp": str(int(moment.timestamp())),
        "webhook-signature": Webhook(secret).sign(message_id, moment, body),
    }
    async with (
        aiohttp.ClientSession() as session,
        session.post(f"{unit.url}{PATH}", data=body, headers=headers) as response,
    ):
        return response.status


async def test_a_signed_webhook_is_written_down_as_it_came(receiver: ModuleProcess, tmp_path: Path) -> None:
    folder = StackFolder(tmp_path)
    folder.receiver_secret.write_text(SECRET)
    body = '{"event": "code.redeemed",  "recipient_name": "Zoë"}'
    assert await post(receiver, body, SECRET) == 204
    (line,) = folder.webhooks_log.read_text().splitlines()
    written = json.loads(line)
    assert written["body"] == body
    assert Webhook(SECRET).verify(written["body"], written["headers"])
    assert written["time"].endswith("Z")
    assert stat.S_IMODE(folder.webhooks_log.stat().st_mode) == 0o600


async def test_a_forged_webhook_is_refused_and_not_written_down(receiver: ModuleProcess, tmp_path: Path) -> None:
    """The demo receiver is the model that partners copy."""
    folder = StackFolder(tmp_path)
    folder.receiver_secret.write_text(SECRET)
    other = "whsec_" + base64.b64encode(b"another secret of thirty-two byt").decode()
    assert await post(receiver, "{}", other) == 401
    assert not folder.webhooks_log.exists()


async def test_before_it_knows_the_secret_it_asks_to_come_again(receiver: ModuleProcess) -> None:
    assert await post(receiver, "{}", SECRET) == 503
