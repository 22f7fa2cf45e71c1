"""Why a code is refused: stable reasons, each with a message."""

from typing import Final, Literal, NamedTuple

from shared.reasons import RejectionReason

# An order that was taken back is refused only over HTTP, without an event.
Reason = Literal[RejectionReason, "order_cancelled"]


class Fault(NamedTuple):
    """The fault of a use; `blocked_by` is the code of the same order that prevents it."""

    reason: Reason
    detail: str
    blocked_by: str | None = None


TAKEN_BACK: Final = Fault(
    "order_cancelled",
    "The order was taken back. Only a later purchase is a new one: by another clock, more than 60 seconds later.",
)
