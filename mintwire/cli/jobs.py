"""`mintwire job`: batches, imports and bulk actions, running and finished."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from cyclopts import App, Parameter

from mintwire.cli.client import address, fetch, fetch_page
from mintwire.cli.config import Target, read_target
from mintwire.cli.output import AsJSON, Cursor, Limit, Misused, command, show, show_page, tell
from mintwire.cli.transfers import download as download_file
from mintwire.terminal import redraw

app = App(name="job")

FINISHED = frozenset({"done", "failed", "cancelled"})
_POLL_SECONDS = 0.5
_BAR_WIDTH = 30

FileFormat = Annotated[Literal["csv", "ndjson"], Parameter(name="--format", help="The format of the file.")]
Output = Annotated[Path | None, Parameter(help="The file to write; by default, standard output.")]
FileAsJSON = Annotated[
    bool,
    Parameter(name="--json", negative=(), help="With `--output`: print the name of the file and its number of rows."),
]
Wait = Annotated[bool, Parameter(help="Wait until it has finished, with a progress bar on a terminal.")]


@app.command(name="list")
@command
async def list_(
    *,
    kind: Literal["batch", "import", "bulk"] | None = None,
    state: str | None = None,
    limit: Limit = 50,
    cursor: Cursor = None,
    as_json: AsJSON = False,
) -> None:
    """List the program's jobs, newest first.

    Example: mintwire job list --kind import --state failed
    """
    target = read_target()
    query = {"kind": kind, "state": state, "limit": limit, "cursor": cursor}
    page = await fetch_page(_jobs(target), key=target.program_key, query=query)
    show_page(
        page, ("id", "kind", "action", "dry_run", "state", "requested", "processed", "refused", "created_at"), as_json
    )


@app.command
@command
async def status(job_id: str, *, wait: Wait = False, as_json: AsJSON = False) -> int:
    """Show the progress of a job. Exit code 1 if it failed.

    Example: mintwire job status 0192… --wait
    """
    target = read_target()
    job = await fetch("GET", address(_jobs(target), job_id), key=target.program_key)
    return finish(await wait_for(target, job) if wait else job, as_json)


@app.command
@command
async def cancel(job_id: str, *, as_json: AsJSON = False) -> None:
    """Cancel a job; what it has already done remains.

    Example: mintwire job cancel 0192…
    """
    target = read_target()
    show(await fetch("POST", address(_jobs(target), job_id, "cancel"), key=target.program_key), as_json)


@app.command
@command
async def download(
    job_id: str, *, output: Output = None, file_format: FileFormat = "csv", as_json: FileAsJSON = False
) -> None:
    """Download the codes that a job has created; an incomplete file is an error.

    Example: mintwire job download 0192… --output codes.csv
    """
    await save(_url(job_id, "result"), output, {"format": file_format}, "codes", as_json)


@app.command
@command
async def errors(
    job_id: str, *, output: Output = None, file_format: FileFormat = "csv", as_json: FileAsJSON = False
) -> None:
    """Download the lines that a job has refused, with number, code and reason.

    Example: mintwire job errors 0192… --output refused.csv
    """
    await save(_url(job_id, "errors"), output, {"format": file_format}, "refused lines", as_json)


async def wait_for(target: Target, job: dict[str, Any]) -> dict[str, Any]:
    """Wait until a job has finished and return it; if interrupted, the job continues."""
    try:
        while job["state"] not in FINISHED:
            redraw(progress(job))
            await asyncio.sleep(_POLL_SECONDS)
            job = await fetch("GET", address(_jobs(target), job["id"]), key=target.program_key)
    except asyncio.CancelledError:
        tell(f"the job continues; check it with `mintwire job status {job['id']}`")
        raise
    redraw(progress(job), is_last=True)
    return job


def progress(job: dict[str, Any]) -> str:
    """Return the progress of a job on one line."""
    processed, requested = job["processed"], job["requested"]
    if not requested:
        return f"{job['state']}: {processed:,}"
    filled = _BAR_WIDTH * processed // requested
    bar = "#" * filled + "." * (_BAR_WIDTH - filled)
    return f"[{bar}] {100 * processed // requested:3} %  {processed:,} of {requested:,}"


def finish(job: dict[str, Any], as_json: bool) -> int:
    """Print a job and return the exit code."""
    show(job, as_json)
    if job["refused"]:
        tell(f"{job['refused']:,} were refused; see `mintwire job errors {job['id']}`")
    return 1 if job["state"] == "failed" else 0


async def save(url: str, output: Path | None, query: Mapping[str, object | None], what: str, as_json: bool) -> None:
    """Download a file and report its rows: on standard error, or as JSON if the file is written elsewhere."""
    if as_json and output is None:
        raise Misused("--json describes the file given by --output")
    count = await download_file(url, output, read_target().program_key, query)
    if as_json:
        show({"file": str(output), "rows": count}, as_json)
    else:
        tell(f"{count:,} {what}")


def _url(job_id: str, file: str) -> str:
    return address(_jobs(read_target()), job_id, file)


def _jobs(target: Target) -> str:
    return address(target.codes_url, "v1", "jobs")
