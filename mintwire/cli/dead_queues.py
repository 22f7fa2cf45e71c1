"""`mintwire dead`: the broker's dead queues and `unrouted`, where messages lie that no service took."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Annotated, Any

from cyclopts import App, Parameter

from mintwire.cli.broker_command import broker_command
from mintwire.cli.client import CallFailed
from mintwire.cli.config import Target, inbox_retention_days, read_target
from mintwire.cli.output import AsJSON, Misused, show, show_many, tell
from mintwire.cli.overflow import kept_letters, owner_of
from mintwire.terminal import REFUSED
from shared.broker import dead
from shared.broker.dead import Choice, DeadMessage, chosen
from shared.clock import format_milliseconds, utc_now

_SECONDS = 10.0

app = App(name="dead")

All = Annotated[bool, Parameter(name="--all", negative=(), help="All of the queue.")]
Reason = Annotated[str | None, Parameter(help="Only those that died for this reason.")]


@app.command(name="list")
@broker_command
async def list_(queue: str | None = None, *, reason: Reason = None, limit: int = 100, as_json: AsJSON = False) -> None:
    """Count the dead messages behind every queue, or list those behind one, oldest first.

    A dead queue has room for so many; what its service keeps beside it comes back as it empties.

    Example: mintwire dead list redemption.checkout --reason invalid_json

    Parameters
    ----------
    queue
        `redemption.checkout`, `codes.redemptions`, `webhooks.events`, or `unrouted` for what no queue was bound for.
    limit
        How many to list.
    """
    target = read_target()
    url = target.amqp_url
    if queue is None:
        counts = await dead.count(url)
        rows = [{"queue": name, "dead": count, "kept": await _kept(target, name)} for name, count in counts.items()]
        show_many(rows, ("queue", "dead", "kept"), as_json)
        return
    found = await dead.list_dead(url, _known(queue), limit=limit, choice=chosen(reason=reason))
    columns = ("key", "reason", "routing_key", "first_received_at", "died_at", "bytes", "detail")
    show_many([_summary(message) for message in found], columns, as_json)


@app.command(name="show")
@broker_command
async def show_(queue: str, key: str, *, as_json: AsJSON = False) -> None:
    """Show one dead message with its headers and body; it stays where it is.

    Example: mintwire dead show redemption.checkout 0192…

    Parameters
    ----------
    key
        Its message id, as `dead list` shows it.
    """
    message = await dead.show(read_target().amqp_url, _known(queue), key)
    if message is None:
        raise CallFailed(f"there is no dead message {key} of {_known(queue)}")
    headers = {name: _text(value) for name, value in message.headers.items()}
    show({**_summary(message), "headers": headers, **_body(message.body)}, as_json)


@app.command
@broker_command
async def replay(
    queue: str,
    *keys: str,
    all_: All = False,
    reason: Reason = None,
    force: Annotated[bool, Parameter(negative=())] = False,
    as_json: AsJSON = False,
) -> int:
    """Give dead messages to their queue again, once the cause is mended; each keeps the time of its first receipt.

    Example: mintwire dead replay redemption.checkout --reason handler_error

    Parameters
    ----------
    keys
        Which, as `dead list` shows them; or `--all`, or `--reason`.
    force
        Also those older than what the service remembers: it may do what it has done already, or what was cancelled.
    """
    name, choice = _known(queue), _choice(keys, all_, reason)
    known_since = None if force else utc_now() - timedelta(days=inbox_retention_days())
    try:
        count = await dead.replay(read_target().amqp_url, name, choice=choice, known_since=known_since)
    except dead.Forgotten as refusal:
        tell(f"{refusal} `--force` replays them all the same")
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
    as_json: AsJSON = False,
) -> int:
    """Remove dead messages for good; they are gone then.

    Example: mintwire dead purge redemption.checkout --reason invalid_json --yes

    Parameters
    ----------
    keys
        Which, as `dead list` shows them; or `--all`, or `--reason`.
    yes
        Say that you mean it.
    """
    name, choice = _known(queue), _choice(keys, all_, reason)
    if not yes:
        raise Misused("nothing is removed without --yes; `mintwire dead list` shows what there is")
    count = await dead.purge(read_target().amqp_url, name, choice=choice)
    show({"queue": name, "purged": count}, as_json)
    return _unless_found(keys, count)


async def _kept(target: Target, queue: str) -> int | None:
    """How many letters lie in a service's database; None where nobody can tell."""
    if not target.get("operator_token") or not target.get(f"{owner_of(queue)}_url"):
        return None
    try:
        return await kept_letters(target, queue, _SECONDS)
    except CallFailed as failed:
        tell(f"{owner_of(queue)} does not say what it keeps: {failed}")
        return None


def _known(name: str) -> str:
    queue = name.removesuffix(".dead")
    if queue not in dead.QUEUES:
        raise Misused(f"there is no queue {name}; the queues are {', '.join(dead.QUEUES)}")
    return queue


def _choice(keys: Sequence[str], is_all: bool, reason: str | None) -> Choice:
    if bool(keys) + is_all > 1:
        raise Misused("give either keys or --all")
    if not keys and not is_all and reason is None:
        raise Misused("say which: keys, --reason or --all")
    return chosen(set(keys) if keys else None, reason)


def _unless_found(keys: Sequence[str], count: int) -> int:
    if count >= len(set(keys)):
        return 0
    tell(f"{count} of {len(set(keys))} were there")
    return 1


def _summary(message: DeadMessage) -> dict[str, Any]:
    return {
        "key": message.key,
        "reason": message.reason,
        "detail": message.detail,
        "routing_key": message.routing_key,
        "first_received_at": _time(message.first_received_at),
        "died_at": _time(message.died_at),
        "bytes": len(message.body),
    }


def _time(moment: datetime | None) -> str | None:
    return None if moment is None else format_milliseconds(moment)


def _text(value: object) -> str:
    return value.decode(errors="backslashreplace") if isinstance(value, bytes) else str(value)


def _body(body: bytes) -> dict[str, str]:
    try:
        return {"body": body.decode()}
    except UnicodeDecodeError:
        return {"body_base64": base64.b64encode(body).decode()}
