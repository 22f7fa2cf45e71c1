"""The refusals of the codes service. Each class's docstring is its message; none knows HTTP.

CodesError
├── Missing                  no such object, or not the caller's
├── OperatorOnly             only the operator may do this
├── EmailTaken
├── PrefixTaken
├── PublishableNotGrantable  partners have secret keys only
├── ScopesNotGrantable       the owner of a key does not have these itself
├── ScopesLacking            the calling key does not have these itself
├── MakerRevoked             the calling key was just revoked
├── TooManyLiveKeys
├── KeyRevoked
├── CheckoutScopeMissing     redeeming needs more than managing
├── RedemptionMisdirected    another service answers in place of our redemption service
├── QuotaWouldBeNegative
├── RefundExceedsMints
├── …                        of orders of codes: `code_order_errors`
├── WeakCodeSpace            codes of this length and alphabet could be guessed
├── UnknownTimezone          the database does not know it
├── UUIDCodeTaken
├── CodeTaken
├── ExternalIDTaken
├── InvalidTerms             terms that are invalid or contradictory
├── TermsFrozen              a redemption relies on them
├── NoSuchCoupon             a code's coupon does not exist
├── NoSuchPartner            a code's partner does not exist
│   └── NoSuchPartnerEmail
├── NotOfCoupon              the code to redeem belongs to another coupon
├── ProviderNotConnected
├── PartnerCouponNeeded      the coupon of generated codes cannot be archived
├── TooManyCodes             a coupon has too many codes to be archived with it
├── NoFreeCode               every string that was tried is taken
├── CodeSpaceTooSmall        a batch's pattern has no room for this many codes
├── GuessableCodes           a batch's codes could be guessed
├── CouponArchived
├── BadFile                  an uploaded file cannot be read at all
├── TooManyJobs              the program has the maximum number of unfinished jobs
└── JobFinished              a finished job can neither be cancelled nor continue
"""

from collections.abc import Iterable, Mapping, Sequence


class CodesError(Exception):
    """The request is refused.

    `rule` is the rule that the faulty field breaks, if there is one: it follows the caller's name of the field, and has
    in braces whatever else the caller has names for. `place` is the position of the faulty code among those that are
    created together.
    """

    rule: str | None = None
    place: int | None = None

    def __str__(self) -> str:
        return super().__str__() or (type(self).__doc__ or "")


class Missing(CodesError):
    """There is no such object."""

    def __init__(self, what: str = "such object") -> None:
        super().__init__(f"There is no {what}.")


class OperatorOnly(CodesError):
    """Only the operator may do this."""

    def __init__(self, members: Iterable[str] = ()) -> None:
        self.members = sorted(members)
        super().__init__(*(["Only the operator may change some of these fields."] if self.members else []))


class EmailTaken(CodesError):
    """Another partner of this program has this e-mail address."""

    rule = "is taken; another partner of this program has this e-mail address"


class PrefixTaken(CodesError):
    """Another partner of this program has this code prefix, or one that reads the same."""

    rule = "is taken; another partner of this program has it, or one that reads the same"


class PublishableNotGrantable(CodesError):
    """A partner's key must be secret."""

    rule = "must be secret for a partner's key"


class ScopesNotGrantable(CodesError):
    """A key's scopes must be among those of its owner."""

    def __init__(self, allowed: Iterable[str]) -> None:
        listed = ", ".join(sorted(allowed))
        self.rule = f"must contain at least one of these and no other: {listed}"
        super().__init__()


class ScopesLacking(CodesError):
    """A key cannot grant scopes that it lacks."""

    def __init__(self, lacking: Sequence[str]) -> None:
        self.lacking = lacking
        listed = ", ".join(lacking)
        super().__init__(f"This API key cannot grant a scope that it lacks: {listed}.")


class MakerRevoked(CodesError):
    """The calling API key is revoked."""


class TooManyLiveKeys(CodesError):
    """Two live keys have this purpose already; revoke one first."""


class KeyRevoked(CodesError):
    """This key is revoked."""


class CheckoutScopeMissing(CodesError):
    """To redeem, this API key needs the scope checkout as well."""


class RedemptionMisdirected(CodesError):
    """The redemption service found at its address is not the one of this installation; retries will not help."""

    def __init__(self, *, is_key_unknown: bool) -> None:
        super().__init__(
            "The redemption service does not know this API key: the key was just revoked, or that "
            "service belongs to another installation."
            if is_key_unknown
            else "Another service answers at the address of the redemption service."
        )


class QuotaWouldBeNegative(CodesError):
    """The quota would become negative."""

    def __init__(self, remaining: int) -> None:
        self.remaining = remaining
        super().__init__(f"The quota would become negative; {remaining} codes remain.")


