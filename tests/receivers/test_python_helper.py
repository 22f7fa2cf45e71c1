"""The Python helper against the public library, both ways, and what it does with repetitions."""

import json
import shutil
import sqlite3
import subprocess
import sys
import threading
import zipfile
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from mintwire_receiver import MemorySeen, Message, Receiver, Refused, UnderWay
from standardwebhooks import Webhook, WebhookVerificationError

from services.webhooks.domain.signature import format_secret
from services.webhooks.sender.signing import new_key
from tests.docs.markdown import blocks
from tests.receivers.conftest import RECEIVERS
from tests.receivers.signed import BODY, signed, spoiled

MESSAGE = Message("msg_1", "code.redeemed", 0, 1, {}, {})


def test_what_the_service_signs_is_read_by_secret_and_by_public_key() -> None:
    made = signed()
    for key in (made.secret, made.public):
        message = Receiver(key).read(made.headers, made.body)
        assert (message.id, message.type, message.sequence) == ("msg_1", "code.redeemed", 12)
        assert message.body == json.loads(BODY)
        assert message.data["recipient_name"] == "Zoë 🎉"
    Webhook(made.secret).verify(made.body, made.headers)


@given(st.text(max_size=50), st.binary(min_size=24, max_size=64))
def test_what_the_library_signs_is_read(text: str, key: bytes) -> None:
    from_them = Webhook(key)
    now = datetime.now(UTC)
    body = json.dumps({"type": "code.redeemed", "data": {"text": text}})
    headers = [
        ("Webhook-Id", "msg_theirs"),
        ("Webhook-Timestamp", str(int(now.timestamp()))),
        ("Webhook-Signature", from_them.sign("msg_theirs", now, body)),
    ]
    message = Receiver(format_secret(key)).read(headers, body.encode())
    assert message.data == {"text": text}


def test_what_is_spoiled_is_refused_with_a_reason() -> None:
    """Signed here and not when the tests are collected: a signature ages while the other tests run."""
    for made in spoiled():
        with pytest.raises(Refused) as caught:
            Receiver(made.secret, made.public).read(made.headers, made.body)
        assert caught.value.reason == made.wanted
        if made.wanted != "bad_body":
            with pytest.raises((WebhookVerificationError, ValueError)):
                Webhook(made.secret).verify(made.body, made.headers)


def test_old_and_new_key_are_accepted_while_one_rotates() -> None:
    old = new_key("hmac").key
    made = signed(old)
    assert Receiver(signed().secret, made.secret).read(made.headers, made.body).id == "msg_1"
    with pytest.raises(Refused):
        Receiver(signed().secret).read(made.headers, made.body)


@pytest.mark.parametrize("key", ["", "whsec_", "whsec_not base64", "whpk_AAAA", "secret"])
def test_a_key_that_is_none_is_said_at_once(key: str) -> None:
    with pytest.raises(ValueError, match=r"key|secret"):
        Receiver(key)
    with pytest.raises(ValueError, match="key"):
        Receiver()


@pytest.mark.parametrize(
    ("key", "error", "words"),
    [
        (None, TypeError, r"the secret is missing \(None\); is its variable set"),
        ("", ValueError, "the secret is empty; is its variable set"),
        (" \n", ValueError, "the secret is empty"),
        ("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw\n", ValueError, "white space around it, such as a line end"),
        (b"whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", TypeError, "a key must be a str such as whsec_…, not bytes"),
        (["whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"], TypeError, r"one by one: Receiver\(\*keys\)"),
    ],
)
def test_a_secret_that_is_missing_is_told_as_that(key: Any, error: type[Exception], words: str) -> None:
    """`os.environ.get` of a variable that nobody set must not end in an AttributeError on None."""
    with pytest.raises(error, match=words):
        Receiver(key)


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (json.loads(BODY), "the body is a dict: it was parsed"),
        ([1], "the body is a list: it was parsed"),
        (BODY.decode(), "the body is a str: it was decoded"),
        (None, "there is no body"),
        (object(), "the body is a object"),
    ],
)
def test_a_body_that_is_not_raw_is_told_with_the_way_to_the_raw_one(body: Any, words: str) -> None:
    """It is a mistake of the receiver's own code: a `Refused` would blame the sender, and be answered with 400."""
    made = signed()
    with pytest.raises(TypeError, match=words) as caught:
        Receiver(made.secret).read(made.headers, body)
    for way in ("raw bytes", "request.get_data()", "request.body", "await request.body()", "await request.read()"):
        assert way in str(caught.value)


