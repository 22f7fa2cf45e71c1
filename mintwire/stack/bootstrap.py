"""Creates the demo's program, partner, keys and endpoint through the HTTP APIs, once; later runs find them again."""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from http import HTTPStatus
from typing import Any

import aiohttp

from mintwire.stack.errors import ServerFailed
from mintwire.stack.folder import StackFolder
from mintwire.stack.receiver import PATH

DEMO_FILE = "demo.json"
QUOTA = 50_000
_PROGRAM_SCOPES = ["manage", "checkout", "webhooks"]
_SHOP_SCOPES = ["checkout"]
_PARTNER_SCOPES = ["codes:generate", "codes:read", "webhooks"]
_EVENT_TYPES = ["code.redeemed", "test"]
_SIGN_INS = (
    ("partner", "change"),
    ("partner", "look"),
    ("merchant", "change"),
    ("merchant", "look"),
    ("operator", "change"),
)
_TIMEOUT = aiohttp.ClientTimeout(total=15)


async def bootstrap(
    folder: StackFolder, services: Mapping[str, str], operator_token: str, receiver_url: str
) -> dict[str, Any]:
    """Return the demo's members of `stack.json`, creating what is missing."""
    async with aiohttp.ClientSession(timeout=_TIMEOUT) as session:
        api = _API(session, services, operator_token)
        demo = folder.read(DEMO_FILE)
        if not await api.knows(demo):
            demo = await api.make_program()
            folder.write(DEMO_FILE, demo)
        url = f"{receiver_url}{PATH}"
        # Kept at once: a purpose has at most two live keys, and the rest may fail.
        if "shop" not in demo:
            demo["shop"] = {"api_key": await api.make_shop_key(demo)}
            folder.write(DEMO_FILE, demo)
        demo["receiver"] = await api.endpoint(demo, url)
        demo.setdefault("sign_ins", [])
        await api.add_sign_ins(demo)
        folder.write(DEMO_FILE, demo)
    folder.receiver_secret.touch(mode=0o600)
    folder.receiver_secret.write_text(demo["receiver"]["secret"])
    folder.webhooks_log.touch(mode=0o600)
    return {
        "program": demo["program"],
        "partner": demo["partner"],
        "shop": demo["shop"],
        "receiver": {"url": url, "secret": demo["receiver"]["secret"], "log": str(folder.webhooks_log)},
        "sign_ins": demo["sign_ins"],
    }


async def lead_links_to(shop_url: str, services: Mapping[str, str], demo: Mapping[str, Any]) -> None:
    """Have the links of the demo's codes open the shop; at each start, because its port may be another one."""
    async with aiohttp.ClientSession(timeout=_TIMEOUT) as session:
        await _API(session, services, "").lead_links_to(f"{shop_url}/", demo)


