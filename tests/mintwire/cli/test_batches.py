"""Many codes by the command: batches, files and bulk actions, against the running services."""

import csv
import hashlib
import json
import signal
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from mintwire.cli import transfers
from mintwire.cli.client import CallFailed, address, fetch
from mintwire.cli.jobs import progress
from tests.mintwire.cli.conftest import Merchant, Mintwire
from tests.running import RunningServices


@pytest.fixture
async def coupon(services: RunningServices, merchant: Merchant) -> str:
    body = {
        "uuid_code": "spring",
        "coupon_discount_type": "percent",
        "coupon_discount_amount": 25,
        "coupon_duration_type": "once",
    }
    made = await fetch("POST", address(services.urls["codes"], "v1", "coupons"), key=merchant.program_key, body=body)
    return str(made["uuid_code"])


async def test_a_small_batch_prints_its_codes(mintwire: Mintwire, coupon: str) -> None:
    arguments = ("batch", "create", coupon, "--count", "5", "--pattern", "SPRING-########", "--idempotency-key", "k")
    made = await mintwire(*arguments)
    codes = made.out.split()
    assert len(set(codes)) == 5
    assert all(code.startswith("SPRING-") for code in codes)
    assert "5 codes, batch " in made.err
    assert (await mintwire(*arguments)).out == made.out
    assert (await mintwire.json(*arguments))["codes"] == codes


async def test_a_large_batch_is_waited_for_and_downloaded(mintwire: Mintwire, coupon: str, tmp_path: Path) -> None:
    job = await mintwire.json("batch", "create", coupon, "--count", "3000", "--prefix", "VIP-", "--check-symbol")
    assert (job["state"], job["created"]) == ("done", 3_000)
    assert await mintwire.json("batch", "status", job["id"], "--wait") == job
    file = tmp_path / "codes.csv"
    assert "3,000 codes" in (await mintwire("batch", "download", job["id"], "--output", str(file))).err
    rows = list(csv.DictReader(file.read_text().splitlines()[:-1]))
    assert len({row["code"] for row in rows}) == 3_000
    assert "job_finished" in (await mintwire("batch", "cancel", job["id"], code=1)).err
    assert job["id"] in (await mintwire("job", "list", "--kind", "batch")).out


async def test_a_batch_without_room_is_refused_with_the_length_needed(mintwire: Mintwire, coupon: str) -> None:
    refused = await mintwire("batch", "create", coupon, "--count", "2000", "--pattern", "A##", code=1)
    assert "code_space_too_small" in refused.err
    assert "random symbols instead of 2" in refused.err


async def test_codes_are_imported_exported_and_changed(mintwire: Mintwire, coupon: str, tmp_path: Path) -> None:
    file = tmp_path / "codes.csv"
    file.write_text("code,expires_at\nA-1,2030-01-01\nA-2,\nA-3,never\n")
    counted = await mintwire.json("code", "import", str(file), "--coupon", coupon, "--dry-run")
    assert (counted["created"], counted["refused"]) == (2, 1)
    job = await mintwire.json("code", "import", str(file), "--coupon", coupon)
    assert (job["created"], job["refused"]) == (2, 1)
    assert "4,A-3,invalid_value" in (await mintwire("job", "errors", job["id"])).out
    matched = await mintwire.json("code", "bulk", "deactivate", "--coupon", coupon, "--dry-run")
    assert matched == {"dry_run": True, "matched": 2, "is_whole": True}
    changed = await mintwire.json("code", "bulk", "deactivate", "--coupon", coupon)
    assert (changed["state"], changed["updated"]) == ("done", 2)
    extended = await mintwire.json("code", "bulk", "extend", "--coupon", coupon, "--extend-by-days", "1")
    assert (extended["updated"], extended["skipped"]) == (1, 1)
    exported = (await mintwire("code", "export", "--coupon", coupon, "--inactive", "--format", "ndjson")).out
    rows = [json.loads(line) for line in exported.splitlines()]
    assert [row["code"] for row in rows[:-1]] == ["A-1", "A-2"]
    assert rows[0]["expires_at"].startswith("2030-01-02")
    again = tmp_path / "again.ndjson"
    again.write_text(exported)
    same = await mintwire.json("code", "import", str(again), "--coupon", coupon, "--on-conflict", "update")
    assert (same["skipped"], same["refused"]) == (2, 0)


