"""Starts a stack, keeps it up, and stops it: the order of the steps, and the progress messages."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from collections.abc import Coroutine, Iterable
from typing import Any

from mintwire.stack import ports
from mintwire.stack.bootstrap import bootstrap, lead_links_to
from mintwire.stack.config import StackSettings
from mintwire.stack.demo import play
from mintwire.stack.errors import ServerFailed
from mintwire.stack.folder import DASHBOARD, DEATHS_FILE, RECEIVER, SERVICES, SETTLED_FILE, SHOP, StackFolder
from mintwire.stack.guide import how_to_stop, what_next
from mintwire.stack.install import ensure_rabbitmq
from mintwire.stack.plan import StackPlan, leftovers
from mintwire.stack.supervisor import Say, Supervisor, step
from mintwire.stack.units import ModuleProcess, Unit
from mintwire.terminal import OutputFailed

_READY_SECONDS = 60.0
_PORT_ATTEMPTS = 5


async def up(settings: StackSettings, *, is_played: bool, is_in_background: bool, say: Say) -> None:
    """Run the stack until SIGTERM, SIGINT or SIGHUP; a second SIGTERM or SIGINT ends everything at once.

    A closed output is a reason to stop as well; then this raises `OutputFailed` once everything has stopped.
    """
    folder = StackFolder(settings.folder)
    folder.prepare()
    with folder.held():
        for file in (folder.stack_file, folder.path / DEATHS_FILE):
            file.unlink(missing_ok=True)
        stop = asyncio.Event()
        voice = _Voice(say, stop)
        supervisor = Supervisor(voice, folder.note_death)
        _stop_on_signals(stop, supervisor)
        run = _Run(StackPlan(settings), supervisor, voice)
        try:
            if await _unless(stop, run.bring_up()) and (not is_played or await _unless(stop, run.play())):
                run.print_next_steps(is_in_background=is_in_background)
                # The process that started this one in the background waits for it.
                folder.write(SETTLED_FILE, {"pid": os.getpid()})
                await stop.wait()
        finally:
            voice("\nStopping")
            (folder.path / SETTLED_FILE).unlink(missing_ok=True)
            folder.stack_file.unlink(missing_ok=True)
            await supervisor.stop()
    if voice.failed is not None:
        raise voice.failed


class _Voice:
    """Prints messages as long as the output works; after that it is silent and stops the stack.

    A closed terminal, at which every line fails, must not keep anything from being stopped.
    """

    def __init__(self, say: Say, stop: asyncio.Event) -> None:
        self._say = say
        self._stop = stop
        self.failed: OutputFailed | None = None

    def __call__(self, text: str) -> None:
        if self.failed is not None:
            return
        try:
            self._say(text)
        except OutputFailed as failed:
            self.failed = failed
            self._stop.set()


class _Run:
    """A run of a stack."""

    def __init__(self, plan: StackPlan, supervisor: Supervisor, say: Say) -> None:
        self._plan = plan
        self._supervisor = supervisor
        self._say = say
        self._stack: dict[str, Any] = {}
        self._demo: dict[str, Any] = {}

    async def bring_up(self) -> None:
        """Start everything in order and publish the settings in `stack.json`."""
        self._say(f"Starting Mintwire in {self._plan.folder.path}")
        for leftover in leftovers(self._plan.folder):
            await step(leftover.stop)
        if self._plan.rabbitmq is not None:
            await step(ensure_rabbitmq)
        await _all(self._start_server(server) for server in self._plan.servers)
        began = time.monotonic()
        for name in SERVICES:
            await step(lambda name=name: self._plan.migrate(name))  # type: ignore[misc]
        self._say(f"  {'migrations':<12} done in {time.monotonic() - began:.1f} s")
        receiver, *services = await self._start_modules()
        self._supervisor.watch()
        urls = {service.name: service.url for service in services}
        self._demo = await bootstrap(self._plan.folder, urls, self._plan.operator_token, receiver.url)
        shop = await self._start_shop([receiver.port, *(service.port for service in services)])
        await lead_links_to(shop.url, urls, self._demo)
        self._stack = {
            "services": {**urls, SHOP: shop.url},
            "database_url": self._plan.database_url,
            "amqp_url": self._plan.broker_url("operator"),
            "management_url": self._plan.management_url,
            "operator_token": self._plan.operator_token,
            **self._demo,
        }
        self._plan.folder.write(self._plan.folder.stack_file.name, self._stack)

    async def play(self) -> None:
        """Run the demo; a failure is reported and leaves the stack up for inspection."""
        try:
            await play(self._stack, self._plan.broker_url("checkout"), self._say)
        except ServerFailed as failed:
            self._say(f"\n! The demo failed: {failed}\n  The logs are in {self._plan.folder.path / 'logs'}")

    def print_next_steps(self, *, is_in_background: bool) -> None:
        """Print the links, the commands to try, and how to stop it."""
        self._say(what_next(self._stack, self._plan.folder))
        self._say(how_to_stop(self._plan.folder, is_in_background=is_in_background))

    async def _start_server(self, server: Unit) -> None:
        began = time.monotonic()
        await self._supervisor.start(server)
        self._ready(server.name, server.port, began)

    async def _start_modules(self) -> list[ModuleProcess]:
        """Start the receiver and the services concurrently, and wait until each is ready.

        Codes waits for redemption, and the dashboard for all of them, because their addresses are settings: a port that
        was free when it was chosen may belong to another stack by the time it is used.
        """
        began = time.monotonic()
        taken: list[int] = []
        modules: dict[str, ModuleProcess] = {}
        for name in (RECEIVER, "redemption", "webhooks"):
            modules[name] = await self._started(name, taken)
        modules["redemption"] = await self._serving(modules["redemption"], taken)
        modules["codes"] = await self._started("codes", taken)
        for name in (RECEIVER, *SERVICES):
            if name == DASHBOARD:
                modules[name] = await self._started(name, taken)
            modules[name] = await self._serving(modules[name], taken)
            self._ready(name, modules[name].port, began)
        return [modules[name] for name in (RECEIVER, *SERVICES)]

    async def _start_shop(self, taken: list[int]) -> ModuleProcess:
        """Start the demo shop, which needs the program and a key of it."""
        began = time.monotonic()
        shop = await self._serving(await self._started(SHOP, taken), taken)
        self._supervisor.watch()
        self._ready(SHOP, shop.port, began)
        return shop

    async def _started(self, name: str, taken: list[int]) -> ModuleProcess:
        module = self._module(name, taken)
        await self._supervisor.start(module)
        return module

    async def _serving(self, module: ModuleProcess, taken: list[int]) -> ModuleProcess:
        """Wait until the module is ready, on another port if the first one was taken meanwhile."""
        for _ in range(_PORT_ATTEMPTS):
            try:
                await self._supervisor.wait_answering(module, _READY_SECONDS)
            except ServerFailed:
                if module.is_running() or ports.is_free(module.port):
                    raise
            else:
                return module
            await self._supervisor.discard(module)
            module = await self._started(module.name, taken)
        raise ServerFailed(f"{module.name} found no port")

    def _module(self, name: str, taken: list[int]) -> ModuleProcess:
        port = self._plan.choose_port(name, taken)
        taken.append(port)
        if name == SHOP:
            return self._plan.shop(port, self._demo["program"]["id"], self._demo["shop"]["api_key"])
        return self._plan.receiver(port) if name == RECEIVER else self._plan.service(name, port)

    def _ready(self, name: str, port: int, began: float) -> None:
        self._say(f"  {name:<12} ready on {ports.HOST}:{port} ({time.monotonic() - began:.1f} s)")


def _stop_on_signals(stop: asyncio.Event, supervisor: Supervisor) -> None:
    is_asked = False

    def on_signal() -> None:
        nonlocal is_asked
        if is_asked:
            supervisor.kill()
            os._exit(1)
        is_asked = True
        stop.set()

    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, on_signal)
    # A closed terminal may send it more than once, and is not urgent; `nohup` ignores it.
    if signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:
        loop.add_signal_handler(signal.SIGHUP, stop.set)


async def _unless(stop: asyncio.Event, act: Coroutine[Any, Any, None]) -> bool:
    """Run the action unless or until `stop` is set; return whether it finished."""
    acting, stopping = asyncio.create_task(act), asyncio.create_task(stop.wait())
    await asyncio.wait({acting, stopping}, return_when=asyncio.FIRST_COMPLETED)
    stopping.cancel()
    if not acting.done():
        acting.cancel()
        await asyncio.wait({acting})
        return False
    acting.result()
    return not stop.is_set()


async def _all(acts: Iterable[Coroutine[Any, Any, None]]) -> None:
    """Run the actions concurrently and wait for all of them, even if one fails or this is cancelled."""
    for result in await asyncio.gather(*acts, return_exceptions=True):
        if isinstance(result, BaseException):
            raise result
