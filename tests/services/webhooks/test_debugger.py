"""The signature debugger names receivers' mistakes, given wrong signatures made with independent libraries."""

import base64
import hashlib
import hmac
import json
import re
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from standardwebhooks import Webhook
from svix.webhooks import Webhook as SvixWebhook

from services.webhooks.domain.debugging import HINTS
from tests.services.webhooks.conftest import Merchant, Service, code_redeemed
from tests.services.webhooks.receiver import Post, Receiver

GUIDE = Path(__file__).parents[3] / "docs/guides/webhook-receiver.md"
Sign = Callable[[str | bytes, str, int, str], str]


def by_standardwebhooks(secret: str | bytes, message_id: str, timestamp: int, body: str) -> str:
    return Webhook(secret).sign(message_id, datetime.fromtimestamp(timestamp, UTC), body)


def by_svix(secret: str | bytes, message_id: str, timestamp: int, body: str) -> str:
    return SvixWebhook(secret).sign(message_id, datetime.fromtimestamp(timestamp, UTC), body)


def by_hmac(secret: str | bytes, message_id: str, timestamp: int, body: str) -> str:
    return "v1," + in_base64(secret, f"{message_id}.{timestamp}.{body}")


def digest(secret: str | bytes, content: str) -> bytes:
    key = secret if isinstance(secret, bytes) else base64.b64decode(secret.removeprefix("whsec_"))
    return hmac.new(key, content.encode(), hashlib.sha256).digest()


def in_base64(secret: str | bytes, content: str) -> str:
    return base64.b64encode(digest(secret, content)).decode()


@dataclass(frozen=True)
class Scene:
    """An endpoint with two messages and an expired secret: everything that a receiver may mix up."""

    endpoint_id: str
    secret: str
    old_secret: str
    post: Post
    other: Post

    @property
    def body(self) -> str:
        return self.post.body.decode()

    @property
    def parsed(self) -> Any:
        return json.loads(self.post.body)

    @property
    def timestamp(self) -> int:
        return int(self.post.headers["webhook-timestamp"])

    def signed(
        self, sign: Sign, *, over: str | None = None, body: str | None = None, secret: str | bytes | None = None
    ) -> dict[str, Any]:
        """Return the input of the debugger: a signature over one text, sent with another."""
        text = self.body if over is None else over
        signature = sign(self.secret if secret is None else secret, self.post.id, self.timestamp, text)
        return self.asked(signature, self.body if body is None else body)

    def asked(self, signature: str, body: str, message_id: str | None = None) -> dict[str, Any]:
        headers = {
            "webhook-id": message_id or self.post.id,
            "webhook-timestamp": str(self.timestamp),
            "webhook-signature": signature,
        }
        return {"endpoint_id": self.endpoint_id, "headers": headers, "body": body}


@pytest.fixture
async def scene(service: Service, merchant: Merchant, receiver: Receiver) -> Scene:
    key = merchant.partner_key
    made = await service.endpoint(key, receiver.url)
    rotated = await service.send("POST", f"/endpoints/{made['id']}/keys/rotate", key, {"grace_period_seconds": 0})
    await service.consume(code_redeemed(merchant), code_redeemed(merchant, "ACME-2B0B59D1"))
    await service.settled(2)
    post, other = receiver.posts
    return Scene(made["id"], rotated.data["secret"], made["secret"], post, other)


def of_a_body(scene: Scene, sign: Sign, text: str) -> list[dict[str, Any]]:
    """A text instead of the body, signed by the receiver, or verified with our signature, or both."""
    return [
        scene.signed(sign, over=text),
        scene.asked(scene.post.headers["webhook-signature"], text),
        scene.signed(sign, over=text, body=text),
    ]


