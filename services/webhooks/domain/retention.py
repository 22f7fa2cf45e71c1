"""How long data is kept, and the settings that the service publishes."""

from dataclasses import dataclass
from datetime import timedelta
from typing import Final

# For the debugger, so that it can tell the signature of an expired key from an unknown one; nothing else uses them.
ENDED_KEYS_KEPT: Final = timedelta(days=7)


@dataclass(frozen=True, slots=True)
class Retention:
    """Messages can be replayed while their payloads are kept; attempts and deliveries can only be read."""

    payloads: timedelta
    attempts: timedelta
    deliveries: timedelta


@dataclass(frozen=True, slots=True)
class ShownSettings:
    """The public settings; `egress_addresses` lists the addresses that webhooks are sent from, empty if not fixed."""

    retention: Retention
    egress_addresses: tuple[str, ...] = ()
