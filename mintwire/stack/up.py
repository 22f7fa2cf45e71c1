"""Brings a stack up, keeps it up, and takes it down: the order of things, told to the reader as they happen."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from collections.abc import Coroutine, Iterable
from typing import Any

from mintwire.stack import ports
from mintwire.stack.bootstrap import bootstrap
from mintwire.stack.config import StackSettings
from mintwire.stack.demo import play
from mintwire.stack.errors import ServerFailed
from mintwire.stack.folder import RECEIVER, SERVICES, SETTLED_FILE, StackFolder
from mintwire.stack.guide import what_next
from mintwire.stack.install import ensure_rabbitmq
from mintwire.stack.plan import StackPlan, leftovers
from mintwire.stack.supervisor import Say, Supervisor, step
from mintwire.stack.units import ModuleProcess, Unit

_READY_SECONDS = 60.0
_PORT_ATTEMPTS = 5


async def up(settings: StackSettings, *, is_played: bool, say: Say) -> None:
    """Run the stack until SIGTERM, SIGINT or SIGHUP; a second signal ends everything at once."""
    folder = StackFolder(settings.folder)
    folder.prepare()
    with folder.held():
        folder.stack_file.unlink(missing_ok=True)
        supervisor = Supervisor(say)
        stop = _stop_on_signals(supervisor)
        run = _Run(StackPlan(settings), supervisor, say)
        try:
            if await _unless(stop, run.bring_up()) and (not is_played or await _unless(stop, run.play())):
                run.tell_what_next()
                # Whoever started us in the background waits for this.
                folder.write(SETTLED_FILE, {"pid": os.getpid()})
                await stop.wait()
        finally:
            say("\nStopping")
            (folder.path / SETTLED_FILE).unlink(missing_ok=True)
            folder.stack_file.unlink(missing_ok=True)
            await supervisor.stop()


class _Run:
    """One run of one stack."""

    def __init__(self, plan: StackPlan, supervisor: Supervisor, say: Say) -> None:
        self._plan = plan
        self._supervisor = supervisor
        self._say = say
        self._stack: dict[str, Any] = {}

    async def bring_up(self) -> None:
        """Start everything in order and tell the world by `stack.json`."""
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
        demo = await bootstrap(self._plan.folder, urls, self._plan.operator_token, receiver.url)
        self._stack = {
            "services": urls,
            "database_url": self._plan.database_url,
            "amqp_url": self._plan.broker_url("operator"),
            "management_url": self._plan.management_url,
            "operator_token": self._plan.operator_token,
            **demo,
        }
        self._plan.folder.write(self._plan.folder.stack_file.name, self._stack)

    async def play(self) -> None:
        """Play the main job; a failure is told and leaves the stack up for a look at it."""
        try:
            await play(self._stack, self._plan.broker_url("checkout"), self._say)
        except ServerFailed as failed:
            self._say(f"\n! The demo failed: {failed}\n  The logs are in {self._plan.folder.path / 'logs'}")

    def tell_what_next(self) -> None:
        """Print the links and the lines to try."""
        self._say(what_next(self._stack, self._plan.folder))

    async def _start_server(self, server: Unit) -> None:
        began = time.monotonic()
        await self._supervisor.start(server)
        self._ready(server.name, server.port, began)

    async def _start_modules(self) -> list[ModuleProcess]:
        """Start the receiver and the services side by side, and wait until each serves."""
        names = (RECEIVER, *SERVICES)
        began = time.monotonic()
        taken: list[int] = []
        modules = {}
        # Codes is told where redemption listens, so that is settled before either starts.
        self._plan.choose_port("redemption", taken)
        for name in names:
            modules[name] = self._module(name, taken)
            await self._supervisor.start(modules[name])
        for name in names:
            modules[name] = await self._serving(modules[name], taken)
            self._ready(name, modules[name].port, began)
        return [modules[name] for name in names]

    async def _serving(self, module: ModuleProcess, taken: list[int]) -> ModuleProcess:
        """Wait until the module serves, on another port if somebody was quicker on its first."""
        for _ in range(_PORT_ATTEMPTS):
            try:
                await self._supervisor.wait_answering(module, _READY_SECONDS)
            except ServerFailed:
                if module.is_running() or ports.is_free(module.port):
                    raise
            else:
                return module
            await self._supervisor.discard(module)
            module = self._module(module.name, taken)
            await self._supervisor.start(module)
        raise ServerFailed(f"{module.name} found no port")

    def _module(self, name: str, taken: list[int]) -> ModuleProcess:
        port = self._plan.choose_port(name, taken)
        taken.append(port)
        return self._plan.receiver(port) if name == RECEIVER else self._plan.service(name, port)

    def _ready(self, name: str, port: int, began: float) -> None:
        self._say(f"  {name:<12} ready on {ports.HOST}:{port} ({time.monotonic() - began:.1f} s)")


def _stop_on_signals(supervisor: Supervisor) -> asyncio.Event:
    stop = asyncio.Event()

    def on_signal() -> None:
        if stop.is_set():
            supervisor.kill()
            os._exit(1)
        stop.set()

    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        asyncio.get_running_loop().add_signal_handler(number, on_signal)
    return stop


async def _unless(stop: asyncio.Event, act: Coroutine[Any, Any, None]) -> bool:
    """Run the act unless or until `stop` is set; tell whether it was finished."""
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
    """Run the acts side by side and wait for the end of each, also when one fails or we are cancelled."""
    for result in await asyncio.gather(*acts, return_exceptions=True):
        if isinstance(result, BaseException):
            raise result
