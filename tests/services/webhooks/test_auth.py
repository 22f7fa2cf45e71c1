"""Authentication of requests to receivers: sent in the form they want, sealed at rest, and never shown."""

from typing import Any

from tests.services.webhooks.conftest import Merchant, Service
from tests.services.webhooks.receiver import Receiver

SECRET = "very-secret"
# The requested auth, the header that is sent, and what is shown of it.
KINDS: list[tuple[dict[str, str], tuple[str, str], dict[str, str | None]]] = [
    (
        {"type": "authorization", "scheme": "Token", "token": SECRET},
        ("Authorization", f"Token {SECRET}"),
        {"type": "authorization", "name": "Token"},
    ),
    (
        {"type": "authorization", "scheme": "ApiKey", "token": f'id="1", key="{SECRET}"'},
        ("Authorization", f'ApiKey id="1", key="{SECRET}"'),
        {"type": "authorization", "name": "ApiKey"},
    ),
    (
        {"type": "bearer", "token": SECRET},
        ("Authorization", f"Bearer {SECRET}"),
        {"type": "bearer", "name": None},
    ),
    (
        {"type": "header", "name": "X-Key", "value": SECRET},
        ("X-Key", SECRET),
        {"type": "header", "name": "X-Key"},
    ),
]


async def test_each_kind_arrives_and_none_is_shown(service: Service, merchant: Merchant, receiver: Receiver) -> None:
    """The endpoint changes from one kind to the next: nothing of the previous one may remain."""
    key = merchant.partner_key
    made = await service.endpoint(key, receiver.url, auth={"type": "basic", "username": "us", "password": SECRET})
    path = f"/endpoints/{made['id']}"
    shown: list[Any] = [made]
    for asked, header, seen in KINDS:
        changed = await service.send("PATCH", path, key, {"auth": asked})
        assert (changed.status, changed.data["auth"]) == (200, seen)
        attempt = await service.send("POST", f"{path}/test", key)
        sent = receiver.posts[-1].headers
        names = ("Authorization", "X-Key")
        assert [(name, sent[name]) for name in names if name in sent] == [header]
        assert attempt.data["request_headers"][header[0]] == "***"
        shown += [changed.data, attempt.data, (await service.send("GET", path, key)).data]
    assert SECRET not in str(shown)
    rows = await service.query("SELECT sealed_auth, auth FROM webhooks.endpoints")
    assert SECRET.encode() not in rows[0]["sealed_auth"]
    assert SECRET not in rows[0]["auth"]
