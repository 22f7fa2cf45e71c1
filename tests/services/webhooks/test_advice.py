"""Each failure has advice, as a code and a sentence, in the API too."""

from typing import get_args

import pytest

from services.webhooks.domain.advice import TEXTS, AdviceCode, advise
from services.webhooks.domain.deliveries import ErrorCode
from tests.services.webhooks.conftest import Merchant, Service
from tests.services.webhooks.receiver import Receiver


@pytest.mark.parametrize(
    ("status", "error_code", "code"),
    [
        (200, None, None),
        (299, None, None),
        (None, None, None),
        (301, None, "register_final_url"),
        (400, None, "check_verification"),
        (401, None, "check_credentials"),
        (403, None, "let_us_in"),
        (404, None, "check_url"),
        (410, None, "enable_again"),
        (418, None, "answer_2xx"),
        (429, None, "slow_us_down"),
        (500, None, "check_receiver_log"),
        (503, None, "check_availability"),
        (599, None, "check_receiver_log"),
        (101, None, "answer_2xx"),
        (None, "blocked_address", "use_public_address"),
        (None, "tls_failed", "check_certificate"),
        (None, "timeout", "answer_sooner"),
        # The status had arrived, and then the response broke off.
        (200, "connection_lost", None),
        (503, "connection_lost", "check_availability"),
    ],
)
def test_what_to_do(status: int | None, error_code: ErrorCode | None, code: AdviceCode | None) -> None:
    found = advise(status, error_code)
    assert (None if found is None else found.code) == code


def test_every_failure_has_advice_and_every_advice_a_failure() -> None:
    """A code without a sentence would crash in the middle of a list."""
    found = [advise(None, each) for each in get_args(ErrorCode)]
    found += [advise(status, None) for status in range(100, 600) if not 200 <= status < 300]
    assert {each and each.code for each in found} == set(get_args(AdviceCode)) == set(TEXTS)


async def test_attempts_carry_advice(service: Service, merchant: Merchant, receiver: Receiver) -> None:
    key = merchant.partner_key
    endpoint = await service.endpoint(key, receiver.url)
    receiver.status = 401
    failed = await service.send("POST", f"/endpoints/{endpoint['id']}/test", key)
    assert failed.data["advice"] == {"code": "check_credentials", "text": TEXTS["check_credentials"]}
    shown = await service.send("GET", f"/deliveries/{failed.data['delivery_id']}", key)
    assert shown.data["attempts"][0]["advice"] == failed.data["advice"]
    receiver.status = 204
    succeeded = await service.send("POST", f"/endpoints/{endpoint['id']}/test", key)
    assert succeeded.data["advice"] is None
