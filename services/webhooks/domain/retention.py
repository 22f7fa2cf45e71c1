"""How long what was sent is kept, and what else of its settings the service tells."""

from dataclasses import dataclass
from datetime import timedelta


@dataclass(frozen=True, slots=True)
class Retention:
    """Payloads can be replayed as long as they are kept; attempts and deliveries can be looked at."""

    payloads: timedelta
    attempts: timedelta
    deliveries: timedelta


@dataclass(frozen=True, slots=True)
class ShownSettings:
    """What everybody may know; `egress_addresses` are those from which webhooks come, none if they are not fixed."""

    kept: Retention
    egress_addresses: tuple[str, ...] = ()
