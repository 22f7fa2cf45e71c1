"""Every delivery of a run with rotations in its middle verifies with the public libraries, by old key and new."""

import base64
import json
import shutil
from typing import Any

from tests.databases import Database
from tests.receivers.conftest import RECEIVERS
from tests.receivers.test_javascript_helper import NODE, NPM, PROGRAMS, run
from tests.services.webhooks.conftest import HeldClock, code_redeemed, make_merchant, running_service
from tests.services.webhooks.receiver import Post, running_receiver
from tests.services.webhooks.test_keys import verify_asymmetric

ROTATIONS, EVENTS = 3, 20


async def test_deliveries_verify_in_both_languages_also_in_the_middle_of_rotations(
    database: Database, test_run: Any
) -> None:
    clock = HeldClock()
    keys: list[Any] = []
    spans: list[tuple[int, int]] = []
    async with running_service(database, clock) as service, running_receiver() as receiver:
        merchant = await make_merchant(service.admin, clock())
        endpoint = await service.endpoint(merchant.partner_key, receiver.url, signing="both")
        keys.append(endpoint)
        path = f"/endpoints/{endpoint['id']}/keys/rotate"
        for turn in range(ROTATIONS):
            begin = len(receiver.posts)
            # Half of the events are under way or on their way when the key changes.
            await service.consume(*(code_redeemed(merchant, f"A{turn}-{n}") for n in range(EVENTS)))
            rotated = await service.send("POST", path, merchant.partner_key, {"grace_period_seconds": 60})
            keys.append(rotated.data)
            middle = turn * 2 * EVENTS + EVENTS
            await service.settled(middle)
            await service.consume(*(code_redeemed(merchant, f"B{turn}-{n}") for n in range(EVENTS)))
            await service.settled(middle + EVENTS)
            spans.append((begin + EVENTS, len(receiver.posts)))
            clock.advance(seconds=61)
        posts = list(receiver.posts)
    assert len(posts) == len({post.id for post in posts}) == ROTATIONS * 2 * EVENTS

    cases = []
    for turn, (middle, end) in enumerate(spans):
        # A receiver knows the old key only, as long as the new one is not there; then either will do.
        cases += [_case(post, keys[turn]) for post in posts[middle - EVENTS : end]]
        cases += [_case(post, keys[turn + 1]) for post in posts[middle:end]]
    assert len(cases) == ROTATIONS * 3 * EVENTS
    folder = test_run / "node-rotation"
    shutil.copytree(PROGRAMS, folder)
    await run(NODE, NPM, "ci", "--ignore-scripts", folder=folder)
    given = {"helper": (RECEIVERS / "javascript" / "index.js").as_uri(), "cases": cases}
    told = json.loads(await run(NODE, folder / "check.mjs", folder=folder, given=json.dumps(given).encode()))
    assert {result["theirs"] for result in told["results"]} == {"verified"}
    assert {type(result["oursByPublicKey"]) for result in told["results"]} == {dict}


def _case(post: Post, key: Any) -> dict[str, Any]:
    post.verify(key["secret"])
    verify_asymmetric(post, key["public_key"])
    headers = {name.lower(): value for name, value in post.headers.items()}
    body = base64.b64encode(post.body).decode()
    return {"secret": key["secret"], "publicKey": key["public_key"], "headers": headers, "body": body}
