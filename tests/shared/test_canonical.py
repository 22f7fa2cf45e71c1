"""One form for all spellings of a code."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.canonical import canonical_code

SAME = [
    ("PREFIX-1A0A48C0", "PREF1X1A0A48C0"),
    ("prefix 1a0a 48c0", "PREF1X1A0A48C0"),
    ("\uff30\uff32\uff25\uff26\uff29\uff38_1A0A48C0", "PREF1X1A0A48C0"),
    ("PRE\u200bFIX\u00a01A0A\u00ad48C0\n", "PREF1X1A0A48C0"),
    ("\ufeffsave-20", "SAVE20"),
    ("OIL", "011"),
    ("oil", "011"),
]


@pytest.mark.parametrize(("typed", "canonical"), SAME)
def test_spellings_meet(typed: str, canonical: str) -> None:
    assert canonical_code(typed) == canonical


@pytest.mark.parametrize("typed", ["", "---", "\u200b", "SAVE20€", "CAFÉ", "\u0405AVE", "A" * 256, "A\x00B"])
def test_what_is_no_code_is_refused(typed: str) -> None:
    with pytest.raises(ValueError, match="code"):
        canonical_code(typed)


@given(st.text(max_size=60))
def test_the_form_is_stable_and_plain(typed: str) -> None:
    try:
        once = canonical_code(typed)
    except ValueError:
        return
    assert canonical_code(once) == once
    assert once.isascii()
    assert once.isalnum()
    assert not set("OIL") & set(once)


@given(st.from_regex(r"[0-9A-Fa-f]{8}", fullmatch=True), st.sampled_from(["-", " ", "_", "\u200b", ""]))
def test_separators_and_case_never_matter(text: str, separator: str) -> None:
    assert canonical_code(separator.join(text).swapcase()) == canonical_code(text)
