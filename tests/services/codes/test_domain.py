"""The rules about settings, prefixes, quotas and counts, as plain functions."""

import itertools
import uuid
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from services.codes.domain.errors import QuotaWouldBeNegative, RefundExceedsMints, WeakCodeSpace
from services.codes.domain.partners import checked_email, checked_prefix, derived_prefixes
from services.codes.domain.programs import (
    ProgramSettings,
    check_code_space,
    checked_alphabet,
    checked_link_url,
    checked_webhook_attributes,
)
from services.codes.domain.quota import Quota, after_movement
from services.codes.domain.usage import KnownUsage, Usage, added_by_coupon, newer_usages, newest
from shared.currencies import checked_currency
from shared.idempotency import Answer, IdempotentRequest, Once

NOON = datetime(2026, 3, 18, 12, tzinfo=UTC)


@pytest.mark.parametrize(
    ("check", "accepted"),
    [
        (checked_currency, "EUR"),
        (checked_link_url, "https://cinematiccard.com/?a=b#c"),
        (checked_link_url, "http://localhost:8080"),
        (checked_alphabet, "0123456789ABCDEF"),
        (checked_alphabet, "23456789ABCDEFGHJKMNPQRSTUVWXYZ"),
        (checked_email, "dev+codes@acme.example"),
    ],
)
def test_a_good_setting_stays_what_it_is(check: Callable[[str], str], accepted: str) -> None:
    assert check(accepted) == accepted


@pytest.mark.parametrize(
    ("check", "refused"),
    [
        *((checked_currency, text) for text in ("EURO", "", "E1R", "EUR\n", "ZZZ", "BTC", "XAU", "XXX", "\u017fEK")),
        *(
            (checked_link_url, text)
            for text in (
                *("cinematiccard.com", "ftp://a.example/", "javascript:alert(1)", "https://", "https://u:p@a.example/"),
                *("https://a.example/ b", "https://a.example/\n", "https://a.example:port/", "https://ä.example/"),
                *("https://[::1", "https://a.example:"),
            )
        ),
        *((checked_alphabet, text) for text in ("A", "ABCA", "abc", "0O12", "1L23", "I1AB", "Ä12", "A-B", "ABC\n")),
        *((checked_email, text) for text in ("", "a", "@b", "a@", "a b@c", "a@b@c", "a" * 65 + "@b", "a@" + "b" * 255)),
        *((checked_prefix, text) for text in ("", "A-B", "A" * 33, "Ä", "A B", "A\n")),
    ],
)
def test_a_bad_setting_is_a_value_error(check: Callable[[str], str], refused: str) -> None:
    with pytest.raises(ValueError, match="must"):
        check(refused)


@pytest.mark.parametrize(
    "names",
    [
        *(["event"], ["card_id", "codes_remaining"], ["a", "a"], [""], ["1a"], ["a b"], ["a\n"], ["x" * 101]),
        [f"a{number}" for number in range(11)],
    ],
)
def test_webhook_attributes_never_take_our_own_names(names: list[str]) -> None:
    with pytest.raises(ValueError, match="must"):
        checked_webhook_attributes(names)


def test_webhook_attributes_keep_their_order() -> None:
    assert checked_webhook_attributes(["occasion", "card-id"]) == ("occasion", "card-id")
    assert checked_webhook_attributes([]) == ()


def test_codes_are_never_easier_to_guess_than_by_default() -> None:
    settings = ProgramSettings("Program")
    check_code_space(settings)
    with pytest.raises(WeakCodeSpace):
        check_code_space(replace(settings, code_length=7))
    check_code_space(replace(settings, code_length=7, code_alphabet="23456789ABCDEFGHJKMNPQRSTUVWXYZ"))


@pytest.mark.parametrize(
    ("name", "prefixes"),
    [
        ("Acme", ["ACME", "ACME2", "ACME3"]),
        ("Café Ölbaum & Söhne", ["CAFEOLBAUMSO", "CAFEOLBAUMSO2", "CAFEOLBAUMSO3"]),
        ("株式会社", ["PARTNER", "PARTNER2", "PARTNER3"]),
        ("ﬁne²", ["FINE2", "FINE22", "FINE23"]),
    ],
)
def test_a_prefix_is_made_from_the_name(name: str, prefixes: list[str]) -> None:
    assert list(itertools.islice(derived_prefixes(name), 3)) == prefixes
    assert all(checked_prefix(prefix) == prefix for prefix in prefixes)


