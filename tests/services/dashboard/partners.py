"""A dashboard beside real services, with a program and a partner whose accounts sign in to it."""

import uuid
from collections.abc import AsyncIterator, Iterable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

from shared.accounts import Grade
from tests.databases import Database
from tests.running import OPERATOR_TOKEN, running_services
from tests.services.dashboard.conftest import Browser, Dashboard, HeldClock, running_dashboard


@dataclass
class PartnerSide:
    """A partner's program, and the dashboard that its accounts use."""

    dashboard: Dashboard
    urls: Mapping[str, str]
    program_id: str
    program_key: str
    partner_id: str

    async def browser(self, email: str = "p@x.example", grade: Grade = "change") -> Browser:
        """Sign an account of the partner in."""
        program_id, partner_id = uuid.UUID(self.program_id), uuid.UUID(self.partner_id)
        return await self.dashboard.signed_in(
            email, role="partner", grade=grade, program_id=program_id, partner_id=partner_id
        )

    async def decide(self, path: str, body: Any) -> Any:
        """Send something to the codes service as the merchant."""
        return await _send(self.dashboard, self.urls["codes"] + path, body, self.program_key)


async def _send(dashboard: Dashboard, url: str, body: Any, key: str = OPERATOR_TOKEN) -> Any:
    headers = {"Authorization": f"Bearer {key}"}
    async with dashboard.http.post(url, headers=headers, json=body) as response:
        assert response.status < 300, await response.text()
        return (await response.json())["data"]


@asynccontextmanager
async def partner_side(
    database: Database, broker: dict[str, str], clock: HeldClock, *, quota: int, names: Iterable[str] = ("codes",)
) -> AsyncIterator[PartnerSide]:
    """Run it, with this many codes granted."""
    async with (
        running_services(database, broker, names=names) as running,
        running_dashboard(database, clock, urls=running.urls) as dashboard,
    ):
        url = running["codes"].url
        program = {
            "name": "Aurora",
            "currency": "EUR",
            "timezone": "Europe/Berlin",
            "link_url": "https://shop.example/",
        }
        made = await _send(dashboard, f"{url}/v1/programs", program)
        key = (await _send(dashboard, f"{url}/v1/programs/{made['id']}/keys", {}))["key"]
        partner = {"name": "North", "prefix": "NORTH", "status": "active"}
        partner_id = (await _send(dashboard, f"{url}/v1/partners", partner, key))["id"]
        await _send(dashboard, f"{url}/v1/partners/{partner_id}/quota", {"amount": quota})
        yield PartnerSide(dashboard, running.urls, made["id"], key, partner_id)
