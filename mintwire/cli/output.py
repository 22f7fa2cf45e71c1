"""How commands print: JSON for programs, short lines for people; and how they end after a refusal."""

from __future__ import annotations

import sys
from collections.abc import Awaitable, Callable, Mapping, Sequence
from functools import wraps
from typing import Annotated, Any, ParamSpec

from cyclopts import Parameter

from mintwire.cli.client import CallFailed, Page
from mintwire.cli.config import NotConfigured
from mintwire.terminal import MISUSED, REFUSED, printable, write_error, write_json, write_line

P = ParamSpec("P")

AsJSON = Annotated[bool, Parameter(name="--json", negative=(), help="Print JSON.")]

Limit = Annotated[int, Parameter(help="Maximum number of items, at most 250.")]
Cursor = Annotated[str | None, Parameter(help="The cursor from the previous page; give the same filters again.")]
Counted = Annotated[bool, Parameter(name="--count", negative=(), help="Also tell how many match, up to 10,000.")]


class Misused(Exception):
    """The command was used incorrectly; the message says how to use it."""


def command(function: Callable[P, Awaitable[int | None]]) -> Callable[P, Awaitable[None]]:
    """Turn a coroutine into a command: expected errors become a message on standard error and exit code 1 or 2."""

    @wraps(function)
    async def run(*args: P.args, **kwargs: P.kwargs) -> None:
        try:
            code = await function(*args, **kwargs)
        except (CallFailed, NotConfigured) as error:
            tell(str(error))
            sys.exit(REFUSED)
        except Misused as error:
            tell(str(error))
            sys.exit(MISUSED)
        if code:
            sys.exit(code)

    return run


def tell(text: str) -> None:
    """Print a message on standard error."""
    write_error(f"mintwire: {text}")


def show(value: Mapping[str, Any], as_json: bool) -> None:
    """Print one object."""
    if as_json:
        write_json(value)
        return
    width = max((len(name) for name in value), default=0)
    for name, member in value.items():
        write_line(f"{name:<{width}}  {plain(member)}")


def show_many(rows: Sequence[Mapping[str, Any]], columns: Sequence[str], as_json: bool) -> None:
    """Print a list: all members as JSON, the named columns for people."""
    if as_json:
        write_json(list(rows))
        return
    table = [list(columns), *([printable(plain(row.get(column))) for column in columns] for row in rows)]
    widths = [max(len(line[place]) for line in table) for place in range(len(columns))]
    for line in table:
        write_line("  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip())


def show_page(page: Page, columns: Sequence[str], as_json: bool) -> None:
    """Print a page of a list, and on standard error how many items match and how to get the next page."""
    show_many(page.rows, columns, as_json)
    if page.count is not None:
        tell(f"{page.count} match" if page.count_is_exact else f"at least {page.count} match")
    if page.next_cursor:
        tell(f"there are more; continue with --cursor {page.next_cursor}")


def bounded(counted: bool) -> str | None:
    """Return the parameter of a list that is to be counted."""
    return "bounded" if counted else None


def plain(value: object) -> str:
    """Render a member of a response on one line."""
    if value is None:
        return "-"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, dict):
        return ", ".join(f"{name} {plain(member)}" for name, member in value.items())
    if isinstance(value, list):
        return ", ".join(plain(member) for member in value) or "-"
    return str(value)
