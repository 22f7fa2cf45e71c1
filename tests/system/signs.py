"""Where an operator sees a fault: in `mintwire doctor`, in a service's metrics and in its log, each by name."""

import asyncio
import json
from collections.abc import Awaitable, Callable
from typing import Any

import aiohttp
from prometheus_client.parser import text_string_to_metric_families

from mintwire.stack.folder import SERVICES, StackFolder
from tests.system.stack import Stack

# A look into the doctor alone takes seconds on a busy machine.
_SECONDS = 60.0


class Signs:
    """Looks for signs of what happens after it was made; each look waits up to a minute for its sign."""

    def __init__(self, stack: Stack) -> None:
        self._stack = stack
        self._folder = StackFolder(stack.folder)
        self._read_before = {name: self._folder.log(name).stat().st_size for name in SERVICES}

    async def in_doctor(self, check: str, text: str = "", *, seconds: float = _SECONDS) -> None:
        """A check whose name contains `check` is wrong, and says `text`."""

        async def is_seen() -> bool:
            findings = await self._doctor()
            return any(not each["is_ok"] and check in each["check"] and text in each["detail"] for each in findings)

        await _eventually(is_seen, self._doctor, seconds)

    async def doctor_is_content(self) -> None:
        """No check is wrong (any more)."""

        async def is_content() -> bool:
            return all(each["is_ok"] for each in await self._doctor())

        await _eventually(is_content, self._doctor)

    async def metric(self, service: str, name: str, **labels: str) -> float:
        """The sum of a metric's samples that bear these labels."""
        async with aiohttp.ClientSession() as session, session.get(f"{self._stack.url(service)}/metrics") as response:
            text = await response.text()
        return sum(
            sample.value
            for family in text_string_to_metric_families(text)
            for sample in family.samples
            if sample.name == name and labels.items() <= sample.labels.items()
        )

    async def in_metric(self, service: str, name: str, *, above: float = 0, **labels: str) -> None:
        """A metric is above a value: for a counter, what `metric` returned before the fault."""

        async def is_seen() -> bool:
            return await self.metric(service, name, **labels) > above

        await _eventually(is_seen, lambda: self.metric(service, name, **labels))

    async def in_log(self, service: str, event: str, **facts: Any) -> None:
        """The service has logged an event with these facts since."""

        async def is_seen() -> bool:
            return any(line["event"] == event and facts.items() <= line.items() for line in self.lines(service))

        async def events() -> set[str]:
            return {line["event"] for line in self.lines(service)}

        await _eventually(is_seen, events)

    def lines(self, service: str) -> list[dict[str, Any]]:
        """All that the service has logged since."""
        with self._folder.log(service).open("rb") as log:
            log.seek(self._read_before[service])
            return [json.loads(line) for line in log if line.startswith(b"{") and line.endswith(b"}\n")]

    async def _doctor(self) -> list[dict[str, Any]]:
        told = await asyncio.to_thread(self._stack.mintwire, "doctor", "--json", seconds=60, statuses=(0, 1))
        checks: list[dict[str, Any]] = json.loads(told)["checks"]
        return checks


async def _eventually(
    is_seen: Callable[[], Awaitable[bool]], found: Callable[[], Awaitable[object]], seconds: float = _SECONDS
) -> None:
    loop = asyncio.get_running_loop()
    deadline = loop.time() + seconds
    while not await is_seen():
        assert loop.time() < deadline, f"not within {seconds:g} s; there is {await found()}"
        await asyncio.sleep(0.2)
