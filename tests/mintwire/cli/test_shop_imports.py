"""`mintwire import`: imported codes keep their counts and limits, however often a file is imported."""

import asyncio
import csv
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from mintwire.cli.client import CallFailed
from mintwire.cli.transfers import upload
from tests.mintwire.cli.conftest import Mintwire

FILES = Path(__file__).parent.parent / "shops"


async def carry_over(mintwire: Mintwire, shop: str, *options: str, code: int = 0) -> Any:
    return await mintwire.json("import", str(FILES / f"{shop}.csv"), "--from", shop, *options, code=code)


async def redeem(mintwire: Mintwire, code: str, ref: str, *options: str, expected: int = 0) -> str:
    order = ("--subtotal", "10000", "--currency", "USD", "--customer-id", ref)
    return (await mintwire("checkout", "redeem", code, "--order-ref", ref, *order, *options, code=expected)).err


async def codes_of(mintwire: Mintwire) -> dict[str, Any]:
    found = await mintwire.json("code", "list", "--program", "--limit", "250")
    return {each["code"]: each for each in found}


@pytest.mark.parametrize(
    ("shop", "coupons", "created", "refused"), [("shopify", 4, 5, 6), ("woocommerce", 3, 4, 6), ("stripe", 3, 4, 1)]
)
async def test_a_file_is_carried_over_once_however_often_it_is_read(
    mintwire: Mintwire, shop: str, coupons: int, created: int, refused: int
) -> None:
    """A second run would double every code."""
    tried = await carry_over(mintwire, shop, "--dry-run")
    assert (tried["coupons_created"], tried["created"], tried["refused"]) == (coupons, created, refused)
    assert await codes_of(mintwire) == {}
    made = await carry_over(mintwire, shop)
    assert (made["coupons_created"], made["created"], made["kept"], made["refused"]) == (coupons, created, 0, refused)
    before = await codes_of(mintwire)
    assert len(before) == created
    again = await carry_over(mintwire, shop)
    assert (again["coupons_created"], again["created"], again["kept"], again["refused"]) == (0, 0, created, refused)
    assert await codes_of(mintwire) == before
    # Every line of the file except the header is accounted for.
    lines = (FILES / f"{shop}.csv").read_text("utf-8").splitlines()
    assert len(lines) - 1 == again["kept"] + again["refused"]
    said = Counter(each["line"] for each in again["lines"] if each["is_refused"] or "was left" in each["reason"])
    assert said == Counter(range(2, len(lines) + 1))
    told = await mintwire("import", str(FILES / f"{shop}.csv"), "--from", shop)
    assert f"{created} existed, {refused} refused" in told.err


# The columns of each shop for a code, its uses so far and its limit.
COLUMNS = {
    "shopify": ("Name", "Times Used In Total", "Usage Limit Per Code"),
    "woocommerce": ("post_title", "usage_count", "usage_limit"),
    "stripe": ("Code", "Times Redeemed", "Max Redemptions"),
}


@pytest.mark.parametrize("shop", COLUMNS)
async def test_each_code_ends_with_the_count_and_the_limit_of_its_line(mintwire: Mintwire, shop: str) -> None:
    """A used-up code would be valid again."""
    code, uses, limit = COLUMNS[shop]
    with (FILES / f"{shop}.csv").open(encoding="utf-8", newline="") as file:
        there = {row[code]: (int(row[uses] or 0), int(row[limit] or 0) or None) for row in csv.DictReader(file)}
    await carry_over(mintwire, shop)
    here = await codes_of(mintwire)
    assert {each: (row["times_redeemed"], row["redemption_times_value"]) for each, row in here.items()} == {
        each: there[each] for each in here
    }
    assert sum(uses > 0 for uses, _ in (there[each] for each in here)) >= 2


class TestAtTheRedemptionDoor:
    async def test_shopify_s_limits_hold(self, mintwire: Mintwire) -> None:
        await carry_over(mintwire, "shopify")
        codes = await codes_of(mintwire)
        uses = {code: each["times_redeemed"] for code, each in codes.items()}
        assert uses == {"WELCOME15": 37, "VIP-15": 0, "summer 10% off": 3, "ÜBER5": 9, "OLD20": 12}
        assert "code_used" in await redeem(mintwire, "SUMMER 10% OFF", "s-1", expected=1)
        await redeem(mintwire, "über5", "s-2")
        assert "code_used" in await redeem(mintwire, "ÜBER5", "s-3", expected=1)
        assert "code_expired" in await redeem(mintwire, "OLD20", "s-4", expected=1)
        await redeem(mintwire, "welcome 15", "s-5")

    async def test_woocommerce_s_limits_hold(self, mintwire: Mintwire) -> None:
        await carry_over(mintwire, "woocommerce")
        await redeem(mintwire, "HERBST25", "w-1")
        assert "code_used" in await redeem(mintwire, "Herbst25", "w-2", expected=1)
        assert "code_inactive" in await redeem(mintwire, "entwurf", "w-3", expected=1)

    async def test_stripe_s_limits_hold_for_codes_and_for_their_coupon(self, mintwire: Mintwire) -> None:
        await carry_over(mintwire, "stripe")
        await redeem(mintwire, "LAUNCH50", "p-1")
        assert "code_used" in await redeem(mintwire, "LAUNCH50", "p-2", expected=1)
        # 18 of the coupon's 20 were gone; this is the last one, although the code itself has no limit.
        await redeem(mintwire, "LAUNCHVIP", "p-3", "--first-order")
        assert "coupon_exhausted" in await redeem(mintwire, "LAUNCHVIP", "p-4", "--first-order", expected=1)


