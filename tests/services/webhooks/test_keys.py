"""Signing keys: two algorithms, rotation with overlap, early revocation, and replaceable sealing keys."""

import base64
from typing import Any

import pytest
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from standardwebhooks import WebhookVerificationError

from shared.api_keys import parse
from shared.ids import new_id
from tests.services.webhooks.conftest import Merchant, Service, code_redeemed
from tests.services.webhooks.receiver import Post, Receiver

VECTOR_SECRET = "whsk_6Xb/dCcHpPea21PS1N9VY/NZW723CEc77N4rJCubMbfVKIDij2HKpMKkioLlX0dRqSKJp4AJ6p9lMicMFs6Kvg=="
VECTOR_PUBLIC = "whpk_1SiA4o9hyqTCpIqC5V9HUakiiaeACeqfZTInDBbOir4="


def verify_asymmetric(post: Post, public: str) -> None:
    """Verify a `v1a` signature with an independent library."""
    key = Ed25519PublicKey.from_public_bytes(base64.b64decode(public.removeprefix("whpk_")))
    content = f"{post.id}.{post.headers['webhook-timestamp']}.".encode() + post.body
    given = [part.removeprefix("v1a,") for part in post.headers["webhook-signature"].split() if part.startswith("v1a")]
    assert any(_verifies(key, base64.b64decode(each), content) for each in given)


def _verifies(key: Ed25519PublicKey, signature: bytes, content: bytes) -> bool:
    try:
        key.verify(signature, content)
    except InvalidSignature:
        return False
    return True


async def rotate(service: Service, merchant: Merchant, endpoint: Any, **members: Any) -> Any:
    answer = await service.send("POST", f"/endpoints/{endpoint['id']}/keys/rotate", merchant.partner_key, members)
    assert answer.status == 201, answer.body
    return answer.data


async def test_keys_are_listed_without_their_secrets(service: Service, merchant: Merchant) -> None:
    endpoint = await service.endpoint(merchant.partner_key, "https://example.com/", signing="both")
    listed = await service.send("GET", f"/endpoints/{endpoint['id']}/keys", merchant.partner_key)
    assert {key["algorithm"] for key in listed.data} == {"hmac", "ed25519"}
    assert {key["public_key"] for key in listed.data} == {None, endpoint["public_key"]}
    assert all(key["expires_at"] is None for key in listed.data)
    assert endpoint["secret"] not in str(listed.body)


async def test_keys_say_who_made_them_and_what_a_secret_starts_with(service: Service, merchant: Merchant) -> None:
    """The public list names neither: it is for anyone who knows the endpoint."""
    endpoint = await service.endpoint(merchant.partner_key, "https://example.com/", signing="both")
    program = await service.send("POST", f"/endpoints/{endpoint['id']}/keys/rotate", merchant.program_key, {})
    assert program.status == 201, program.body
    path = f"/endpoints/{endpoint['id']}/keys"
    listed = (await service.send("GET", path, merchant.partner_key)).data
    makers = [str(parsed.key_id) for key in (merchant.program_key, merchant.partner_key) if (parsed := parse(key))]
    assert [key["made_by"] for key in listed] == [makers[0]] * 2 + [makers[1]] * 2
    secrets = {"hmac": [program.data["secret"][:10], endpoint["secret"][:10]], "ed25519": [None, None]}
    for algorithm, openings in secrets.items():
        assert [key["starts_with"] for key in listed if key["algorithm"] == algorithm] == openings
    async with service.http.get(f"/.well-known/webhook-keys.json?endpoint_id={endpoint['id']}") as response:
        members = {"id", "algorithm", "public_key", "created_at", "expires_at"}
        assert [key.keys() for key in (await response.json())["keys"]] == [members] * 2


@pytest.mark.parametrize("signing", ["hmac", "ed25519", "both"])
async def test_messages_are_signed_by_what_the_endpoint_asks_for(
    service: Service, merchant: Merchant, receiver: Receiver, signing: str
) -> None:
    endpoint = await service.endpoint(merchant.partner_key, receiver.url, signing=signing)
    assert (endpoint["secret"] is None, endpoint["public_key"] is None) == (signing == "ed25519", signing == "hmac")
    await service.consume(code_redeemed(merchant))
    await service.settled(1)
    post = receiver.posts[0]
    versions = sorted(part.partition(",")[0] for part in post.headers["webhook-signature"].split())
    assert versions == {"hmac": ["v1"], "ed25519": ["v1a"], "both": ["v1", "v1a"]}[signing]
    if signing != "ed25519":
        post.verify(endpoint["secret"])
    if signing != "hmac":
        verify_asymmetric(post, endpoint["public_key"])


async def test_a_caller_may_bring_a_pair(service: Service, merchant: Merchant, receiver: Receiver) -> None:
    endpoint = await service.endpoint(merchant.partner_key, receiver.url, signing="ed25519", secret=VECTOR_SECRET)
    assert (endpoint["secret"], endpoint["public_key"]) == (None, VECTOR_PUBLIC)
    await service.consume(code_redeemed(merchant))
    await service.settled(1)
    verify_asymmetric(receiver.posts[0], VECTOR_PUBLIC)


