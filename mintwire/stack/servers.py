"""Starts a private PostgreSQL and RabbitMQ in a folder, for the stack, the tests and the benchmarks.

`python -m mintwire.stack.servers FOLDER` starts both, prints their URLs as JSON and stays up until a signal.
"""

from __future__ import annotations

import json
import signal
import sys
from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import TracebackType
from typing import Self

from mintwire.stack import places
from mintwire.stack.definitions import broker_definitions, stored_passwords
from mintwire.stack.install import ensure_rabbitmq
from mintwire.stack.postgres import PostgresServer
from mintwire.stack.rabbitmq import RabbitMQServer
from shared.broker.permissions import PERMISSIONS
from shared.broker.topology import VHOST


class Servers:
    """Both private servers of a folder, as a context manager or by `start` and `stop`.

    Without durability they survive a kill but not a power failure, and are much faster: for tests.
    """

    def __init__(
        self,
        folder: Path,
        *,
        vhosts: Iterable[str] = (VHOST,),
        passwords: Mapping[str, str] | None = None,
        is_durable: bool = True,
    ) -> None:
        self.folder = folder.absolute()
        self._passwords = passwords or stored_passwords(self.folder / "broker-passwords.json")
        self.postgres = PostgresServer(self.folder / "postgres", is_durable=is_durable)
        definitions = broker_definitions(vhosts, self._passwords)
        self.rabbitmq = RabbitMQServer(self.folder / "rabbitmq", definitions, is_durable=is_durable)

    @property
    def database_url(self) -> str:
        """The PostgreSQL superuser's URL."""
        return self.postgres.url

    def broker_url(self, user: str, vhost: str = VHOST) -> str:
        """Return the AMQP URL of a broker user."""
        return self.rabbitmq.url(user, self._passwords[user], vhost)

    @property
    def management_url(self) -> str:
        """The broker's management API, as its operator."""
        return self.rabbitmq.management_url("operator", self._passwords["operator"])

    def start(self) -> None:
        """Start both at once; if one fails, stop the other."""
        ensure_rabbitmq()
        is_up = False
        try:
            with ThreadPoolExecutor(2) as pool:
                for started in [pool.submit(self.postgres.start), pool.submit(self.rabbitmq.start)]:
                    started.result()
            is_up = True
        finally:
            if not is_up:
                self.stop()

    def stop(self) -> None:
        """Stop both, even if another process started them."""
        with ThreadPoolExecutor(2) as pool:
            for stopped in [pool.submit(self.rabbitmq.stop), pool.submit(self.postgres.stop)]:
                stopped.result()

    def remove(self) -> None:
        """Delete all data of both; they must be down."""
        places.remove(self.folder / "postgres")
        places.remove(self.folder / "rabbitmq")

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()


def main(folder: Path) -> None:
    """Run both servers until SIGTERM or SIGINT."""
    signals = {signal.SIGTERM, signal.SIGINT}
    signal.pthread_sigmask(signal.SIG_BLOCK, signals)
    with Servers(folder) as servers:
        urls = {user: servers.broker_url(user) for user in PERMISSIONS}
        print(json.dumps({"database_url": servers.database_url, "amqp_urls": urls}, indent=2), flush=True)
        signal.sigwait(signals)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
