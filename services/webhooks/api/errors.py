"""The only table from the service's errors to HTTP status, machine-readable code and body."""

from typing import Final

from services.webhooks.domain import errors
from shared.web import HTTPProblem, invalid_field, not_found

_MISSING: Final = (
    errors.EndpointMissing,
    errors.DeliveryMissing,
    errors.KeyUnknown,
    errors.MessageMissing,
    errors.ReplayMissing,
    errors.ListenerMissing,
)
_CONFLICTS: Final[dict[type[errors.WebhookError], str]] = {
    errors.TooManyKeys: "too_many_keys",
    errors.TooManyEndpoints: "too_many_endpoints",
    errors.TooManyReplays: "too_many_replays",
    errors.KeyMissing: "key_missing",
    errors.LastKey: "last_key",
    errors.DeliveryPending: "delivery_pending",
    errors.DeliveryUnderWay: "delivery_under_way",
    errors.DeliveryNotPending: "delivery_not_pending",
    errors.DeliveryNotReplayable: "delivery_not_replayable",
    errors.ContentGone: "content_gone",
    errors.FormMissing: "form_missing",
    errors.MessageNotResendable: "message_not_resendable",
    errors.EventIDTaken: "event_id_conflict",
    errors.ReplayEnded: "replay_ended",
    errors.SecretUnreadable: "secret_unreadable",
}


def translate(error: Exception) -> HTTPProblem | None:
    """Return the HTTP problem for an error of this service; None for any other exception."""
    if isinstance(error, _MISSING):
        return not_found(*error.args)
    if isinstance(error, errors.InvalidField):
        return invalid_field(error.field, f"The {error.field} field {error.text}.")
    if isinstance(error, errors.PartnerInactive):
        return HTTPProblem(403, "partner_inactive", "Partner account is not active")
    if isinstance(error, errors.UIDTaken):
        return HTTPProblem(409, "uid_taken", str(error), {"uid": [str(error)]})
    if isinstance(error, errors.PayloadTooLarge):
        return HTTPProblem(413, "payload_too_large", str(error))
    if isinstance(error, errors.RateLimitReached):
        headers = {"Retry-After": str(error.wait_seconds)}
        return HTTPProblem(429, "endpoint_rate_limited", str(error), headers=headers)
    if isinstance(error, errors.EndpointOutdated):
        return HTTPProblem(412, "precondition_failed", str(error))
    if isinstance(error, errors.WebhookError) and (code := _CONFLICTS.get(type(error))):
        return HTTPProblem(409, code, str(error))
    return None
