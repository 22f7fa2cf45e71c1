"""Name servers that do not answer: the names of others do not wait for them."""

import asyncio
import socket
import threading
from collections.abc import Sequence

import pytest

from services.webhooks.sender import names as names_module
from services.webhooks.sender.names import PER_DOMAIN, NameService
from tests.services.webhooks.sending import post, sending


async def test_slow_name_servers_do_not_hold_up_other_names() -> None:
    release = threading.Event()

    def lookup(name: str) -> Sequence[tuple[int, str]]:
        if name.startswith("slow"):
            release.wait(10)
        return [(socket.AF_INET, "10.0.0.1")]

    async with sending(lookup=lookup) as sender:
        slow = [asyncio.create_task(post(sender, f"https://slow{n % 10}.example.com/")) for n in range(60)]
        await asyncio.sleep(0)
        answer = await asyncio.wait_for(post(sender, "https://quick.example.com/"), 1)
        assert answer.error_code == "blocked_address"
        release.set()
        assert {(await each).error_code for each in slow} == {"blocked_address"}


@pytest.mark.parametrize("suffix", ["example", "co.uk"])
async def test_one_domain_takes_only_so_many_threads(suffix: str) -> None:
    """Whoever runs a domain runs its name server; the names of others do not wait for it."""
    release = threading.Event()
    under_way = most = 0
    lock = threading.Lock()

    def lookup(name: str) -> Sequence[tuple[int, str]]:
        nonlocal under_way, most
        if not name.endswith(f"tarpit.{suffix}"):
            return [(socket.AF_INET, "10.0.0.1")]
        with lock:
            under_way += 1
            most = max(most, under_way)
        release.wait(10)
        with lock:
            under_way -= 1
        return [(socket.AF_INET, "10.0.0.1")]

    names = NameService(lookup)
    try:
        slow = [asyncio.create_task(names.addresses(f"n{n}.tarpit.{suffix}")) for n in range(200)]
        while under_way < PER_DOMAIN:  # noqa: ASYNC110 - threads have no event of the loop's to wait on
            await asyncio.sleep(0.01)
        assert await names.addresses(f"quick.{suffix}") == [(socket.AF_INET, "10.0.0.1")]
        release.set()
        assert len(await asyncio.gather(*slow)) == 200
        assert most == PER_DOMAIN
    finally:
        release.set()
        names.close()


async def test_a_name_that_takes_too_long_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(names_module, "DNS_SECONDS", 0.1)
    release = threading.Event()

    def lookup(_: str) -> Sequence[tuple[int, str]]:
        release.wait(10)
        return []

    try:
        async with sending(lookup=lookup) as sender:
            answer = await post(sender, "https://hooks.example.com/", total_seconds=20)
            assert (answer.error_code, answer.dns_ms) == ("blocked_address", None)
            release.set()
    finally:
        release.set()
