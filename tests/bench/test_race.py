"""The verdict over a race, proved with planted faults: each must be found, and a fair race has none."""

from collections.abc import Callable

import pytest

from bench.race import Buyer, Told, faults_of

HTTP_WINNER, HTTP_LOSER = Buyer("a", "CODE", True), Buyer("b", "CODE", True)
EVENT_LOSER = Buyer("c", "CODE", False)
BUYERS = (HTTP_WINNER, HTTP_LOSER, EVENT_LOSER)


def fair() -> tuple[Told, dict[str, list[str]]]:
    """One code, won over HTTP."""
    told = Told(answers={"a": (201, ""), "b": (409, "code_used")})
    told.redeemed["a"] += 1
    told.rejected["c"] += 1
    return told, {"CODE": ["a"]}


def test_a_fair_race_has_no_fault() -> None:
    told, holders = fair()
    assert faults_of(told, BUYERS, holders, 1) == []


@pytest.mark.parametrize(
    "plant",
    [
        pytest.param(lambda told, holders: holders["CODE"].append("b"), id="oversold"),
        pytest.param(lambda told, holders: holders.clear(), id="told a winner who holds nothing"),
        pytest.param(lambda told, holders: told.redeemed.clear(), id="a winner without an event"),
        pytest.param(lambda told, holders: told.redeemed.update(["a"]), id="a winner told twice"),
        pytest.param(lambda told, holders: told.rejected.clear(), id="a silent loser"),
        pytest.param(lambda told, holders: told.rejected.update(["c"]), id="a loser told twice"),
        pytest.param(lambda told, holders: told.answers.update(b=(500, "internal_error")), id="an error"),
        pytest.param(lambda told, holders: told.answers.update(b=(409, "")), id="a refusal without a code"),
        pytest.param(lambda told, holders: told.answers.pop("b"), id="no answer"),
    ],
)
def test_every_planted_fault_is_found(plant: Callable[[Told, dict[str, list[str]]], object]) -> None:
    told, holders = fair()
    plant(told, holders)
    assert faults_of(told, BUYERS, holders, 1)
