"""`mintwire webhook`: lists, rotates and revokes the signing keys of an endpoint."""

from __future__ import annotations

from typing import Annotated, Literal

from cyclopts import Parameter
from cyclopts.validators import Number

from mintwire.cli.client import call, fetch, fetch_page, given
from mintwire.cli.config import read_target
from mintwire.cli.output import AsJSON, command, show, show_many
from mintwire.cli.webhook_calls import AsProgram, key_of, path

_COLUMNS = ("id", "starts_with", "algorithm", "public_key", "made_by", "created_at", "expires_at")


@command
async def keys(endpoint_id: str, *, program: AsProgram = False, as_json: AsJSON = False) -> None:
    """List the active signing keys of an endpoint without their secrets, the newest first.

    Example: mintwire webhook keys 0192…
    """
    target = read_target()
    page = await fetch_page(path(target, "endpoints", endpoint_id, "keys"), key=key_of(target, program))
    show_many(page.rows, _COLUMNS, as_json)


@command
async def rotate(
    endpoint_id: str,
    *,
    grace_seconds: Annotated[int, Parameter(validator=Number(gte=0, lte=604_800))] = 86_400,
    algorithm: Annotated[Literal["hmac", "ed25519"] | None, Parameter(negative=())] = None,
    program: AsProgram = False,
    as_json: AsJSON = False,
) -> None:
    """Rotate an endpoint's signing key and show the new one, once; the old one also signs for a while.

    Example: mintwire webhook rotate 0192… --grace-seconds 3600

    Parameters
    ----------
    grace_seconds
        How many seconds the old key also signs.
    algorithm
        The algorithm to rotate; by default, every one that signs.
    """
    target = read_target()
    body = given(grace_period_seconds=grace_seconds, algorithm=algorithm)
    url = path(target, "endpoints", endpoint_id, "keys", "rotate")
    made = await fetch("POST", url, key=key_of(target, program), body=body)
    show({name: made[name] for name in ("id", "signing", "secret", "public_key")}, as_json)


@command
async def revoke(endpoint_id: str, key_id: str, *, program: AsProgram = False, as_json: AsJSON = False) -> None:
    """Revoke a signing key of an endpoint at once, and list the remaining ones; the last one cannot be revoked.

    Example: mintwire webhook revoke 0192… 0193…

    Parameters
    ----------
    key_id
        The id, as `mintwire webhook keys` shows it.
    """
    target = read_target()
    url = path(target, "endpoints", endpoint_id, "keys", key_id)
    show_many((await call("DELETE", url, key=key_of(target, program)))["data"], _COLUMNS, as_json)


COMMANDS = (keys, rotate, revoke)
