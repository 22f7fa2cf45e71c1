"""Mailboxes: one person's spellings of an address are one, those of two people stay two."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.mailboxes import canonical_email, mailbox


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (" Dev@ACME.example", "dev@acme.example"),
        ("j.doe+news@googlemail.com", "jdoe@gmail.com"),
        ("ana@münchen.de", "Ana@XN--MNCHEN-3YA.de"),
        ("ana@MÜNCHEN.de", "ana@mu\u0308nchen.de"),
        ("ana@straße.example", "ana@xn--strae-oqa.example"),
        ("ana@пример.рф", "ana@xn--e1afmkfd.xn--p1ai."),
    ],
)
def test_spellings_of_one_mailbox_are_one(one: str, other: str) -> None:
    """A limit per customer would count twice, and an erasure leave one of them."""
    assert mailbox(one) == mailbox(other)


@pytest.mark.parametrize("domain", ["xn--", "xn---", "xn--a", "xn--abc-", "xn--99999999", "xn--ü", "xn--" + "a" * 60])
def test_what_no_domain_is_called_stays(domain: str) -> None:
    assert canonical_email(f"a@{domain}.example").startswith("a@")


@given(st.text(max_size=40))
def test_any_text_has_a_form_that_is_its_own_and_can_be_stored(text: str) -> None:
    text = text.encode("utf-8", "ignore").decode()
    canonical_email(f"a@xn--{text}").encode()
    assert mailbox(mailbox(text)) == mailbox(mailbox(mailbox(text)))
