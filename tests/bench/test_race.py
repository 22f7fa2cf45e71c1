"""The verdict over a race, proved with planted faults: each must be found, and a fair race has none."""

from collections.abc import Callable

import pytest

from bench.race import Buyer, Results, faults_of

HTTP_WINNER, HTTP_LOSER = Buyer("a", "CODE", True), Buyer("b", "CODE", True)
EVENT_LOSER = Buyer("c", "CODE", False)
BUYERS = (HTTP_WINNER, HTTP_LOSER, EVENT_LOSER)


def fair() -> tuple[Results, dict[str, list[str]]]:
    """One code, won over HTTP."""
    results = Results(answers={"a": (201, ""), "b": (409, "code_used")})
    results.redeemed["a"] += 1
    results.rejected["c"] += 1
    return results, {"CODE": ["a"]}


def test_a_fair_race_has_no_fault() -> None:
    results, holders = fair()
    assert faults_of(results, BUYERS, holders, 1) == []


@pytest.mark.parametrize(
    "plant",
    [
        pytest.param(lambda results, holders: holders["CODE"].append("b"), id="oversold"),
        pytest.param(lambda results, holders: holders.clear(), id="a winner that holds nothing"),
        pytest.param(lambda results, holders: results.redeemed.clear(), id="a winner without an event"),
        pytest.param(lambda results, holders: results.redeemed.update(["a"]), id="a winner announced twice"),
        pytest.param(lambda results, holders: results.rejected.clear(), id="a silent loser"),
        pytest.param(lambda results, holders: results.rejected.update(["c"]), id="a loser announced twice"),
        pytest.param(lambda results, holders: results.answers.update(b=(500, "internal_error")), id="an error"),
        pytest.param(lambda results, holders: results.answers.update(b=(409, "")), id="a refusal without a code"),
        pytest.param(lambda results, holders: results.answers.pop("b"), id="no answer"),
    ],
)
def test_every_planted_fault_is_found(plant: Callable[[Results, dict[str, list[str]]], object]) -> None:
    results, holders = fair()
    plant(results, holders)
    assert faults_of(results, BUYERS, holders, 1)
