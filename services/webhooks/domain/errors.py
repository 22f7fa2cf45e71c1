"""What the webhook service refuses to do, as facts without HTTP.

Exception
└── WebhookError
    ├── EndpointMissing
    ├── DeliveryMissing
    ├── InvalidField
    ├── TooManyKeys
    ├── TooManyEndpoints
    ├── DeliveryPending
    ├── EndpointDisabled
    └── DeliveryNotReplayable
"""


class WebhookError(Exception):
    """The webhook service refuses a request."""

    def __str__(self) -> str:
        """Return the message; by default it is the docstring's."""
        return super().__str__() or (self.__doc__ or "").strip()


class EndpointMissing(WebhookError):
    """There is no such endpoint, or it belongs to somebody else."""


class DeliveryMissing(WebhookError):
    """There is no such delivery, or it belongs to somebody else."""


class InvalidField(WebhookError):
    """A member of the request cannot be accepted; `text` says why."""

    def __init__(self, field: str, text: str) -> None:
        super().__init__(text)
        self.field = field
        self.text = text


class TooManyKeys(WebhookError):
    """An endpoint has as many live signing keys as it may have; wait until one expires."""

    def __init__(self, limit: int) -> None:
        super().__init__(f"An endpoint has at most {limit} live signing keys.")
        self.limit = limit


class TooManyEndpoints(WebhookError):
    """A program or partner has as many endpoints as it may have."""

    def __init__(self, limit: int) -> None:
        super().__init__(f"There may be at most {limit} endpoints.")
        self.limit = limit


class EndpointDisabled(WebhookError):
    """The endpoint is disabled; set it active before replaying its deliveries."""


class DeliveryPending(WebhookError):
    """The delivery is still under way; there is nothing to replay yet."""


class DeliveryNotReplayable(WebhookError):
    """Only a delivery that became a dead letter can be replayed."""
