"""Every reason that the API can give has a sentence that a customer understands."""

import json
import re
from typing import Any

from examples.shop.sentences import REFUSALS, UNKNOWN, refusal
from tests.architecture.source import ROOT


def reasons() -> set[str]:
    """Return the reasons of refused codes that the API's document lists."""
    document: dict[str, Any] = json.loads((ROOT / "docs" / "openapi" / "redemption.json").read_text())
    texts, _ = document["components"]["schemas"]["CodeVerdict"]["properties"]["reason"]["anyOf"]
    return set(texts["enum"])


def test_every_reason_of_the_api_has_its_sentence_and_no_other_has() -> None:
    """A new reason would reach customers as a shrug, or an old one would be kept for nothing."""
    assert set(REFUSALS) == reasons()


def test_the_sentences_can_be_told_apart_and_show_no_word_of_the_api() -> None:
    assert len({head for head, _ in REFUSALS.values()}) == len(REFUSALS)
    for reason, (head, text) in REFUSALS.items():
        assert reason not in head + text
        assert not re.search(
            r"\b(coupon|redemption|reservation|invalid|error|please|sorry)\b", head + text, re.IGNORECASE
        )
        # The code stands before it.
        assert re.fullmatch(r"[a-z].*\.", head), head
        assert re.fullmatch(r"[A-Z].*\.", text), text


def test_a_reason_that_is_newer_than_the_shop_is_a_sentence_too() -> None:
    assert refusal("brand_new_reason") == refusal(None) == UNKNOWN
