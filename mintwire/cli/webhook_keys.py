"""`mintwire webhook`: the signing keys of an endpoint listed, rotated and revoked."""

from __future__ import annotations

from typing import Annotated, Literal

from cyclopts import Parameter
from cyclopts.validators import Number

from mintwire.cli.client import call, fetch, fetch_page, given
from mintwire.cli.config import read_target
from mintwire.cli.output import AsJSON, command, show, show_many
from mintwire.cli.webhook_calls import AsProgram, key_of, path

_COLUMNS = ("id", "algorithm", "public_key", "created_at", "expires_at")


@command
async def keys(endpoint_id: str, *, program: AsProgram = False, as_json: AsJSON = False) -> None:
    """List the live signing keys of an endpoint, the newest first, without their secrets.

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
    """Give an endpoint a new signing key and show it, this once; the old one signs beside it for a while.

    Example: mintwire webhook rotate 0192… --grace-seconds 3600

    Parameters
    ----------
    grace_seconds
        For how long the old key signs too.
    algorithm
        Which key; all that sign by default.
    """
    target = read_target()
    body = given(grace_period_seconds=grace_seconds, algorithm=algorithm)
    url = path(target, "endpoints", endpoint_id, "keys", "rotate")
    made = await fetch("POST", url, key=key_of(target, program), body=body)
    show({name: made[name] for name in ("id", "signing", "secret", "public_key")}, as_json)


@command
async def revoke(endpoint_id: str, key_id: str, *, program: AsProgram = False, as_json: AsJSON = False) -> None:
    """End one of an endpoint's signing keys at once, and list those that are left; the last one that signs stays.

    Example: mintwire webhook revoke 0192… 0193…

    Parameters
    ----------
    key_id
        As `mintwire webhook keys` shows it.
    """
    target = read_target()
    url = path(target, "endpoints", endpoint_id, "keys", key_id)
    show_many((await call("DELETE", url, key=key_of(target, program)))["data"], _COLUMNS, as_json)


COMMANDS = (keys, rotate, revoke)
