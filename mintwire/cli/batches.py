"""`mintwire batch`: many codes of a coupon at once."""

from __future__ import annotations

from typing import Annotated

from cyclopts import App, Parameter
from cyclopts.validators import Number

from mintwire.cli import jobs
from mintwire.cli.client import address, fetch, given
from mintwire.cli.config import read_target
from mintwire.cli.output import AsJSON, command, tell
from mintwire.terminal import write_json, write_line

app = App(name="batch")
for shared_command in (jobs.status, jobs.cancel, jobs.download):
    app.command(shared_command)

Flag = Annotated[bool, Parameter(negative=())]


@app.command
@command
async def create(
    coupon: str,
    *,
    count: Annotated[int, Parameter(validator=Number(gte=1, lte=5_000_000))],
    pattern: str | None = None,
    prefix: str | None = None,
    suffix: str | None = None,
    length: int | None = None,
    alphabet: str | None = None,
    check_symbol: Flag = False,
    partner: str | None = None,
    starts_at: str | None = None,
    expires_at: str | None = None,
    redemption_limit: int | None = None,
    allow_weak: Flag = False,
    idempotency_key: str | None = None,
    wait: jobs.Wait = True,
    as_json: AsJSON = False,
) -> int:
    """Create codes of a coupon, given by its id or its uuid_code.

    Up to 1,000 are printed. More are created by a job whose progress is shown; `mintwire batch download` fetches them.

    Example: mintwire batch create spring-2026 --count 100000 --pattern SPRING-####-####-#### --redemption-limit 1

    Parameters
    ----------
    pattern
        The pattern of a code: each # is a random symbol. Alternatively, use length, prefix and suffix.
    length
        The number of random symbols, 12 by default.
    alphabet
        The symbols to choose from; by default, 32 without look-alikes.
    check_symbol
        Append a check symbol that detects typing errors.
    partner
        The id of the partner that the codes belong to.
    expires_at
        A time with an offset, such as 2026-12-31T23:59:59Z.
    allow_weak
        Create the codes even if they could be guessed.
    idempotency_key
        A repeat with the same key creates no more codes.
    """
    target = read_target()
    body = given(
        count=count,
        pattern=pattern,
        prefix=prefix,
        suffix=suffix,
        length=length,
        alphabet=alphabet,
        check_symbol=check_symbol or None,
        partner_id=partner,
        starts_at=starts_at,
        expires_at=expires_at,
        redemption_limit=redemption_limit,
        allow_weak=allow_weak or None,
    )
    url = address(target.codes_url, "v1", "coupons", coupon, "promotion-codes", "batch")
    headers = {"Idempotency-Key": idempotency_key} if idempotency_key else {}
    made = await fetch("POST", url, key=target.program_key, body=body, headers=headers)
    if made["codes"] is None:
        return jobs.finish(await jobs.wait_for(target, made["job"]) if wait else made["job"], as_json)
    if as_json:
        write_json(made)
    else:
        for code in made["codes"]:
            write_line(code)
        tell(f"{len(made['codes'])} codes, batch {made['job']['id']}")
    return 0
