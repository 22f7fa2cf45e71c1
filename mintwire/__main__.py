"""The command's root; each command is a module of `mintwire.cli`."""

from __future__ import annotations

import sys
from contextlib import suppress
from io import TextIOWrapper
from typing import Final

from cyclopts import App, CycloptsError

from mintwire import VERSION
from mintwire.terminal import (
    CLOSED_EXIT_CODE,
    MISUSED,
    REFUSED,
    OutputClosed,
    OutputFailed,
    discard_output,
    write_error,
)

# What their docstrings say before the parameters.
_DOCTOR: Final = """\
Check every part, one line each; exit code 1 when anything is wrong, with how to mend it.

Example: mintwire doctor --fix"""
_IMPORT: Final = """\
Import coupons and codes from another shop's export; what cannot be carried over is reported line by line.

Codes begin with the uses that they had there. Run it again as often as you like: nothing is made twice.

Example: mintwire import discounts_export.csv --from shopify --dry-run"""
# Name to where it is and what it is for. A module is imported by the first who asks for more than its name: what most
# of them stand on takes longer to import than most commands take.
_COMMANDS: Final = {
    "stack": ("stack:app", "Run the whole system on this machine."),
    "program": ("programs:app", "Create, change and list programs (merchants)."),
    "partner": ("partners:app", "Create, change, approve, suspend and archive partners."),
    "key": ("keys:app", "Create, rotate, limit and revoke API keys; at most two are alive per purpose."),
    "quota": ("quotas:app", "Grant codes to a partner and see what is left."),
    "coupon": ("coupons:app", "Create coupons, the terms that codes share, and change them."),
    "code": ("codes:app", "Generate codes and look at them, as the partner or as the program."),
    "batch": ("batches:app", "Make many codes of a coupon at once, and fetch them."),
    "job": ("jobs:app", "Look at batches, imports and bulk actions, and stop them."),
    "checkout": ("checkouts:app", "Play the shop: complete an order with codes."),
    "customer": ("customers:app", "Export what is known of a customer, and erase it."),
    "order": ("order_records:app", "See what became of an order, and what was refused."),
    "webhook": (
        "webhooks:app",
        "Listen for webhooks, make, try and change endpoints, look into deliveries, send again.",
    ),
    "dead": ("dead_queues:app", "Messages that no service could take: list, show, replay, purge."),
    "events": ("events:app", "Publish events of the services' history again."),
    "audit": ("audit:app", "See who changed what."),
    "doctor": ("doctor:doctor", _DOCTOR),
    "import": ("shop_imports:import_", _IMPORT),
}

app = App(
    name="mintwire",
    help="Promo codes for partners: mint, redeem exactly once, tell the partner by webhook.",
    version=VERSION,
    exit_on_error=False,
)
for _name, (_place, _purpose) in _COMMANDS.items():
    app.command(f"mintwire.cli.{_place}", name=_name, help=_purpose)


def main() -> None:
    """Run the command and end with its exit code."""
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
            write_error(f"mintwire: {failed}")
        sys.exit(REFUSED)
    finally:
        discard_output()


if __name__ == "__main__":
    main()
