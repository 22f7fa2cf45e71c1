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

# The part of their docstrings before the parameters.
_DOCTOR: Final = """\
Check every part, one line each; exit code 1 if anything is wrong, with how to fix it.

Example: mintwire doctor --fix"""
_IMPORT: Final = """\
Import coupons and codes from another shop's export; what cannot be carried over is reported line by line.

Codes keep the number of uses they had there. Run it as often as you like: nothing is created twice.

Example: mintwire import discounts_export.csv --from shopify --dry-run"""
# Name to module and purpose. A module is imported only when more than its name is needed: the packages that most
# of them depend on take longer to import than most commands take to run.
_COMMANDS: Final = {
    "stack": ("stack:app", "Run the whole system on this machine."),
    "demo": ("demo:app", "Fill the local stack's demo program with a made-up history."),
    "program": ("programs:app", "Create, change and list programs (merchants)."),
    "partner": ("partners:app", "Create, change, approve, suspend and archive partners."),
    "key": ("keys:app", "Create, rotate, limit and revoke API keys; at most two are active per purpose."),
    "account": ("accounts:app", "Invite people to the dashboard; create, reset, list and disable accounts."),
    "account-key": ("account_keys:app", "Create the key pairs by which dashboards state who acts."),
    "quota": ("quotas:app", "Grant codes to a partner and show what is left."),
    "code-order": ("code_orders:app", "Order more codes, as the partner; approve or refuse orders, as the program."),
    "coupon": ("coupons:app", "Create coupons, the terms that codes share, and change them."),
    "code": ("codes:app", "Generate and show codes, as the partner or as the program."),
    "batch": ("batches:app", "Create many codes of a coupon at once, and download them."),
    "job": ("jobs:app", "Show and cancel batches, imports and bulk actions."),
    "checkout": ("checkouts:app", "Act as the shop: complete an order with codes."),
    "commission": ("commissions:app", "Show what partners earned by month, and enter payments."),
    "stats": ("stats:app", "Count codes, redemptions and webhooks over time, and draw them."),
    "customer": ("customers:app", "Export or erase a customer's data."),
    "order": ("order_records:app", "Show orders and refused requests."),
    "webhook": (
        "webhooks:app",
        "Listen for webhooks, manage endpoints, inspect and resend deliveries.",
    ),
    "dead": ("dead_queues:app", "List, show, replay and purge messages that no service could process."),
    "events": ("events:app", "Republish events from the services' history."),
    "audit": ("audit:app", "Show who changed what."),
    "doctor": ("doctor:doctor", _DOCTOR),
    "import": ("shop_imports:import_", _IMPORT),
}

app = App(
    name="mintwire",
    help="Promo codes for partners: mint them, redeem each exactly once, and notify the partner by webhook.",
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
