"""The shop as a process: `python -m examples.shop`, until SIGTERM or SIGINT."""

import asyncio
import logging
import signal

from .app import serving
from .settings import Settings


async def main() -> None:
    """Serve until a signal."""
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    async with serving(Settings.read()):
        await stop.wait()


if __name__ == "__main__":
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s")
    # Its messages name the broker's address.
    logging.getLogger("aiormq").setLevel(logging.CRITICAL)
    asyncio.run(main())