def test_raw_bytes_of_any_kind_are_read() -> None:
    made = signed()
    for raw in (made.body, bytearray(made.body), memoryview(made.body)):
        assert Receiver(made.secret).read(made.headers, raw).id == "msg_1"


@pytest.mark.parametrize(
    ("headers", "words"),
    [
        (None, r"the headers are missing \(None\)"),
        ("webhook-id: msg_1", "the headers are a str"),
        (b"x", "are a bytes"),
    ],
)
def test_headers_that_are_none_are_told_as_that(headers: Any, words: str) -> None:
    """They must end in a sentence, not in "'NoneType' object is not iterable"."""
    made = signed()
    with pytest.raises(TypeError, match=words):
        Receiver(made.secret).read(headers, made.body)


def test_headers_as_bytes_are_told_instead_of_missed() -> None:
    """As ASGI has them: no name would be found, and the sender be blamed for a missing header."""
    made = signed()
    headers: Any = [(name.encode(), value.encode()) for name, value in made.headers.items()]
    with pytest.raises(TypeError, match="the headers are bytes"):
        Receiver(made.secret).read(headers, made.body)


def test_work_that_would_have_to_be_awaited_is_not_noted_as_done() -> None:
    receiver, done = Receiver(signed().secret), list[str]()

    async def work(message: Message) -> None:
        done.append(message.id)

    for wrong in (work, partial(work)):
        with pytest.raises(TypeError, match="must be awaited"):
            receiver.handle_once(MESSAGE, wrong)
    assert receiver.handle_once(MESSAGE, lambda message: done.append(message.id))


def test_building_it_leaves_nothing_behind(tmp_path: Path) -> None:
    """`pip install ./receivers/python` must not put a `build` and an `egg-info` into the tree that it builds from."""
    source = tmp_path / "python"
    shutil.copytree(RECEIVERS / "python", source, ignore=shutil.ignore_patterns("__pycache__"))
    before = sorted(source.rglob("*"))
    wheels = tmp_path / "wheels"
    arguments = ["-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation", "-w", wheels, source]
    subprocess.run([sys.executable, *map(str, arguments)], check=True, cwd=tmp_path)
    assert sorted(source.rglob("*")) == before
    [wheel] = wheels.iterdir()
    with zipfile.ZipFile(wheel) as file:
        names = {name for name in file.namelist() if name.startswith("mintwire_receiver/")}
    assert names == {f"mintwire_receiver/{path.name}" for path in (source / "mintwire_receiver").iterdir()}
    program = "import mintwire_receiver as m; print(m.__file__, m.Receiver.__name__)"
    done = subprocess.run(
        [sys.executable, "-c", program],
        check=True,
        cwd=tmp_path,
        capture_output=True,
        text=True,
        env={"PYTHONPATH": str(wheel)},
    )
    assert done.stdout.startswith(str(wheel))


@pytest.mark.parametrize(
    ("body", "data"),
    [
        ({"event": "test", "partner_id": "p", "timestamp": "t"}, {"partner_id": "p", "timestamp": "t"}),
        ({"type": "test", "timestamp": "t", "data": {"a": 1}}, {"a": 1}),
        ({"type": "test", "timestamp": "t", "id": "1", "url": "u"}, {"id": "1", "url": "u"}),
        ({"specversion": "1.0", "type": "test", "id": "1", "source": "s", "data": {"a": 1}}, {"a": 1}),
    ],
)
def test_every_format_is_parsed(body: dict[str, object], data: dict[str, object]) -> None:
    made = signed(body=json.dumps(body).encode(), sequence=None)
    message = Receiver(made.secret).read(made.headers, made.body)
    assert (message.type, message.data, message.sequence) == ("test", data, None)


