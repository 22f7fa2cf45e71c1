"""What bodies, query strings and headers are accepted, and how refusals read."""

import gzip
from typing import Any

import pytest
from aiohttp import web

from tests.shared.web.conftest import Client

PROGRAM = {"Authorization": "Bearer program"}
JSON = PROGRAM | {"Content-Type": "application/json"}


async def _post(client: Client, raw: bytes, path: str = "/v1/things", **headers: str) -> tuple[int, Any]:
    answer = await client.post(path, data=raw, headers=JSON | headers)
    return answer.status, await answer.json()


@pytest.mark.parametrize(
    ("raw", "status", "code"),
    [
        (b"", 400, "body_required"),
        (b"{", 400, "invalid_json"),
        (b'{"name": "a", "name": "b"}', 400, "duplicate_key"),
        (b'{"amount": NaN}', 400, "not_finite"),
        (b'{"name": "\xff"}', 400, "invalid_utf8"),
        (b'"\\ud800"', 400, "invalid_utf8"),
        (b'"\\u0000"', 400, "nul_character"),
        (b"[" * 40 + b"]" * 40, 400, "too_deep"),
        (b'{"name": "' + b"a" * 70_000 + b'"}', 413, "too_large"),
    ],
)
async def test_bad_json_is_refused_with_its_reason(client: Client, raw: bytes, status: int, code: str) -> None:
    got_status, body = await _post(client, raw)
    assert (got_status, body["code"]) == (status, code)


@pytest.mark.parametrize(
    ("raw", "errors"),
    [
        (b'{"name": "\\ud800"}', {"name": ["The name field must not contain half of a surrogate pair."]}),
        (b'{"name": "\\u0000"}', {"name": ["The name field must not contain NUL characters."]}),
        (
            b'{"name": "a", "amount": 1e400}',
            {"amount": ["The amount field must not contain numbers out of range."]},
        ),
    ],
)
async def test_a_member_that_cannot_be_read_is_named(client: Client, raw: bytes, errors: dict[str, list[str]]) -> None:
    """A 400 that named no field left its sender to look for it."""
    status, body = await _post(client, raw)
    assert (status, body["code"], body["errors"]) == (422, "invalid_fields", errors)


async def test_chunked_body_without_a_length_is_held_to_the_limit_too(client: Client) -> None:
    async def chunks() -> Any:
        for _ in range(100):
            yield b" " * 1024

    answer = await client.post("/v1/things", data=chunks(), headers=JSON)
    assert answer.status == 413


async def test_compressed_bodies_are_refused_unopened(client: Client) -> None:
    status, body = await _post(client, gzip.compress(b"{}"), **{"Content-Encoding": "gzip"})
    assert (status, body["code"]) == (415, "unsupported_content_encoding")


async def test_other_media_types_are_refused_and_a_missing_one_is_json(client: Client) -> None:
    status, body = await _post(client, b'{"name": "a"}', **{"Content-Type": "text/plain"})
    assert (status, body["code"]) == (415, "unsupported_media_type")
    answer = await client.post("/v1/things", data=b'{"name": "a"}', headers=PROGRAM, skip_auto_headers=["Content-Type"])
    assert answer.status == 201
    status, _ = await _post(client, b'{"name": "a"}', **{"Content-Type": "application/json; charset=utf-8"})
    assert status == 201


@pytest.mark.parametrize("parameters", [";" * 8000, ';a=";"' * 1300, ";a*" + "9" * 5000 + "=x", ";a*0*=x;a*0=y", ";=;"])
async def test_parameters_of_the_media_type_cost_and_change_nothing(
    client: Client, monkeypatch: pytest.MonkeyPatch, parameters: str
) -> None:
    """aiohttp's own reading of them is a second of work for 8 KiB of semicolons, and fails on a number too long."""
    monkeypatch.setattr(web.Request, "content_type", property(lambda _: pytest.fail("read by aiohttp")))
    status, _ = await _post(client, b'{"name": "a"}', **{"Content-Type": f"application/json{parameters}"})
    assert status == 201
    status, _ = await _post(client, b'{"name": "a"}', **{"Content-Type": f"text/plain{parameters}"})
    assert status == 415


