"""`mintwire dead`: the broker's dead queues and `unrouted`, which hold messages that no service processed.

It asks the service of each queue, which needs the operator's token, and the broker where the service is down.
"""

from __future__ import annotations

import base64
from collections.abc import Sequence
from datetime import datetime
from typing import Annotated, Any

from cyclopts import App, Parameter

from mintwire.cli.broker_command import broker_command
from mintwire.cli.client import CallFailed
from mintwire.cli.config import Target, read_target
from mintwire.cli.dead_letters import letters_of
from mintwire.cli.output import AsJSON, Misused, show, show_many, tell
from mintwire.cli.overflow import kept_letters, owner_of
from mintwire.terminal import REFUSED
from shared.broker.operator import dead
from shared.events.operating import DeadLetter, LetterChoice
from shared.times import format_milliseconds

_SECONDS = 10.0

app = App(name="dead")

All = Annotated[bool, Parameter(name="--all", negative=(), help="All messages of the queue.")]
Reason = Annotated[str | None, Parameter(help="Only messages with this reason.")]
Why = Annotated[str | None, Parameter(help="Why; the operators' log of the service keeps it.")]


@app.command(name="list")
@broker_command
async def list_(queue: str | None = None, *, reason: Reason = None, limit: int = 100, as_json: AsJSON = False) -> None:
    """Count the dead messages of every queue, or list those of one, oldest first.

    A dead queue has limited room; what its service keeps in its database returns as the queue empties.

    Example: mintwire dead list redemption.checkout --reason invalid_json

    Parameters
    ----------
    queue
        `redemption.checkout`, `codes.redemptions`, `webhooks.events`, or `unrouted` for messages without a queue.
    limit
        Maximum number of messages.
    """
    target = read_target()
    if queue is None:
        rows = [
            {"queue": name, "dead": await (await letters_of(target, name)).count(), "kept": await _kept(target, name)}
            for name in dead.QUEUES
        ]
        show_many(rows, ("queue", "dead", "kept"), as_json)
        return
    letters = await letters_of(target, _known(queue))
    columns = ("key", "reason", "routing_key", "first_received_at", "died_at", "bytes", "detail")
    show_many([_summary(each) for each in await letters.page(reason, limit)], columns, as_json)


@app.command(name="show")
@broker_command
async def show_(queue: str, key: str, *, why: Why = None, as_json: AsJSON = False) -> None:
    """Show a dead message with its headers and body, without removing it.

    Example: mintwire dead show redemption.checkout 0192…

    Parameters
    ----------
    key
        The message id, as `dead list` shows it.
    """
    message = await (await letters_of(read_target(), _known(queue))).show(key, why)
    if message is None:
        raise CallFailed(f"there is no dead message {key} of {_known(queue)}")
    show({**_summary(message), "headers": dict(message.headers), **_body(message.body)}, as_json)


@app.command
@broker_command
async def replay(
    queue: str,
    *keys: str,
    all_: All = False,
    reason: Reason = None,
    force: Annotated[bool, Parameter(negative=())] = False,
    why: Why = None,
    as_json: AsJSON = False,
) -> int:
    """Put dead messages back into their queue once the cause is fixed; each keeps the time of its first receipt.

    Example: mintwire dead replay redemption.checkout --reason handler_error

    Parameters
    ----------
    keys
        The ids, as `dead list` shows them; or use `--all` or `--reason`.
    force
        Include messages older than the service remembers: it may repeat what it has done, or do what was cancelled.
    """
    name, choice = _known(queue), _choice(keys, all_, reason)
    try:
        count = await (await letters_of(read_target(), name)).replay(choice, why, is_forced=force)
    except dead.Forgotten as refusal:
        tell(f"{refusal} `--force` replays them anyway")
        return REFUSED
    show({"queue": name, "replayed": count}, as_json)
    return _unless_found(keys, count)


@app.command
@broker_command
async def purge(
    queue: str,
    *keys: str,
    all_: All = False,
    reason: Reason = None,
    yes: Annotated[bool, Parameter(negative=())] = False,
    why: Why = None,
    as_json: AsJSON = False,
) -> int:
    """Delete dead messages for good.

    Example: mintwire dead purge redemption.checkout --reason invalid_json --yes

    Parameters
    ----------
    keys
        The ids, as `dead list` shows them; or use `--all` or `--reason`.
    yes
        Confirm the deletion.
    """
    name, choice = _known(queue), _choice(keys, all_, reason)
    if not yes:
        raise Misused("nothing is deleted without --yes; `mintwire dead list` shows the messages")
    count = await (await letters_of(read_target(), name)).purge(choice, why)
    show({"queue": name, "purged": count}, as_json)
    return _unless_found(keys, count)


async def _kept(target: Target, queue: str) -> int | None:
    """Return the number of letters in a service's database; None if it is unknown."""
    if not target.get("operator_token") or not target.get(f"{owner_of(queue)}_url"):
        return None
    try:
        return await kept_letters(target, queue, _SECONDS)
    except CallFailed as failed:
        tell(f"{owner_of(queue)} did not report its kept letters: {failed}")
        return None


def _known(name: str) -> str:
    queue = name.removesuffix(".dead")
    if queue not in dead.QUEUES:
        raise Misused(f"there is no queue {name}; the queues are {', '.join(dead.QUEUES)}")
    return queue


def _choice(keys: Sequence[str], is_all: bool, reason: str | None) -> LetterChoice:
    if bool(keys) + is_all > 1:
        raise Misused("give either keys or --all")
    if not keys and not is_all and reason is None:
        raise Misused("give keys, --reason or --all")
    return LetterChoice(keys=frozenset(keys) if keys else None, reason=reason)


def _unless_found(keys: Sequence[str], count: int) -> int:
    if count >= len(set(keys)):
        return 0
    tell(f"{count} of {len(set(keys))} were there")
    return 1


def _summary(message: DeadLetter) -> dict[str, Any]:
    return {
        "key": message.key,
        "reason": message.reason,
        "detail": message.detail,
        "routing_key": message.routing_key,
        "first_received_at": _time(message.first_received_at),
        "died_at": _time(message.died_at),
        "bytes": message.size,
    }


def _time(moment: datetime | None) -> str | None:
    return None if moment is None else format_milliseconds(moment)


def _body(body: bytes) -> dict[str, str]:
    try:
        return {"body": body.decode()}
    except UnicodeDecodeError:
        return {"body_base64": base64.b64encode(body).decode()}
