"""How accounts are let in: after keys, by one header, with a line in the log that names them and not their token."""

import uuid
from dataclasses import replace

import pytest
import structlog
from structlog.testing import capture_logs

from shared.accounts import Account, Grade, Role
from shared.api_keys import Credential
from tests.shared.web.conftest import Client, Keys, credential

TOKEN = {"Authorization": "Bearer of.an.account"}


def account(role: Role = "merchant", grade: Grade = "change") -> Account:
    return Account(uuid.uuid4(), "https://dashboard.example", role, grade, "request-of-account")


def acting(role: Role, grade: Grade, *scopes: str) -> Credential:
    return replace(credential("secret", *scopes, partner=role == "partner"), account=account(role, grade))


async def test_what_has_no_point_is_never_looked_at_as_a_token(client: Client, keys: Keys) -> None:
    """Requests with keys pay nothing for accounts, whether the key is known or not."""
    for key in ("program", "nobody", "operator-token"):
        await client.post("/v1/who", headers={"Authorization": f"Bearer {key}"})
    await client.post("/api/partners/codes/generate", headers={"X-Partner-Key": "a.b.c"})
    await client.post("/v1/either", headers={"X-Partner-Key": "a.b.c"})
    assert keys.looked_at_as_tokens == []
    await client.post("/v1/who", headers=TOKEN)
    assert keys.looked_at_as_tokens == ["of.an.account"]


async def test_a_key_is_what_it_was_however_it_reads(client: Client, keys: Keys) -> None:
    keys.known["a.key.with.points"] = keys.known["program"]
    answer = await client.post("/v1/who", headers={"Authorization": "Bearer a.key.with.points"})
    assert (answer.status, keys.looked_at_as_tokens) == (200, [])


@pytest.mark.parametrize("scheme", ["Bearer", "bearer", "BEARER"])
async def test_an_account_is_let_in_by_its_scopes(client: Client, keys: Keys, scheme: str) -> None:
    headers = {"Authorization": f"{scheme} of.an.account"}
    keys.accounts["of.an.account"] = acting("merchant", "change", "manage")
    assert (await client.post("/v1/who", headers=headers)).status == 200
    assert (await (await client.post("/v1/public", headers=headers)).json())["code"] == "scope_missing"
    assert (await (await client.post("/v1/operators", headers=headers)).json())["code"] == "operator_only"
    keys.accounts["of.an.account"] = acting("partner", "change", "codes:generate")
    minted = await client.post("/api/partners/codes/generate", headers=headers)
    assert minted.status == 201
    # Two who ask at once: it is not clear who is meant.
    both = await client.post("/v1/either", headers=headers | {"X-Partner-Key": "partner"})
    assert both.status == 401


async def test_who_may_look_looks(client: Client, keys: Keys) -> None:
    keys.accounts["of.an.account"] = acting("merchant", "look", "manage")
    assert (await client.get("/v1/things/1", headers=TOKEN)).status == 200
    assert (await client.head("/v1/things/1", headers=TOKEN)).status == 200
    refused = await client.post("/v1/who", headers=TOKEN)
    assert (refused.status, (await refused.json())["code"]) == (403, "look_only")


async def test_an_operator_s_account_goes_where_the_operator_goes(client: Client, keys: Keys) -> None:
    keys.accounts["of.an.account"] = account("operator")
    assert await (await client.post("/v1/who", headers=TOKEN)).json() == {"is_operator": True}
    assert (await client.post("/v1/operators", headers=TOKEN)).status == 200
    assert (await client.post("/v1/either", headers=TOKEN)).status == 403
    keys.accounts["of.an.account"] = account("operator", "look")
    assert (await (await client.post("/v1/operators", headers=TOKEN)).json())["code"] == "look_only"


async def test_one_log_line_names_the_account_and_never_its_token(client: Client, keys: Keys) -> None:
    keys.accounts["of.an.account"] = found = acting("merchant", "change", "manage")
    assert found.account is not None
    with capture_logs(processors=[structlog.contextvars.merge_contextvars]) as logs:
        answer = await client.get("/v1/things/1", headers=TOKEN)
        await client.post("/v1/raise/crash", headers=TOKEN)
        await client.get("/v1/things/1", headers={"Authorization": "Bearer program"})
    assert answer.headers["X-Request-Id"] == "request-of-account"
    lines = [line for line in logs if line["event"] == "http_request"]
    assert [(line.get("account_id"), line.get("issuer"), line.get("key_id")) for line in lines] == [
        (str(found.account.id), "https://dashboard.example", None),
        (str(found.account.id), "https://dashboard.example", None),
        (None, None, str(keys.known["program"].key_id)),
    ]
    ids = [line["request_id"] for line in logs]
    assert ids[:-1] == ["request-of-account"] * (len(logs) - 1)
    # The next of the same connection has nothing of it.
    assert ids[-1] != "request-of-account"
    assert "of.an.account" not in str(logs)


async def test_the_log_line_of_a_refusal_names_who_was_refused(client: Client, keys: Keys) -> None:
    """An account or a key that keeps trying what it may not do is found by its name."""
    keys.accounts["of.an.account"] = looks = acting("merchant", "look", "manage")
    keys.accounts["of.an.operator"] = operator = account("operator", "look")
    assert looks.account is not None
    with capture_logs() as logs:
        for path, key in (
            ("/v1/who", "of.an.account"),
            ("/v1/public", "of.an.account"),
            ("/v1/operators", "of.an.account"),
            ("/v1/operators", "of.an.operator"),
            ("/v1/either", "of.an.operator"),
            ("/v1/operators", "program"),
            ("/v1/public", "program"),
        ):
            assert (await client.post(path, headers={"Authorization": f"Bearer {key}"})).status == 403
        assert (await client.post("/v1/who", headers={"Authorization": "Bearer no.such.account"})).status == 401
    lines = [line for line in logs if line["event"] == "http_request"]
    assert [line.get("account_id") or line["key_id"] for line in lines] == [
        *[str(looks.account.id)] * 3,
        *[str(operator.id)] * 2,
        *[str(keys.known["program"].key_id)] * 2,
        None,
    ]
