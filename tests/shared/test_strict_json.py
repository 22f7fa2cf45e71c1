"""The strict decoder: what plain JSON libraries let through is refused, each with its own reason."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.strict_json import StrictJSONError, loads

LIMIT = 1000

REFUSED = {
    "invalid JSON": (b'{"a":', "invalid_json"),
    "nothing": (b"", "invalid_json"),
    "two texts": (b"{} {}", "invalid_json"),
    "byte order mark": (b"\xef\xbb\xbf{}", "invalid_json"),
    "integer of 5,000 digits": (b"[" + b"9" * 900 + b"e" + b"9" * 50 + b"]", "not_finite"),
    "duplicate key": (b'{"a": 1, "a": 1}', "duplicate_key"),
    "duplicate key deep inside": (b'{"x": [{"a": 1, "b": {"c": 1, "c": 2}}]}', "duplicate_key"),
    "duplicate key by an escape": (b'{"a": 1, "\\u0061": 2}', "duplicate_key"),
    "NaN": (b'{"a": NaN}', "not_finite"),
    "Infinity": (b"[-Infinity]", "not_finite"),
    "a number out of range": (b"[1e999]", "not_finite"),
    "NUL as a byte": (b'{"a": "\x00"}', "nul_character"),
    "NUL by an escape": (b'{"a": "x\\u0000y"}', "nul_character"),
    "NUL in a key": (b'{"\\u0000": 1}', "nul_character"),
    "invalid UTF-8": (b'{"a": "\xff"}', "invalid_utf8"),
    "an unpaired surrogate": (b'["\\ud800"]', "invalid_utf8"),
    "an overlong form": (b'["\xc0\xaf"]', "invalid_utf8"),
    "nesting beyond the limit": (b"[" * 33 + b"]" * 33, "too_deep"),
    "nesting without an end": (b"[" * 900, "too_deep"),
    "too many bytes": (b'"' + b"a" * LIMIT + b'"', "too_large"),
}


@pytest.mark.parametrize(("raw", "reason"), REFUSED.values(), ids=REFUSED.keys())
def test_each_bad_text_has_its_reason(raw: bytes, reason: str) -> None:
    with pytest.raises(StrictJSONError) as caught:
        loads(raw, max_bytes=LIMIT)
    assert caught.value.reason == reason
    assert caught.value.detail


def test_a_surrogate_pair_is_one_character() -> None:
    assert loads(b'["\\ud83d\\ude00"]', max_bytes=LIMIT) == ["\U0001f600"]


def test_brackets_inside_strings_do_not_nest() -> None:
    assert loads(b'["' + b"[{" * 40 + b'\\"]"]', max_bytes=LIMIT) == ["[{" * 40 + '"]']


def test_many_siblings_are_not_deep() -> None:
    assert loads(b"[" + b"{}," * 100 + b"{}]", max_bytes=LIMIT) == [{}] * 101


_texts = st.text(st.characters(exclude_characters="\x00", exclude_categories=["Cs"]), max_size=20)
_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**60), 2**60)
    | st.floats(allow_nan=False, allow_infinity=False)
    | _texts,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(_texts, inner, max_size=4),
    max_leaves=20,
)


@given(_values, st.booleans())
def test_what_is_valid_comes_back_as_it_was(value: object, ascii_only: bool) -> None:
    raw = json.dumps(value, ensure_ascii=ascii_only).encode()
    assert loads(raw, max_bytes=100_000) == value


@given(st.binary(max_size=200))
def test_any_bytes_are_decoded_or_refused_with_a_reason(raw: bytes) -> None:
    try:
        loads(raw, max_bytes=LIMIT)
    except StrictJSONError as error:
        assert error.reason in {"invalid_json", "invalid_utf8", "nul_character", "duplicate_key", "not_finite"}


@pytest.mark.parametrize(
    ("raw", "is_taken"),
    [
        (b'{"data": {"attributes": {"n": 1e400, "deep": [{"n": -1e400}]}}}', True),
        (b'{"data": {"attributes": 1e400}}', True),
        (b'{"data": {"n": 1e400, "attributes": {}}}', False),
        (b'{"data": {"attributes": {"n": 1e400}, "order": [1e400]}}', False),
        (b'{"attributes": {"n": 1e400}}', False),
        (b'{"data": [{"attributes": {"n": 1e400}}]}', False),
        (b'{"data": {"attributes": {"n": NaN}}}', False),
        (b'{"data": {"attributes": {"n": Infinity}}}', False),
        (b'{"data": {"attributes": {"n": 1e400, "n": 1}}}', False),
    ],
)
def test_numbers_out_of_range_are_taken_in_one_member_at_most(raw: bytes, is_taken: bool) -> None:
    """An amount would be read as infinity, or a paid order refused for a detail."""
    if is_taken:
        assert loads(raw, max_bytes=1_000, unbounded=("data", "attributes"))
    else:
        with pytest.raises(StrictJSONError):
            loads(raw, max_bytes=1_000, unbounded=("data", "attributes"))
    with pytest.raises(StrictJSONError):
        loads(raw, max_bytes=1_000)