class _API:
    """The few calls that the demo needs."""

    def __init__(self, session: aiohttp.ClientSession, services: Mapping[str, str], operator_token: str) -> None:
        self._session = session
        self._services = services
        self._operator = {"Authorization": f"Bearer {operator_token}"}

    async def knows(self, demo: Mapping[str, Any]) -> bool:
        """Return whether the demo of an earlier run still exists; the database may be a different one."""
        if "program" not in demo:
            return False
        path = f"/v1/programs/{demo['program']['id']}"
        status, _ = await self._call("GET", "codes", path, self._operator)
        return status == HTTPStatus.OK

    async def make_program(self) -> dict[str, Any]:
        """Create a program and an active partner with quota, each with a key of all its scopes."""
        # The demo shop's currency. Where links lead is set once it serves.
        program = await self._post(
            "codes", "/v1/programs", self._operator, {"name": "Mintwire demo", "currency": "EUR", "is_demo": True}
        )
        path = f"/v1/programs/{program['id']}/keys"
        program_key = await self._post("codes", path, self._operator, {"name": "demo", "scopes": _PROGRAM_SCOPES})
        manage = _bearer(program_key["key"])
        partner = await self._post(
            "codes", "/v1/partners", manage, {"name": "Demo partner", "prefix": "DEMO", "status": "active"}
        )
        path = f"/v1/partners/{partner['id']}"
        await self._post("codes", f"{path}/quota", manage, {"amount": QUOTA, "reason": "demo"})
        partner_key = await self._post("codes", f"{path}/keys", manage, {"name": "demo", "scopes": _PARTNER_SCOPES})
        return {
            "program": {"id": program["id"], "api_key": program_key["key"]},
            "partner": {"id": partner["id"], "api_key": partner_key["key"]},
        }

    async def make_shop_key(self, demo: Mapping[str, Any]) -> str:
        """Make a key for the demo shop that can do what a checkout does, and nothing else."""
        path, manage = f"/v1/programs/{demo['program']['id']}/keys", _bearer(demo["program"]["api_key"])
        made = await self._post("codes", path, manage, {"name": "shop", "purpose": "shop", "scopes": _SHOP_SCOPES})
        return str(made["key"])

    async def lead_links_to(self, url: str, demo: Mapping[str, Any]) -> None:
        """Set where the links of codes lead."""
        path, manage = f"/v1/programs/{demo['program']['id']}", _bearer(demo["program"]["api_key"])
        status, answer = await self._call("PATCH", "codes", path, manage, {"link_url": url})
        if status != HTTPStatus.OK:
            raise ServerFailed(f"PATCH {path} on codes answered {status}: {answer}")

    async def endpoint(self, demo: Mapping[str, Any], url: str) -> dict[str, Any]:
        """Return the partner's endpoint at the receiver, created or updated as needed."""
        key = _bearer(demo["partner"]["api_key"])
        known = demo.get("receiver")
        if known is not None:
            path = f"/v1/webhooks/endpoints/{known['id']}"
            status, found = await self._call("GET", "webhooks", path, key)
            if status == HTTPStatus.OK and found["data"]["url"] == url:
                return dict(known)
            if status == HTTPStatus.OK:
                status, _ = await self._call("PATCH", "webhooks", path, key, {"url": url})
                if status == HTTPStatus.OK:
                    return {**known, "url": url}
        made = await self._post("webhooks", "/v1/webhooks/endpoints", key, {"url": url, "event_types": _EVENT_TYPES})
        return {"id": made["id"], "url": url, "secret": made["secret"]}

    async def add_sign_ins(self, demo: dict[str, Any]) -> None:
        """Create the accounts that are missing: one that may change for each role, and one that may look."""
        have = {(each["role"], each["grade"]) for each in demo["sign_ins"]}
        for role, grade in _SIGN_INS:
            if (role, grade) not in have:
                demo["sign_ins"].append(await self._sign_in(demo, role, grade))

    async def _sign_in(self, demo: Mapping[str, Any], role: str, grade: str) -> dict[str, Any]:
        program_id = demo["program"]["id"]
        owner = {
            "program_id": None if role == "operator" else program_id,
            "partner_id": demo["partner"]["id"] if role == "partner" else None,
        }
        # Accounts of several stacks may share a database.
        email = f"{role}{'-look' if grade == 'look' else ''}.{program_id[-6:]}@demo.example"
        account = {"role": role, "grade": grade, "email": email, "password": secrets.token_urlsafe(12), **owner}
        name = f"Demo {role}{' who may look' if grade == 'look' else ''}"
        await self._post("dashboard", "/v1/operator/dashboard/accounts", self._operator, {"name": name, **account})
        return account

    async def _post(self, service: str, path: str, headers: Mapping[str, str], body: object) -> dict[str, Any]:
        status, answer = await self._call("POST", service, path, headers, body)
        if status != HTTPStatus.CREATED:
            raise ServerFailed(f"POST {path} on {service} answered {status}: {answer}")
        data: dict[str, Any] = answer["data"]
        return data

    async def _call(
        self, method: str, service: str, path: str, headers: Mapping[str, str], body: object = None
    ) -> tuple[int, Any]:
        url = f"{self._services[service]}{path}"
        try:
            async with self._session.request(method, url, headers=headers, json=body) as response:
                return response.status, await response.json(content_type=None)
        except (aiohttp.ClientError, TimeoutError, ValueError) as error:
            raise ServerFailed(f"{method} {path} on {service} failed: {error!r}") from error


def _bearer(key: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {key}"}
