"""Name servers that do not answer must not delay other names."""

import asyncio
import socket
import threading
from collections.abc import Sequence

import pytest

from services.webhooks.sender import names as names_module
from services.webhooks.sender.names import PER_DOMAIN, NameService
from tests.services.webhooks.conftest import until
from tests.services.webhooks.sending import post, sending


async def test_slow_name_servers_do_not_hold_up_other_names() -> None:
    release, hanging, resolved = threading.Event(), set[str](), set[str]()

    def lookup(name: str) -> Sequence[tuple[int, str]]:
        if name.startswith("slow"):
            hanging.add(name)
            release.wait(60)
        resolved.add(name)
        return [(socket.AF_INET, "10.0.0.1")]

    async with sending(lookup=lookup) as sender:
        slow = [asyncio.create_task(post(sender, f"https://slow{n % 10}.example.com/")) for n in range(60)]
        await until(lambda: len(hanging) == 10)
        answer = await post(sender, "https://quick.example.com/")
        # Its address is refused, although its name resolves; meanwhile all the others hang.
        assert (answer.error_code, resolved) == ("blocked_address", {"quick.example.com"})
        release.set()
        assert {(await each).error_code for each in slow} == {"blocked_address"}


@pytest.mark.parametrize("suffix", ["example", "co.uk"])
async def test_one_domain_takes_only_so_many_threads(suffix: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The owner of a domain runs its name server; other names must not wait for it."""
    monkeypatch.setattr(names_module, "DNS_SECONDS", 60)
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
        release.wait(60)
        with lock:
            under_way -= 1
        return [(socket.AF_INET, "10.0.0.1")]

    names = NameService(lookup)
    try:
        slow = [asyncio.create_task(names.addresses(f"n{n}.tarpit.{suffix}")) for n in range(200)]
        await until(lambda: under_way == PER_DOMAIN)
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
        release.wait(60)
        return []

    try:
        async with sending(lookup=lookup) as sender:
            answer = await post(sender, "https://hooks.example.com/", total_seconds=20)
            assert (answer.error_code, answer.dns_ms) == ("blocked_address", None)
            release.set()
    finally:
        release.set()


class ManyNameServers:
    """Answers every name at once, but hangs on those that begin with `sick` while `tarpit` is set."""

    def __init__(self) -> None:
        self.is_tarpit = True
        self.release = threading.Event()
        self.hanging: list[str] = []

    def __call__(self, name: str) -> Sequence[tuple[int, str]]:
        if self.is_tarpit and name.startswith("sick"):
            self.hanging.append(name)
            self.release.wait(60)
        return [(socket.AF_INET, "10.0.0.1")]


@pytest.mark.parametrize("has_known_them", [False, True])
async def test_hundreds_of_names_that_hang_leave_threads_to_the_others(
    monkeypatch: pytest.MonkeyPatch, has_known_them: bool
) -> None:
    """They are resolved again and again, on more domains than one could count, and recover once they answer."""
    monkeypatch.setattr(names_module, "DNS_SECONDS", 30.0)
    name_servers = ManyNameServers()
    names = NameService(name_servers)
    sick = [f"sick{n}.domain{n % 100}.example" for n in range(400)]
    try:
        if has_known_them:
            name_servers.is_tarpit = False
            await asyncio.gather(*(names.addresses(name) for name in sick))
            name_servers.is_tarpit = True
        for turn in range(3):
            # The first time hundreds of threads have to start within the limit; after that it is only waited for.
            monkeypatch.setattr(names_module, "DNS_SECONDS", 1.5 if turn else 4.0)
            asked = [asyncio.create_task(names.addresses(name)) for name in sick]
            if turn == 0:
                await until(lambda: len(name_servers.hanging) == 400)
            # Within the time limit of a lookup, or it would raise.
            for name in ("works.example", f"new{turn}.example"):
                assert await names.addresses(name) == [(socket.AF_INET, "10.0.0.1")]
            answers = await asyncio.gather(*asked, return_exceptions=True)
            assert {type(answer) for answer in answers} == {TimeoutError}
        # At first they took as many threads as they wanted; since then they wait for the few that hanging names share.
        assert len(name_servers.hanging) == 400
        name_servers.is_tarpit = False
        name_servers.release.set()
        await until(lambda: not names.asked)
        monkeypatch.setattr(names_module, "DNS_SECONDS", 30.0)
        assert len(await asyncio.gather(*(names.addresses(name) for name in sick))) == 400
    finally:
        name_servers.release.set()
        names.close()


async def test_names_that_have_hung_are_asked_for_again_by_a_few_threads_and_later_by_all(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(names_module, "DNS_SECONDS", 2.0)
    name_servers = ManyNameServers()
    names = NameService(name_servers)
    sick = [f"sick{n}.domain{n}.example" for n in range(100)]

    async def ask() -> None:
        answers = await asyncio.gather(*(names.addresses(name) for name in sick), return_exceptions=True)
        assert {type(answer) for answer in answers} == {TimeoutError}

    async def all_return() -> None:
        name_servers.release.set()
        await until(lambda: not names.asked)
        name_servers.release.clear()

    try:
        await ask()
        await all_return()
        await ask()
        assert len(name_servers.hanging) == 100 + names_module._HUNG_THREADS
        await all_return()
        monkeypatch.setattr(names_module, "HUNG_SECONDS", 0.0)
        await ask()
        assert len(name_servers.hanging) == 200 + names_module._HUNG_THREADS
    finally:
        name_servers.release.set()
        names.close()
