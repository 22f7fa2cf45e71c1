"""The partner's codes, on the real codes service: mint, find, page, draw."""

import re
from datetime import timedelta

import pytest

from services.dashboard.domain.code_filters import CodeFilters
from tests.databases import Database
from tests.services.dashboard.conftest import HeldClock
from tests.services.dashboard.partners import partner_side

PAGE = "/partner/codes"
_FORM_ID = re.compile(r'name="form_id" value="(\w+)"')
_ROW = re.compile(r'<td><a href="/partner/codes/([^"]+)">')


def test_days_are_whole_ones_of_the_zone() -> None:
    filters = CodeFilters("", "", "2026-10-25", "2026-10-25", "", zone="Europe/Berlin")
    assert filters.errors == {}
    # This day has 25 hours.
    assert filters.query["created_from"] == "2026-10-24T22:00:00Z"
    assert filters.query["created_before"] == "2026-10-25T23:00:00Z"
    assert CodeFilters("", "", "2026-10-26", "2026-10-25", "", zone="UTC").errors == {
        "to": "The last day is before the first"
    }
    assert "to" in CodeFilters("", "", "", "9999-12-31", "", zone="UTC").errors


@pytest.mark.timeout(120)
async def test_a_partner_mints_finds_pages_and_draws_codes(
    database: Database, clean_broker: dict[str, str], clock: HeldClock
) -> None:
    async with partner_side(database, clean_broker, clock, quota=27) as side:
        partner = await side.browser()
        assert "Your first code is one call away" in (await partner.get(PAGE)).text

        form_id = _FORM_ID.findall((await partner.get(f"{PAGE}/new")).text)[0]
        form = {"form_id": form_id, "reference": "<b>order</b> 1"}
        minted = await partner.post(PAGE, form)
        assert minted.status == 303
        assert (await partner.post(PAGE, form)).location == minted.location
        page = await partner.get(minted.location)
        code = minted.location.split("/")[3].split("?")[0]
        assert f"https://shop.example/?promo={code}" in page.text
        assert "&lt;b&gt;order&lt;/b&gt; 1" in page.text
        for name, kind, begins in (("svg", "image/svg+xml", b"<?xml"), ("png", "image/png", b"\x89PNG")):
            headers = {"Cookie": "; ".join(f"{name}={value}" for name, value in partner.cookies.items())}
            async with side.dashboard.http.get(
                f"{partner.url}{PAGE}/{code}/qr?format={name}", headers=headers
            ) as drawn:
                assert drawn.status == 200
                assert drawn.content_type == kind
                assert drawn.headers["Content-Disposition"] == f'attachment; filename="{code}.{name}"'
                assert (await drawn.read()).startswith(begins)
        assert (await partner.get(f"{PAGE}/{code}/qr?format=exe")).status == 404
        assert (await partner.get(f"{PAGE}/NORTH-NOTTHERE")).status == 404

        for _ in range(26):
            assert (await partner.post(PAGE, {})).status == 303
        refused = await partner.post(PAGE, {})
        assert refused.status == 422
        assert "No codes left. Minting is refused until more are granted." in refused.text
        assert (await partner.post("/account", {"name": "Mara", "zone": "", "rows": "25"})).status == 303
        first = await partner.get(PAGE)
        newest = _ROW.findall(first.text)
        following = re.findall(r'rel="next" href="([^"]+)"', first.text)[0].replace("&amp;", "&")
        oldest = _ROW.findall((await partner.get(following)).text)
        assert (len(newest), len(oldest), oldest[-1]) == (25, 2, code)
        assert len({*newest, *oldest}) == 27

        today = clock.now.date()
        for query, expected in (
            (f"code={code.lower()}", [code]),
            ("reference=%3Cb%3Eorder%3C/b%3E+1", [code]),
            ("state=expired", []),
            (f"to={today - timedelta(days=2)}", []),
        ):
            found = await partner.get(f"{PAGE}?{query}")
            assert _ROW.findall(found.text) == expected, query
            assert ("No code matches" in found.text) is (expected == []), query
            assert "Clear the filters" in found.text
        assert (
            len(_ROW.findall((await partner.get(f"{PAGE}?state=active&from={today - timedelta(days=2)}")).text)) == 25
        )
        for query, sentence in (
            ("code=NO", "at least 4 letters"),
            ("from=soon", "Give a day"),
            ("state=x", "Choose a"),
        ):
            found = await partner.get(f"{PAGE}?{query}")
            assert found.status == 422
            assert sentence in found.text

        looking = await side.browser("l@x.example", "look")
        page = await looking.get(PAGE)
        assert _ROW.findall(page.text)
        assert "Mint one here" not in page.text
        assert (await looking.get(f"{PAGE}/new")).status == 403
        assert (await looking.post(PAGE, {})).status == 403
