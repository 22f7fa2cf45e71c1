"""`mintwire code`: what a partner does with its key, and a program with its own."""

from __future__ import annotations

from typing import Annotated, Any

from cyclopts import App, Parameter
from cyclopts.validators import Number

from mintwire.cli import many_codes, promotion_codes
from mintwire.cli.client import CallFailed, address, call, fetch_page
from mintwire.cli.config import Target, read_target
from mintwire.cli.output import (
    AsJSON,
    Counted,
    Cursor,
    Limit,
    Misused,
    bounded,
    command,
    show,
    show_many,
    show_page,
)

app = App(name="code")
app.command(promotion_codes.create)
app.command(promotion_codes.update)
app.command(promotion_codes.archive)
app.command(many_codes.import_, name="import")
app.command(many_codes.export)
app.command(many_codes.bulk)
AsProgram = Annotated[bool, Parameter(negative=(), help="Act as the program: codes of all its partners and coupons.")]


@app.command
@command
async def generate(
    *,
    count: Annotated[int, Parameter(validator=Number(gte=1, lte=100))] = 1,
    reference: str | None = None,
    idempotency_key: str | None = None,
    as_json: AsJSON = False,
) -> None:
    """Generate codes. Each counts against the partner's quota.

    Example: mintwire code generate --count 5

    Parameters
    ----------
    count
        How many codes, at most 100. If one is refused, those generated before it are shown.
    reference
        Your own name for the code: a repeat with it returns the same code and is not charged.
    idempotency_key
        A repeat with the same key returns the same code. With several codes, each gets the key with its number.
    """
    target = read_target()
    if count == 1:
        show(await _generated(target, idempotency_key, reference), as_json)
        return
    if reference is not None:
        raise Misused("--reference names a single code; leave out --count")
    keys = [f"{idempotency_key}-{number}" if idempotency_key else None for number in range(1, count + 1)]
    made: list[dict[str, Any]] = []
    try:
        # One after the other, so that a refusal stops the command.
        for each in keys:
            made.append(await _generated(target, each))  # noqa: PERF401 - codes generated before a refusal must be kept
    except CallFailed as refused:
        raise CallFailed(f"{len(made)} of {count} codes generated; then: {refused}", refused.status) from refused
    finally:
        # Generated codes are charged, so they are shown whatever follows.
        show_many(made, ("code", "url", "expires_at"), as_json)


@app.command(name="list")
@command
async def list_(
    *,
    status: str | None = None,
    prefix: str | None = None,
    created_from: str | None = None,
    created_before: str | None = None,
    reference: str | None = None,
    program: AsProgram = False,
    coupon: str | None = None,
    partner: str | None = None,
    customer: str | None = None,
    external_id: str | None = None,
    batch: str | None = None,
    active: bool | None = None,
    count: Counted = False,
    limit: Limit = 50,
    cursor: Cursor = None,
    as_json: AsJSON = False,
) -> None:
    """List the partner's codes, or the program's that match, newest first.

    Example: mintwire code list --status redeemed

    Example: mintwire code list --coupon spring --active

    Example: mintwire code list --program --prefix acme-1a --count

    Parameters
    ----------
    status
        `active`, `redeemed`, `expired` or `inactive`.
    prefix
        The beginning of the codes in any spelling, at least 4 letters or digits; sorts by their characters.
    created_from
        Created at this time or later: a time with an offset, or a date, which means its first moment.
    created_before
        Created before this time or date.
    reference
        As the partner: the code generated with this reference.
    coupon
        As the program: codes of this coupon, by its `uuid_code` or id.
    partner
        As the program: codes of this partner, by id or e-mail address.
    customer
        As the program: codes limited to this customer.
    external_id
        As the program: the code with this external id.
    batch
        As the program: codes that this job created.
    active
        As the program: only active, or only inactive codes.
    """
    target = read_target()
    wanted = {"coupon_id": coupon, "customer_id": customer, "external_id": external_id, "batch_id": batch}
    wanted |= {"partner_email" if partner and "@" in partner else "partner_id": partner}
    wanted |= {"active": None if active is None else str(active).lower()}
    shared = {"status": status, "code_prefix": prefix, "created_from": created_from, "created_before": created_before}
    query = {**shared, "count": bounded(count), "limit": limit, "cursor": cursor}
    if program or any(value is not None for value in wanted.values()):
        if reference is not None:
            raise Misused("--reference is for the partner's own list")
        await promotion_codes.list_codes(target, {**wanted, **query}, as_json)
        return
    query |= {"reference": reference}
    page = await fetch_page(_codes(target), "codes", partner_key=target.partner_key, query=query)
    show_page(page, ("code", "status", "times_redeemed", "expires_at", "last_redeemed_at", "url"), as_json)


@app.command(name="show")
@command
async def show_(code: str, *, program: AsProgram = False, as_json: AsJSON = False) -> None:
    """Show one of the partner's codes, or any of the program's, in any spelling.

    Example: mintwire code show demo-1a0a48c0
    """
    target = read_target()
    if program:
        await promotion_codes.show_code(target, code, as_json)
        return
    show(await call("GET", address(_codes(target), code), partner_key=target.partner_key), as_json)


async def _generated(target: Target, idempotency_key: str | None, reference: str | None = None) -> dict[str, Any]:
    headers = {"Idempotency-Key": idempotency_key} if idempotency_key else {}
    url = address(_codes(target), "generate")
    if reference is None:
        return await call("POST", url, partner_key=target.partner_key, headers=headers)
    return await call("POST", url, partner_key=target.partner_key, headers=headers, body={"reference": reference})


def _codes(target: Target) -> str:
    return address(target.codes_url, "api", "partners", "codes")
