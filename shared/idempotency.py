"""What makes two requests one: the owner's Idempotency-Key on a route, and the answer that is given twice.

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
    """A request with this key is still under way."""


class IdempotencyKeyReused(Exception):
    """This key came before with another request."""


class AnswerUnreadable(Exception):
    """The answer to this key was kept sealed, and no configured key opens it; nothing was done again."""


@dataclass(frozen=True, slots=True)
class IdempotentRequest:
    """A request that carries an Idempotency-Key; `request_sha256` covers method, path, query and body."""

    owner_id: uuid.UUID
    route: str
    key: str
    request_sha256: bytes

    @property
    def identity(self) -> bytes:
        """What makes two requests one, whatever their bodies."""
        return identity(self.owner_id, self.route, self.key)

    @property
    def lock_id(self) -> int:
        """The identity as the signed 64-bit number of an advisory lock."""
        digest = hashlib.sha256(self.identity).digest()
        return int.from_bytes(digest[:8], "big", signed=True)


@dataclass(frozen=True, slots=True)
class Answer:
    """An answer as it goes out; `headers` belong to the moment and are not kept for a replay."""

    status: int
    body: bytes
    headers: Mapping[str, str] = field(default_factory=dict)
    is_replayed: bool = False


@dataclass(frozen=True, slots=True)
class Once(Generic[T]):
    """How one request is answered. `request` is None without an Idempotency-Key.

    `render` writes the result inside the transaction, so that what is kept and what happened are one. With `has_secret`
    the answer is kept sealed.

    A refusal that did nothing is not kept: its reason may pass, and the same key is then judged again. `acted` says of
    a result that is rendered as a refusal whether something was done all the same.
    """

    request: IdempotentRequest | None
    render: Callable[[T], Answer]
    has_secret: bool = False
    acted: Callable[[T], bool] | None = None

    def keeps(self, result: T, answer: Answer) -> bool:
        """Whether a repeat of the request gets this answer again."""
        return answer.status < 400 or (self.acted is not None and self.acted(result))


def identity(owner_id: uuid.UUID, route: str, key: str) -> bytes:
    """Return what makes two requests one, as bytes; unambiguous."""
    return b"\x00".join((owner_id.hex.encode(), route.encode(), key.encode()))
