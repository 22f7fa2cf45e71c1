"""Events of a demo in a file, as consumers would have received them: redemption writes it, the others read it."""

import base64
import json
from collections.abc import Collection, Iterator, Sequence
from datetime import datetime
from pathlib import Path

from shared.broker.messages import Received
from shared.events.envelope import OutboxEvent

_AT_ONCE = 200


def append(file: Path, events: Sequence[OutboxEvent], at: datetime) -> None:
    """Add events that were received at a time."""
    with file.open("a", encoding="utf-8") as lines:
        for event in events:
            body = base64.b64encode(event.body).decode()
            lines.write(json.dumps({"type": event.type, "at": at.isoformat(), "body": body}) + "\n")


def read_batches(file: Path, types: Collection[str] | None = None) -> Iterator[list[Received]]:
    """Yield events in batches, all or those of some types; nothing if there is no file yet."""
    if not file.exists():
        return
    batch: list[Received] = []
    with file.open(encoding="utf-8") as lines:
        for line in lines:
            event = json.loads(line)
            if types is not None and event["type"] not in types:
                continue
            received_at = datetime.fromisoformat(event["at"])
            batch.append(Received(base64.b64decode(event["body"]), {}, None, event["type"], received_at))
            if len(batch) == _AT_ONCE:
                yield batch
                batch = []
    if batch:
        yield batch
