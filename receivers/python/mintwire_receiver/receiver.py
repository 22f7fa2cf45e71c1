"""The main object of a receiver: it holds the keys, reads requests, and makes sure that work is done once."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping

from mintwire_receiver.arguments import lower_cased, raw_body, refuse_awaitable
from mintwire_receiver.messages import Message, parse
from mintwire_receiver.seen import MemorySeen, Seen, UnderWay
from mintwire_receiver.signatures import TOLERANCE_SECONDS, read_key, verify


class Receiver:
    """Verifies, parses and deduplicates.

    `keys` are `whsec_` secrets and `whpk_` public keys; pass the old and the new one during a rotation.
    """

    def __init__(
        self,
        *keys: str,
        seen: Seen | None = None,
        tolerance_seconds: float = TOLERANCE_SECONDS,
        clock: Callable[[], float] = time.time,
    ) -> None:
        if not keys:
            raise ValueError("a receiver needs at least one key, such as the endpoint's whsec_ secret")
        self._keys = [read_key(key) for key in keys]
        self._seen = MemorySeen() if seen is None else seen
        self._tolerance_seconds = tolerance_seconds
        self._clock = clock

    def read(
        self, headers: Mapping[str, str] | Iterable[tuple[str, str]], body: bytes | bytearray | memoryview
    ) -> Message:
        """Return the message of a request, given its headers and its raw, unparsed body.

        Raises `Refused`, or `TypeError` if your own code passes something other than what was received.
        """
        raw = raw_body(body)
        named = lower_cased(headers)
        message_id, timestamp = verify(self._keys, named, raw, self._clock(), self._tolerance_seconds)
        return parse(message_id, timestamp, named.get("webhook-sequence"), raw)

    def handle_once(self, message: Message, work: Callable[[Message], object]) -> bool:
        """Do the work unless it was already done, and return whether it was done now. Raises `UnderWay`.

        Work that raises does not count as done: answer 500, and the message arrives again. It must be an ordinary
        function; an awaitable is refused, because it would count as done without having run.
        """
        known = self._seen.begin(message.id)
        if known == "under_way":
            raise UnderWay
        if known == "handled":
            return False
        try:
            refuse_awaitable(work(message))
        except BaseException:
            self._seen.forget(message.id)
            raise
        self._seen.finish(message.id)
        return True