async def test_after_a_kill_half_way_the_rest_is_made(mintwire: Mintwire, monkeypatch: pytest.MonkeyPatch) -> None:
    """Killed between a coupon and its codes, and between one coupon and the next."""
    calls = 0

    async def dies(*arguments: Any) -> Any:
        nonlocal calls
        calls += 1
        if calls % 2 == 0:
            raise CallFailed("killed")
        return await upload(*arguments)

    monkeypatch.setattr("mintwire.cli.shop_imports.upload", dies)
    for _ in range(5):
        await mintwire("import", str(FILES / "shopify.csv"), "--from", "shopify", code=1)
    monkeypatch.setattr("mintwire.cli.shop_imports.upload", upload)
    await carry_over(mintwire, "shopify")
    assert len(await codes_of(mintwire)) == 5
    coupons = [each for each in await mintwire.json("coupon", "list") if each["uuid_code"].startswith("shopify-")]
    assert sorted(each["times_redeemed"] for each in coupons) == [3, 9, 12, 37]


async def test_two_at_once_make_each_once(mintwire: Mintwire) -> None:
    """Two imports of the same file would create each coupon twice."""
    async with (
        mintwire.started("import", str(FILES / "stripe.csv"), "--from", "stripe") as one,
        mintwire.started("import", str(FILES / "stripe.csv"), "--from", "stripe") as other,
    ):
        ended = await asyncio.gather(one.communicate(), other.communicate())
    assert [one.returncode, other.returncode] == [0, 0], ended
    assert len(await codes_of(mintwire)) == 4


async def test_a_coupon_of_which_all_codes_are_refused_is_not_left_behind(mintwire: Mintwire, tmp_path: Path) -> None:
    """Neither by the run that creates it nor by a run that finds it after a kill."""
    file = tmp_path / "codes.csv"
    file.write_text(
        "Name,Value,Value Type,Start,End\n"
        "GOOD,-5,percentage,,\n"
        "BACKWARDS,-7,percentage,2031-01-02 00:00:00 -0500,2031-01-01 00:00:00 -0500\n"
    )
    told = [("--dry-run",), (), ()]
    for created, options in zip((1, 1, 0), told, strict=True):
        report = await mintwire.json("import", str(file), "--from", "shopify", *options)
        assert (report["coupons_created"], report["coupons_without_codes"]) == (created, 1)
        assert (report["created"], report["kept"], report["refused"]) == (created, 1 - created, 1)
    names = [each["uuid_code"] for each in await mintwire.json("coupon", "list")]
    assert len([name for name in names if name.startswith("shopify-")]) == 1
    said = await mintwire("import", str(file), "--from", "shopify")
    assert "left out, because none of their codes could be created: 1 coupons" in said.err


async def test_excel_s_unicode_text_is_read(mintwire: Mintwire, tmp_path: Path) -> None:
    """In UTF-16, with tabs; an invalid row is reported, and a truncated file is refused as a whole."""
    text = "Name\tValue\tValue Type\r\nГОДЪ5\t-5\tpercentage\r\nÄ\ud800\t-5\tpercentage\r\n"
    file = tmp_path / "codes.txt"
    raw = ("\ufeff" + text).encode("utf-16-le", "surrogatepass")
    file.write_bytes(raw)
    report = await mintwire.json("import", str(file), "--from", "shopify")
    assert (report["created"], [line["line"] for line in report["lines"]]) == (1, [3])
    assert list(await codes_of(mintwire)) == ["ГОДЪ5"]
    file.write_bytes(raw[:-1])
    assert "middle of a character" in (await mintwire("import", str(file), "--from", "shopify", code=1)).err


async def test_another_file_is_refused_in_one_sentence(mintwire: Mintwire, tmp_path: Path) -> None:
    (tmp_path / "x.csv").write_text("Colour,Size\nred,5\n")
    for name in ("x.csv", "nothing.csv"):
        refused = await mintwire("import", str(tmp_path / name), "--from", "stripe", code=1)
        assert name in refused.err
