"""Runs the proxy of the compose file on this machine, with its own configuration but for the addresses."""

import asyncio
import re
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final

from mintwire.stack import ports
from mintwire.stack.install import ensure_package
from tests.deploy.compose_files import REPOSITORY
from tests.servers import RUNS, locked

PROGRAM: Final = Path("/usr/sbin/haproxy")
FOLDER: Final = REPOSITORY / "deploy" / "haproxy"
_HINT: Final = "HAProxy is missing: run `apt-get install haproxy` as root"
# Where the services are in the compose file, and the ports that the proxy listens on there.
_SERVICES: Final = {"codes": 8001, "redemption": 8002, "webhooks": 8003, "dashboard": 8000}
_LISTENERS: Final = (*_SERVICES.values(), 8080, 8404)
_STARTED_SECONDS: Final = 30


def ensure_haproxy() -> None:
    """Install HAProxy if it is missing; one process at a time."""
    RUNS.mkdir(exist_ok=True)
    with locked(RUNS / "haproxy.lock"):
        ensure_package("haproxy", PROGRAM, _HINT)


def localized(services: Mapping[str, int], listeners: Mapping[int, int]) -> str:
    """Return the configuration for services at ports of this machine, instead of Docker's names."""
    text = (FOLDER / "haproxy.cfg").read_text()
    text = text.replace("/usr/local/etc/haproxy", str(FOLDER)).replace(" resolvers docker init-addr none", "")
    for name, port in _SERVICES.items():
        at = f"server {name}-1 127.0.0.1:{services[name]}"
        text, count = re.subn(rf"server-template {name}- \d+ {name}:{port}", at, text)
        assert count == 1, name
    for inside, port in listeners.items():
        text, count = re.subn(rf"bind (?:127\.0\.0\.1)?:{inside}\b", f"bind 127.0.0.1:{port}", text)
        assert count == 1, inside
    return text


@asynccontextmanager
async def running_proxy(
    folder: Path, services: Mapping[str, int], **environment: str
) -> AsyncIterator[Mapping[int, str]]:
    """Run the proxy before these services until the end; yields the URL of each of its ports, named as in compose."""
    ensure_haproxy()
    # A service that a test has not is another one of it.
    services = {**dict.fromkeys(_SERVICES, next(iter(services.values()))), **services}
    listeners: dict[int, int] = {}
    for inside in _LISTENERS:
        listeners[inside] = ports.free_port(taken=[*services.values(), *listeners.values()])
    configuration = folder / "haproxy.cfg"
    configuration.write_text(localized(services, listeners))
    settings = {"TRUSTED_PROXIES": "1", "ORIGIN_EXPOSES_INTERNALS": "no", **environment}
    process = await asyncio.create_subprocess_exec(PROGRAM, "-db", "-f", configuration, env=settings)
    try:
        await _ready(process, listeners[8404])
        yield {inside: f"http://127.0.0.1:{port}" for inside, port in listeners.items()}
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()


async def _ready(process: asyncio.subprocess.Process, port: int) -> None:
    async with asyncio.timeout(_STARTED_SECONDS):
        while True:
            assert process.returncode is None
            try:
                reader, writer = await asyncio.open_connection("127.0.0.1", port)
                writer.write(b"GET /readyz HTTP/1.0\r\n\r\n")
                line = await reader.readline()
                writer.close()
                if b" 200 " in line:
                    return
            except OSError:
                pass
            await asyncio.sleep(0.05)