ROWS: dict[str, Callable[[Scene, Sign], list[dict[str, Any]]]] = {
    "secret_not_decoded": lambda scene, sign: [
        scene.signed(sign, secret=scene.secret.encode()),
        scene.signed(sign, secret=scene.secret.removeprefix("whsec_").encode()),
    ],
    "old_key": lambda scene, sign: [scene.signed(sign, secret=scene.old_secret)],
    "body_sorted": lambda scene, sign: [
        asked
        for options in ({"separators": (",", ":")}, {}, {"indent": 2})
        for asked in of_a_body(scene, sign, json.dumps(scene.parsed, sort_keys=True, **options))
    ],
    "body_changed": lambda scene, sign: (
        [
            asked
            for text in (
                json.dumps(scene.parsed),
                json.dumps(scene.parsed, indent=4, ensure_ascii=False),
                scene.body + "\n",
            )
            for asked in of_a_body(scene, sign, text)
        ]
        + [scene.signed(sign, over=str(scene.parsed)), scene.signed(sign, over="[object Object]")]
    ),
    "body_empty": lambda scene, sign: of_a_body(scene, sign, "") + of_a_body(scene, sign, "{}"),
    "wrong_message": lambda scene, sign: [
        # The headers of one message with the body of another, signed by us or by the receiver; and the other way round.
        scene.asked(scene.post.headers["webhook-signature"], scene.other.body.decode()),
        scene.signed(sign, over=scene.other.body.decode(), body=scene.other.body.decode()),
        scene.asked(scene.other.headers["webhook-signature"], scene.other.body.decode()),
        scene.asked(scene.post.headers["webhook-signature"], "no JSON at all"),
    ],
    "message_unknown": lambda scene, sign: [
        scene.asked(sign(scene.secret, "msg_1", scene.timestamp, scene.body), scene.body, message_id)
        for message_id in ("msg_" + "0" * 32, "evt_1")
    ],
    "no_match": lambda scene, sign: [scene.signed(sign, secret=b"somebody else's key"), scene.signed(sign, over="1")],
}
# Mistakes that no library makes by itself.
ROWS_BY_HAND: dict[str, Callable[[Scene], list[dict[str, Any]]]] = {
    "content_incomplete": lambda scene: [
        scene.asked("v1," + in_base64(scene.secret, content), scene.body)
        for content in (scene.body, f"{scene.timestamp}.{scene.body}", f"{scene.post.id}.{scene.body}")
    ],
    "signature_in_hex": lambda scene: [
        scene.asked(before + digest(scene.secret, f"{scene.post.id}.{scene.timestamp}.{scene.body}").hex(), scene.body)
        for before in ("", "v1,", "v1=")
    ],
    "signature_malformed": lambda scene: [scene.asked("nonsense", scene.body)],
    "no_signature_for_key": lambda scene: [scene.asked("v1a,AAAA", scene.body)],
}


@pytest.mark.parametrize("sign", [by_standardwebhooks, by_svix, by_hmac])
async def test_every_row_is_found_from_a_wrong_signature(
    service: Service, merchant: Merchant, scene: Scene, sign: Sign
) -> None:
    """Otherwise the developer of a receiver would read "another key" for every mistake."""
    asked = {name: row(scene, sign) for name, row in ROWS.items()}
    if sign is by_hmac:
        asked |= {name: row(scene) for name, row in ROWS_BY_HAND.items()}
    found: dict[str, list[Any]] = {}
    for name, bodies in asked.items():
        answers = [await service.send("POST", "/verify-signature", merchant.partner_key, body) for body in bodies]
        found[name] = [[each["code"] for each in answer.data["problems"]] for answer in answers]
        assert not any(answer.data["valid"] for answer in answers)
    assert found == {name: [[name]] * len(bodies) for name, bodies in asked.items()}


async def test_a_right_signature_is_right_and_the_stored_body_is_compared(
    service: Service, merchant: Merchant, scene: Scene
) -> None:
    async def stored(body: dict[str, Any]) -> tuple[bool, str | None]:
        answer = await service.send("POST", "/verify-signature", merchant.partner_key, body)
        return answer.data["valid"], answer.data["stored_body"]

    right = scene.asked(scene.post.headers["webhook-signature"], scene.body)
    assert await stored(right) == (True, "same")
    assert await stored({**right, "body": json.dumps(scene.parsed)}) == (False, "respelled")
    assert await stored({**right, "body": "{}"}) == (False, "other")
    # A message that the receiver made up itself has nothing to compare with, and nothing wrong with it.
    own = scene.asked(by_hmac(scene.secret, "msg_own", scene.timestamp, "{}"), "{}", "msg_own")
    assert await stored(own) == (True, "unknown")
    given = {name: value for name, value in right.items() if name != "endpoint_id"}
    assert await stored({**given, "key": scene.secret}) == (True, None)
    await service.admin.execute("DELETE FROM webhooks.messages")
    assert await stored(right) == (True, "forgotten")


async def test_a_message_of_another_endpoint_is_not_compared(
    service: Service, merchant: Merchant, scene: Scene, second_receiver: Receiver
) -> None:
    """Otherwise the debugger would reveal to a partner which messages other owners got."""
    other = await service.endpoint(merchant.program_key, second_receiver.url)
    asked = scene.asked("v1,AAAA", scene.body) | {"endpoint_id": other["id"]}
    answer = await service.send("POST", "/verify-signature", merchant.program_key, asked)
    assert answer.data["stored_body"] == "unknown"


async def test_few_ended_keys_are_kept(service: Service, merchant: Merchant, scene: Scene) -> None:
    """Without a bound, rotating in a loop would slow down every request for the endpoint."""
    for _ in range(15):
        path = f"/endpoints/{scene.endpoint_id}/keys/rotate"
        rotated = await service.send("POST", path, merchant.partner_key, {"grace_period_seconds": 0})
        assert rotated.status == 201
    assert len(await service.query("SELECT 1 FROM webhooks.endpoint_keys")) == 11


def test_the_guide_has_a_row_for_every_code() -> None:
    rows = re.findall(r"^\| `(\w+)` \|", GUIDE.read_text().split("verify-signature")[1].split("## Try")[0], re.M)
    assert rows == list(HINTS)
