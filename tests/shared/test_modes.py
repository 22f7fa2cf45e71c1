"""Tenants: the mode is one bit of an id, which no id has that anybody is given."""

import uuid

import pytest

from shared import api_keys
from shared.derived_ids import derived_id
from shared.ids import new_id
from shared.modes import in_mode, is_test, mode_of, shown_id, shown_id_or_none

IDS = [new_id(), uuid.uuid4(), derived_id(uuid.NAMESPACE_DNS, "x"), uuid.UUID(int=0), uuid.UUID(int=7)]


@pytest.mark.parametrize("live", IDS)
def test_a_live_id_has_one_test_tenant_and_back(live: uuid.UUID) -> None:
    tenant = in_mode(live, test=True)
    assert (is_test(live), is_test(tenant), mode_of(live), mode_of(tenant)) == (False, True, "live", "test")
    assert in_mode(tenant, test=True) == tenant
    assert in_mode(tenant, test=False) == in_mode(live, test=False) == live
    assert shown_id(tenant) == shown_id(live) == shown_id_or_none(tenant) == str(live)
    assert shown_id_or_none(None) is None


def test_the_tenants_of_two_ids_are_two() -> None:
    assert len({in_mode(each, test=test) for each in IDS for test in (False, True)}) == 2 * len(IDS)


@pytest.mark.parametrize(
    ("kind", "prefix"), [("secret", "mw_test_sk_"), ("publishable", "mw_test_pk_")], ids=["secret", "publishable"]
)
def test_a_test_key_says_so_and_is_read_like_others(kind: api_keys.KeyKind, prefix: str) -> None:
    made = api_keys.generate(kind, new_id(), "test")
    assert made.text.startswith(prefix)
    assert api_keys.parse(made.text) == api_keys.ParsedKey(made.key_id, made.digest)
    # With the prefix of live mode it is another text, whose checksum is wrong.
    assert api_keys.parse(made.text.replace("mw_test_", "mw_")) is None
