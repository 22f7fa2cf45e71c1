"""Commands that talk to the broker. Its client takes long to import, so only they import it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from functools import wraps
from typing import ParamSpec

from mintwire.cli.output import command, tell
from mintwire.library_log import library_log_on_stderr
from mintwire.terminal import REFUSED
from shared.broker.connection import BrokerRefused
from shared.faults import TransientFault

P = ParamSpec("P")


def broker_command(function: Callable[P, Awaitable[int | None]]) -> Callable[P, Awaitable[None]]:
    """Turn a coroutine into a command, as `command` does; errors of the broker are reported in the same way."""

    @command
    @wraps(function)
    async def run(*args: P.args, **kwargs: P.kwargs) -> int | None:
        try:
            with library_log_on_stderr():
                return await function(*args, **kwargs)
        except (TransientFault, BrokerRefused) as error:
            tell(str(error))
            return REFUSED

    return run
