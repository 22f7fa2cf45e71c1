"""The errors of the redemption service.

RedemptionError
├── Missing
└── TooManyGuesses
"""


class RedemptionError(Exception):
    """Base of the errors of this service."""


class Missing(RedemptionError):
    """There is no such redemption or reservation, or it belongs to another program."""


class TooManyGuesses(RedemptionError):
    """Too many codes were refused that were asked for with this key from this address."""

    def __init__(self, wait_seconds: int) -> None:
        self.wait_seconds = wait_seconds
        super().__init__(f"Too many codes were refused; try again in {wait_seconds} seconds.")
