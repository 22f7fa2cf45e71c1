"""`mintwire demo`: a made-up history for the demo of the local stack."""

from __future__ import annotations

import sys
from dataclasses import asdict
from typing import Annotated

from cyclopts import App, Parameter, validators

from mintwire.cli.output import AsJSON, tell
from mintwire.stack import history
from mintwire.stack.config import is_in_container, read_settings
from mintwire.stack.errors import StackError
from mintwire.terminal import REFUSED, write_error, write_json, write_text

app = App(name="demo")


@app.command
def fill(
    *,
    days: Annotated[int, Parameter(validator=validators.Number(gte=1, lte=365))] = 90,
    codes: Annotated[int, Parameter(validator=validators.Number(gte=1, lte=50_000))] = 4000,
    seed: int = 1,
    as_json: AsJSON = False,
) -> None:
    """Write a history into the demo program, so that lists and statistics have something to show.

    Partners mint by a curve per day and week, with a campaign; customers redeem, give back, come too late. The same
    seed is the same history; a repeat adds nothing. It works in development mode only, and only in a demo program.

    Example: mintwire demo fill --days 90

    Parameters
    ----------
    days
        How many days back it begins, at most 365.
    codes
        How many codes are minted, at most 50,000.
    seed
        Another seed is another history.
    """
    if is_in_container():
        tell("run each service's own `demo` command instead: deploy/README.md shows how")
        sys.exit(REFUSED)
    try:
        made = history.fill(read_settings(), days, codes, seed, write_error if as_json else write_text)
    except StackError as error:
        tell(str(error))
        sys.exit(REFUSED)
    if as_json:
        write_json(asdict(made))