@pytest.mark.parametrize(
    ("raw", "errors"),
    [
        (b"{}", {"name": ["The name field is required."]}),
        (b"[]", {"body": ["The body must be an object."]}),
        (b'{"name": ""}', {"name": ["The name field must not be empty."]}),
        (b'{"name": 5}', {"name": ["The name field must be a string."]}),
        (
            b'{"name": "' + b"a" * 256 + b'"}',
            {"name": ["The name field must not have more than 255 characters."]},
        ),
        (b'{"name": "a", "count": true}', {"count": ["The count field must be an integer."]}),
        (b'{"name": "a", "count": "3"}', {"count": ["The count field must be an integer."]}),
        (b'{"name": "a", "count": 3.5}', {"count": ["The count field must be an integer."]}),
        (b'{"name": "a", "count": 101}', {"count": ["The count field must not be greater than 100."]}),
        (b'{"name": "a", "count": 0}', {"count": ["The count field must be at least 1."]}),
        (b'{"name": "a", "amount": "1"}', {"amount": ["The amount field must be a number."]}),
        (b'{"name": "a", "amount": false}', {"amount": ["The amount field must be a number."]}),
        (b'{"name": "a", "amount": 100.5}', {"amount": ["The amount field must not be greater than 100."]}),
        (
            b'{"name": "a", "amount": 1.005}',
            {"amount": ["The amount field must not have more than 2 decimal places."]},
        ),
        (b'{"name": "a", "is_open": 1}', {"is_open": ["The is_open field must be true or false."]}),
        (b'{"name": "a", "tags": "x"}', {"tags": ["The tags field must be an array."]}),
        (b'{"name": "a", "tags": ["x", 1]}', {"tags.1": ["The tags.1 field must be a string."]}),
        (
            b'{"name": "a", "tags": ["x", "y", "z"]}',
            {"tags": ["The tags field must not have more than 2 items."]},
        ),
        (b'{"name": "a", "sync": {}}', {"sync.provider": ["The sync.provider field is required."]}),
        (
            b'{"name": "a", "sync": {"provider": "shop"}}',
            {"sync.provider": ["The sync.provider field must be stripe or paddle."]},
        ),
        (b'{"name": "a", "kind": "months"}', {"count": ["The count field is required when kind is months."]}),
        (
            b'{"name": "a", "ends_at": "2026-03-18T23:29:28"}',
            {
                "ends_at": [
                    (
                        "The ends_at field must be a date and time with an offset, such as 2026-03-18T23:29:28Z, "
                        "or a date, such as 2026-03-18."
                    )
                ]
            },
        ),
        (
            b'{"name": "a", "ends_at": "0001-01-01T00:00:00+14:00"}',
            {"ends_at": ["The ends_at field must lie between the years 1970 and 9998."]},
        ),
        (
            b'{"name": "a", "colour": 1}',
            {"colour": ["The colour field is not known; this request has no such field."]},
        ),
    ],
)
async def test_fields_are_refused_in_words_for_people(client: Client, raw: bytes, errors: dict[str, list[str]]) -> None:
    status, body = await _post(client, raw)
    assert (status, body["errors"]) == (422, errors)
    assert body["message"] == body["detail"] == next(iter(errors.values()))[0]


async def test_a_second_fault_is_counted_in_the_message(client: Client) -> None:
    _, body = await _post(client, b'{"count": 0, "tags": 1}')
    assert body["message"] == "The name field is required. (and 2 more errors)"
    assert set(body["errors"]) == {"name", "count", "tags"}


async def test_json_integers_and_numbers_are_taken_as_json_schema_has_them(client: Client) -> None:
    raw = b'{"name": "a", "count": 3.0, "amount": 12.35, "ends_at": "2026-03-18T23:29:28+02:00"}'
    status, body = await _post(client, raw)
    assert status == 201
    sent = body["data"]["sent"]
    assert (sent["count"], sent["amount"], sent["ends_at"]) == (3, "12.35", "2026-03-18T21:29:28Z")
    assert body["data"]["bytes"] == len(raw)


async def test_bare_date_stays_a_date(client: Client) -> None:
    _, body = await _post(client, b'{"name": "a", "ends_at": "2026-03-18"}')
    assert body["data"]["sent"]["ends_at"] == "2026-03-18"


async def test_optional_body_that_is_missing_is_read_as_an_empty_object(client: Client) -> None:
    answer = await client.patch("/v1/things/1", headers=PROGRAM)
    assert (await answer.json())["errors"] == {"name": ["The name field is required."]}


async def test_route_without_a_body_takes_none_or_an_empty_object(client: Client) -> None:
    assert (await _post(client, b"", "/v1/who"))[0] == 200
    assert (await _post(client, b"{}", "/v1/who"))[0] == 200
    assert (await _post(client, b'{"a": 1}', "/v1/who"))[0] == 422


async def test_raw_body_is_handed_over_under_its_own_limit(client: Client) -> None:
    status, body = await _post(client, b"a,b\n" * 40_000, "/v1/import", **{"Content-Type": "text/csv"})
    assert (status, body["bytes"]) == (200, 160_000)
    assert (await _post(client, b"{}", "/v1/import"))[0] == 415


