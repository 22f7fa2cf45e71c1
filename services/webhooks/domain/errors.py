"""The errors of the webhook service, as facts without HTTP. Their docstrings are their default messages.

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
    """There is no such endpoint, or it belongs to another account."""


class DeliveryMissing(WebhookError):
    """There is no such delivery, or it belongs to another account."""


class KeyUnknown(WebhookError):
    """The endpoint has no such active key."""


class MessageMissing(WebhookError):
    """There is no such message, or it belongs to another account."""


class ReplayMissing(WebhookError):
    """There is no such replay, or it belongs to another account."""


class ListenerMissing(WebhookError):
    """There is no such listener, it belongs to another account, or it has closed."""


class InvalidField(WebhookError):
    """A member of the request is not valid; `text` says why."""

    def __init__(self, field: str, text: str) -> None:
        super().__init__(text)
        self.field = field
        self.text = text


class PartnerInactive(WebhookError):
    """A suspended or archived partner cannot create or redirect endpoints."""


class TooManyKeys(WebhookError):
    """An endpoint has the maximum number of active signing keys; wait until one expires."""

    def __init__(self, limit: int) -> None:
        super().__init__(f"An endpoint can have at most {limit} active signing keys.")
        self.limit = limit


class KeyMissing(WebhookError):
    """The endpoint has no HMAC secret; rotate its keys with the algorithm hmac first, which shows a new one."""


class LastKey(WebhookError):
    """This is the endpoint's last signing key; rotate before revoking it."""


class TooManyEndpoints(WebhookError):
    """A program or partner has the maximum number of endpoints."""

    def __init__(self, limit: int) -> None:
        super().__init__(f"At most {limit} endpoints are allowed.")
        self.limit = limit


class UIDTaken(WebhookError):
    """Another endpoint of the same owner has this uid."""


class EndpointOutdated(WebhookError):
    """The endpoint has changed since the version named in If-Match; read it again."""


class TooManyReplays(WebhookError):
    """The owner has the maximum number of running replays."""

    def __init__(self, limit: int) -> None:
        super().__init__(f"At most {limit} replays can run at a time.")
        self.limit = limit


class DeliveryPending(WebhookError):
    """The delivery is still pending; there is nothing to replay yet."""


class DeliveryUnderWay(WebhookError):
    """An attempt is in progress; try again in a moment."""


class DeliveryNotPending(WebhookError):
    """Only a pending delivery can be canceled."""


class DeliveryNotReplayable(WebhookError):
    """Only a delivery that became a dead letter can be replayed."""


class ContentGone(WebhookError):
    """The content of the message was redacted or is no longer stored; it cannot be sent again."""


class FormMissing(WebhookError):
    """The message does not exist in the format of a named endpoint, and cannot be sent there."""


class MessageNotResendable(WebhookError):
    """A test cannot be sent again; send a new test to the endpoint."""


class EventIDTaken(WebhookError):
    """A different message with this event_id was already published."""


class PayloadTooLarge(WebhookError):
    """The payload is too large."""

    def __init__(self, size: int, limit: int) -> None:
        super().__init__(f"The payload has {size} bytes; at most {limit} are allowed.")
        self.size = size
        self.limit = limit


class SecretUnreadable(WebhookError):
    """A secret cannot be decrypted: rotate the signing key, set `auth` again, or reopen the listener."""


class RateLimitReached(WebhookError):
    """The endpoint's rate_limit_per_second is used up; try again later."""

    def __init__(self, wait_seconds: int) -> None:
        super().__init__(f"The endpoint's rate_limit_per_second is used up; try again in {wait_seconds} seconds.")
        self.wait_seconds = wait_seconds


class ReplayEnded(WebhookError):
    """The replay has already finished."""
