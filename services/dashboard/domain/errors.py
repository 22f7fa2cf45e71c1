"""What the dashboard refuses.

Exception
├── SignInRefused         e-mail and password do not match, whatever the reason
├── TooManyTries          until a time
├── PasswordWrong         the password given again is not the account's
├── PasswordRefused       a new password is not acceptable
├── LinkInvalid           a link is unknown, used, replaced or too old
├── NothingThere          an account, member or invitation is missing, or another owner's
├── AddressTaken          another account has the e-mail address
├── LastMember            the last account that may change anything cannot be removed
├── OwnerUnknown          the program or partner of a new membership does not exist
└── TooBusy               more passwords are being checked than this process can
"""

from datetime import datetime


class SignInRefused(Exception):
    """E-mail and password do not match."""


class TooManyTries(Exception):
    """There were too many tries."""

    def __init__(self, until: datetime) -> None:
        super().__init__("There were too many tries.")
        self.until = until


class PasswordWrong(Exception):
    """The password is wrong."""


class PasswordRefused(Exception):
    """A new password is not acceptable; the text says what to do."""


class LinkInvalid(Exception):
    """The link no longer works."""


class NothingThere(Exception):
    """There is nothing here, or it is somebody else's."""


class AddressTaken(Exception):
    """Another account has this e-mail address."""


class LastMember(Exception):
    """The last account that may change anything stays."""


class OwnerUnknown(Exception):
    """There is no such program or partner."""


class TooBusy(Exception):
    """Too many passwords are being checked at the moment."""
