"""A service as a command, `serve` or `migrate`; a fault that can be expected ends in one line.

The exit status is 0 when done, 1 after a failure, 2 for settings or arguments that cannot be used.
"""

import argparse
import asyncio
import sys
from collections.abc import Callable, Coroutine
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

from pydantic import ValidationError

from shared import log, process
from shared.broker import topology
from shared.broker.connection import BrokerRefused
from shared.config import ServiceSettings
from shared.database import migrations
from shared.faults import TransientFault

S = TypeVar("S", bound=ServiceSettings)


def run_service(
    name: str,
    settings_type: type[S],
    serve: Callable[[S, asyncio.Event], Coroutine[Any, Any, None]],
    folder: Path,
) -> int:
    """Run the command that the arguments name and return the exit status; `folder` holds the service's migrations."""
    parser = argparse.ArgumentParser(prog=f"python -m services.{name}", description=f"The {name} service.")
    parser.add_argument("command", choices=("serve", "migrate"))
    command = parser.parse_args().command
    try:
        settings = settings_type()
        settings.refuse_published_defaults()
        operator = settings.operator_urls() if command == "migrate" else None
    except ValidationError as error:
        faults = "; ".join(f"{'.'.join(map(str, e['loc']))}: {e['msg']}" for e in error.errors(include_input=False))
        return _failed(2, name, f"the settings ({name.upper()}_...) cannot be used: {faults}")
    except ValueError as error:
        return _failed(2, name, str(error))
    log.configure(name, settings.log_level, settings.log_format)
    if operator is None:
        process.run(partial(serve, settings))
        return 0
    try:
        asyncio.run(_migrate(name, settings.database_url.get_secret_value(), *operator, folder))
    except (migrations.MigrationError, BrokerRefused, TransientFault) as error:
        return _failed(1, name, f"cannot migrate: {error}")
    return 0


async def _migrate(name: str, database_url: str, admin_database_url: str, admin_amqp_url: str, folder: Path) -> None:
    """Bring schema, login role and the broker's topology up to date, with the operator's credentials."""
    await migrations.migrate(admin_database_url, database_url, schema=name, role=f"mintwire_{name}", folder=folder)
    try:
        await topology.declare(admin_amqp_url)
    except ValueError:
        raise BrokerRefused("The broker's URL cannot be read.") from None


def _failed(status: int, name: str, reason: str) -> int:
    sys.stderr.write(f"{name}: {' '.join(reason.split())}\n")
    return status
