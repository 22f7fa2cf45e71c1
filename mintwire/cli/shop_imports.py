"""`mintwire import`: coupons and codes from another shop's export, with their numbers of uses.

It uses only the API: coupons with names derived from their terms, then their codes by imports that skip existing
ones. So a second run creates nothing twice, and a run after a crash creates the rest.
"""

from __future__ import annotations

import asyncio
import codecs
import csv
import json
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from http import HTTPStatus
from pathlib import Path
from types import ModuleType
from typing import Annotated, Any, Literal

from cyclopts import Parameter

from mintwire.cli import jobs
from mintwire.cli.client import CallFailed, address, ask, fetch_page, refusal
from mintwire.cli.config import Target, read_target
from mintwire.cli.many_codes import Flag
from mintwire.cli.output import AsJSON, command, show, show_many, tell
from mintwire.cli.transfers import download, upload
from mintwire.shops import shopify, stripe, woocommerce
from mintwire.shops.plan import Plan, PlannedCoupon, Remark, ShopCode, make_plan
from mintwire.shops.rows import NotAnExport, read_rows

_SHOPS: dict[str, ModuleType] = {"shopify": shopify, "woocommerce": woocommerce, "stripe": stripe}
_COLUMNS = (
    *("code", "active", "starts_at", "expires_at", "redemption_limit", "customer_id", "first_time_order"),
    *("minimum_order_value", "minimum_order_currency", "opening_uses"),
)
_TRIES, _PAUSE_SECONDS = 5, 0.5
_KEPT = frozenset({"code_kept", "unchanged"})


@dataclass
class _Report:
    """The result for a file; `lines` are those with a remark."""

    dry_run: bool
    coupons_created: int = 0
    coupons_without_codes: int = 0
    created: int = 0
    kept: int = 0
    refused: int = 0
    lines: list[Remark] = field(default_factory=list)

    def refuse(self, line: int, code: str, reason: str) -> None:
        self.refused += 1
        self.lines.append(Remark(line, code, reason, is_refused=True))


@command
async def import_(
    file: Path,
    *,
    shop: Annotated[Literal["shopify", "woocommerce", "stripe"], Parameter(name="--from")],
    dry_run: Flag = False,
    as_json: AsJSON = False,
) -> int:
    """Import coupons and codes from another shop's export; what cannot be carried over is reported line by line.

    Codes keep the number of uses they had there. Run it as often as you like: nothing is created twice.

    Example: mintwire import discounts_export.csv --from shopify --dry-run

    Parameters
    ----------
    file
        The CSV file exported by the shop.
    shop
        The shop that it comes from.
    dry_run
        Check and report without importing.
    """
    plan = _plan(file, shop)
    target = read_target()
    report = _Report(dry_run)
    for remark in plan.remarks:
        report.lines.append(remark)
        report.refused += remark.is_refused
    failed = False
    for coupon in plan.coupons.values():
        failed |= not await _carry_over(target, coupon, report)
    report.lines.sort(key=lambda remark: remark.line)
    _show(report, as_json)
    return 1 if failed else 0


