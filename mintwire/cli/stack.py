"""`mintwire stack`: the whole system on this machine, with private servers and a demo."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Annotated

from cyclopts import App, Parameter

from mintwire.cli.output import AsJSON, tell
from mintwire.library_log import library_log_on_stderr
from mintwire.stack import down as ending
from mintwire.stack.config import is_in_container, read_settings
from mintwire.stack.errors import StackError
from mintwire.stack.up import up as bring_up
from mintwire.terminal import MISUSED, REFUSED, write_error, write_json, write_line, write_text

app = App(name="stack")


@app.command
def up(
    *,
    detach: Annotated[bool, Parameter(negative=())] = False,
    demo: Annotated[bool, Parameter(negative="--no-demo", show_default=False)] = True,
    as_json: Annotated[bool, Parameter(name="--json", negative=())] = False,
    in_background: Annotated[bool, Parameter(negative=(), show=False)] = False,
) -> None:
    """Start everything and stay up until Ctrl-C.

    With `--detach`, a stack that is already up stays as it is.

    STACK_DIR names another folder than `.run`; DATABASE_URL and AMQP_URL name servers to use instead of private ones.

    Example: mintwire stack up --detach

    Parameters
    ----------
    detach
        Return once the stack is up and leave it running; `stack down` stops it.
    demo
        Run the demo once the stack is up.
    as_json
        With `--detach`: print the content of `stack.json`, and the progress on standard error.
    in_background
        Internal: set by `--detach` for the process that it starts without a terminal.
    """
    settings = read_settings()
    if as_json and not detach:
        tell("--json requires --detach")
        sys.exit(MISUSED)
    with _reporting_errors(), library_log_on_stderr():
        if detach:
            say = write_error if as_json else write_text
            stack = ending.up_detached(settings, [] if demo else ["--no-demo"], say)
            if as_json:
                write_json(stack)
        else:
            asyncio.run(bring_up(settings, is_played=demo, is_in_background=in_background, say=write_text))


@app.command
def down(*, as_json: AsJSON = False) -> None:
    """Stop the stack and whatever a killed one left behind.

    Example: mintwire stack down
    """
    with _reporting_errors():
        stopped = ending.down(read_settings())
    if as_json:
        write_json({"stopped": stopped})
        return
    write_line(f"stopped: {', '.join(stopped)}" if stopped else "nothing was running")


@app.command
def status(*, as_json: AsJSON = False) -> None:
    """Show what is running; exit code 1 if the stack is not up.

    Example: mintwire stack status --json
    """
    with _reporting_errors():
        described = ending.status(read_settings())
    if as_json:
        write_json(described)
    else:
        write_line(f"{'up' if described['is_up'] else 'down'}   {described['folder']}")
        for process in described["processes"]:
            write_line(f"  {process['name']:<12} {process['state']:<10} {process['pid'] or ''}")
        for name, url in described["services"].items():
            write_line(f"  {name:<12} {url}")
    if not described["is_up"]:
        sys.exit(REFUSED)


@app.command
def clean(*, as_json: AsJSON = False) -> None:
    """Delete all data of the stopped stack: databases, queues, keys and logs.

    Example: mintwire stack clean
    """
    settings = read_settings()
    with _reporting_errors():
        ending.clean(settings)
    if as_json:
        write_json({"removed": str(settings.folder)})


@contextmanager
def _reporting_errors() -> Iterator[None]:
    """Print errors of the stack as a message instead of a traceback."""
    if is_in_container():
        # Here its folder would be the demo's volume, and it does not own the running processes.
        tell("a container cannot run a stack: use `docker compose up`, `ps`, `down` and `down -v` on its host")
        sys.exit(REFUSED)
    try:
        yield
    except StackError as error:
        tell(str(error))
        sys.exit(REFUSED)
