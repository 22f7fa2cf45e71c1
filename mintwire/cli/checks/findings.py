"""What a check found."""

from __future__ import annotations

from dataclasses import dataclass

# What is in order answers at once; what hangs is not to hold the rest.
MOST_SECONDS = 10.0


@dataclass(frozen=True)
class Finding:
    """One check: in order or not, what was seen, and where it is wrong how to mend it."""

    check: str
    is_ok: bool
    detail: str
    remedy: str | None = None


def fine(check: str, detail: str) -> Finding:
    """Return a check that found everything in order."""
    return Finding(check, True, detail)


def wrong(check: str, detail: str, remedy: str) -> Finding:
    """Return a check that found something to mend."""
    return Finding(check, False, detail, remedy)
