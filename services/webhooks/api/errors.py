"""The one table from the service's errors to status, machine code and body."""

from typing import Final

from services.webhooks.domain import errors
from shared.web import HTTPProblem, invalid_field, not_found

_CONFLICTS: Final[dict[type[errors.WebhookError], str]] = {
    errors.TooManyKeys: "too_many_keys",
    errors.TooManyEndpoints: "too_many_endpoints",
    errors.DeliveryPending: "delivery_pending",
    errors.DeliveryNotReplayable: "delivery_not_replayable",
    errors.EndpointDisabled: "endpoint_disabled",
}


def translate(error: Exception) -> HTTPProblem | None:
    """Return the refusal for an error of this service; None for what is not one."""
    if isinstance(error, errors.EndpointMissing | errors.DeliveryMissing):
        return not_found()
    if isinstance(error, errors.InvalidField):
        return invalid_field(error.field, f"The {error.field} field {error.text}.")
    if isinstance(error, errors.WebhookError) and (code := _CONFLICTS.get(type(error))):
        return HTTPProblem(409, code, str(error))
    return None
