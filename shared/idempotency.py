"""What makes two requests the same: the owner's Idempotency-Key on a route, and the answer that both get.

Exception
├── IdempotencyInProgress
├── IdempotencyKeyReused
└── AnswerUnreadable
"""

import hashlib
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Generic, TypeVar

T = TypeVar("T")


class IdempotencyInProgress(Exception):
    """A request with this key is in progress."""


class IdempotencyKeyReused(Exception):
    """This key was used with a different request."""


class AnswerUnreadable(Exception):
    """The answer stored for this key is encrypted, and no configured key decrypts it; nothing was done again."""


@dataclass(frozen=True, slots=True)
class IdempotentRequest:
    """A request that carries an Idempotency-Key; `request_sha256` covers method, path, query and body."""

    owner_id: uuid.UUID
    route: str
    key: str
    request_sha256: bytes

    @property
    def identity(self) -> bytes:
        """What makes two requests the same, whatever their bodies."""
        return identity(self.owner_id, self.route, self.key)

    @property
    def lock_id(self) -> int:
        """The identity as the signed 64-bit number of an advisory lock."""
        digest = hashlib.sha256(self.identity).digest()
        return int.from_bytes(digest[:8], "big", signed=True)


@dataclass(frozen=True, slots=True)
class Answer:
    """An answer to be sent; `headers` belong to the moment and are not stored for a replay."""

    status: int
    body: bytes
    headers: Mapping[str, str] = field(default_factory=dict)
    is_replayed: bool = False


@dataclass(frozen=True, slots=True)
class Once(Generic[T]):
    """How one request is answered. `request` is None without an Idempotency-Key.

    `render` writes the result inside the transaction, so that the stored answer and the effect commit together. With
    `has_secret` the answer is stored encrypted.

    A refusal that changed nothing is not stored: its reason may pass, and the same key is then judged again. `acted`
    returns whether a result that is rendered as a refusal changed something all the same.
    """

    request: IdempotentRequest | None
    render: Callable[[T], Answer]
    has_secret: bool = False
    acted: Callable[[T], bool] | None = None

    def keeps(self, result: T, answer: Answer) -> bool:
        """Whether a repeat of the request gets this answer again."""
        return answer.status < 400 or (self.acted is not None and self.acted(result))


def identity(owner_id: uuid.UUID, route: str, key: str) -> bytes:
    """Return what makes two requests the same, as bytes; unambiguous."""
    return b"\x00".join((owner_id.hex.encode(), route.encode(), key.encode()))
