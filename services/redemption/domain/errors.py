"""The errors of the redemption service.

RedemptionError
├── Missing
├── RefundReused
└── TooManyGuesses
"""


class RedemptionError(Exception):
    """Base of the errors of this service."""

    def __str__(self) -> str:
        """Return the message; by default it is the docstring's."""
        return super().__str__() or (self.__doc__ or "").strip()


class Missing(RedemptionError):
    """There is no such redemption or reservation, or it belongs to another program."""


class RefundReused(RedemptionError):
    """This refund_ref was used before for another amount of the same order."""


class TooManyGuesses(RedemptionError):
    """Too many codes were refused that were asked for with this key from this address."""

    def __init__(self, wait_seconds: int) -> None:
        self.wait_seconds = wait_seconds
        super().__init__(f"Too many codes were refused; try again in {wait_seconds} seconds.")