@pytest.mark.parametrize(
    ("body", "sequence"),
    [
        ({"type": "test", "sequence": 7, "data": {}}, 7),
        ({"type": "test", "specversion": "1.0", "sequence": "0000000000000000007", "data": {}}, 7),
        ({"type": "test", "data": {}}, 12),
        ({"event": "test", "sequence": 7}, 12),
        ({"type": "test", "sequence": True, "data": {}}, None),
        ({"type": "test", "sequence": "9" * 5000, "data": {}}, None),
    ],
)
def test_the_number_is_that_of_the_body_where_it_says_one(body: dict[str, object], sequence: int | None) -> None:
    """The body is signed and the header is not; in a flat one the word may be anybody's."""
    made = signed(body=json.dumps(body).encode(), sequence=12)
    assert Receiver(made.secret).read(made.headers, made.body).sequence == sequence


def test_work_is_done_once() -> None:
    receiver, done = Receiver(signed().secret), list[str]()
    assert receiver.handle_once(MESSAGE, lambda message: done.append(message.id))
    assert not receiver.handle_once(MESSAGE, lambda message: done.append(message.id))
    assert done == ["msg_1"]


def test_work_that_fails_is_done_by_the_next_attempt() -> None:
    receiver, done = Receiver(signed().secret), list[str]()

    def fail(_: Message) -> None:
        raise OSError("no database")

    with pytest.raises(OSError, match="no database"):
        receiver.handle_once(MESSAGE, fail)
    assert receiver.handle_once(MESSAGE, lambda message: done.append(message.id))


def test_a_repetition_during_the_work_is_told_to_come_again() -> None:
    receiver, begun, release = Receiver(signed().secret), threading.Event(), threading.Event()

    def work(_: Message) -> None:
        begun.set()
        assert release.wait(10)

    worker = threading.Thread(target=receiver.handle_once, args=(MESSAGE, work))
    worker.start()
    assert begun.wait(10)
    with pytest.raises(UnderWay):
        receiver.handle_once(MESSAGE, lambda _: None)
    release.set()
    worker.join(10)
    assert not receiver.handle_once(MESSAGE, lambda _: None)


def test_memory_is_bounded_in_number_and_in_time() -> None:
    now = [0.0]
    seen = MemorySeen(most=3, keep_seconds=10, clock=lambda: now[0])
    assert seen.begin("under way") == "new"
    for each in ("a", "b", "c", "d"):
        assert seen.begin(each) == "new"
        seen.finish(each)
    assert seen.begin("under way") == "under_way"
    assert seen.begin("d") == "handled"
    assert seen.begin("a") == "new"
    now[0] = 11
    assert seen.begin("d") == "new"


def test_the_samples_of_the_readme_work() -> None:
    sample, database_seen = (b.text for b in blocks("python") if b.path == "receivers/python/README.md")
    made = signed()
    space: dict[str, object] = {}
    exec(compile(sample.replace("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", made.secret), "README.md", "exec"), space)  # noqa: S102 - our own sample
    hook = space["hook"]
    assert callable(hook)
    assert [hook(made.headers, made.body), hook(made.headers, made.body), hook({}, b"")] == [204, 204, 400]
    exec(compile(database_seen, "README.md", "exec"), space)  # noqa: S102 - our own sample
    connection = sqlite3.connect(":memory:")
    connection.execute("CREATE TABLE seen (id text PRIMARY KEY, is_handled boolean NOT NULL)")
    seen = space["DatabaseSeen"](connection)  # type: ignore[operator]
    assert [seen.begin("m"), seen.begin("m")] == ["new", "under_way"]
    seen.forget("m")
    assert seen.begin("m") == "new"
    seen.finish("m")
    assert seen.begin("m") == "handled"
    connection.close()
