"""The Python samples work as described: an event arrives, forged webhooks are detected, a key is accepted."""

import asyncio
import json
import os
import shlex
import subprocess
import sys
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path

import aiohttp
import aiormq
from standardwebhooks import Webhook

from mintwire.stack import ports
from shared.account_tokens import AccountKeys, Acting, Signer
from shared.broker.topology import QUEUE_REDEMPTION_CHECKOUT
from shared.events.checkout import CheckoutCompletedV1
from shared.events.envelope import decode_data, decode_envelope
from shared.ids import new_id
from tests.docs import markdown
from tests.servers import ROOT

SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"


@asynccontextmanager
async def _running(script: Path, **environment: str) -> AsyncIterator[asyncio.subprocess.Process]:
    process = await asyncio.create_subprocess_exec(
        sys.executable, str(script), env=os.environ | environment, stdout=asyncio.subprocess.PIPE
    )
    try:
        yield process
    finally:
        if process.returncode is None:
            process.terminate()
        await process.wait()


def _written(folder: Path, name: str) -> Path:
    script = folder / name
    script.write_text(markdown.sample(name))
    return script


async def test_the_checkout_sample_publishes_an_event_we_understand(
    clean_broker: dict[str, str], tmp_path: Path
) -> None:
    program_id = str(uuid.uuid4())
    script = _written(tmp_path, "checkout.py")
    environment = {"AMQP_URL": clean_broker["checkout"], "PROGRAM_ID": program_id, "ORDER_REF": "4711", "CODE": "A-1"}
    async with _running(script, **environment) as process:
        assert await asyncio.wait_for(process.wait(), 30) == 0
    connection = await aiormq.connect(clean_broker["operator"])
    try:
        channel = await connection.channel()
        got = await channel.basic_get(QUEUE_REDEMPTION_CHECKOUT, no_ack=True)
    finally:
        await connection.close()
    data = decode_data(decode_envelope(got.body), CheckoutCompletedV1)
    assert (str(data.program_id), data.order_ref, data.codes) == (program_id, "4711", ["A-1"])


def test_the_sample_for_a_dashboard_s_key_prints_what_both_sides_take() -> None:
    program, *arguments = shlex.split(markdown.sample("account-key.sh", "docs/operations.md"))
    argv = [str(ROOT / program), *arguments, "--json"]
    settings = json.loads(subprocess.run(argv, check=True, capture_output=True, text=True, timeout=60).stdout)
    now = datetime.now(UTC)
    signer = Signer.parse(settings["DASHBOARD_SIGNING_KEY"])
    token = signer.sign(Acting(uuid.uuid4(), "merchant", "look", "a-request", new_id()), "codes", now, new_id())
    assert AccountKeys.parse(settings["CODES_ACCOUNT_KEYS"]).read(token, "codes", now) is not None


async def test_the_receiver_sample_tells_true_from_forged(tmp_path: Path) -> None:
    port = ports.free_port()
    body = b'{"event":"code.redeemed","code":"A-1"}'
    now = datetime.now(UTC)
    headers = {
        "webhook-id": "msg_1",
        "webhook-timestamp": str(int(now.timestamp())),
        "webhook-signature": Webhook(SECRET).sign("msg_1", now, body.decode()),
    }
    script = _written(tmp_path, "receiver.py")
    async with _running(script, WEBHOOK_SECRET=SECRET, PORT=str(port)) as process, aiohttp.ClientSession() as client:
        url = f"http://127.0.0.1:{port}/hooks"
        assert await _status_when_up(client, url, body, headers) == 204
        assert await _status_when_up(client, url, body + b" ", headers) == 400
        assert process.stdout is not None
        lines = [(await process.stdout.readline()).decode() for _ in range(3)]
        assert "code.redeemed A-1\n" in lines


async def _status_when_up(client: aiohttp.ClientSession, url: str, body: bytes, headers: dict[str, str]) -> int:
    async with asyncio.timeout(30):
        while True:
            try:
                async with client.post(url, data=body, headers=headers) as response:
                    return response.status
            except aiohttp.ClientConnectionError:
                await asyncio.sleep(0.05)