def test_each_kind_of_movement_moves_its_own_counter() -> None:
    quota = after_movement(after_movement(Quota(), "grant", 10), "adjustment", -3)
    assert quota == Quota(granted=10, adjusted=-3)
    assert quota.remaining == 7
    assert after_movement(replace(quota, minted=7), "refund", 7) == Quota(10, -3, 7, 7)


def test_a_quota_never_becomes_negative() -> None:
    with pytest.raises(QuotaWouldBeNegative, match="2 codes remain"):
        after_movement(Quota(granted=10, minted=8), "adjustment", -3)


def test_no_more_is_refunded_than_was_minted() -> None:
    with pytest.raises(RefundExceedsMints, match="1 mints"):
        after_movement(Quota(granted=10, minted=3, refunded=2), "refund", 2)


def test_requests_of_different_owners_routes_or_keys_are_different() -> None:
    request = IdempotentRequest(uuid.UUID(int=1), "POST /v1/partners", "key", b"")
    others = [
        replace(request, owner_id=uuid.UUID(int=2)),
        replace(request, route="POST /v1"),
        replace(request, key="k"),
    ]
    assert len({each.lock_id for each in [request, *others]}) == 4
    assert replace(request, request_sha256=b"other").lock_id == request.lock_id


@pytest.mark.parametrize(
    ("status", "acted", "is_kept"),
    [
        (200, None, True),
        (201, None, True),
        (202, False, True),
        *((status, acted, False) for status in (401, 403, 404, 409, 422, 429, 503) for acted in (None, False)),
        (409, True, True),
    ],
)
def test_a_refusal_is_kept_only_if_something_was_done(status: int, *, acted: bool | None, is_kept: bool) -> None:
    answer = Answer(status, b"")
    once: Once[object] = Once(None, lambda _: answer, acted=None if acted is None else lambda _: acted)
    assert once.keeps(object(), answer) is is_kept


def _usage(number: int, count: int, version: int, minutes: int = 0, program: int = 1) -> Usage:
    moment = NOON + timedelta(minutes=minutes)
    return Usage(uuid.UUID(int=number), uuid.UUID(int=program), count, version, moment)


def test_of_several_counts_of_one_code_the_newest_version_wins() -> None:
    found = newest([_usage(1, 2, 2, minutes=5), _usage(1, 1, 1, minutes=9), _usage(2, 1, 1), _usage(1, 1, 3)])
    assert found == [_usage(1, 1, 3, minutes=9), _usage(2, 1, 1)]


def test_news_are_newer_and_about_the_program_s_own_codes() -> None:
    known = {
        uuid.UUID(int=n): KnownUsage(uuid.UUID(int=n), uuid.UUID(int=1), uuid.UUID(int=9), 1, 4) for n in (1, 2, 3)
    }
    usages = [_usage(1, 2, 5), _usage(2, 1, 4), _usage(3, 5, 9, program=2), _usage(4, 1, 1)]
    assert newer_usages(usages, known) == [usages[0]]


def test_an_uncounted_coupon_rises_and_falls_with_its_codes() -> None:
    one, two = uuid.UUID(int=8), uuid.UUID(int=9)
    known = {
        uuid.UUID(int=1): KnownUsage(uuid.UUID(int=1), uuid.UUID(int=1), one, 1, 1),
        uuid.UUID(int=2): KnownUsage(uuid.UUID(int=2), uuid.UUID(int=1), one, 0, 0),
        uuid.UUID(int=3): KnownUsage(uuid.UUID(int=3), uuid.UUID(int=1), two, 0, 0),
    }
    usages = [_usage(1, 0, 2), _usage(2, 4, 1), _usage(3, 1, 1)]
    assert added_by_coupon(usages, known, []) == {one: 3, two: 1}
    assert added_by_coupon(usages, known, [two]) == {one: 3}
