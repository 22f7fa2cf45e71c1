"""How long what was sent is kept."""

from dataclasses import dataclass
from datetime import timedelta


@dataclass(frozen=True, slots=True)
class Retention:
    """Payloads can be replayed as long as they are kept; attempts and deliveries can be looked at."""

    payloads: timedelta
    attempts: timedelta
    deliveries: timedelta
