"""The one table from the service's errors and refusals to status, machine code and body."""

from typing import Final, get_args

from services.redemption.domain.errors import (
    FileGone,
    FileNotReady,
    Missing,
    OtherCurrency,
    PaidAlready,
    RefundReused,
    StatementOpen,
    TooManyGuesses,
    TooManyJobs,
    TooManyNames,
    Unpaid,
)
from services.redemption.domain.judgement import Refused
from services.redemption.domain.reasons import TAKEN_BACK, Reason
from shared.web import HTTPProblem, invalid_field, not_found

_STATEMENT_CODES: Final = {StatementOpen: "statement_open", PaidAlready: "already_paid", Unpaid: "not_paid"}
# The reasons of a 409 for codes, for the API document.
LISTED: Final = ", ".join(f"`{reason}`" for reason in get_args(Reason))


def translate(error: Exception) -> HTTPProblem | None:
    """Return the refusal for an error of this service; None for any other."""
    if isinstance(error, TooManyGuesses):
        return HTTPProblem(429, "too_many_guesses", str(error), headers={"Retry-After": str(error.wait_seconds)})
    if isinstance(error, RefundReused):
        return HTTPProblem(409, "refund_ref_reused", str(error), {"refund_ref": [str(error)]})
    if isinstance(error, TooManyJobs):
        return HTTPProblem(429, "too_many_jobs", str(error), headers={"Retry-After": "10"})
    if isinstance(error, TooManyNames):
        return invalid_field(error.field, str(error))
    if isinstance(error, OtherCurrency):
        return invalid_field("currency", str(error))
    for kind, code in _STATEMENT_CODES.items():
        if isinstance(error, kind):
            return HTTPProblem(409, code, str(error))
    if isinstance(error, FileNotReady):
        return HTTPProblem(409, "export_running", str(error), headers={"Retry-After": "2"})
    if isinstance(error, FileGone):
        return HTTPProblem(410, "export_gone", str(error))
    return not_found(*error.args) if isinstance(error, Missing) else None


def refused(refusal: Refused, codes: list[str]) -> HTTPProblem:
    """Return the 409 for an order whose codes are refused; its error code is the reason, its field the faulty code."""
    field = f"codes.{codes.index(refusal.code)}" if refusal.code in codes else "codes"
    return HTTPProblem(409, refusal.reason, refusal.detail, {field: [refusal.detail]})


def order_cancelled() -> HTTPProblem:
    """Return the 409 for a purchase that was taken back before it was received: none of its codes stands."""
    return HTTPProblem(409, TAKEN_BACK.reason, TAKEN_BACK.detail, {"codes.0": [TAKEN_BACK.detail]})
