"""Identifiers that must come out the same on every repeat, in every version of ours."""

import uuid

from hypothesis import given
from hypothesis import strategies as st

from shared.derived_ids import derived_id

NAMESPACE = uuid.UUID("6f0f4d3e-9b7c-5a57-8f51-5f6d0c1e7a11")


@given(st.lists(st.text(alphabet=st.characters(exclude_categories=["Cs"]))))
def test_derived_ids_are_those_of_the_standard_library(parts: list[str]) -> None:
    """With another id for the same event, a redelivery would be another message."""
    assert derived_id(NAMESPACE, *parts) == uuid.uuid5(NAMESPACE, "\x1f".join(parts))
