"""The one table from the service's errors to status, machine code and body."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from services.codes.domain import code_order_errors, errors
from shared.web import HTTPProblem, invalid_api_key, invalid_field, invalid_fields, not_found


@dataclass(frozen=True, slots=True)
class _Refusal:
    status: int
    code: str
    field: str | None = None


_TABLE: Final[dict[type[errors.CodesError], _Refusal]] = {
    errors.EmailTaken: _Refusal(422, "email_taken", "email"),
    errors.PrefixTaken: _Refusal(422, "prefix_taken", "prefix"),
    errors.TooManyLiveKeys: _Refusal(409, "too_many_live_keys"),
    errors.CheckoutScopeMissing: _Refusal(403, "scope_missing"),
    errors.ScopesLacking: _Refusal(403, "scope_missing"),
    errors.RedemptionMisdirected: _Refusal(502, "redemption_misdirected"),
    errors.KeyRevoked: _Refusal(409, "key_revoked"),
    errors.QuotaWouldBeNegative: _Refusal(409, "quota_would_be_negative"),
    errors.RefundExceedsMints: _Refusal(409, "refund_exceeds_mints"),
    code_order_errors.PartnerInactive: _Refusal(403, "partner_inactive"),
    code_order_errors.OrderedByInactive: _Refusal(409, "partner_inactive"),
    code_order_errors.NotACodePack: _Refusal(422, "not_a_code_pack", "count"),
    code_order_errors.TooManyPendingCodeOrders: _Refusal(409, "too_many_pending_code_orders"),
    code_order_errors.CodeOrderReferenceTaken: _Refusal(422, "reference_taken", "reference"),
    code_order_errors.CodeOrderDecided: _Refusal(409, "code_order_decided"),
    code_order_errors.CodeOrderUnpaid: _Refusal(409, "code_order_unpaid"),
    errors.PublishableNotGrantable: _Refusal(422, "invalid_fields", "kind"),
    errors.ScopesNotGrantable: _Refusal(422, "invalid_fields", "scopes"),
    errors.WeakCodeSpace: _Refusal(422, "invalid_fields", "code_length"),
    errors.UnknownTimezone: _Refusal(422, "invalid_fields", "timezone"),
    errors.CodeSpaceTooSmall: _Refusal(422, "code_space_too_small", "count"),
    errors.GuessableCodes: _Refusal(422, "guessable", "count"),
    errors.CouponArchived: _Refusal(409, "coupon_archived"),
    errors.BadFile: _Refusal(422, "invalid_file", "body"),
    errors.JobFinished: _Refusal(409, "job_finished"),
    errors.UUIDCodeTaken: _Refusal(422, "uuid_code_taken", "uuid_code"),
    errors.CodeTaken: _Refusal(422, "code_taken", "code"),
    errors.ExternalIDTaken: _Refusal(422, "external_id_taken", "external_id"),
    errors.PartnerCouponNeeded: _Refusal(409, "partner_coupon_needed"),
    errors.TooManyCodes: _Refusal(409, "too_many_codes"),
    errors.NoFreeCode: _Refusal(409, "no_free_code"),
    errors.NoSuchCoupon: _Refusal(422, "invalid_fields", "coupon_uuid"),
    errors.NoSuchPartner: _Refusal(422, "invalid_fields", "partner_id"),
    errors.NoSuchPartnerEmail: _Refusal(422, "invalid_fields", "partner_email"),
    errors.NotOfCoupon: _Refusal(422, "invalid_fields", "code"),
    errors.ProviderNotConnected: _Refusal(422, "provider_not_connected", "sync.provider"),
}

_OWN_WORDS: Final[Mapping[str, str]] = {}
# Names in a request may be long, with any characters.
_MOST_SHOWN: Final = 300
# After this long a job may have finished.
_JOB_SECONDS: Final = "10"


def translate(error: Exception, words: Mapping[str, str] = _OWN_WORDS) -> HTTPProblem | None:
    """Return the refusal for an error of this service; None for any other.

    `words` maps our names to those of the request's API family: fields, their values, and its word for a
    partner.
    """
    if isinstance(error, errors.Missing):
        text = str(error)
        return not_found(text) if len(text) <= _MOST_SHOWN and text.isprintable() else not_found()
    if isinstance(error, errors.MakerRevoked):
        return invalid_api_key()
    if isinstance(error, errors.TooManyJobs):
        return HTTPProblem(429, "too_many_jobs", str(error), headers={"Retry-After": _JOB_SECONDS})
    if isinstance(error, errors.InvalidTerms):
        return _invalid_terms(error, words)
    if isinstance(error, errors.TermsFrozen):
        return _terms_frozen(error, words)
    if isinstance(error, errors.OperatorOnly):
        return _operator_only(error, words)
    if not isinstance(error, errors.CodesError) or (refusal := _TABLE.get(type(error))) is None:
        return None
    if refusal.field is None:
        return HTTPProblem(refusal.status, refusal.code, str(error))
    field = _field(error, refusal.field, words)
    text = str(error) if error.rule is None else _text(field, error.rule, words)
    return invalid_field(field, text, refusal.code)


class _Words(dict[str, str]):
    """The family's words by ours; a word that is not listed is the same."""

    def __missing__(self, word: str) -> str:
        return word


def _text(field: str, rule: str, words: Mapping[str, str]) -> str:
    return f"The {field} field {rule.format_map(_Words(words))}."


def _field(error: errors.CodesError, member: str, words: Mapping[str, str]) -> str:
    """Return the request's name for a member, with its place in the request."""
    outer, dot, inner = member.partition(".")
    field = words.get(member) or words.get(outer, outer) + dot + inner
    return field if error.place is None else f"promotion_codes.{error.place}.{field}"


def _invalid_terms(error: errors.InvalidTerms, words: Mapping[str, str]) -> HTTPProblem:
    """Return the 422 that names each faulty member as the request does."""
    faults: dict[str, list[str]] = {}
    for member, rules in error.faults.items():
        field = _field(error, member, words)
        faults.setdefault(field, []).extend(_text(field, rule, words) for rule in rules)
    return invalid_fields(faults)


def _operator_only(error: errors.OperatorOnly, words: Mapping[str, str]) -> HTTPProblem:
    """Return the 403, with the operator's fields if the request has others too."""
    fields = [words.get(member, member) for member in error.members]
    faults = {field: [f"The {field} field can be changed only by the operator."] for field in fields}
    return HTTPProblem(403, "operator_only", str(error), faults or None)


def _terms_frozen(error: errors.TermsFrozen, words: Mapping[str, str]) -> HTTPProblem:
    """Return the 409 that names each faulty member as the request does."""
    faults: dict[str, list[str]] = {}
    for rule, members in (
        ("can no longer change, because it has been redeemed", error.changed),
        ("can only be raised or moved later, because it has been redeemed", error.lowered),
    ):
        for member in members:
            field = words.get(member, member)
            faults.setdefault(field, [f"The {field} field {rule}."])
    return HTTPProblem(409, "terms_frozen", error.described(words), faults)