class RefundExceedsMints(CodesError):
    """The refund exceeds the mints."""

    def __init__(self, refundable: int) -> None:
        self.refundable = refundable
        super().__init__(f"The refund exceeds the mints; {refundable} mints have not been refunded yet.")


class WeakCodeSpace(CodesError):
    """Codes of this length and alphabet have fewer than 32 bits; make them longer or the alphabet larger."""

    rule = "is too small: codes of this length and alphabet have fewer than 32 bits"


class UnknownTimezone(CodesError):
    """The database does not know this time zone."""

    rule = "must be a time zone that the database knows too; name a place, such as Europe/Berlin"


class CodeSpaceTooSmall(CodesError):
    """This pattern has too few codes."""

    def __init__(self, possible: int, usable: int, length: int, needed: int | None) -> None:
        self.possible = possible
        self.usable = usable
        self.needed = needed
        remedy = f"use {needed} random symbols instead of {length}" if needed else "use a larger alphabet"
        self.rule = (
            f"is too large: this pattern has {possible:,} codes, of which {usable:,} more may be used (half at most); "
            f"{remedy}"
        )
        super().__init__()


class GuessableCodes(CodesError):
    """This many codes of this pattern could be guessed."""

    def __init__(self, possible: int, needed: int | None) -> None:
        self.possible = possible
        self.needed = needed
        remedy = f"use {needed} random symbols" if needed else "use a larger alphabet"
        self.rule = (
            f"is too large: more than one in a billion of the {possible:,} codes of this pattern would be live, so "
            f"they could be guessed; {remedy}, or set allow_weak"
        )
        super().__init__()


class UUIDCodeTaken(CodesError):
    """Another coupon of this program has this uuid_code."""

    rule = "is taken; another coupon of this program has it"


class CodeTaken(CodesError):
    """Another code of this program reads the same."""

    def __init__(self, code: str) -> None:
        self.code = code
        self.rule = f"is taken; another code of this program reads the same as {code}"
        super().__init__(f"Another code of this program reads the same as {code}.")


class ExternalIDTaken(CodesError):
    """Another object of this program has this external id."""

    rule = "is taken; another object of this program has it"


class InvalidTerms(CodesError):
    """Some of these members are not valid.

    `faults` has the rules that each member breaks; they follow its name, and name other members in braces.
    """

    def __init__(self, faults: Mapping[str, Sequence[str]]) -> None:
        self.faults = faults
        super().__init__("Some of these members are not valid.")


class TermsFrozen(CodesError):
    """A redemption has frozen the terms."""

    def __init__(self, changed: Iterable[str], lowered: Iterable[str]) -> None:
        self.changed = sorted(changed)
        self.lowered = sorted(lowered)
        super().__init__(self.described({}))

    def described(self, words: Mapping[str, str]) -> str:
        """List the members by their names in requests."""
        named = dict.fromkeys(words.get(member, member) for member in (*self.changed, *self.lowered))
        return (
            "It has been redeemed, so its terms are frozen; a later expiry and higher limits are still possible. "
            f"Frozen: {', '.join(named)}."
        )


class NoSuchCoupon(CodesError):
    """This program has no such coupon."""

    rule = "must name a coupon of this program"


class NoSuchPartner(CodesError):
    """This program has no such partner."""

    rule = "must name {a partner} of this program"


class NoSuchPartnerEmail(NoSuchPartner):
    """This program has no partner with this e-mail address, or it is not the one with the given id."""

    rule = "must be the e-mail address of {a partner} of this program, and match the id given with it"


class NotOfCoupon(CodesError):
    """The coupon has no such code."""

    rule = "must name a live code of this coupon"


class CouponArchived(CodesError):
    """This coupon is archived."""


class BadFile(CodesError):
    """This file cannot be read."""


class TooManyJobs(CodesError):
    """The program has the maximum number of unfinished jobs."""

    def __init__(self, limit: int) -> None:
        super().__init__(f"At most {limit} unfinished jobs are allowed per program; wait for one, or cancel it.")


class JobFinished(CodesError):
    """This job has finished."""


class ProviderNotConnected(CodesError):
    """The provider is not connected for this program."""

    def __init__(self, provider: str) -> None:
        self.provider = provider
        super().__init__(f"{provider} is not connected for this program.")


class PartnerCouponNeeded(CodesError):
    """Generated codes belong to this coupon, so it cannot be archived; deactivate it instead."""


class TooManyCodes(CodesError):
    """A coupon is archived with its codes, and this one has too many for that."""

    def __init__(self, limit: int) -> None:
        super().__init__(f"A coupon is archived with its codes, {limit} at most at once; archive some of them first.")


class NoFreeCode(CodesError):
    """Every code of this format that was tried is taken; use more random characters."""
