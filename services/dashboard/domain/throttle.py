"""How often signing in may be tried: by e-mail and network, by network, and by e-mail from anywhere."""

import hashlib
from dataclasses import dataclass
from datetime import timedelta
from typing import Final

WINDOW: Final = timedelta(minutes=15)
_FIRST_WAIT: Final = timedelta(seconds=30)
_LONGEST_WAIT: Final = timedelta(minutes=15)
_MOST_DOUBLINGS: Final = 10


@dataclass(frozen=True, slots=True)
class Counter:
    """A counter of tries: its key, and how many are free of a wait."""

    key: bytes
    limit: int


def sign_in_counters(email: str, network: str, *, is_known_device: bool) -> tuple[Counter, ...]:
    """Return the counters of a try to sign in.

    The one by e-mail alone leaves out browsers that have signed in to the account before, so that nobody can lock
    another person out.
    """
    counters = (
        Counter(_key("pair", email, network), 5),
        Counter(_key("network", network), 20),
        Counter(_key("email", email), 50),
    )
    return counters[:2] if is_known_device else counters


def link_counters(email: str, network: str) -> tuple[Counter, ...]:
    """Return the counters of a wish for a new password."""
    return Counter(_key("reset", email), 3), Counter(_key("reset network", network), 20)


def wait_after(tries: int, limit: int) -> timedelta | None:
    """Return the wait that a try brings with it: from the limit on, doubled each time."""
    if tries < limit:
        return None
    doublings = min(tries - limit, _MOST_DOUBLINGS)
    return min(_LONGEST_WAIT, _FIRST_WAIT * (1 << doublings))


def _key(*parts: str) -> bytes:
    return hashlib.sha256("\x00".join(parts).encode()).digest()
