"""The bystanders of the other tests do notice, and forgive only what they are told to."""

import asyncio
import os
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from tests.system.bystanders import LATEST_SECONDS, bystanders
from tests.system.stack import Stack


@asynccontextmanager
async def held(stack: Stack, service: str) -> AsyncIterator[None]:
    """Hold a service for longer than a webhook may take."""
    process = stack.pid(service)
    assert process is not None
    os.kill(process, signal.SIGSTOP)
    try:
        await asyncio.sleep(LATEST_SECONDS + 1)
        yield
    finally:
        os.kill(process, signal.SIGCONT)


async def test_late_webhooks_are_noticed(stack: Stack) -> None:
    with pytest.raises(AssertionError, match="webhooks came late"):
        async with bystanders(stack), held(stack, "webhooks"):
            pass


async def test_webhooks_may_be_late_by_the_time_that_the_broker_is_away(stack: Stack) -> None:
    async with bystanders(stack) as others:
        with others.broker_away():
            async with held(stack, "webhooks"):
                pass
            # What was being connected when it was held is tried again, some seconds later.
            await others.caught_up()


async def test_a_refusal_is_noticed(stack: Stack) -> None:
    program = stack.told["program"]
    key = program["api_key"]
    with pytest.raises(AssertionError, match=r"requests noticed.*POST /v1/redemptions: 401"):
        async with bystanders(stack):
            try:
                program["api_key"] = f"{key}x"
                await asyncio.sleep(1)
            finally:
                program["api_key"] = key
