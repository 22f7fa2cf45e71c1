"""The one table from the service's errors to status, machine code and body."""

from dataclasses import dataclass
from typing import Final

from services.codes.domain import errors
from shared.web import HTTPProblem, invalid_api_key, invalid_field, not_found


@dataclass(frozen=True, slots=True)
class _Refusal:
    status: int
    code: str
    field: str | None = None


_TABLE: Final[dict[type[errors.CodesError], _Refusal]] = {
    errors.OperatorOnly: _Refusal(403, "operator_only"),
    errors.EmailTaken: _Refusal(409, "email_taken"),
    errors.PrefixTaken: _Refusal(409, "prefix_taken"),
    errors.TooManyLiveKeys: _Refusal(409, "too_many_live_keys"),
    errors.CheckoutScopeMissing: _Refusal(403, "scope_missing"),
    errors.ScopesLacking: _Refusal(403, "scope_missing"),
    errors.RedemptionMisdirected: _Refusal(502, "redemption_misdirected"),
    errors.KeyRevoked: _Refusal(409, "key_revoked"),
    errors.QuotaWouldBeNegative: _Refusal(409, "quota_would_be_negative"),
    errors.RefundExceedsMints: _Refusal(409, "refund_exceeds_mints"),
    errors.PublishableNotGrantable: _Refusal(422, "invalid_fields", "kind"),
    errors.ScopesNotGrantable: _Refusal(422, "invalid_fields", "scopes"),
    errors.WeakCodeSpace: _Refusal(422, "invalid_fields", "code_length"),
    errors.UnknownTimezone: _Refusal(422, "invalid_fields", "timezone"),
    errors.CodeSpaceTooSmall: _Refusal(422, "code_space_too_small", "count"),
    errors.GuessableCodes: _Refusal(422, "guessable", "count"),
    errors.CouponArchived: _Refusal(409, "coupon_archived"),
    errors.BadFile: _Refusal(422, "invalid_file", "body"),
    errors.JobFinished: _Refusal(409, "job_finished"),
    errors.UUIDCodeTaken: _Refusal(409, "uuid_code_taken"),
    errors.CodeTaken: _Refusal(409, "code_taken"),
    errors.ExternalIdTaken: _Refusal(409, "external_id_taken"),
    errors.TermsFrozen: _Refusal(409, "terms_frozen"),
    errors.PartnerCouponNeeded: _Refusal(409, "partner_coupon_needed"),
    errors.TooManyCodes: _Refusal(409, "too_many_codes"),
    errors.NoFreeCode: _Refusal(409, "no_free_code"),
    errors.NoSuchCoupon: _Refusal(422, "invalid_fields", "coupon_uuid"),
    errors.NoSuchPartner: _Refusal(422, "invalid_fields", "partner_id"),
    errors.ProviderNotConnected: _Refusal(422, "provider_not_connected", "sync.provider"),
}

# After which a job may well be over.
_JOB_SECONDS: Final = "10"


def translate(error: Exception) -> HTTPProblem | None:
    """Return the refusal for an error of this service; None for what is not one."""
    if isinstance(error, errors.Missing):
        return not_found()
    if isinstance(error, errors.MakerRevoked):
        return invalid_api_key()
    if isinstance(error, errors.TooManyJobs):
        return HTTPProblem(429, "too_many_jobs", str(error), headers={"Retry-After": _JOB_SECONDS})
    refusal = _TABLE.get(type(error)) if isinstance(error, errors.CodesError) else None
    if refusal is None:
        return None
    if refusal.field is not None:
        return invalid_field(refusal.field, str(error), refusal.code)
    return HTTPProblem(refusal.status, refusal.code, str(error))
