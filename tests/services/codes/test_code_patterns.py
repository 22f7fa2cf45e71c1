"""What generated codes look like: the count of possibilities is exact, every code fits, none reads as an obscenity."""

import os
from itertools import product
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from services.codes.domain.batches import BatchDraft, check_feasible, estimated_live
from services.codes.domain.code_patterns import (
    CANONICAL_SYMBOLS,
    DEFAULT_ALPHABET,
    CodePattern,
    checked_affix,
    checked_pattern,
    is_check_right,
    remainder,
)
from services.codes.domain.code_terms import CodeTerms
from services.codes.domain.errors import CodeSpaceTooSmall, GuessableCodes
from services.codes.domain.given import Given
from services.codes.domain.obscenity import obscene_places, obscene_spans
from services.codes.domain.programs import checked_alphabet
from shared.canonical import canonical_code
from tests.docs import markdown

ALPHABETS = st.sampled_from(["01", "0123456789", "0123456789ABCDEF", DEFAULT_ALPHABET, "ACEFHKMPRTWXY", "IOXYZ"])
LITERAL = st.text("ABCxyz019-_ILO", max_size=6)


@st.composite
def patterns(draw: st.DrawFn, *, most: int = 12) -> CodePattern:
    parts = [draw(LITERAL)]
    for _ in range(draw(st.integers(1, 3))):
        parts += ["#" * draw(st.integers(1, most // 3)), draw(LITERAL)]
    return CodePattern("".join(parts), draw(ALPHABETS), draw(st.booleans()))


@given(patterns(), st.binary(max_size=2_000))
def test_every_spelled_code_fits_its_pattern(pattern: CodePattern, randomness: bytes) -> None:
    codes, canonicals = pattern.spell(randomness)
    for code, canonical in zip(codes, canonicals, strict=True):
        assert canonical_code(code) == canonical
        assert len(canonical) == pattern.canonical_length
        assert canonical.startswith(pattern.canonical_pattern.partition("#")[0])
        shown = code[:-1] if pattern.has_check_symbol else code
        for symbol, place in zip(shown, pattern.pattern, strict=True):
            assert symbol in pattern.alphabet if place == "#" else symbol == place
        if pattern.has_check_symbol:
            assert code[-1] in pattern.alphabet
            assert is_check_right(canonical)


@given(patterns(most=3))
@settings(max_examples=40)
def test_the_count_of_possible_codes_is_exact(pattern: CodePattern) -> None:
    alphabet = pattern.alphabet[:6]
    small = CodePattern(pattern.pattern, alphabet, pattern.has_check_symbol)
    found = set()
    for chosen in product(alphabet, repeat=small.random_count):
        canonical = canonical_code(small.pattern.replace("#", "%s") % chosen)
        if not small.has_check_symbol:
            found.add(canonical)
            continue
        found |= {canonical + s for s in map(canonical_code, alphabet) if is_check_right(canonical + s)}
    assert small.possible == len(found)
    assert set(small.every() or ()) == found


def test_enough_bytes_are_asked_for() -> None:
    """Random bytes that give far fewer codes than wanted would make the job take many more statements."""
    for alphabet in ("0123456789", DEFAULT_ALPHABET):
        for pattern in (CodePattern("#" * 12, alphabet), CodePattern("#" * 12, alphabet, has_check_symbol=True)):
            assert len(pattern.spell(os.urandom(pattern.bytes_for(10_000))).codes) > 8_000


NO_TERMS = Given(CodeTerms())


def test_every_symbol_is_as_likely_as_another() -> None:
    """A plain remainder of a byte by ten would give the first six digits a sixth more often."""
    codes = CodePattern("#", "0123456789").spell(bytes(range(256)) * 10).codes
    assert {symbol: codes.count(symbol) for symbol in "0123456789"} == dict.fromkeys("0123456789", 250)


class TestCheckSymbol:
    @given(st.text(CANONICAL_SYMBOLS, min_size=1, max_size=30), st.data())
    def test_one_wrong_symbol_is_found(self, text: str, data: st.DataObject) -> None:
        place = data.draw(st.integers(0, len(text) - 1))
        wrong = data.draw(st.sampled_from(CANONICAL_SYMBOLS).filter(lambda symbol: symbol != text[place]))
        assert remainder(text) != remainder(text[:place] + wrong + text[place + 1 :])

    @given(st.text(CANONICAL_SYMBOLS, min_size=2, max_size=36), st.data())
    def test_two_swapped_symbols_are_found(self, text: str, data: st.DataObject) -> None:
        first, second = data.draw(st.lists(st.integers(0, len(text) - 1), min_size=2, max_size=2, unique=True))
        symbols = list(text)
        symbols[first], symbols[second] = symbols[second], symbols[first]
        if symbols != list(text):
            assert remainder(text) != remainder("".join(symbols))

    def test_the_sample_of_the_guide_says_the_same(self) -> None:
        [sample] = [b.text for b in markdown.blocks("python") if b.path == "docs/guides/many-codes.md"]
        names: dict[str, Any] = {}
        exec(sample, names)  # noqa: S102 - our own page
        is_typed_right = names["is_typed_right"]
        pattern = CodePattern("Spring-####-##_L", has_check_symbol=True)
        codes, canonicals = pattern.spell(os.urandom(2_000))
        assert codes
        assert all(map(is_check_right, canonicals))
        assert all(is_typed_right(spelling) for code in codes for spelling in (code, code.lower(), f" {code} "))
        assert not any(is_typed_right(code[:-1] + ("0" if code[-1] != "0" else "Z")) for code in codes)
        assert not is_typed_right(codes[0] + "!")


class TestObscenity:
    @pytest.mark.parametrize("text", ["XFUCKX", "5H1T", "A55", "SH1TXX", "FVCK", "XXKKK", "00C0CK", "6SEX9", "W7F"])
    def test_is_found_also_in_digits(self, text: str) -> None:
        assert obscene_places(text)
        assert obscene_spans(text)

    @pytest.mark.parametrize("text", ["SPRING", "WELCOME10", "X7KQ4M2A", "GIFT2026", ""])
    def test_is_not_found_elsewhere(self, text: str) -> None:
        assert not obscene_places(text)
        assert not obscene_spans(text)

    @given(st.binary(min_size=200, max_size=4_000))
    def test_no_generated_code_reads_as_one(self, randomness: bytes) -> None:
        for code in CodePattern("A#S#F#C#X#", "FUCKAS5H1T", True).spell(randomness).canonicals:
            assert not any("#" in "A#S#F#C#X##"[start:end] for start, end in obscene_spans(code))

    def test_chance_that_completes_a_literal_is_refused(self) -> None:
        codes = CodePattern("FU#K", DEFAULT_ALPHABET).spell(os.urandom(4_000)).canonicals
        assert codes
        assert not any(obscene_places(code) for code in codes)

    def test_a_word_that_the_pattern_itself_spells_is_its_authors_affair(self) -> None:
        """Else no code of a place that is called so could ever be made, and the job would not end."""
        codes, _ = CodePattern("SCUNTHORPE-##########").spell(os.urandom(2_000))
        assert len(codes) > 150


class TestFeasibility:
    @given(patterns(), st.integers(1, 5_000_000), st.integers(0, 10**7), st.booleans())
    @settings(max_examples=200)
    def test_what_is_let_through_has_room_and_what_is_needed_suffices(
        self, pattern: CodePattern, count: int, existing: int, allow_weak: bool
    ) -> None:
        draft = BatchDraft(count, pattern, NO_TERMS, allow_weak)
        live = count + existing
        try:
            check_feasible(draft, existing)
        except CodeSpaceTooSmall as refused:
            assert live * 2 > pattern.possible
            needed = refused.needed
        except GuessableCodes as refused:
            assert not allow_weak
            assert live * 10**9 > pattern.possible
            needed = refused.needed
        else:
            assert live * 2 <= pattern.possible
            assert allow_weak or live * 10**9 <= pattern.possible
            return
        if needed is not None:
            literal = pattern.pattern.replace("#", "")
            check_feasible(
                BatchDraft(count, CodePattern(literal + "#" * needed, pattern.alphabet, pattern.has_check_symbol),
                           NO_TERMS, allow_weak),
                existing,
            )  # fmt: skip

    def test_huge_spaces_are_counted_exactly(self) -> None:
        assert CodePattern("#" * 64).possible == 32**64

    def test_a_large_space_is_not_looked_at_whole(self) -> None:
        assert len(CodePattern("AB##").every() or ()) == 1_024
        assert CodePattern("AB###").every() is None

    def test_a_sample_that_holds_all_codes_counts_exactly(self) -> None:
        pattern = CodePattern("AB##", "0123456789")
        assert estimated_live(pattern, 100, 37) == 37
        assert estimated_live(pattern, 0, 0) == 0


@pytest.mark.parametrize("text", ["", "ABC", "A#B C", "Ä###", "#" * 65, "A" * 99 + "#", "A#\n"])
def test_what_is_no_pattern_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="must"):
        checked_pattern(text)


def test_affixes_are_literal() -> None:
    assert checked_affix("Spring-") == "Spring-"
    assert checked_affix("") == ""
    with pytest.raises(ValueError, match="must"):
        checked_affix("A#")


def test_the_default_alphabet_is_one_that_is_accepted() -> None:
    assert checked_alphabet(DEFAULT_ALPHABET) == DEFAULT_ALPHABET
    assert len(DEFAULT_ALPHABET) == 32
