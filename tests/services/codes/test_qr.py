"""The QR code of a code's link, for its program and for its partner, by the code and by its id."""

import io
import uuid

import pytest
import segno

from tests.databases import Database
from tests.services.codes.bulk import make_coupon, rows
from tests.services.codes.conftest import Owner, Service
from tests.services.codes.test_access import refusal
from tests.services.codes.test_bulk_changes import make


@pytest.fixture
async def coupon(database: Database, program: Owner) -> str:
    return await make_coupon(database, program.id)


class TestQR:
    async def test_says_the_link(self, service: Service, program: Owner, coupon: str, database: Database) -> None:
        await make(service, program, 1, pattern="Spring-######", allow_weak=True)
        [code] = await rows(database, "SELECT id, code FROM codes.promotion_codes")
        headers = {"Authorization": f"Bearer {program.key}"}
        drawn = set()
        for ref in (code["id"], code["code"], code["code"].lower().replace("-", " ")):
            async with service.http.get(f"/v1/promotion-codes/{ref}/qr", headers=headers) as response:
                assert (response.status, response.content_type) == (200, "image/svg+xml")
                drawn.add(await response.read())
        [picture] = drawn
        expected = io.BytesIO()
        made = segno.make_qr(f"https://cinematiccard.com/?promo={code['code']}", error="m")
        made.save(expected, kind="svg", scale=8, border=4, light="white")
        assert picture == expected.getvalue()
        async with service.http.get(
            f"/v1/promotion-codes/{code['id']}/qr?format=png&scale=4", headers=headers
        ) as response:
            assert response.content_type == "image/png"
            assert (await response.read()).startswith(b"\x89PNG")

    async def test_a_partner_s_is_the_same_picture(self, service: Service, program: Owner, partner: Owner) -> None:
        minted = (await service.generate(partner)).body
        [listed] = (await service.send("GET", "/api/partners/codes", partner.key)).body["codes"]
        pictures = set()
        for asks, path in ((program, "/v1/promotion-codes"), (partner, "/api/partners/codes")):
            for ref in (listed["id"], minted["code"], minted["code"].lower()):
                shown = (await service.send("GET", f"{path}/{ref}", asks.key)).body
                assert shown.get("data", shown)["url"] == minted["url"]
                drawn = await service.send("GET", f"{path}/{ref}/qr?scale=2", asks.key)
                assert (drawn.status, drawn.headers["Content-Type"]) == (200, "image/svg+xml")
                pictures.add(drawn.raw)
        assert len(pictures) == 1

    async def test_of_another_partner_s_code_says_what_one_that_is_missing_does(
        self, service: Service, program: Owner, partner: Owner
    ) -> None:
        """Also for a partner of the same program, and for a code that was archived."""
        other = await service.partner(program, quota=1, name="Other")
        theirs = (await service.generate(other)).body["code"]
        archived = (await service.generate(partner)).body["code"]
        assert (await service.send("DELETE", f"/v1/promotion-codes/{archived}", program.key)).status == 200
        their_id = (await service.send("GET", f"/v1/promotion-codes/{theirs}", program.key)).data["id"]
        for tail in ("", "/qr"):
            nothing = str(uuid.uuid4())
            absent = await service.send("GET", f"/api/partners/codes/{nothing}{tail}", partner.key)
            assert absent.status == 404
            for ref in (theirs, their_id, archived):
                refused = await service.send("GET", f"/api/partners/codes/{ref}{tail}", partner.key)
                assert refusal(refused, {"code": ref}) == refusal(absent, {"code": nothing})

    async def test_of_the_longest_link(self, service: Service, database: Database) -> None:
        program = await service.program(link_url="https://shop.example/" + "x" * 1_979)
        await make_coupon(database, program.id)
        await make(service, program, 1, prefix="A" * 35, length=64)
        [code] = await rows(database, "SELECT id FROM codes.promotion_codes")
        headers = {"Authorization": f"Bearer {program.key}"}
        async with service.http.get(f"/v1/promotion-codes/{code['id']}/qr", headers=headers) as response:
            assert response.status == 200

    async def test_refusals(self, service: Service, program: Owner, coupon: str) -> None:
        for ref in (uuid.uuid4(), "nothing", "%21"):
            assert (await service.send("GET", f"/v1/promotion-codes/{ref}/qr", program.key)).status == 404
        for query in ("scale=0", "scale=33", "scale=x", "format=gif"):
            refused = await service.send("GET", f"/v1/promotion-codes/x/qr?{query}", program.key)
            assert refused.status == 422
