"""The table from the dashboard's errors to problems, for the operators' API."""

from services.dashboard.clients.errors import ServiceDown
from services.dashboard.domain import errors
from shared.web import HTTPProblem, invalid_field, not_found


def translate(error: Exception) -> HTTPProblem | None:
    """Return the HTTP problem for an error of this service; None for any other exception."""
    match error:
        case errors.NothingThere():
            return not_found()
        case errors.AddressTaken():
            return HTTPProblem(409, "email_taken", "Another account has this e-mail address.")
        case errors.PasswordRefused():
            return invalid_field("password", f"The password field is refused: {error}.")
        case errors.OwnerUnknown():
            return invalid_field("program_id", "There is no such program, or no such partner of it.")
        case errors.TooBusy() | ServiceDown():
            return HTTPProblem(
                503, "temporarily_unavailable", "Please try again in a moment.", headers={"Retry-After": "1"}
            )
    return None
