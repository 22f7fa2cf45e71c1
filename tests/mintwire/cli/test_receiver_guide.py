"""The guide for receivers, sample by sample: each runs as written, against running services."""

import asyncio
import json
import os
import shlex
import signal
from pathlib import Path

from tests.architecture.source import ROOT
from tests.docs import markdown
from tests.mintwire.cli.conftest import Merchant, Mintwire, until
from tests.mintwire.cli.test_webhooks import redeemed, said
from tests.services.webhooks.certificates import issue
from tests.services.webhooks.receiver import Receiver, running_receiver

GUIDE = "docs/guides/webhook-receiver.md"
# They run until they are stopped.
ENDLESS = ("webhook listen", "webhook tail")
# Anything that the service refuses fails the sample.
CURL = 'curl() { command curl --silent --show-error --fail-with-body "$@"; }\n'


def samples() -> tuple[list[str], list[str]]:
    """Return the shell samples that end by themselves, and those that do not."""
    found = [block.text for block in markdown.blocks("sh") if block.path == GUIDE]
    endless = [text for text in found if any(each in text for each in ENDLESS)]
    return [text for text in found if text not in endless], endless


async def dead_delivery(mintwire: Mintwire, receiver: Receiver, endpoint: str) -> str:
    receiver.status, receiver.headers = 500, {"webhook-delivery": "abort-message"}
    await redeemed(mintwire)
    dead: list[str] = []

    async def is_dead() -> bool:
        dead[:] = [each["id"] for each in await mintwire.json("webhook", "dead", "list", "--endpoint", endpoint)]
        return bool(dead)

    await until(is_dead, "a dead letter")
    receiver.status, receiver.headers = 204, {}
    return dead[0]


def folder_of_receiver(folder: Path) -> None:
    """Create the folder that the guide assumes for its samples."""
    (folder / "bin").mkdir()
    (folder / "bin/mintwire").write_text(f'#!/bin/sh\nexec {shlex.quote(str(ROOT / "bin/mintwire"))} "$@"\n')
    (folder / "bin/mintwire").chmod(0o755)
    authority = issue("Shop CA", is_authority=True)
    client = issue("mintwire", authority)
    for name, text in (("ca.pem", authority.pem), ("client.pem", client.pem), ("client.key", client.key_pem)):
        (folder / name).write_text(text)


async def test_its_samples_work_as_they_stand_there(mintwire: Mintwire, merchant: Merchant, tmp_path: Path) -> None:
    folder_of_receiver(tmp_path)
    ending, endless = samples()
    async with running_receiver() as receiver:
        made = await mintwire.json("webhook", "create", receiver.url, "--event-type", "code.redeemed")
        environment = {
            **os.environ,
            **mintwire.environment,
            "WEBHOOKS_URL": mintwire.environment["MINTWIRE_WEBHOOKS_URL"],
            "PARTNER_KEY": merchant.partner_key,
            "PROGRAM_KEY": merchant.program_key,
            "ENDPOINT_ID": made["id"],
            "DELIVERY_ID": await dead_delivery(mintwire, receiver, made["id"]),
        }
        for text in ending:
            run = await asyncio.create_subprocess_exec(
                *("bash", "-euc", CURL + text),
                cwd=tmp_path,
                env=environment,
                stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.PIPE,
            )
            out, err = await run.communicate()
            assert run.returncode == 0, (text, out, err)
        for text in endless:
            await begins(text, tmp_path, environment)


async def begins(text: str, folder: Path, environment: dict[str, str]) -> None:
    """Start a long-running sample, wait until it is ready, and stop it."""
    run = await asyncio.create_subprocess_exec(
        *("bash", "-euc", f"exec {text}"),
        cwd=folder,
        env=environment,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        assert "Ctrl-C stops it" in await said(run.stderr)
    finally:
        run.send_signal(signal.SIGINT)
        await run.communicate()
    assert run.returncode == 0


async def test_the_body_that_it_shows_is_the_one_that_arrives(mintwire: Mintwire) -> None:
    [shown] = [json.loads(block.text) for block in markdown.blocks("json") if block.path == GUIDE]
    async with running_receiver() as receiver:
        await mintwire("webhook", "create", receiver.url, "--event-type", "code.redeemed")
        code = (await mintwire.json("code", "generate"))["code"]
        attributes = [f"{name}={shown[name]}" for name in ("card_id", "recipient_name", "occasion")]
        options = [word for each in attributes for word in ("--attribute", each)]
        await mintwire("checkout", "complete", code, *options)

        async def has_come() -> bool:
            return bool(receiver.posts)

        await until(has_come, "the webhook")
    sent = json.loads(receiver.posts[0].body)
    assert list(sent) == list(shown)
    same = ("event", "card_id", "recipient_name", "occasion")
    assert [sent[name] for name in same] == [shown[name] for name in same]
    assert [type(sent[name]) for name in sent] == [type(shown[name]) for name in sent]
