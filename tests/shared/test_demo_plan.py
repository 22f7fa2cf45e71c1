"""A demo's history is the same in every process, and looks like a shop's."""

import json
import subprocess
import sys
import uuid
from collections import Counter
from datetime import UTC, datetime, timedelta

from shared.demo_plan import LIFETIME, DemoAsk, plan
from shared.modes import is_test
from tests.servers import ROOT

PROGRAM = uuid.UUID("0192e4b6-7f3c-7c11-9d0a-6f1f5a0c2e41")
UNTIL = datetime(2026, 3, 29, 14, tzinfo=UTC)
ASK = DemoAsk(PROGRAM, UNTIL, days=60, codes=900, seed=7)
IN_ANOTHER_PROCESS = f"""
from uuid import UUID
from datetime import datetime, timedelta, timezone
from shared.demo_plan import DemoAsk, plan
made = plan(DemoAsk(UUID("{PROGRAM}"), datetime(2026, 3, 29, 14, tzinfo=timezone.utc), 60, 900, 7))
print(made.held, made.mints[-1].code_id, len(made.checkouts), made.checkouts[-1].body.decode())
"""


def test_every_process_gets_the_same_plan() -> None:
    """Each service writes its part alone; parts of different plans would contradict each other."""
    made = plan(ASK)
    here = f"{made.held} {made.mints[-1].code_id} {len(made.checkouts)} {made.checkouts[-1].body.decode()}\n"
    done = subprocess.run(
        [sys.executable, "-c", IN_ANOTHER_PROCESS], cwd=ROOT, capture_output=True, text=True, check=True, timeout=60
    )
    assert done.stdout == here


def test_another_seed_is_another_history() -> None:
    other = plan(DemoAsk(PROGRAM, UNTIL, days=60, codes=900, seed=8))
    assert {mint.code for mint in other.mints}.isdisjoint(mint.code for mint in plan(ASK).mints)


def test_it_has_the_asked_number_of_codes_within_the_asked_days() -> None:
    made = plan(ASK)
    assert len(made.mints) == 900
    assert made.mints == sorted(made.mints, key=lambda mint: mint.at)
    assert UNTIL - timedelta(days=60) <= made.mints[0].at < made.mints[-1].at < UNTIL
    ids = [mint.code_id for mint in made.mints]
    assert len(set(ids)) == 900
    assert all(code_id.version == 7 and not is_test(code_id) for code_id in ids)


def test_nothing_happens_in_the_future_and_no_code_is_redeemed_before_it_is_minted() -> None:
    made = plan(ASK)
    minted_at = {mint.code: mint.at for mint in made.mints}
    for checkout in made.checkouts:
        assert checkout.at < UNTIL
        for code in json.loads(checkout.body)["data"].get("codes", ()):
            assert minted_at.get(code, checkout.at) <= checkout.at


def test_it_has_a_campaign_weekends_and_everything_that_can_become_of_a_code() -> None:
    made = plan(DemoAsk(PROGRAM, UNTIL, days=90, codes=6000))
    start = UNTIL - timedelta(days=90)
    weeks = Counter((mint.at - start).days // 7 for mint in made.mints)
    assert weeks.most_common(1)[0][0] == 7
    weekdays = Counter(mint.at.weekday() for mint in made.mints)
    assert weekdays[6] < weekdays[4]
    kinds = Counter(json.loads(checkout.body)["type"] for checkout in made.checkouts)
    assert set(kinds) == {"checkout.completed", "checkout.cancelled", "checkout.refunded"}
    assert made.held is not None
    assert UNTIL - next(mint.at for mint in made.mints if mint.code == made.held) < LIFETIME
