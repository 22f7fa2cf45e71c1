"""The command's root; each group of commands is a module of `mintwire.cli`."""

from __future__ import annotations

import logging
import sys
from contextlib import suppress
from io import TextIOWrapper

import structlog
from cyclopts import App, CycloptsError

from mintwire import VERSION
from mintwire.cli import (
    audit,
    batches,
    checkout_calls,
    checkouts,
    codes,
    coupons,
    customers,
    dead_queues,
    events,
    jobs,
    keys,
    order_records,
    partners,
    programs,
    quotas,
    shop_imports,
    stack,
    webhooks,
)
from mintwire.cli.doctor import doctor
from mintwire.cli.output import MISUSED, REFUSED, tell
from mintwire.terminal import CLOSED_EXIT_CODE, OutputClosed, OutputFailed, discard_output

app = App(
    name="mintwire",
    help="Promo codes for partners: mint, redeem exactly once, tell the partner by webhook.",
    version=VERSION,
    exit_on_error=False,
)
for group in (
    *(stack, programs, partners, keys, quotas, coupons, codes, batches, jobs),
    *(checkouts, customers, order_records, webhooks, dead_queues, events, audit),
):
    app.command(group.app)
app.command(doctor)
app.command(shop_imports.import_, name="import")
for each in checkout_calls.COMMANDS:
    checkouts.app.command(each)


def main() -> None:
    """Run the command; what libraries log goes to standard error, for standard output belongs to the answer."""
    structlog.configure(
        wrapper_class=structlog.make_filtering_bound_logger(logging.ERROR),
        logger_factory=structlog.WriteLoggerFactory(sys.stderr),
    )
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    try:
        app()
    except CycloptsError:
        sys.exit(MISUSED)
    except OutputClosed:
        sys.exit(CLOSED_EXIT_CODE)
    except OutputFailed as failed:
        with suppress(OutputFailed):
            tell(str(failed))
        sys.exit(REFUSED)
    finally:
        discard_output()


if __name__ == "__main__":
    main()
