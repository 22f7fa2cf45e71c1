"""One form for all spellings of a code, and what of them is fit to be stored and shown."""

import re
import unicodedata

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from shared.canonical import MARKS, MAX_CODE_LENGTH, canonical_code, checked_code

SAME = [
    ("PREFIX-1A0A48C0", "PREF1X1A0A48C0"),
    ("prefix 1a0a 48c0", "PREF1X1A0A48C0"),
    ("\uff30\uff32\uff25\uff26\uff29\uff38_1A0A48C0", "PREF1X1A0A48C0"),
    ("PRE\u200bFIX\u00a01A0A\u00ad48C0\n", "PREF1X1A0A48C0"),
    ("\ufeffsave-20", "SAVE20"),
    ("OIL", "011"),
    ("oil", "011"),
    ("10 % off", "10%0FF"),
    ("１０％ＯＦＦ", "10%0FF"),
    ("Save+20.5&More!#1", "SAVE+20.5&M0RE!#1"),
    ("Straße", "STRASSE"),
    ("CAFÉ", "CAFé"),
    ("cafe\u0301", "CAFé"),
    ("c\u200caf\u200de\u200c\u0301", "CAFé"),
    ("АКЦИЯ-20", "акция20"),
    ("Акция 20", "акция20"),
    ("ΣΊΣΥΦΟΣ", "σίσυφοσ"),
    ("σίσυφος", "σίσυφοσ"),
    ("夏祭り２０２４", "夏祭り2024"),
    ("خصم٢٠", "خصم20"),
    ("हिन्दी", "हिन्दी"),
    ("İNDİRİM", "1ND1R1M"),
    ("ındırım", "1ND1R1M"),
    ("indirim", "1ND1R1M"),
    ("\u3164SAVE\ufe0f20\U000e0041", "SAVE20"),
    ("\u202eSAVE20\u202c", "SAVE20"),
]
DASHES = "-\u2010\u2011\u2012\u2013\u2014\u2015\u2212\ufe58\ufe63\uff0d"


@pytest.mark.parametrize(("typed", "canonical"), SAME)
def test_spellings_meet(typed: str, canonical: str) -> None:
    assert canonical_code(typed) == canonical


@pytest.mark.parametrize("dash", DASHES)
def test_all_dashes_are_one(dash: str) -> None:
    assert canonical_code(f"SAVE{dash}20") == "SAVE20"
    assert checked_code(f"SAVE{dash}20") == f"SAVE{dash}20"


@pytest.mark.parametrize(
    "typed",
    [
        *(
            "",
            "---",
            "\u200b",
            "%%",
            "& !",
            "SAVE20€",
            "SAVE20🎁",
            "A" * 256,
            "A\x00B",
            "A/B",
            "A\\B",
            "A?B",
            "A,B",
            "A;B",
        ),
        # An accent stands on a letter, and not on more than a few of its kind.
        *("\u0301A", "A 1\u0301", "a" + "\u0301" * 6),
        # Private, unassigned, half a character.
        *("A\ue000", "A\u0378", "A\ud800"),
        # Longer than an index entry may be once it is written out.
        "\ufdfa" * 20,
    ],
)
def test_what_is_no_code_is_refused(typed: str) -> None:
    with pytest.raises(ValueError, match="code"):
        canonical_code(typed)


@given(st.text(max_size=60))
@example("İ\u0301")
@example("o\u00ad\u0301")
@example("¨A")
@example("ᾳ\u0345")
def test_the_form_is_stable_and_bounded(typed: str) -> None:
    try:
        once = canonical_code(typed)
    except ValueError:
        return
    assert canonical_code(once) == once
    assert 1 <= len(once) <= MAX_CODE_LENGTH
    assert not set("OILoilabc-_ ") & set(once)
    assert all(each in MARKS or unicodedata.category(each)[0] in "LMN" for each in once)


def test_each_character_that_folds_has_a_stable_form() -> None:
    """An upgrade of Python brings another Unicode: what it folds must be stable too."""
    for number in range(0x110000):
        character = chr(number)
        if character.casefold() == character and unicodedata.is_normalized("NFKC", character):
            continue
        try:
            once = canonical_code(f"a{character}")
        except ValueError:
            continue
        assert canonical_code(once) == once


@given(st.text(max_size=80))
def test_case_and_composition_never_matter(typed: str) -> None:
    try:
        form = canonical_code(typed)
    except ValueError:
        return
    for spelling in (typed.casefold(), unicodedata.normalize("NFC", typed), unicodedata.normalize("NFD", typed)):
        if len(spelling) <= MAX_CODE_LENGTH:
            assert canonical_code(spelling) == form


@given(st.from_regex(r"[-_]*[A-Za-z0-9][A-Za-z0-9_-]*", fullmatch=True).filter(lambda text: len(text) <= 100))
def test_codes_that_were_stored_before_keep_their_form(text: str) -> None:
    """Their canonical form is in the database: with another nobody could redeem them."""
    before = re.sub("[-_]", "", text).upper().translate(str.maketrans("OIL", "011"))
    assert canonical_code(text) == before
    assert checked_code(text) == text


@given(st.from_regex(r"[0-9A-Fa-f]{8}", fullmatch=True), st.sampled_from(["-", " ", "_", "\u200b", ""]))
def test_separators_and_case_never_matter(text: str, separator: str) -> None:
    assert canonical_code(separator.join(text).swapcase()) == canonical_code(text)


@pytest.mark.parametrize(
    "text", ["10 % OFF", "Straße", "АКЦИЯ-20", "SALE СКИДКА", "夏祭り 2024", "%50", "#1", "export"]
)
def test_what_is_stored_stays_as_it_is_written(text: str) -> None:
    assert checked_code(f"\u3000 {text}\u00a0\u2003") == text


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        (" ", "1 to 100 characters"),
        ("A" * 101, "1 to 100 characters"),
        ("SAVE\u200b20", "U+200B"),
        ("SAVE\u202e20", "U+202E"),
        ("SAVE\u316420", "U+3164"),
        ("SAVE\t20", "U+0009"),
        ("SAVÉ\x7f20", "U+007F"),
        ("SAVE\u2028é", "U+2028"),
        ("SAVÉ\ud800", "U+D800"),
        ("SAVE20€", "letters, digits"),
        ("%%", "one letter or digit"),
        ("\ufdfa" * 20, "ligatures"),
        ("S\u0410VE", "Latin and Cyrillic"),
        ("\u0391BC", "Latin and Greek"),
    ],
)
def test_what_people_could_not_read_is_not_stored(text: str, problem: str) -> None:
    with pytest.raises(ValueError, match=re.escape(problem)):
        checked_code(text)


@given(st.text(max_size=110))
def test_whatever_is_stored_is_found_again(text: str) -> None:
    try:
        stored = checked_code(text)
    except ValueError:
        return
    assert checked_code(stored) == stored
    assert canonical_code(stored) == canonical_code(text)
