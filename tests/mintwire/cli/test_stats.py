"""Statistics by the command: bars for people, JSON and CSV for programs, the partner's own with its key."""

import csv
from io import StringIO

from tests.mintwire.cli.conftest import Merchant, Mintwire


async def test_codes_are_drawn_by_day_and_printed_as_the_service_answers(mintwire: Mintwire) -> None:
    for _ in range(3):
        await mintwire("code", "generate")
    drawn = await mintwire("stats", "codes", "--zone", "Asia/Kolkata")
    lines = drawn.out.splitlines()
    assert lines[0].split() == ["at", "minted", "redeemed"]
    assert len(lines) > 28
    assert lines[-1].split()[1:] == ["3", "0", "#" * 40]
    assert "Asia/Kolkata" in drawn.err
    data = await mintwire.json("stats", "codes")
    assert sum(point["minted"] for point in data["series"][0]["points"]) == 3
    table = await mintwire("stats", "codes", "--csv", "--by", "partner")
    rows = list(csv.DictReader(StringIO(table.out)))
    assert [int(row["minted"]) for row in rows] == [3]


async def test_groups_have_a_line_each(mintwire: Mintwire, merchant: Merchant) -> None:
    await mintwire("coupon", "create", "spring", "--percent", "10")
    await mintwire("code", "create", "spring", "SPRING-1")
    for _ in range(2):
        await mintwire("code", "generate")
    lines = (await mintwire("stats", "codes", "--by", "partner")).out.splitlines()
    assert [line.split()[:3] for line in lines] == [
        ["partner_id", "minted", "redeemed"],
        [merchant.partner_id, "2", "0"],
        ["none", "1", "0"],
    ]
    assert [line.count("#") for line in lines] == [0, 40, 20]
    own = await mintwire.json("stats", "codes", "--own")
    assert sum(point["minted"] for point in own["series"][0]["points"]) == 2


async def test_refusals_are_counted_by_reason(mintwire: Mintwire) -> None:
    refused = await mintwire("checkout", "redeem", "NONE", "--order-ref", "order-1", code=1)
    assert refused.err
    lines = (await mintwire("stats", "redemptions", "--by", "reason")).out.splitlines()
    assert lines[0].split() == ["reason", "refusals"]
    assert lines[1].split()[:2] == ["code_unknown", "1"]


async def test_webhooks_are_counted_and_what_cannot_be_is_told(mintwire: Mintwire) -> None:
    for by in ((), ("--by", "event-type"), ("--by", "reason"), ("--by", "endpoint"), ("--own",)):
        assert (await mintwire("stats", "webhooks", *by)).out
    assert (await mintwire("stats", "webhooks", "--csv")).out.startswith("at,group,is_rest,messages,")
    assert "too_many_points" in (await mintwire("stats", "webhooks", "--step", "15m", code=1)).err
    for kind in ("codes", "redemptions", "webhooks"):
        assert "must not lie after now" in (await mintwire("stats", kind, "--from", "2099-01-01", code=1)).err
    assert "too_many_points" in (await mintwire("stats", "webhooks", "--step", "15m", "--csv", code=1)).err
    assert "either --json or --csv" in (await mintwire("stats", "webhooks", "--json", "--csv", code=2)).err
