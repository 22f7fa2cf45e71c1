"""How long what was sent is kept, and what else of its settings the service tells."""

from dataclasses import dataclass
from datetime import timedelta
from typing import Final

# For the debugger, so that it can tell the signature of an old key from one of no key; nothing else uses them.
ENDED_KEYS_KEPT: Final = timedelta(days=7)


@dataclass(frozen=True, slots=True)
class Retention:
    """Payloads can be replayed as long as they are kept; attempts and deliveries can be looked at."""

    payloads: timedelta
    attempts: timedelta
    deliveries: timedelta


@dataclass(frozen=True, slots=True)
class ShownSettings:
    """What everybody may know; `egress_addresses` are those from which webhooks come, none if they are not fixed."""

    retention: Retention
    egress_addresses: tuple[str, ...] = ()
