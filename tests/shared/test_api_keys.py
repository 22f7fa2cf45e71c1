"""API keys: made, read back, and refused when anything about them is off."""

import uuid

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared import api_keys
from shared.api_keys import KeyKind


@given(st.uuids(), st.sampled_from(["secret", "publishable"]))
def test_a_key_reads_back_as_made(key_id: uuid.UUID, kind: KeyKind) -> None:
    made = api_keys.generate(kind, key_id)
    parsed = api_keys.parse(made.text)
    assert parsed is not None
    assert (parsed.key_id, parsed.digest) == (key_id, made.digest)
    assert made.text.startswith("mw_sk_" if kind == "secret" else "mw_pk_")


def test_two_keys_for_one_id_differ() -> None:
    key_id = uuid.uuid4()
    assert api_keys.generate("secret", key_id).text != api_keys.generate("secret", key_id).text


@given(st.data())
def test_one_changed_character_is_noticed_without_a_database(data: st.DataObject) -> None:
    text = api_keys.generate("secret", uuid.uuid4()).text
    place = data.draw(st.integers(0, len(text) - 1))
    other = data.draw(st.characters().filter(lambda c: c != text[place]))
    assert api_keys.parse(text[:place] + other + text[place + 1 :]) is None


@pytest.mark.parametrize("text", ["", "your-api-key", "mw_sk_", "mw_xk_" + "0" * 71, "mw_sk_" + "ü" * 71])
def test_what_is_no_key_is_none(text: str) -> None:
    assert api_keys.parse(text) is None


@given(st.text(max_size=120))
def test_any_text_is_read_or_refused(text: str) -> None:
    assert api_keys.parse(text) is None


def test_a_new_key_does_not_print_itself() -> None:
    made = api_keys.generate("secret", uuid.uuid4())
    assert made.text not in repr(made)
