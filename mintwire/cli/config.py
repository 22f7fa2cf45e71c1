"""The command's services and keys: environment variables first, then the `stack.json` of the running stack."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mintwire.stack.config import DEFAULT_FOLDER, how_to_start
from shared.raw_url import with_password

# Variables, and the path of the same value in `stack.json`.
VARIABLES: dict[str, tuple[str, tuple[str, ...]]] = {
    "codes_url": ("MINTWIRE_CODES_URL", ("services", "codes")),
    "redemption_url": ("MINTWIRE_REDEMPTION_URL", ("services", "redemption")),
    "webhooks_url": ("MINTWIRE_WEBHOOKS_URL", ("services", "webhooks")),
    "dashboard_url": ("MINTWIRE_DASHBOARD_URL", ("services", "dashboard")),
    "amqp_url": ("MINTWIRE_AMQP_URL", ("amqp_url",)),
    "management_url": ("MINTWIRE_MANAGEMENT_URL", ("management_url",)),
    "operator_token": ("MINTWIRE_OPERATOR_TOKEN", ("operator_token",)),
    "program_id": ("MINTWIRE_PROGRAM_ID", ("program", "id")),
    "program_key": ("MINTWIRE_PROGRAM_KEY", ("program", "api_key")),
    "partner_key": ("MINTWIRE_PARTNER_KEY", ("partner", "api_key")),
}
# Inserted into the broker's URL, escaped; a password may have characters that a URL may not.
BESIDE_THE_BROKER_URL = "MINTWIRE_BROKER_PASSWORD"
_OPTIONAL = frozenset({"dashboard_url", "management_url"})
_SCHEMES = {"amqp_url": ("amqp://", "amqps://")}
_HTTP = ("http://", "https://")
# Like `…_INBOX_RETENTION_DAYS` of the services.
_INBOX_RETENTION_DAYS = "36"


class NotConfigured(Exception):
    """A command needs a setting that neither the environment nor a running stack provides."""


@dataclass(frozen=True)
class Target:
    """The settings of the command; reading a missing one raises `NotConfigured`."""

    values: Mapping[str, str]
    stack_file: Path
    is_stack_up: bool

    def __getattr__(self, name: str) -> str:
        """Return a setting by its name."""
        try:
            return self.values[name]
        except KeyError:
            if name not in VARIABLES:
                raise AttributeError(name) from None
            state = "does not have it" if self.is_stack_up else "is not there"
            raise NotConfigured(
                f"set {VARIABLES[name][0]}, or start the local stack ({how_to_start()}): {self.stack_file} {state}"
            ) from None

    def get(self, name: str) -> str | None:
        """Return a setting, or None."""
        return self.values.get(name)

    def missing(self) -> list[str]:
        """Return the variables of missing settings, except for optional ones: the dashboard and the management API."""
        return [
            variable for name, (variable, _) in VARIABLES.items() if name not in self.values and name not in _OPTIONAL
        ]


def inbox_retention_days() -> int:
    """Return how many days the services remember processed events."""
    text = os.environ.get("MINTWIRE_INBOX_RETENTION_DAYS") or _INBOX_RETENTION_DAYS
    if not (text.isascii() and text.isdigit() and len(text) < 5):
        raise NotConfigured("MINTWIRE_INBOX_RETENTION_DAYS must be a number of days")
    return int(text)


def read_target() -> Target:
    """Read the environment, and the running stack for what is not set there."""
    stack_file = Path(os.environ.get("STACK_DIR") or DEFAULT_FOLDER).expanduser().absolute() / "stack.json"
    stack = _read_stack(stack_file)
    values = {}
    for name, (variable, path) in VARIABLES.items():
        found: Any = os.environ.get(variable)
        if not found:
            found = stack
            for step in path:
                found = found.get(step) if isinstance(found, dict) else None
        if not found:
            continue
        if name.endswith("_url") and not str(found).startswith(_SCHEMES.get(name, _HTTP)):
            # The value is not repeated: it may contain a password.
            raise NotConfigured(f"{variable} must begin with {' or '.join(_SCHEMES.get(name, _HTTP))}")
        values[name] = str(found)
    if (password := os.environ.get(BESIDE_THE_BROKER_URL)) and "amqp_url" in values:
        values["amqp_url"] = with_password(values["amqp_url"], password)
    return Target(values, stack_file, bool(stack))


def _read_stack(stack_file: Path) -> dict[str, Any]:
    try:
        stack = json.loads(stack_file.read_text())
    except FileNotFoundError:
        return {}
    except (OSError, ValueError) as error:
        raise NotConfigured(f"{stack_file} cannot be read: {error}") from error
    if not isinstance(stack, dict):
        raise NotConfigured(f"{stack_file} was not written by a stack")
    return stack