def _plan(file: Path, shop: str) -> Plan:
    module = _SHOPS[shop]
    try:
        # Invalid text is reported row by row.
        encoding, errors = _encoding(file)
        with file.open(encoding=encoding, errors=errors, newline="") as lines:
            return make_plan(shop, read_rows(lines, module.REQUIRED), module.read_row)
    except OSError as error:
        raise CallFailed(f"{file} cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise CallFailed(f"{file} ends in the middle of a character") from error
    except (NotAnExport, csv.Error) as error:
        raise CallFailed(f"{file} is not an export of {shop}: {error}") from error


def _encoding(file: Path) -> tuple[str, str]:
    """Return the encoding of a file, Excel's Unicode text or UTF-8, and the error handler for invalid text."""
    with file.open("rb") as begun:
        is_utf_16 = begun.read(2) in (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)
    return ("utf-16", "surrogatepass") if is_utf_16 else ("utf-8", "surrogateescape")


async def _carry_over(target: Target, coupon: PlannedCoupon, report: _Report) -> bool:
    """Create a coupon and its codes unless they exist; return False if the job failed.

    A coupon that is left without any code is archived again.
    """
    made = report.coupons_created
    name = await _coupon(target, coupon, report)
    if name is None:
        return True
    is_new = report.coupons_created > made
    url = address(target.codes_url, "v1", "coupons", name, "promotion-codes", "import")
    query = {"on_conflict": "skip", "dry_run": str(report.dry_run).lower()}
    with tempfile.TemporaryDirectory(prefix="mintwire-") as folder:
        path = Path(folder) / "codes.csv"
        _write(path, list(coupon.codes.values()))
        job = await jobs.wait_for(target, await _upload(url, path, target.program_key, query))
        report.created += job["created"]
        await _report_lines(target, job["id"], list(coupon.codes), Path(folder) / "lines.ndjson", report)
    if job["state"] == "failed":
        tell(f"coupon {coupon.uuid_code}: the job {job['id']} failed ({job['failure']})")
    elif job["created"] == 0 and await _is_left_out(target, coupon, report, is_new=is_new):
        report.coupons_without_codes += 1
        report.coupons_created -= is_new
    return bool(job["state"] == "done")


async def _is_left_out(target: Target, coupon: PlannedCoupon, report: _Report, *, is_new: bool) -> bool:
    """Return whether a coupon has no code: all were refused, now or in an interrupted run."""
    if report.dry_run:
        return is_new
    codes = address(target.codes_url, "v1", "promotion-codes")
    query = {"coupon_id": coupon.uuid_code, "limit": 1}
    if (await fetch_page(codes, key=target.program_key, query=query)).rows:
        return False
    at = address(target.codes_url, "v1", "coupons", coupon.uuid_code)
    gone = await ask("DELETE", at, key=target.program_key)
    if gone.status not in (200, 204, 404):
        raise CallFailed(refusal(gone), gone.status)
    return True


async def _upload(url: str, path: Path, key: str, query: Mapping[str, str]) -> dict[str, Any]:
    """Upload a file, retrying while another request creates the same codes."""
    for tries_left in reversed(range(_TRIES)):
        try:
            return await upload(url, path, key, "text/csv", query)
        except CallFailed as failed:
            if failed.status != HTTPStatus.SERVICE_UNAVAILABLE or not tries_left:
                raise
            await asyncio.sleep(_PAUSE_SECONDS)
    raise AssertionError


async def _coupon(target: Target, coupon: PlannedCoupon, report: _Report) -> str | None:
    """Return the coupon for the codes; None if there is none, refusing its codes if it cannot be created.

    A dry run checks the codes with another coupon if theirs does not exist yet.
    """
    at = address(target.codes_url, "v1", "coupons")
    found = await ask("GET", address(at, coupon.uuid_code), key=target.program_key)
    if found.status == 200:
        return coupon.uuid_code
    if found.status != 404:
        raise CallFailed(refusal(found), found.status)
    if report.dry_run:
        report.coupons_created += 1
        others = (await fetch_page(at, key=target.program_key, query={"limit": 1})).rows
        report.created += 0 if others else len(coupon.codes)
        return str(others[0]["uuid_code"]) if others else None
    made = await ask("POST", at, key=target.program_key, body=coupon.body)
    if made.status == 201:
        report.coupons_created += 1
    elif made.status != 422:
        raise CallFailed(refusal(made), made.status)
    elif "uuid_code" not in made.value["errors"]:
        reason = " ".join(text for texts in made.value["errors"].values() for text in texts)
        for line, code in coupon.codes.items():
            report.refuse(line, code.code, f"its coupon cannot be created: {reason}")
        return None
    return coupon.uuid_code


def _write(path: Path, codes: Sequence[ShopCode]) -> None:
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(_COLUMNS)
        for code in codes:
            cells = {**code.members, "code": code.code, "opening_uses": str(code.uses)}
            # One line each, so that the service's line numbers map to those of the file.
            writer.writerow([" ".join(cells.get(column, "").split()) for column in _COLUMNS])


async def _report_lines(target: Target, job_id: str, lines: Sequence[int], path: Path, report: _Report) -> None:
    """Add the service's remarks on lines, under their numbers in the shop's file."""
    url = address(target.codes_url, "v1", "jobs", job_id, "errors")
    await download(url, path, target.program_key, {"format": "ndjson"})
    for remark in _remarks(path):
        line = lines[int(remark["line"]) - 2]
        is_kept = remark["reason"] in _KEPT
        report.kept += is_kept
        report.refused += not is_kept
        report.lines.append(Remark(line, remark["code"] or "", remark["detail"], is_refused=not is_kept))


def _remarks(path: Path) -> list[Mapping[str, Any]]:
    # The last line is the trailer of the file.
    return [json.loads(line) for line in path.read_text("utf-8").splitlines()[:-1]]


def _show(report: _Report, as_json: bool) -> None:
    if as_json:
        show(asdict(report), as_json)
        return
    rows = [
        {"line": each.line, "code": each.code, "was": "refused" if each.is_refused else "-", "reason": each.reason}
        for each in report.lines
    ]
    if rows:
        show_many(rows, ("line", "code", "was", "reason"), as_json)
    made = "would be created" if report.dry_run else "created"
    tell(
        f"{made}: {report.coupons_created:,} coupons, {report.created:,} codes; "
        f"{report.kept:,} existed, {report.refused:,} refused"
    )
    if report.coupons_without_codes:
        tell(f"left out, because none of their codes could be created: {report.coupons_without_codes:,} coupons")
