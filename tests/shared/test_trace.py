"""What is a trace context by the grammar of W3C, and what is as good as none."""

import re
import string
from typing import Final

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.trace import trace_id, valid_traceparent

TRACE: Final = "4bf92f3577b34da6a3ce929d0e0e4736"
PARENT: Final = "00f067aa0ba902b7"
VALID: Final = f"00-{TRACE}-{PARENT}-01"

hexes = st.text("0123456789abcdef", min_size=1, max_size=40)


def fields(size: int) -> st.SearchStrategy[str]:
    return st.text("0123456789abcdef", min_size=size, max_size=size)


@given(fields(2), fields(32), fields(16), fields(2), st.none() | st.text(string.ascii_lowercase + "-.", max_size=20))
def test_is_valid_if_every_field_is(version: str, trace: str, parent: str, flags: str, more: str | None) -> None:
    sent = f"{version}-{trace}-{parent}-{flags}" + ("" if more is None else f"-{more}")
    is_valid = version != "ff" and int(trace, 16) > 0 and int(parent, 16) > 0 and (version != "00" or more is None)
    assert valid_traceparent(sent) == (sent if is_valid else None)
    if is_valid:
        assert trace_id(sent) == trace


@given(st.text() | st.lists(hexes, max_size=5).map("-".join))
def test_whatever_comes_is_judged_and_never_an_error(text: str) -> None:
    """The fields are counted here in another way than by the pattern that is tested."""
    found = valid_traceparent(text)
    if found is None:
        return
    assert found == text
    assert re.findall(r"[^0-9A-Za-z._-]", found) == []
    assert [len(part) for part in found.split("-")[:4]] == [2, 32, 16, 2]


@given(st.integers(0, len(VALID) - 1), st.characters(exclude_characters="0123456789abcdef-"))
def test_one_wrong_character_spoils_it(place: int, wrong: str) -> None:
    assert valid_traceparent(VALID[:place] + wrong + VALID[place + 1 :]) is None


@pytest.mark.parametrize(
    "sent",
    [
        None,
        7,
        True,
        [VALID],
        VALID.encode(),
        "",
        VALID.upper(),
        f"{VALID}\n",
        f" {VALID}",
        f"{VALID}-",
        f"{VALID}-more",
        f"{VALID}, {VALID}",
        f"ff-{TRACE}-{PARENT}-01",
        f"00-{'0' * 32}-{PARENT}-01",
        f"00-{TRACE}-{'0' * 16}-01",
        f"00-{TRACE}-{PARENT}",
        f"0-{TRACE}-{PARENT}-01",
        f"01-{TRACE}-{PARENT}-01more",
        f"01-{TRACE}-{PARENT}-01-a\r\nb",
        f"01-{TRACE}-{PARENT}-01-a,b",
        f"01-{TRACE}-{PARENT}-01-{'a' * 201}",
    ],
)
def test_what_is_no_trace_context_is_none(sent: object) -> None:
    assert valid_traceparent(sent) is None


@pytest.mark.parametrize(
    "sent",
    [
        VALID,
        f"00-{TRACE}-{PARENT}-ff",
        f"01-{TRACE}-{PARENT}-01",
        f"fe-{TRACE}-{PARENT}-00-",
        f"cc-{TRACE}-{PARENT}-01-x",
    ],
)
def test_what_is_one_stays_as_it_is(sent: str) -> None:
    assert valid_traceparent(sent) == sent
