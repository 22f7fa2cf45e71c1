"""The strict decoder: what plain JSON libraries let through is refused, each with its own reason."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.strict_json import StrictJSONError, Unreadable, loads, without_unreadable

LIMIT = 6000

# What is refused, by which reason, and where it is said to be.
REFUSED = {
    "invalid JSON": (b'{"a":', "invalid_json", "at line 1, column 6 a value is missing"),
    "nothing": (b"", "invalid_json", "at line 1, column 1 a value is missing"),
    "two texts": (b"{}\n {}", "invalid_json", "at line 2, column 2 something follows the end"),
    "no colon": (b'{"a"}', "invalid_json", "column 5 a colon is missing"),
    "no comma": (b"[1 2]", "invalid_json", "column 4 a comma or the end is missing"),
    "a name without quotes": (b"{a: 1}", "invalid_json", "column 2 the name of a member, in double quotes, is missing"),
    "a string without an end": (b'{"a', "invalid_json", "column 2 a string begins that has no end"),
    "a control character": (b'["\x01"]', "invalid_json", "column 3 a string has a control character"),
    "a bad escape": (b'["\\x"]', "invalid_json", "a backslash does not begin a valid escape"),
    "a short escape": (b'["\\u12"]', "invalid_json", "a backslash does not begin a valid escape"),
    "byte order mark": (b"\xef\xbb\xbf{}", "invalid_json", "must not begin with a byte order mark"),
    "an integer of too many digits": (b'{"a": ' + b"9" * 5_000 + b"}", "not_finite", "stands at a"),
    "an exponent out of range": (b"[" + b"9" * 900 + b"e" + b"9" * 50 + b"]", "not_finite", "stands at 0"),
    "duplicate key": (b'{"a": 1, "a": 1}', "duplicate_key", "a is named twice"),
    "duplicate key deep inside": (b'{"x": [0, {"b": {"c": 1, "c": 2}}]}', "duplicate_key", "x.1.b.c is named twice"),
    "duplicate key by an escape": (b'{"a": 1, "\\u0061": 2}', "duplicate_key", "a is named twice"),
    "NaN": (b'{"a": [{"b": NaN}]}', "not_finite", "must not contain NaN; it stands at a.0.b"),
    "NaN under a name of several words": (b'{"a": {"my key!": NaN}}', "not_finite", "it stands at a.my key!."),
    "NaN under a name that is no step": (b'{"a": {"jane@x.example": NaN}}', "not_finite", "it stands at a.*."),
    "Infinity": (b"[-Infinity]", "not_finite", "must not contain -Infinity; it stands at 0"),
    "NaN alone": (b"NaN", "not_finite", "it stands at the top"),
    "a number out of range": (b'{"a": 1, "b": 1e999}', "not_finite", "1e999 stands at b"),
    "NUL as a byte": (b'{"a":\n "\x00"}', "nul_character", "one stands at line 2, column 3"),
    "NUL by an escape": (b'{"a": {"b": "x\\u0000y"}}', "nul_character", "one stands in a.b"),
    "NUL in a key": (b'{"a": {"\\u0000": 1}}', "nul_character", "one stands in a name in a"),
    "invalid UTF-8": ('{"é": "'.encode() + b'\xff"}', "invalid_utf8", "at line 1, column 8 it is not"),
    "an unpaired surrogate": (b'{"a": ["\\ud800"]}', "invalid_utf8", "half of a surrogate pair; one stands in a.0"),
    "an overlong form": (b'["\xc0\xaf"]', "invalid_utf8", "column 3"),
    "nesting beyond the limit": (b"[" * 33 + b"]" * 33, "too_deep", "at line 1, column 33"),
    "nesting without an end": (b"[" * 900, "too_deep", "at line 1, column 33"),
    "a number out of range before what is no JSON": (b"[1e999,]", "invalid_json", "column 8 a value is missing"),
    "NaN before what is no JSON": (b'{"a": NaN', "invalid_json", "column 10 a comma or the end is missing"),
    "a duplicate key before what is no JSON": (b'{"a": 1, "a": 1} x', "invalid_json", "something follows the end"),
    "too many digits before what is no JSON": (b"[" + b"9" * 5_000, "invalid_json", "a comma or the end is missing"),
    "too many bytes": (b'"' + b"a" * LIMIT + b'"', "too_large", f"it has {LIMIT + 2}"),
}


@pytest.mark.parametrize(("raw", "reason", "where"), REFUSED.values(), ids=REFUSED.keys())
def test_each_bad_text_has_its_reason_and_says_where(raw: bytes, reason: str, where: str) -> None:
    """Who wrote it must find the place without a decoder of ours."""
    with pytest.raises(StrictJSONError) as caught:
        loads(raw, max_bytes=LIMIT)
    assert caught.value.reason == reason
    assert where in caught.value.detail
    assert caught.value.detail.startswith("The body must ")


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


# Most bytes are no JSON from the start; these are nearly JSON, and often refused for more than one reason.
_TOKENS = (
    *(b"{", b"}", b"[", b"]", b",", b":", b'"a"', b'"b"', b'"a":', b"1", b"1e999", b"9" * 4_301),
    *(b"NaN", b"null", b'"\\u0000"', b'"\\ud800"', b'"\\x"', b'"', b" ", b"\x00"),
)


@given(st.binary(max_size=200) | st.lists(st.sampled_from(_TOKENS), max_size=12).map(b"".join))
def test_any_bytes_are_decoded_or_refused_with_a_reason(raw: bytes) -> None:
    try:
        loads(raw, max_bytes=100_000)
    except StrictJSONError as error:
        assert error.reason in {
            *("invalid_json", "invalid_utf8", "nul_character", "duplicate_key", "not_finite", "too_deep")
        }


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
        assert loads(raw, max_bytes=1_000, details=("data", "attributes"))
    else:
        with pytest.raises(StrictJSONError):
            loads(raw, max_bytes=1_000, details=("data", "attributes"))
    with pytest.raises(StrictJSONError):
        loads(raw, max_bytes=1_000)


NUL = Unreadable("nul_character", "must not contain NUL characters")
HALF = Unreadable("invalid_utf8", "must not contain half of a surrogate pair")
FAR = Unreadable("not_finite", "must not contain numbers out of range")


@pytest.mark.parametrize(
    ("raw", "value"),
    [
        (
            b'{"a": "\\u0000", "b": ["\\ud800", 1e400], "c": "\\ud83d\\ude00"}',
            {"a": NUL, "b": [HALF, FAR], "c": "\U0001f600"},
        ),
        (b'{"a\\u0000": {"b": 1}, "\\ud800": 2}', {"a\ufffd": NUL, "?": HALF}),
        (b'{"a": 1' + b"0" * 5_000 + b"}", {"a": FAR}),
        (b'"\\u0000"', NUL),
    ],
)
def test_what_cannot_be_kept_among_details_is_named_as_such(raw: bytes, value: object) -> None:
    assert loads(raw, max_bytes=10_000, details=()) == value
    with pytest.raises(StrictJSONError):
        loads(raw, max_bytes=10_000)


@pytest.mark.parametrize(
    ("raw", "member"),
    [
        (b'{"a": {"b": [1, "\\u0000"]}}', "a.b.1"),
        (b'{"a": {"b\\ud800": 1}}', "a.*"),
        (b'{"a": 1, "b": 1e400}', "b"),
        (b'"\\u0000"', ""),
        (b'{"a": NaN}', ""),
    ],
)
def test_what_cannot_be_kept_is_named_by_its_member(raw: bytes, member: str) -> None:
    """The caller would have to search for it."""
    with pytest.raises(StrictJSONError) as caught:
        loads(raw, max_bytes=1_000)
    assert caught.value.member == member


@pytest.mark.parametrize("raw", [b'{"a": "\\u0000"}', b'{"a": "\\ud800"}', b'{"a": 1' + b"0" * 5_000 + b"}"])
def test_the_bytes_without_what_cannot_be_kept_are_json_for_every_reader(raw: bytes) -> None:
    value = loads(raw, max_bytes=10_000, details=())
    assert json.loads(without_unreadable(raw, value)) == {"a": {}}
    assert without_unreadable(b"[1]", [1]) == b"[1]"
