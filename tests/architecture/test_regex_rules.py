"""No regular expression of ours can be made to take more than its share of work."""

import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.architecture.regex_rules import loose_regexes, slow_regexes, slow_text
from tests.architecture.source import parsed, python_files
from tests.regexes import Matcher

PRODUCT = ("services", "shared", "mintwire")

SLOW = {
    "a string that is looked for again from each quote": (rb'"(?:[^"\\]|\\.)*"|[\[\]{}]', False),
    "white space before an end": (r"\s+$", False),
    "a repeat of a repeat": (r"(?:[a-z]+)*x", True),
    "two repeats of the same": (r"[a-z0-9]*[0-9a-z]*!", True),
    "the second of two branches": (r"key=(?:[A-F]|[0-9A-F]+[0-9]*z)", True),
    "anything between two letters": (r"a.*b", False),
}


def test_every_expression_is_a_constant() -> None:
    assert not list(map(str, loose_regexes(python_files(*PRODUCT))))


def test_no_expression_takes_more_than_twice_the_steps_for_twice_the_text() -> None:
    assert not list(map(str, slow_regexes(python_files(*PRODUCT))))


@pytest.mark.parametrize("text", ["import re\ndef f(x):\n    return re.sub('a+', '', x)\n", "A = [re.compile('a')]\n"])
def test_a_loose_expression_is_found(text: str) -> None:
    assert list(loose_regexes([parsed("shared/new.py", text)]))


@pytest.mark.parametrize(("expression", "is_anchored"), SLOW.values(), ids=SLOW.keys())
def test_a_slow_expression_is_found(expression: str | bytes, is_anchored: bool) -> None:
    assert slow_text(re.compile(expression), is_anchored=is_anchored)


PATTERNS: list[re.Pattern[Any]] = [
    re.compile(r"(?!00|ff)[0-9a-f]{2}-(?:a|b0*)+(?<!-)\Z"),
    re.compile(r"[^\s@]{1,3}@\w+|a*+b?|(?=(ab|a))"),
    re.compile(r"(?s)-[^-0]*+(?:0.[^-0]*+)*+-?|[ab]"),
]


@pytest.mark.parametrize("pattern", PATTERNS, ids=range(len(PATTERNS)))
@given(text=st.text("a0b-f@ \n", max_size=12))
def test_the_counting_matcher_matches_as_python_does(pattern: re.Pattern[str], text: str) -> None:
    """What it counted would else mean nothing."""
    found = pattern.fullmatch(text)
    assert Matcher(pattern, text).match(is_full=True) == (found and found.span())
    if text:
        expected = [match.span() for match in pattern.finditer(text)]
        assert Matcher(pattern, text).find_all() == expected
