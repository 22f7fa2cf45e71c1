"""Who may do what: the two headers, scopes, publishable keys, the operator's token."""

import pytest

from tests.shared.web.conftest import Client, Keys

PARTNER = {"X-Partner-Key": "partner"}
PROGRAM = {"Authorization": "Bearer program"}


@pytest.mark.parametrize(
    "headers", [{}, {"X-Partner-Key": "unknown"}, {"X-Partner-Key": ""}, {"Authorization": "Bearer partner"}]
)
async def test_partner_api_answers_a_bad_key_with_exactly_the_seeds_words(
    client: Client, headers: dict[str, str]
) -> None:
    answer = await client.post("/api/partners/codes/generate", headers=headers)
    assert answer.status == 401
    assert await answer.json() == {"ok": False, "error": "Invalid API key", "error_code": "invalid_api_key"}
    assert answer.headers["WWW-Authenticate"] == 'ApiKey header="X-Partner-Key"'


async def test_a_401_names_every_header_that_takes_a_key(client: Client) -> None:
    assert (await client.post("/v1/who")).headers["WWW-Authenticate"] == "Bearer"
    either = await client.post("/v1/either")
    assert either.headers["WWW-Authenticate"] == 'Bearer, ApiKey header="X-Partner-Key"'


async def test_partner_key_is_let_in(client: Client, keys: Keys) -> None:
    answer = await client.post("/api/partners/codes/generate", headers=PARTNER)
    assert answer.status == 201
    assert (await answer.json())["partner"] == str(keys.known["partner"].partner_id)
    assert answer.headers["RateLimit-Policy"] == '"default";q=100;w=60'
    assert answer.headers["RateLimit"] == '"default";r=99;t=60'


async def test_missing_scope_is_named(client: Client) -> None:
    answer = await client.post("/v1/who", headers={"Authorization": "Bearer partner"})
    assert answer.status == 403
    assert (await answer.json())["code"] == "scope_missing"
    assert "manage" in (await answer.json())["detail"]


async def test_publishable_key_is_good_for_validation_only(client: Client) -> None:
    """A scope that slipped into a publishable key must not widen it: it lies open in web pages."""
    headers = {"Authorization": "Bearer public"}
    assert (await client.post("/v1/public", headers=headers)).status == 200
    assert (await client.post("/v1/who", headers=headers)).status == 403
    assert (await client.get("/v1/unscoped", headers=headers)).status == 403


async def test_a_page_may_ask_a_route_that_is_open_to_browsers_and_read_its_refusals(client: Client) -> None:
    asked = await client.options("/v1/public", headers={"Origin": "https://shop.example"})
    assert (asked.status, await asked.read()) == (204, b"")
    assert asked.headers["Access-Control-Allow-Methods"] == "POST"
    assert "Authorization" in asked.headers["Access-Control-Allow-Headers"]
    for key in ("public", "nobody"):
        answer = await client.post("/v1/public", headers={"Authorization": f"Bearer {key}"})
        assert answer.headers["Access-Control-Allow-Origin"] == "*"
    assert "Access-Control-Allow-Credentials" not in asked.headers
    elsewhere = await client.options("/v1/who", headers={"Origin": "https://shop.example"})
    assert (elsewhere.status, elsewhere.headers.get("Access-Control-Allow-Origin")) == (405, None)


async def test_either_header_serves_and_two_different_keys_do_not(client: Client) -> None:
    assert (await client.post("/v1/either", headers=PARTNER)).status == 200
    assert (await client.post("/v1/either", headers=PROGRAM)).status == 200
    assert (await client.post("/v1/either", headers=PARTNER | PROGRAM)).status == 401


@pytest.mark.parametrize("token", ["operator-token", "partner", "", "operator-tokem", "opér\udcff"])
async def test_operator_routes_take_the_operators_token_only(client: Client, token: str) -> None:
    headers = {"Authorization": f"Bearer {token}".encode("utf-8", "surrogateescape").decode("latin-1")}
    answer = await client.post("/v1/operators", headers=headers)
    assert answer.status == {"operator-token": 200, "partner": 403}.get(token, 401)
    if token == "partner":
        assert (await answer.json())["code"] == "operator_only"


async def test_operator_is_let_in_beside_keys_only_where_the_route_says_so(client: Client) -> None:
    operator = {"Authorization": "bearer operator-token"}
    assert await (await client.post("/v1/who", headers=operator)).json() == {"is_operator": True}
    assert await (await client.post("/v1/who", headers=PROGRAM)).json() == {"is_operator": False}
    assert (await client.post("/v1/either", headers=operator)).status == 401


async def test_program_key_on_a_partners_route_is_refused(client: Client, keys: Keys) -> None:
    keys.known["odd"] = keys.known["program"].__class__(
        **{name: getattr(keys.known["program"], name) for name in keys.known["program"].__slots__ if name != "scopes"},
        scopes=frozenset({"codes:generate"}),
    )
    answer = await client.post("/api/partners/codes/generate", headers={"X-Partner-Key": "odd"})
    assert answer.status == 403
    assert (await answer.json())["error_code"] == "scope_missing"


async def test_database_away_while_a_key_is_checked_is_a_503(client: Client, keys: Keys) -> None:
    keys.is_away = True
    answer = await client.post("/v1/who", headers=PROGRAM)
    assert (answer.status, answer.headers["Retry-After"]) == (503, "1")


async def test_key_is_checked_before_the_body_is_looked_at(client: Client) -> None:
    answer = await client.post("/v1/things", data=b"{", headers={"Authorization": "Bearer nobody"})
    assert answer.status == 401
