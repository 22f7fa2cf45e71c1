"""What the webhook service refuses to do, as facts without HTTP.

Exception
└── WebhookError
    ├── EndpointMissing
    ├── DeliveryMissing
    ├── KeyUnknown
    ├── MessageMissing
    ├── ReplayMissing
    ├── ListenerMissing
    ├── InvalidField
    ├── PartnerInactive
    ├── TooManyKeys
    ├── KeyMissing
    ├── LastKey
    ├── TooManyEndpoints
    ├── UIDTaken
    ├── EndpointOutdated
    ├── TooManyReplays
    ├── DeliveryPending
    ├── DeliveryUnderWay
    ├── DeliveryNotPending
    ├── DeliveryNotReplayable
    ├── ContentGone
    ├── FormMissing
    ├── MessageNotResendable
    ├── EventIDTaken
    ├── PayloadTooLarge
    ├── SecretUnreadable
    └── ReplayEnded
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


class KeyUnknown(WebhookError):
    """The endpoint has no such live key."""


class MessageMissing(WebhookError):
    """There is no such message, or it belongs to somebody else."""


class ReplayMissing(WebhookError):
    """There is no such replay, or it belongs to somebody else."""


class ListenerMissing(WebhookError):
    """There is no such listener, or it belongs to somebody else, or nobody has listened for too long."""


class InvalidField(WebhookError):
    """A member of the request cannot be accepted; `text` says why."""

    def __init__(self, field: str, text: str) -> None:
        super().__init__(text)
        self.field = field
        self.text = text


class PartnerInactive(WebhookError):
    """A partner that is suspended or archived cannot have anything sent to a new place."""


class TooManyKeys(WebhookError):
    """An endpoint has as many live signing keys as it may have; wait until one expires."""

    def __init__(self, limit: int) -> None:
        super().__init__(f"An endpoint has at most {limit} live signing keys.")
        self.limit = limit


class KeyMissing(WebhookError):
    """The endpoint has no secret to sign with; rotate with the algorithm hmac first, which shows a new one."""


class LastKey(WebhookError):
    """This is the last key that signs the endpoint's messages; rotate before revoking it."""


class TooManyEndpoints(WebhookError):
    """A program or partner has as many endpoints as it may have."""

    def __init__(self, limit: int) -> None:
        super().__init__(f"There may be at most {limit} endpoints.")
        self.limit = limit


class UIDTaken(WebhookError):
    """Another endpoint of the same owner has this uid."""


class EndpointOutdated(WebhookError):
    """The endpoint has changed since the version that the request names; read it again."""


class TooManyReplays(WebhookError):
    """As many replays for the endpoints of one owner are under way as may be."""

    def __init__(self, limit: int) -> None:
        super().__init__(f"At most {limit} replays for the endpoints of one owner may be under way at a time.")
        self.limit = limit


class DeliveryPending(WebhookError):
    """The delivery is still pending; there is nothing to replay yet."""


class DeliveryUnderWay(WebhookError):
    """An attempt is under way; try again in a moment."""


class DeliveryNotPending(WebhookError):
    """Only a pending delivery can be canceled."""


class DeliveryNotReplayable(WebhookError):
    """Only a delivery that became a dead letter can be replayed."""


class ContentGone(WebhookError):
    """The message's content was redacted or is kept no longer; it cannot be sent again."""


class FormMissing(WebhookError):
    """The message was never made in the format of an endpoint that is named, and cannot be sent there."""


class MessageNotResendable(WebhookError):
    """A test is not sent again; ask for another one at the endpoint."""


class EventIDTaken(WebhookError):
    """Another message of this event_id was published before."""


class PayloadTooLarge(WebhookError):
    """The payload is larger than any message may be."""

    def __init__(self, size: int, limit: int) -> None:
        super().__init__(f"The payload has {size} bytes; at most {limit} are accepted.")
        self.size = size
        self.limit = limit


class SecretUnreadable(WebhookError):
    """A secret cannot be opened: rotate the signing key, set `auth` again, or open the listener once more."""


class RateLimitReached(WebhookError):
    """As many POSTs wait for their turn within the endpoint's rate_limit_per_second as anybody would wait for."""

    def __init__(self, wait_seconds: int) -> None:
        super().__init__(f"The endpoint's rate_limit_per_second is used up; try again in {wait_seconds} seconds.")
        self.wait_seconds = wait_seconds


class ReplayEnded(WebhookError):
    """The replay has come to its end already."""
