"""The objects that schemathesis finds, made over HTTP as those would who use them."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import aiohttp

from tests.running import RunningServices

COUPON = "spring-25"
CODE = "SPRING-CODE-1"
ORDER_REF = "seeded-order"
_COUPON = {
    "uuid_code": COUPON,
    "coupon_discount_type": "percent",
    "coupon_discount_amount": 25,
    "coupon_duration_type": "once",
    "promotion_codes": [CODE],
}


async def seed(running: RunningServices) -> dict[str, str]:
    """Make one of each kind and return what `schemathesis.toml` asks for; of a service that does not run, nothing."""
    async with aiohttp.ClientSession(raise_for_status=True) as session:
        seeding = _Seeding(running, session)
        await seeding.codes()
        if "redemption" in running.services:
            await seeding.redemption()
        if "webhooks" in running.services:
            await seeding.webhooks()
    return seeding.values


@dataclass
class _Seeding:
    running: RunningServices
    session: aiohttp.ClientSession
    values: dict[str, str] = field(
        default_factory=lambda: dict.fromkeys(
            ("ENDPOINT_ID", "REDEMPTION_ID", "RESERVATION_ID", "STATEMENT_ID"), "none"
        )
    )

    async def codes(self) -> None:
        """A program and a partner with keys, a coupon with a code, and a code that the partner generated."""
        operator = _bearer(self.running.operator_token)
        body = {"name": "Shop", "link_url": "https://shop.example/"}
        program = await self._post("codes", "/v1/programs", operator, body)
        keys = f"/v1/programs/{program['id']}/keys"
        program_key = (await self._post("codes", keys, operator))["key"]
        program_key_id = (await self._post("codes", keys, operator, {"purpose": "spare"}))["id"]
        bearer = _bearer(program_key)
        partner = await self._post("codes", "/v1/partners", bearer, {"name": "Acme", "status": "active"})
        path = f"/v1/partners/{partner['id']}"
        await self._post("codes", f"{path}/quota", operator, {"amount": 1_000_000})
        partner_key = (await self._post("codes", f"{path}/keys", bearer, {"rate_limit_per_minute": None}))["key"]
        partner_key_id = (await self._post("codes", f"{path}/keys", bearer, {"purpose": "spare"}))["id"]
        generated = await self._post("codes", "/api/partners/codes/generate", {"X-Partner-Key": partner_key})
        await self._post("codes", "/v1/coupons", bearer, _COUPON)
        ordered = await self._post("codes", "/api/partners/code-orders", {"X-Partner-Key": partner_key}, {"count": 5})
        self.values |= {
            "OPERATOR_TOKEN": self.running.operator_token,
            "PROGRAM_ID": program["id"],
            "PROGRAM_KEY": program_key,
            "PROGRAM_KEY_ID": program_key_id,
            "PARTNER_ID": partner["id"],
            "PARTNER_KEY": partner_key,
            "PARTNER_KEY_ID": partner_key_id,
            "GENERATED_CODE": generated["code"],
            "CODE_ORDER_ID": ordered["id"],
            "COUPON": COUPON,
            "CODE": CODE,
            "ORDER_REF": ORDER_REF,
        }

    async def redemption(self) -> None:
        """An order that redeemed the code, one that reserves it, and one by which a partner earns a commission."""
        bearer = _bearer(self.values["PROGRAM_KEY"])
        body = {"codes": [CODE], "order_ref": ORDER_REF}
        redeemed = await self._post("redemption", "/v1/redemptions", bearer, body)
        reserved = await self._post("redemption", "/v1/reservations", bearer, {**body, "order_ref": "order-2"})
        coupon = {**_COUPON, "uuid_code": "earning", "commission_percent": 10, "promotion_codes": []}
        await self._post("codes", "/v1/coupons", bearer, coupon)
        earning = {"coupon_uuid": "earning", "code": "EARNING-1", "limit_to_specific_partner": True}
        earning["coupon_specific_partners"] = {"id": self.values["PARTNER_ID"]}
        await self._post("codes", "/v1/promotion-codes", bearer, earning)
        order = {"currency": "EUR", "subtotal": 5_000}
        await self._post(
            "redemption", "/v1/redemptions", bearer, {"codes": ["EARNING-1"], "order_ref": "order-3", "order": order}
        )
        url = f"{self.running['redemption'].url}/v1/commission-statements"
        async with self.session.get(url, headers=bearer) as response:
            self.values["STATEMENT_ID"] = (await response.json())["data"][0]["id"]
        self.values |= {"REDEMPTION_ID": redeemed["redemptions"][0]["id"], "RESERVATION_ID": reserved["id"]}

    async def webhooks(self) -> None:
        """An endpoint at which nobody listens."""
        bearer = _bearer(self.values["PROGRAM_KEY"])
        body = {"url": "http://127.0.0.1:9/", "status": "paused"}
        endpoint = await self._post("webhooks", "/v1/webhooks/endpoints", bearer, body)
        self.values["ENDPOINT_ID"] = endpoint["id"]

    async def _post(self, service: str, path: str, headers: Mapping[str, str], body: Any = None) -> Any:
        url = f"{self.running[service].url}{path}"
        async with self.session.post(url, json=body or {}, headers=headers) as response:
            answer = await response.json()
        return answer.get("data", answer)


def _bearer(key: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {key}"}
