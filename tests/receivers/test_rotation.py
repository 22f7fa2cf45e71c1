"""Thousands of deliveries with rotations and revocations in their middle, each verified as its receiver would then.

HMAC is verified with the public libraries of Python and JavaScript; those do not know ed25519, which is verified with
what both languages have for it.
"""

import asyncio
import json
import shutil
from typing import Any

from standardwebhooks import WebhookVerificationError

from tests.databases import Database
from tests.receivers.conftest import RECEIVERS
from tests.receivers.test_javascript_helper import NODE, NPM, PROGRAMS, run
from tests.services.webhooks.conftest import HeldClock, Merchant, Service, code_redeemed, make_merchant, running_service
from tests.services.webhooks.receiver import Post, running_receiver
from tests.services.webhooks.test_keys import rotate, verify_asymmetric

TURNS, EVENTS, GRACE_SECONDS = 6, 60, 10
SIGNINGS = ("hmac", "ed25519", "both")
PHASES = 4
DELIVERIES = TURNS * PHASES * EVENTS * len(SIGNINGS)
Key = str


class Run:
    """Three endpoints that get the same events, with the keys that their owner has at each moment."""

    def __init__(self, service: Service, merchant: Merchant, clock: HeldClock) -> None:
        self.service, self.merchant, self.clock = service, merchant, clock
        self.endpoints: dict[str, Any] = {}
        self.keys: dict[str, set[Key]] = {}
        # For each endpoint and lot of events, the keys and whether they verify.
        self.wanted: dict[tuple[str, str], dict[Key, bool]] = {}
        self.sent = 0

    async def subscribe(self, url: str) -> None:
        """Make an endpoint for each way of signing, that says so in a header."""
        for signing in SIGNINGS:
            headers = {"X-Signing": signing}
            made = await self.service.endpoint(self.merchant.partner_key, url, signing=signing, headers=headers)
            self.endpoints[signing], self.keys[signing] = made, _keys(made)

    async def publish(self, lot: str) -> None:
        """Take a lot of events in; they are under way from now on."""
        await self.service.consume(*(code_redeemed(self.merchant, f"{lot}-{number}") for number in range(EVENTS)))
        self.sent += EVENTS * len(SIGNINGS)

    async def turn(self, number: int) -> None:
        """Rotate all keys, or of one endpoint those of one algorithm only, and let the old ones end."""
        old = {signing: set(keys) for signing, keys in self.keys.items()}
        await self.publish(f"before-{number}")
        await asyncio.gather(*(self._rotate(signing, number) for signing in SIGNINGS))
        await self.service.settled(self.sent)
        await self.publish(f"overlap-{number}")
        await self.service.settled(self.sent)
        await self.publish(f"end-{number}")
        if number % 2:
            self.clock.advance(seconds=GRACE_SECONDS + 1)
        else:
            await asyncio.gather(*(self._revoke(signing) for signing in SIGNINGS))
        await self.publish(f"after-{number}")
        await self.service.settled(self.sent)
        for signing, keys in self.keys.items():
            known = dict.fromkeys(keys, True)
            self.wanted[signing, f"before-{number}"] = dict.fromkeys(old[signing], True)
            self.wanted[signing, f"overlap-{number}"] = dict.fromkeys(keys | old[signing], True)
            self.wanted[signing, f"end-{number}"] = known
            self.wanted[signing, f"after-{number}"] = dict.fromkeys(old[signing] - keys, False) | known

    async def _rotate(self, signing: str, number: int) -> None:
        algorithms = {1: {"algorithm": "hmac"}, 2: {"algorithm": "ed25519"}} if signing == "both" else {}
        members = {"grace_period_seconds": GRACE_SECONDS, **algorithms.get(number % 3, {})}
        new = _keys(await rotate(self.service, self.merchant, self.endpoints[signing], **members))
        kinds = {key[:5] for key in new}
        self.keys[signing] = new | {key for key in self.keys[signing] if key[:5] not in kinds}

    async def _revoke(self, signing: str) -> None:
        path = f"/endpoints/{self.endpoints[signing]['id']}/keys"
        listed = await self.service.send("GET", path, self.merchant.partner_key)
        for key in listed.data:
            if key["expires_at"] is not None:
                gone = await self.service.send("DELETE", f"{path}/{key['id']}", self.merchant.partner_key)
                assert gone.status == 200, gone.body


async def test_every_delivery_of_a_long_run_verifies_also_in_the_middle_of_rotations(
    database: Database, test_run: Any
) -> None:
    clock = HeldClock()
    async with running_service(database, clock) as service, running_receiver() as receiver:
        made = Run(service, await make_merchant(service.admin, clock()), clock)
        await made.subscribe(receiver.url)
        for number in range(TURNS):
            await made.turn(number)
        posts = list(receiver.posts)
    assert len(posts) == len({(post.headers["X-Signing"], post.id) for post in posts}) == DELIVERIES

    cases = [(post, key, verifies) for post in posts for key, verifies in _wanted(made, post).items()]
    assert len(cases) > DELIVERIES
    assert [_case(post, key) for post, key, verifies in cases if _verifies(post, key) != verifies] == []
    folder = test_run / "node-rotation"
    shutil.copytree(PROGRAMS, folder)
    await run(NODE, NPM, "ci", "--ignore-scripts", folder=folder)
    helper = (RECEIVERS / "javascript" / "index.js").as_uri()
    given = json.dumps({"helper": helper, "cases": [_case(post, key) for post, key, _ in cases]})
    told = json.loads(await run(NODE, folder / "verify.mjs", folder=folder, given=given.encode()))
    wrong = [
        (verdict, _case(post, key))
        for verdict, (post, key, verifies) in zip(told, cases, strict=True)
        if verdict is not verifies
    ]
    assert wrong == []


def _keys(shown: Any) -> set[Key]:
    return {key for key in (shown["secret"], shown["public_key"]) if key is not None}


def _wanted(made: Run, post: Post) -> dict[Key, bool]:
    lot = json.loads(post.body)["code"].rpartition("-")[0]
    return made.wanted[post.headers["X-Signing"], lot]


def _verifies(post: Post, key: Key) -> bool:
    try:
        if key.startswith("whpk_"):
            verify_asymmetric(post, key)
        else:
            post.verify(key)
    except (WebhookVerificationError, AssertionError):
        return False
    return True


def _case(post: Post, key: Key) -> dict[str, Any]:
    headers = {name.lower(): value for name, value in post.headers.items()}
    return {"key": key, "headers": headers, "body": post.body.decode()}
