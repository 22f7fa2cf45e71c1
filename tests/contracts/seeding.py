"""The objects that schemathesis finds, made over HTTP as a merchant would: a program, a partner, keys, a code, an
endpoint.
"""

from collections.abc import Mapping
from typing import Any

import aiohttp

from tests.running import RunningServices


async def seed(running: RunningServices) -> dict[str, str]:
    """Make one of each and return what `schemathesis.toml` asks for."""
    operator = {"Authorization": f"Bearer {running.operator_token}"}
    async with aiohttp.ClientSession(raise_for_status=True) as session:

        async def post(url: str, headers: Mapping[str, str], body: Any = None) -> Any:
            async with session.post(url, json=body or {}, headers=headers) as response:
                return await response.json()

        codes = running["codes"].url
        program = await post(f"{codes}/v1/programs", operator, {"name": "Shop", "link_url": "https://shop.example/"})
        program_url = f"{codes}/v1/programs/{program['data']['id']}"
        program_key = (await post(f"{program_url}/keys", operator))["data"]["key"]
        bearer = {"Authorization": f"Bearer {program_key}"}
        partner = await post(f"{codes}/v1/partners", bearer, {"name": "Acme", "status": "active"})
        partner_url = f"{codes}/v1/partners/{partner['data']['id']}"
        await post(f"{partner_url}/quota", operator, {"amount": 1_000_000})
        partner_key = (await post(f"{partner_url}/keys", bearer, {"rate_limit_per_minute": None}))["data"]["key"]
        spare = {"purpose": "spare"}
        program_key_id = (await post(f"{program_url}/keys", operator, spare))["data"]["id"]
        partner_key_id = (await post(f"{partner_url}/keys", bearer, spare))["data"]["id"]
        code = await post(f"{codes}/api/partners/codes/generate", {"X-Partner-Key": partner_key})
        endpoint_id = ""
        if "webhooks" in running.services:
            endpoints = f"{running['webhooks'].url}/v1/webhooks/endpoints"
            endpoint = await post(endpoints, bearer, {"url": "http://127.0.0.1:9/", "status": "paused"})
            endpoint_id = endpoint["data"]["id"]
    return {
        "OPERATOR_TOKEN": running.operator_token,
        "PROGRAM_ID": program["data"]["id"],
        "PROGRAM_KEY": program_key,
        "PARTNER_ID": partner["data"]["id"],
        "PARTNER_KEY": partner_key,
        "PROGRAM_KEY_ID": program_key_id,
        "PARTNER_KEY_ID": partner_key_id,
        "CODE": code["code"],
        "ENDPOINT_ID": endpoint_id,
    }