async def test_old_and_new_key_verify_until_the_grace_period_is_over(
    service: Service, merchant: Merchant, receiver: Receiver
) -> None:
    """Receivers that update their secret later would reject every webhook in between."""
    endpoint = await service.endpoint(merchant.partner_key, receiver.url, signing="both")
    rotated = await rotate(service, merchant, endpoint, grace_period_seconds=600)
    await service.consume(code_redeemed(merchant))
    await service.settled(1)
    for secret in (endpoint["secret"], rotated["secret"]):
        receiver.posts[0].verify(secret)
    assert len(receiver.posts[0].headers["webhook-signature"].split()) == 4
    service.clock.advance(seconds=601)
    await service.consume(code_redeemed(merchant, "B"))
    await service.settled(2)
    assert len(receiver.posts[1].headers["webhook-signature"].split()) == 2
    verify_asymmetric(receiver.posts[1], rotated["public_key"])


async def test_one_algorithm_is_rotated_alone(service: Service, merchant: Merchant) -> None:
    endpoint = await service.endpoint(merchant.partner_key, "https://example.com/", signing="both")
    rotated = await rotate(service, merchant, endpoint, algorithm="ed25519")
    assert rotated["secret"] is None
    assert rotated["public_key"] not in (None, endpoint["public_key"])
    listed = await service.send("GET", f"/endpoints/{endpoint['id']}/keys", merchant.partner_key)
    assert sorted((key["algorithm"], key["expires_at"] is None) for key in listed.data) == [
        ("ed25519", False),
        ("ed25519", True),
        ("hmac", True),
    ]
    body = {"algorithm": "hmac", "secret": VECTOR_SECRET}
    refused = await service.send("POST", f"/endpoints/{endpoint['id']}/keys/rotate", merchant.partner_key, body)
    assert (refused.status, list(refused.body["errors"])) == (422, ["secret"])


async def test_a_revoked_key_signs_nothing_more(service: Service, merchant: Merchant, receiver: Receiver) -> None:
    """Revoking is the remedy for a leaked key."""
    endpoint = await service.endpoint(merchant.partner_key, receiver.url)
    path = f"/endpoints/{endpoint['id']}/keys"
    [old] = (await service.send("GET", path, merchant.partner_key)).data
    alone = await service.send("DELETE", f"{path}/{old['id']}", merchant.partner_key)
    assert (alone.status, alone.body["code"]) == (409, "last_key")
    rotated = await rotate(service, merchant, endpoint)
    left = await service.send("DELETE", f"{path}/{old['id']}", merchant.partner_key)
    assert left.status == 200
    assert [key["id"] for key in left.data] != [old["id"]]
    assert (await service.send("DELETE", f"{path}/{old['id']}", merchant.partner_key)).status == 404
    await service.consume(code_redeemed(merchant))
    await service.settled(1)
    receiver.posts[0].verify(rotated["secret"])
    with pytest.raises(WebhookVerificationError):
        receiver.posts[0].verify(endpoint["secret"])


async def test_where_the_newest_key_is_revoked_the_one_before_lives_on(service: Service, merchant: Merchant) -> None:
    """It was to expire after the grace period: then there would be no key to sign with."""
    endpoint = await service.endpoint(merchant.partner_key, "https://example.com/")
    await rotate(service, merchant, endpoint, grace_period_seconds=60)
    path = f"/endpoints/{endpoint['id']}/keys"
    newest, old = (await service.send("GET", path, merchant.partner_key)).data
    left = await service.send("DELETE", f"{path}/{newest['id']}", merchant.partner_key)
    assert [(key["id"], key["expires_at"]) for key in left.data] == [(old["id"], None)]


async def test_public_keys_are_there_for_everybody_who_knows_the_endpoint(service: Service, merchant: Merchant) -> None:
    endpoint = await service.endpoint(merchant.partner_key, "https://example.com/", signing="both")

    async def shown(endpoint_id: str) -> tuple[int, Any, str]:
        url = f"/.well-known/webhook-keys.json?endpoint_id={endpoint_id}"
        async with service.http.get(url) as response:
            return response.status, await response.json(), response.headers["Cache-Control"]

    status, body, caching = await shown(endpoint["id"])
    assert (status, caching) == (200, "public, max-age=300")
    assert [key["public_key"] for key in body["keys"]] == [endpoint["public_key"]]
    assert (await shown(str(new_id())))[:2] == (200, {"keys": []})
    await service.send("DELETE", f"/endpoints/{endpoint['id']}", merchant.partner_key)
    assert (await shown(endpoint["id"]))[:2] == (200, {"keys": []})
    async with service.http.get("/.well-known/webhook-keys.json") as response:
        assert response.status == 422


async def test_signing_is_changed_with_a_key_for_it(service: Service, merchant: Merchant, receiver: Receiver) -> None:
    endpoint = await service.endpoint(merchant.partner_key, receiver.url, signing="ed25519")
    path = f"/endpoints/{endpoint['id']}"
    refused = await service.send("PATCH", path, merchant.partner_key, {"signing": "both"})
    assert (refused.status, refused.body["code"]) == (409, "key_missing")
    rotated = await rotate(service, merchant, endpoint, algorithm="hmac")
    changed = await service.send("PATCH", path, merchant.partner_key, {"signing": "hmac"})
    assert changed.data["signing"] == "hmac"
    await service.consume(code_redeemed(merchant))
    await service.settled(1)
    receiver.posts[0].verify(rotated["secret"])
    assert "v1a" not in receiver.posts[0].headers["webhook-signature"]
    plain = await service.endpoint(merchant.partner_key, receiver.url)
    both = await service.send("PATCH", f"/endpoints/{plain['id']}", merchant.partner_key, {"signing": "both"})
    assert both.status == 200
    listed = await service.send("GET", f"/endpoints/{plain['id']}/keys", merchant.partner_key)
    assert {key["algorithm"] for key in listed.data} == {"hmac", "ed25519"}
