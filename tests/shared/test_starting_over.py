"""Work is started over in another transaction, a few times and not for ever."""

import pytest

from shared.faults import TransientFault
from shared.starting_over import TRIES, StartOver, until_it_stands


@pytest.mark.parametrize("failures", range(TRIES))
async def test_work_that_stands_in_the_end_returns_what_it_made(failures: int) -> None:
    tried: list[bool] = []

    async def work(is_again: bool) -> str:
        tried.append(is_again)
        if len(tried) <= failures:
            raise StartOver
        return "made"

    assert await until_it_stands(work) == "made"
    assert tried == [False, *[True] * failures]


async def test_work_that_never_stands_is_a_transient_fault() -> None:
    """The consumer pauses and the client is answered 503: both try again later."""

    async def work(_: bool) -> None:
        raise StartOver

    with pytest.raises(TransientFault, match="faster than they can be locked"):
        await until_it_stands(work)
