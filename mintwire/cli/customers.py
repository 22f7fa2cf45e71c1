"""`mintwire customer`: export or erase a customer's data."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Annotated, Any

from cyclopts import App, Parameter

from mintwire.cli.client import address, fetch, fetch_page, given
from mintwire.cli.config import Target, read_target
from mintwire.cli.jobs import FileAsJSON, Output
from mintwire.cli.output import AsJSON, Cursor, Limit, Misused, command, show, show_page, tell
from mintwire.cli.transfers import download as download_file

app = App(name="customer")

_POLL_SECONDS = 0.5
_SERVICES = ("redemption", "codes", "webhooks")

CustomerId = Annotated[str | None, Parameter(help="The customer's id, as the checkout sends it.")]
Email = Annotated[str | None, Parameter(help="The customer's e-mail address.")]
Wait = Annotated[bool, Parameter(help="Wait until every service has finished.")]


@app.command
@command
async def export(
    *, customer_id: CustomerId = None, email: Email = None, output: Output = None, as_json: FileAsJSON = False
) -> None:
    """Collect what all services store about a customer and download it as NDJSON.

    Example: mintwire customer export --customer-id c-4711 --output c-4711.ndjson
    """
    if as_json and output is None:
        raise Misused("--json describes the file given by --output")
    job = await _wait_for(await _start("export", customer_id, email))
    await _save(job["id"], output, as_json)


@app.command
@command
async def erase(
    *,
    customer_id: CustomerId = None,
    email: Email = None,
    yes: Annotated[bool, Parameter(negative=(), help="Confirm the erasure; it cannot be undone.")] = False,
    wait: Wait = True,
    as_json: AsJSON = False,
) -> None:
    """Replace a customer's ids and mailboxes by digests everywhere; limits keep counting.

    Example: mintwire customer erase --email jane@example.com --yes
    """
    if not yes:
        raise Misused("nothing is erased without --yes; `mintwire customer export` shows the data")
    job = await _start("erase", customer_id, email)
    _show(await _wait_for(job) if wait else job, as_json)


@app.command(name="list")
@command
async def list_(*, limit: Limit = 50, cursor: Cursor = None, as_json: AsJSON = False) -> None:
    """List the program's exports and erasures of customers, newest first.

    Example: mintwire customer list --limit 10
    """
    target = read_target()
    query = {"limit": limit, "cursor": cursor}
    page = await fetch_page(_jobs(target), key=target.program_key, query=query)
    show_page(page, ("id", "kind", "state", "actor", "created_at", "finished_at"), as_json)


@app.command
@command
async def status(job_id: str, *, wait: Wait = False, as_json: AsJSON = False) -> None:
    """Show the progress of an export or an erasure, by service.

    Example: mintwire customer status 0192…
    """
    target = read_target()
    job = await fetch("GET", address(_jobs(target), job_id), key=target.program_key)
    _show(await _wait_for(job) if wait else job, as_json)


@app.command
@command
async def download(job_id: str, *, output: Output = None, as_json: FileAsJSON = False) -> None:
    """Download the result of an export; an incomplete file is an error.

    Example: mintwire customer download 0192… --output customer.ndjson
    """
    if as_json and output is None:
        raise Misused("--json describes the file given by --output")
    await _save(job_id, output, as_json)


async def _start(kind: str, customer_id: str | None, email: str | None) -> dict[str, Any]:
    if customer_id is None and email is None:
        raise Misused("give --customer-id, --email, or both")
    target = read_target()
    body = given(customer_id=customer_id, email=email)
    return await fetch("POST", address(_customers(target), kind), key=target.program_key, body=body)


async def _wait_for(job: dict[str, Any]) -> dict[str, Any]:
    """Wait until a job has finished and return it; if interrupted, the job continues."""
    target = read_target()
    try:
        while job["state"] == "running":
            await asyncio.sleep(_POLL_SECONDS)
            job = await fetch("GET", address(_jobs(target), job["id"]), key=target.program_key)
    except asyncio.CancelledError:
        tell(f"the job continues; check it with `mintwire customer status {job['id']}`")
        raise
    return job


async def _save(job_id: str, output: Path | None, as_json: bool) -> None:
    target = read_target()
    count = await download_file(address(_jobs(target), job_id, "file"), output, target.program_key, {})
    if as_json:
        show({"job_id": job_id, "file": str(output), "rows": count}, as_json)
    else:
        tell(f"{count:,} lines")


def _show(job: dict[str, Any], as_json: bool) -> None:
    if as_json:
        show(job, as_json)
        return
    parts = {service: _part(job["parts"][service]) for service in _SERVICES}
    show({name: value for name, value in job.items() if name != "parts"} | parts, as_json)


def _part(part: dict[str, Any]) -> str:
    counts = ", ".join(f"{count} {kind}" for kind, count in part["counts"].items())
    return f"{part['status']}: {counts}" if counts else str(part["status"])


def _customers(target: Target) -> str:
    return address(target.redemption_url, "v1", "customers")


def _jobs(target: Target) -> str:
    return address(_customers(target), "jobs")
