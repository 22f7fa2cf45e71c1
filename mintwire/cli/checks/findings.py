"""The result of a check."""

from __future__ import annotations

from dataclasses import dataclass

# A healthy part answers at once; one that hangs must not hold up the rest.
MOST_SECONDS = 10.0


@dataclass(frozen=True)
class Finding:
    """The result of one check: whether it passed, what was found, and how to fix what is wrong."""

    check: str
    is_ok: bool
    detail: str
    remedy: str | None = None


def fine(check: str, detail: str) -> Finding:
    """Return a passed check."""
    return Finding(check, True, detail)


def wrong(check: str, detail: str, remedy: str) -> Finding:
    """Return a failed check."""
    return Finding(check, False, detail, remedy)
