"""`mintwire code import`, `export` and `bulk`: many codes at once, as the program."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from cyclopts import Parameter

from mintwire.cli import jobs
from mintwire.cli.client import address, fetch, given
from mintwire.cli.config import read_target
from mintwire.cli.output import AsJSON, Misused, command, show
from mintwire.cli.transfers import upload

_CONTENT_TYPES = {"csv": "text/csv", "ndjson": "application/x-ndjson"}
_SUFFIXES = {".csv": "csv", ".tsv": "csv", ".txt": "csv", ".ndjson": "ndjson", ".jsonl": "ndjson"}
_DAY_SECONDS = 86_400

Flag = Annotated[bool, Parameter(negative=())]
Active = Annotated[bool | None, Parameter(negative="--inactive", help="Only active codes, or only inactive ones.")]
CodeIds = Annotated[list[str] | None, Parameter(negative=(), help="A code's id; may be given several times.")]
CouponRef = Annotated[str | None, Parameter(help="Only codes of this coupon, by its id or uuid_code.")]
Partner = Annotated[str | None, Parameter(help="Only codes of this partner.")]
Batch = Annotated[str | None, Parameter(help="Only codes that this job created.")]


@command
async def import_(
    file: Path,
    *,
    coupon: str,
    on_conflict: Literal["fail", "skip", "update"] = "fail",
    dry_run: Flag = False,
    map_: Annotated[list[str] | None, Parameter(name="--map", negative=())] = None,
    ignore_unknown_columns: Flag = False,
    file_format: Annotated[Literal["csv", "ndjson"] | None, Parameter(name="--format")] = None,
    wait: jobs.Wait = True,
    as_json: AsJSON = False,
) -> int:
    """Import codes of a coupon from a CSV or NDJSON file. Invalid lines are reported, the others imported.

    Example: mintwire code import codes.csv --coupon spring-2026 --on-conflict skip

    Parameters
    ----------
    coupon
        The coupon's id or uuid_code.
    on_conflict
        If a code exists: refuse the line, skip it, or update the code.
    dry_run
        Check and report without importing.
    map_
        The name of a column in the file and ours, such as `Ende=expires_at`; may be given several times.
    ignore_unknown_columns
        Ignore unknown columns.
    file_format
        The format; by default, from the file's extension.
    """
    kind = file_format or _SUFFIXES.get(file.suffix.lower())
    if kind is None:
        raise Misused(f"is {file} CSV or NDJSON? Use --format")
    target = read_target()
    url = address(target.codes_url, "v1", "coupons", coupon, "promotion-codes", "import")
    if any("," in pair for pair in map_ or ()):
        raise Misused("--map takes a single pair theirs=ours without commas; give it several times")
    query = {
        "on_conflict": on_conflict,
        "dry_run": str(dry_run).lower(),
        "ignore_unknown_columns": str(ignore_unknown_columns).lower(),
        **({"map": ",".join(map_)} if map_ else {}),
    }
    job = await upload(url, file, target.program_key, _CONTENT_TYPES[kind], query)
    return jobs.finish(await jobs.wait_for(target, job) if wait else job, as_json)


@command
async def export(
    *,
    output: jobs.Output = None,
    file_format: jobs.FileFormat = "csv",
    coupon: CouponRef = None,
    partner: Partner = None,
    batch: Batch = None,
    customer: str | None = None,
    active: Active = None,
    as_json: jobs.FileAsJSON = False,
) -> None:
    """Export the program's codes; an incomplete file is an error.

    Example: mintwire code export --coupon spring-2026 --output codes.csv
    """
    target = read_target()
    query = {
        "format": file_format,
        "coupon_id": coupon,
        "partner_id": partner,
        "batch_id": batch,
        "customer_id": customer,
        "active": None if active is None else str(active).lower(),
    }
    url = address(target.codes_url, "v1", "promotion-codes", "export")
    await jobs.save(url, output, query, "codes", as_json)


@command
async def bulk(
    action: Literal["deactivate", "activate", "expire", "extend", "assign", "archive"],
    *,
    code_id: CodeIds = None,
    coupon: CouponRef = None,
    partner: Partner = None,
    batch: Batch = None,
    customer: str | None = None,
    active: Active = None,
    expires_at: str | None = None,
    extend_by_days: int | None = None,
    to_partner: str | None = None,
    dry_run: Flag = False,
    wait: jobs.Wait = True,
    as_json: AsJSON = False,
) -> int:
    """Change many codes: those that match all filters, or those given by their ids.

    Example: mintwire code bulk extend --coupon spring-2026 --extend-by-days 14 --dry-run

    Parameters
    ----------
    expires_at
        For `extend`: the new expiry, with an offset.
    extend_by_days
        For `extend`: the number of days to add to each code's own expiry.
    to_partner
        For `assign`: the id of the new partner.
    dry_run
        Count the matching codes without changing them.
    """
    target = read_target()
    wanted = given(coupon_id=coupon, partner_id=partner, batch_id=batch, customer_id=customer, active=active)
    body = given(
        action=action,
        ids=code_id,
        filter=wanted or None,
        expires_at=expires_at,
        extend_by_seconds=None if extend_by_days is None else extend_by_days * _DAY_SECONDS,
        partner_id=to_partner,
        dry_run=dry_run or None,
    )
    url = address(target.codes_url, "v1", "promotion-codes", "bulk")
    made = await fetch("POST", url, key=target.program_key, body=body)
    if dry_run:
        show(made, as_json)
        return 0
    return jobs.finish(await jobs.wait_for(target, made) if wait else made, as_json)
