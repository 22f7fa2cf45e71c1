"""A service as a command, `serve`, `migrate` or `demo`; an expected fault ends in one line.

The exit status is 0 when done, 1 after a failure, 2 for settings or arguments that cannot be used.
"""

import argparse
import asyncio
import sys
import uuid
from collections.abc import Awaitable, Callable, Coroutine, Mapping
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

from pydantic import ValidationError

from shared import log, process
from shared.broker import topology
from shared.broker.connection import BrokerLoginRefused, BrokerRefused, connect
from shared.config import DatabaseSettings
from shared.database import migrations
from shared.demo_plan import DemoAsk, DemoRefused
from shared.faults import TransientFault

S = TypeVar("S", bound=DatabaseSettings)


def run_service(
    name: str,
    settings_type: type[S],
    serve: Callable[[S, asyncio.Event], Coroutine[Any, Any, None]],
    folder: Path,
    fill_demo: Callable[[S, DemoAsk, Path], Coroutine[Any, Any, str]] | None = None,
) -> int:
    """Run the command that the arguments name and return the exit status; `folder` holds the service's migrations."""
    arguments = _arguments(name)
    command = arguments.command
    try:
        settings = settings_type()
        settings.refuse_published_defaults()
        urls = settings.migration_urls() if command == "migrate" else None
    except ValidationError as error:
        faults = "; ".join(f"{'.'.join(map(str, e['loc']))}: {e['msg']}" for e in error.errors(include_input=False))
        return _failed(2, name, f"the settings ({name.upper()}_...) cannot be used: {faults}")
    except ValueError as error:
        return _failed(2, name, str(error))
    log.configure(name, settings.log_level, settings.log_format)
    if command == "demo":
        return _fill_demo(name, settings, fill_demo, arguments)
    if urls is None:
        process.run(partial(serve, settings))
        return 0
    try:
        asyncio.run(_migrate(name, urls, folder))
    except (migrations.MigrationError, BrokerRefused, TransientFault) as error:
        return _failed(1, name, f"cannot migrate: {error}")
    return 0


def _arguments(name: str) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog=f"python -m services.{name}", description=f"The {name} service.")
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("serve", help="Serve until SIGTERM.")
    commands.add_parser("migrate", help="Bring schema, role and the broker's topology up to date.")
    demo = commands.add_parser("demo", help="Write a made-up history into a demo program; see `mintwire demo fill`.")
    demo.add_argument("--program", type=uuid.UUID, required=True, help="The id of a program that is a demo.")
    demo.add_argument("--until", type=datetime.fromisoformat, required=True, help="When the history ends.")
    demo.add_argument("--days", type=int, default=90)
    demo.add_argument("--codes", type=int, default=4000)
    demo.add_argument("--seed", type=int, default=1)
    demo.add_argument("--events", type=Path, required=True, help="The file of redemption's events.")
    return parser.parse_args()


def _fill_demo(
    name: str,
    settings: S,
    fill_demo: Callable[[S, DemoAsk, Path], Coroutine[Any, Any, str]] | None,
    arguments: argparse.Namespace,
) -> int:
    if settings.environment != "development" or fill_demo is None:
        return _failed(2, name, "demo data is written in development mode only")
    ask = DemoAsk(arguments.program, arguments.until, arguments.days, arguments.codes, arguments.seed)
    try:
        done = asyncio.run(fill_demo(settings, ask, arguments.events))
    except (DemoRefused, TransientFault, OSError) as error:
        return _failed(1, name, f"cannot write demo data: {error}")
    sys.stdout.write(f"{name}: {done}\n")
    return 0


async def _migrate(name: str, urls: Mapping[str, str], folder: Path) -> None:
    """Bring schema, login role and the broker's topology up to date, with the operator's credentials.

    Also tries the service's own log-in to the broker: it is set elsewhere, and a service could only log a failure. A
    service without a broker has neither events nor a topology.
    """
    prefix = name.upper()
    has_broker = "broker" in urls
    role = f"mintwire_{name}"
    try:
        await migrations.migrate(
            urls["admin_database"], urls["database"], schema=name, role=role, folder=folder, has_events=has_broker
        )
    except migrations.LoginRefused as refused:
        raise migrations.MigrationError(
            f"{refused} Check {prefix}_ADMIN_DATABASE_URL; with Docker Compose set POSTGRES_PASSWORD in .env to the "
            "password that the database was first started with, or change that one (deploy/README.md)."
        ) from refused
    if not has_broker:
        return
    await _on_broker(topology.declare(urls["admin_broker"]), f"{prefix}_ADMIN_AMQP_URL", "operator")
    await _on_broker(_log_in(urls["broker"]), f"{prefix}_AMQP_URL", name)


async def _on_broker(act: Awaitable[None], variable: str, user: str) -> None:
    try:
        await act
    except ValueError:
        raise BrokerRefused("The broker's URL cannot be read.") from None
    except BrokerLoginRefused as refused:
        raise BrokerRefused(
            f"The broker refuses the log-in ({refused}). Check {variable}; with Docker Compose "
            f"{user.upper()}_BROKER_PASSWORD in .env and the definitions that RABBITMQ_DEFINITIONS names differ: make "
            "them again and restart rabbitmq (deploy/README.md)."
        ) from refused


async def _log_in(url: str) -> None:
    await (await connect(url, "mintwire migrate")).close()


def _failed(status: int, name: str, reason: str) -> int:
    sys.stderr.write(f"{name}: {' '.join(reason.split())}\n")
    return status
