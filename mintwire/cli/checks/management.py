"""The broker's management API, as far as the command needs it: the contents of the vhost, our policies, and alarms."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import unquote, urlsplit

from aiohttp import encode_basic_auth

from mintwire.cli.checks.findings import MOST_SECONDS
from mintwire.cli.client import CallFailed, address, ask, refusal
from shared.broker.policies import Policy


@dataclass(frozen=True, repr=False)
class Management:
    """One user's view of one vhost; raises `CallFailed` if the API refuses or is unreachable."""

    base: str
    authorization: str
    vhost: str

    @classmethod
    def of(cls, management_url: str, amqp_url: str) -> Management:
        """Take the vhost from the broker's URL, and the user too if the API's URL has none."""
        api, broker = urlsplit(management_url), urlsplit(amqp_url)
        user = api if api.username else broker
        place = api._replace(netloc=api.netloc.rpartition("@")[2]).geturl()
        return cls(
            address(place, "api"),
            encode_basic_auth(unquote(user.username or ""), unquote(user.password or "")),
            unquote(broker.path[1:]) or "/",
        )

    async def list(self, what: str, *columns: str) -> list[dict[str, Any]]:
        """Return everything of one kind in the vhost: `exchanges`, `queues`, `bindings`, `policies`."""
        found = await self.ask("GET", what, query={"columns": ",".join(columns)} if columns else {})
        if not isinstance(found, list):
            raise CallFailed(f"{self.base} did not answer like a broker's management API")
        return found

    async def put_policy(self, policy: Policy) -> None:
        """Set one of our policies, replacing any with the same name."""
        await self.ask("PUT", "policies", policy.name, body=policy.body)

    async def alarms(self) -> Sequence[tuple[str, str]]:
        """Return the resource and the node of each alarm in the cluster."""
        url = address(self.base, "health", "checks", "alarms")
        answer = await ask("GET", url, headers=self._headers, seconds=MOST_SECONDS)
        if answer.status == 200:
            return []
        # With alarms it answers 503 and lists them; other errors may answer 503 without a list.
        named = answer.value.get("alarms") if isinstance(answer.value, dict) else None
        if not isinstance(named, list):
            raise CallFailed(f"GET {url}: {_reason(answer.value) or refusal(answer)}", answer.status)
        return [(str(alarm["resource"]), str(alarm["node"])) for alarm in named]

    @property
    def _headers(self) -> dict[str, str]:
        return {"Authorization": self.authorization}

    async def ask(self, method: str, what: str, *name: str, **asked: Any) -> Any:
        """Call the management API about something of this virtual host, and return its answer."""
        url = address(self.base, what, self.vhost, *name)
        answer = await ask(method, url, headers=self._headers, seconds=MOST_SECONDS, **asked)
        if answer.status >= 400:
            raise CallFailed(f"{method} {url}: {_reason(answer.value) or refusal(answer)}", answer.status)
        return answer.value


def _reason(value: object) -> str | None:
    return str(value["reason"]) if isinstance(value, dict) and value.get("reason") else None
