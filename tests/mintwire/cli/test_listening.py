"""The results reported by the listener fit into its next request, whatever characters the responses have."""

import json
import uuid

import pytest

from mintwire.cli import listening
from shared.web import BODY_LIMIT


@pytest.mark.parametrize("text", ["a", '"', "\\", "\x01", "\x7f", "é", "\ufffd", "\U0001f600"], ids=ascii)
def test_the_results_of_one_question_fit_into_the_next(text: str) -> None:
    reported = listening.reported_text(text * 5000)
    result = {"delivery_id": str(uuid.uuid4()), "token": 2**53, "status": 599, "duration_ms": 3_600_000}
    results = [{**result, "response": reported}] * listening._MOST_AT_ONCE
    question = {"results": results, "wait_seconds": 10, "limit": listening._MOST_AT_ONCE}
    assert len(json.dumps(question)) <= BODY_LIMIT
    assert len(reported) >= 200


def test_a_short_answer_is_reported_whole() -> None:
    assert listening.reported_text("Thanks, \U0001f600!\n") == "Thanks, \U0001f600!\n"
