"""What the codes service refuses. Each class's sentence is its message; none knows HTTP.

CodesError
├── Missing                  no such object, or somebody else's
├── OperatorOnly             only the operator may do this
├── EmailTaken
├── PrefixTaken
├── PublishableNotGrantable  partners have secret keys only
├── ScopesNotGrantable       the owner of a key does not have these itself
├── TooManyLiveKeys
├── KeyRevoked
├── QuotaWouldBeNegative
├── RefundExceedsMints
├── WeakCodeSpace            codes of this length and alphabet could be guessed
├── CodeSpaceTooSmall        a batch's pattern has no room for so many codes
├── GuessableCodes           a batch's codes could be found by trying
├── NoSuchPartner            a request names a partner that the program does not have
├── CouponArchived
├── BadFile                  an uploaded file as a whole cannot be read
└── JobFinished              a job that is over cannot be cancelled
"""

from collections.abc import Iterable


class CodesError(Exception):
    """The request is refused."""

    def __str__(self) -> str:
        return super().__str__() or (type(self).__doc__ or "")


class Missing(CodesError):
    """There is no such object."""


class OperatorOnly(CodesError):
    """Only the operator may do this."""


class EmailTaken(CodesError):
    """Another partner of this program has this e-mail address."""


class PrefixTaken(CodesError):
    """Another partner of this program has this code prefix."""


class PublishableNotGrantable(CodesError):
    """The kind field must be secret for a partner's key."""


class ScopesNotGrantable(CodesError):
    """A key's scopes must be among those of its owner."""

    def __init__(self, allowed: Iterable[str]) -> None:
        listed = ", ".join(sorted(allowed))
        super().__init__(f"The scopes field must hold at least one of these and no other: {listed}.")


class TooManyLiveKeys(CodesError):
    """Two keys of this purpose are alive already; revoke one first."""


class KeyRevoked(CodesError):
    """This key is revoked."""


class QuotaWouldBeNegative(CodesError):
    """The quota would become negative."""

    def __init__(self, remaining: int) -> None:
        self.remaining = remaining
        super().__init__(f"The quota would become negative; {remaining} codes remain.")


class RefundExceedsMints(CodesError):
    """More would be refunded than was minted."""

    def __init__(self, refundable: int) -> None:
        self.refundable = refundable
        super().__init__(f"More would be refunded than was minted; {refundable} mints are not refunded yet.")


class WeakCodeSpace(CodesError):
    """Codes of this length and alphabet have fewer than 32 bits; make them longer or the alphabet larger."""


class CodeSpaceTooSmall(CodesError):
    """This pattern does not have enough codes."""

    def __init__(self, possible: int, usable: int, length: int, needed: int | None) -> None:
        self.possible = possible
        self.usable = usable
        self.needed = needed
        remedy = f"use {needed} random symbols instead of {length}" if needed else "use a larger alphabet"
        super().__init__(
            f"This pattern has {possible:,} codes, of which {usable:,} more may be used (half at most); {remedy}."
        )


class GuessableCodes(CodesError):
    """So many codes of this pattern could be found by trying."""

    def __init__(self, possible: int, needed: int | None) -> None:
        self.possible = possible
        self.needed = needed
        remedy = f"use {needed} random symbols" if needed else "use a larger alphabet"
        super().__init__(
            f"More than one in a billion of the {possible:,} codes of this pattern would be live, so they could be "
            f"found by trying; {remedy}, or set allow_weak."
        )


class NoSuchPartner(CodesError):
    """This program has no such partner."""


class CouponArchived(CodesError):
    """This coupon is archived."""


class BadFile(CodesError):
    """This file cannot be read."""


class JobFinished(CodesError):
    """This job is over and cannot be cancelled any more."""
