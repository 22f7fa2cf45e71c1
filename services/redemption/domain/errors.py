"""The errors of the redemption service.

RedemptionError
├── FileGone
├── FileNotReady
├── Missing
├── OtherCurrency
├── PaidAlready
├── RefundReused
├── StatementOpen
├── TooManyJobs
├── TooManyNames
├── TooManyGuesses
└── Unpaid
"""


class RedemptionError(Exception):
    """Base of the errors of this service."""

    def __str__(self) -> str:
        """Return the message; by default it is the docstring's."""
        return super().__str__() or (self.__doc__ or "").strip()


class Missing(RedemptionError):
    """There is no such object, or it belongs to another program."""


class RefundReused(RedemptionError):
    """This refund_ref was used for a different amount of the same order."""


class TooManyGuesses(RedemptionError):
    """Too many codes were refused for this key and address."""

    def __init__(self, wait_seconds: int) -> None:
        self.wait_seconds = wait_seconds
        super().__init__(f"Too many codes were refused; try again in {wait_seconds} seconds.")


class FileNotReady(RedemptionError):
    """The export is not done yet. Poll the job until its state is done."""


class FileGone(RedemptionError):
    """The file is gone: an export can be downloaded for 7 days, unless its customer is erased earlier."""


class TooManyJobs(RedemptionError):
    """Too many exports and erasures of this program are running. Wait until one of them is done."""


class TooManyNames(RedemptionError):
    """This customer has bought with too many ids or mailboxes to be one person. Name one of these instead."""

    def __init__(self, field: str) -> None:
        self.field = field
        super().__init__()


class StatementOpen(RedemptionError):
    """The month of this statement is not closed yet, so its total may still change."""


class OtherCurrency(RedemptionError):
    """The payment has another currency than the statement."""

    def __init__(self, currency: str) -> None:
        super().__init__(f"The currency field must be that of the statement: {currency or 'it has none'}.")


class PaidAlready(RedemptionError):
    """The statement was paid with another amount or reference; take that payment back first."""

    def __init__(self, reference: str) -> None:
        super().__init__(f"This statement was already paid, with the reference {reference}; take that back first.")


class Unpaid(RedemptionError):
    """This statement has no payment that could be taken back."""