async def test_columns_of_another_shop_are_mapped_and_the_rest_ignored_on_wish(
    mintwire: Mintwire, coupon: str, tmp_path: Path
) -> None:
    file = tmp_path / "theirs.csv"
    file.write_text("Gutschein;Ende;Farbe\nM-1;2030-01-01;red\n")
    mapped = ("code", "import", str(file), "--coupon", coupon, "--map", "Gutschein=code", "--map", "Ende=expires_at")
    assert "Farbe" in (await mintwire(*mapped, code=1)).err
    job = await mintwire.json(*mapped, "--ignore-unknown-columns")
    assert (job["created"], job["refused"]) == (1, 0)
    exported = (await mintwire("code", "export", "--coupon", coupon, "--format", "ndjson")).out
    [row, _] = [json.loads(line) for line in exported.splitlines()]
    assert (row["code"], row["expires_at"][:10]) == ("M-1", "2030-01-01")
    pair = "Gutschein=code,Ende=expires_at"
    assert (
        "several times" in (await mintwire("code", "import", str(file), "--coupon", coupon, "--map", pair, code=2)).err
    )


async def test_a_file_of_unknown_kind_or_that_is_not_there_is_refused(
    mintwire: Mintwire, coupon: str, tmp_path: Path
) -> None:
    refused = await mintwire("code", "import", str(tmp_path / "codes.xlsx"), "--coupon", coupon, code=2)
    assert "--format" in refused.err
    refused = await mintwire("code", "import", str(tmp_path / "codes.csv"), "--coupon", coupon, code=1)
    assert "cannot be read" in refused.err
    assert "--output" in (await mintwire("batch", "download", "nothing", "--json", code=2)).err
    refused = await mintwire("batch", "download", "nothing", code=1)
    assert "404" in refused.err


async def test_interrupted_the_job_is_done_all_the_same(mintwire: Mintwire, coupon: str) -> None:
    """Ctrl-C while watching must not leave half of a batch."""
    async with mintwire.started("batch", "create", coupon, "--count", "60000", "--no-wait", "--json") as process:
        out, _ = await process.communicate()
    job = json.loads(out)
    async with mintwire.started("batch", "status", job["id"], "--wait") as process:
        process.send_signal(signal.SIGINT)
        await process.wait()
    assert (await mintwire.json("batch", "status", job["id"], "--wait"))["created"] == 60_000


def test_progress_is_one_line() -> None:
    assert progress({"state": "running", "processed": 450_000, "requested": 1_000_000}) == (
        "[#############.................]  45 %  450,000 of 1,000,000"
    )
    assert progress({"state": "running", "processed": 1_500, "requested": None}) == "running: 1,500"


class TestDownloads:
    """A truncated file must not pass for a shorter one."""

    BODY = b"code\nA1\nB1\n"
    WHOLE = BODY + b"# count=2 sha256=c3b0c8b0aa2f5a4a5b8c9d8a9f58f0a5a4a5b8c9d8a9f58f0a5a4a5b8c9d8a9f\n"

    async def checked(self, data: bytes, size: int, path: Path) -> int:
        async def chunks() -> AsyncIterator[bytes]:
            for start in range(0, len(data), size):
                yield data[start : start + size]

        with path.open("wb") as file:
            return await transfers.write_checked(chunks(), file)

    @pytest.mark.parametrize("size", [1, 2, 5, 7, 11, 1_000])
    async def test_a_whole_one_is_accepted_however_it_is_cut(self, size: int, tmp_path: Path) -> None:
        whole = self.BODY + b"# count=2 sha256=%s\n" % _sha256(self.BODY)
        assert await self.checked(whole, size, tmp_path / "file") == 2
        assert (tmp_path / "file").read_bytes() == whole
        lines = b'{"code":"A1"}\n'
        trailer = json.dumps({"export": {"count": 1, "sha256": _sha256(lines).decode()}}).encode() + b"\n"
        assert await self.checked(lines + trailer, size, tmp_path / "file") == 1

    @pytest.mark.parametrize("data", [b"", b"code\n", BODY, WHOLE, b'{"code":"A1"}\n', b"[]\n"])
    async def test_one_that_is_not_whole_is_refused(self, data: bytes, tmp_path: Path) -> None:
        with pytest.raises(CallFailed, match="incomplete"):
            await self.checked(data, 4, tmp_path / "file")


def _sha256(data: bytes) -> bytes:
    return hashlib.sha256(data).hexdigest().encode()
