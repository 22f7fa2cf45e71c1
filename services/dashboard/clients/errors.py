"""What asking a service can end in.

Exception
└── CallFailed
    ├── ServiceDown    no answer in time, or one that says to try again
    ├── NotThere       404: missing, or another owner's
    └── Refused        any other refusal, with its code and the faults by field
"""

from collections.abc import Mapping, Sequence


class CallFailed(Exception):
    """A call to a service did not give what was asked for."""

    def __init__(self, service: str, detail: str) -> None:
        super().__init__(detail)
        self.service = service
        self.detail = detail


class ServiceDown(CallFailed):
    """The service does not answer, or not now."""


class NotThere(CallFailed):
    """There is no such thing for this account."""


class Refused(CallFailed):
    """The service refuses; `code` is stable, `errors` map dotted field names to sentences."""

    def __init__(
        self,
        service: str,
        status: int,
        code: str,
        detail: str,
        errors: Mapping[str, Sequence[str]] | None = None,
        retry_after: int | None = None,
    ) -> None:
        super().__init__(service, detail)
        self.status = status
        self.code = code
        self.errors = errors or {}
        self.retry_after = retry_after