@pytest.mark.parametrize(
    ("query", "errors"),
    [
        ("limit=0", {"limit": ["The limit parameter must be at least 1."]}),
        ("limit=251", {"limit": ["The limit parameter must not be greater than 250."]}),
        ("limit=1_0", {"limit": ["The limit parameter must be an integer."]}),
        ("limit=", {"limit": ["The limit parameter must be an integer."]}),
        ("limit=1&limit=2", {"limit": ["The limit parameter must be given once."]}),
        ("cursor=a&cursor=a", {"cursor": ["The cursor parameter must be given once."]}),
        (f"limit={'9' * 5000}", {"limit": ["The limit parameter must not be greater than 250."]}),
        (f"limit=-{'9' * 30}", {"limit": ["The limit parameter must be at least 1."]}),
        ("is_open=perhaps", {"is_open": ["The is_open parameter must be true or false."]}),
        ("tag=%00", {"tag": ["The tag parameter must not contain NUL characters."]}),
        ("colour=red", {"colour": ["The colour parameter is not known; this request has no such parameter."]}),
        ("cursor=%21", {"cursor": ["The cursor parameter must be one that this list has returned."]}),
        ("cursor=", {"cursor": ["The cursor parameter must be one that this list has returned."]}),
    ],
)
async def test_query_is_refused_in_words_for_people(client: Client, query: str, errors: dict[str, list[str]]) -> None:
    answer = await client.get(f"/v1/things?{query}", headers=PROGRAM)
    assert answer.status == 422
    assert (await answer.json())["errors"] == errors


async def test_query_is_parsed_and_a_page_says_where_the_next_starts(client: Client) -> None:
    answer = await client.get("/v1/things?tag=a&tag=b&limit=7", headers=PROGRAM)
    body = await answer.json()
    assert body["data"] == [{"id": "1", "name": "['a', 'b'] 7"}]
    cursor = body["meta"]["next_cursor"]
    again = await client.get(f"/v1/things?tag=a&tag=b&cursor={cursor}", headers=PROGRAM)
    assert (again.status, (await again.json())["data"][0]["name"]) == (200, "['a', 'b'] 50")


async def test_a_cursor_is_refused_with_other_filters_than_its_own(client: Client) -> None:
    """A page of another list would follow, without a word, and leave out what lies between."""

    async def cursor_of(filters: str) -> str:
        answer = await client.get(f"/v1/things?{filters}", headers=PROGRAM)
        return str((await answer.json())["meta"]["next_cursor"])

    for made, used in (("tag=a", "tag=b"), ("tag=a", "tag=a&is_open=true"), ("tag=a", ""), ("", "tag=a")):
        answer = await client.get(f"/v1/things?{used}&cursor={await cursor_of(made)}", headers=PROGRAM)
        assert (answer.status, list((await answer.json())["errors"])) == (422, ["cursor"]), (made, used)
    # How much of the list a page shows is no filter.
    answer = await client.get(f"/v1/things?tag=a&limit=3&cursor={await cursor_of('tag=a&limit=9')}", headers=PROGRAM)
    assert answer.status == 200


async def test_route_without_a_query_refuses_parameters(client: Client) -> None:
    answer = await client.get("/v1/things/1?expand=all", headers=PROGRAM)
    assert (await answer.json())["errors"] == {"expand": ["The expand parameter is not known."]}


@pytest.mark.parametrize(("key", "status"), [("k-1", 201), ("a" * 255, 201), ("a" * 256, 400), ("", 400), ("é", 400)])
async def test_idempotency_key_is_checked_and_handed_over(client: Client, key: str, status: int) -> None:
    headers = {"X-Partner-Key": "partner", "Idempotency-Key": key}
    answer = await client.post("/api/partners/codes/generate", headers=headers)
    body = await answer.json()
    assert answer.status == status
    assert body.get("idempotency_key", body.get("error_code")) == (key if status == 201 else "invalid_idempotency_key")


class TestStreamed:
    """A body that its handler reads as it comes: too large to be held, and refused for the same reasons."""

    async def _send(self, client: Client, data: Any, **headers: str) -> tuple[int, Any]:
        answer = await client.post("/v1/streamed", data=data, headers=PROGRAM | {"Content-Type": "text/csv"} | headers)
        return answer.status, await answer.json()

    async def test_is_read_beyond_the_usual_limit_and_known_by_its_bytes(self, client: Client) -> None:
        status, first = await self._send(client, b"a" * 250_000)
        assert (status, first["bytes"]) == (200, 250_000)
        _, again = await self._send(client, b"a" * 250_000)
        _, other = await self._send(client, b"a" * 249_999 + b"b")
        assert first["fingerprint"] == again["fingerprint"] != other["fingerprint"]
        assert first["fingerprint"] != first["before"]

    async def test_is_held_to_its_own_limit_with_a_length_and_without(self, client: Client) -> None:
        async def chunks() -> Any:
            for _ in range(10):
                yield b"a" * 40_000

        for data in (b"a" * 300_001, chunks()):
            status, body = await self._send(client, data)
            assert (status, body["code"]) == (413, "too_large")

    async def test_other_types_and_encodings_are_refused(self, client: Client) -> None:
        status, body = await self._send(client, b"{}", **{"Content-Type": "application/json"})
        assert (status, body["code"]) == (415, "unsupported_media_type")
        status, body = await self._send(client, gzip.compress(b"a"), **{"Content-Encoding": "gzip"})
        assert (status, body["code"]) == (415, "unsupported_content_encoding")
