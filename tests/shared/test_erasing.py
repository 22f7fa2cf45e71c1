"""A customer is taken out of JSON of any shape, and out of text in which it is written as in a URL or in JSON."""

import json
from typing import Any

import pytest

from shared.erased_words import is_folded_in, needles
from shared.erasing import CustomerJob, Erasing
from shared.ids import new_id
from tests.customer_jobs import NOW
from tests.work import steps_of

ID, NUMBER, PHRASE, MAIL, GOOGLE = "erased:1", "erased:2", "erased:3", "erased:4", "erased:5"
DIGESTS = {
    "id:c-4711": ID,
    "id:777": NUMBER,
    "id:auth0|5f7c": PHRASE,
    "email:jane.doe@example.org": MAIL,
    "email:janedoe@gmail.com": GOOGLE,
}
FREE = Erasing(DIGESTS).free()
SHAPES: list[tuple[Any, Any]] = [
    ({"buyer": "c-4711"}, {"buyer": ID}),
    ({"customer_ids": ["c-4711", "x", 777]}, {"customer_ids": [ID, "x", NUMBER]}),
    ({"customerIds": ["777"], "amount": 777, "size": "777"}, {"customerIds": [NUMBER], "amount": 777, "size": "777"}),
    ({"a": [[{"b": {"c": ["c-4711"]}}]]}, {"a": [[{"b": {"c": [ID]}}]]}),
    ({"user": {"id": 777, "name": "Jane", "tel": 1}}, {"user": {"id": NUMBER, "name": "erased", "tel": "erased"}}),
    ({"buyer": {"id": "other", "name": "Zoë"}}, {"buyer": {"id": "other", "name": "Zoë"}}),
    ({"c-4711": 1, "Jane.Doe@Example.ORG": 2}, {ID: 1, MAIL: 2}),
    ({"link": "https://x/?email=Jane.Doe%40Example.org&y=1"}, {"link": f"https://x/?email={MAIL}&y=1"}),
    ({"link": "/?next=%2Fme%3Fe%3Djane.doe%2540example.org%26q=1"}, {"link": f"/?next=%2Fme%3Fe%3D{MAIL}%26q=1"}),
    (
        {"note": "mail JANE.DOE+x@EXAMPLE.ORG!, or <j.anedoe@googlemail.com>."},
        {"note": f"mail {MAIL}!, or <{GOOGLE}>."},
    ),
    ({"note": "see /customers/c-4711/x, and not c-47112"}, {"note": f"see /customers/{ID}/x, and not c-47112"}),
    ({"note": "auth0|5f7c called, auth0|5f7cd did not"}, {"note": f"{PHRASE} called, auth0|5f7cd did not"}),
    ({"note": "auth0%7C5f7c"}, {"note": PHRASE}),
    ({"note": "ｊane.doe＠example.org"}, {"note": MAIL}),
    ({"note": r'cut off: {"m": "jane.doe\u0040example.org'}, {"note": f'cut off: {{"m": "{MAIL}'}),
    ({"order_ref": "c-4711", "codes": ["c-4711"]}, {"order_ref": "c-4711", "codes": ["c-4711"]}),
]


@pytest.mark.parametrize(("said", "left"), SHAPES)
@pytest.mark.parametrize("ascii_only", [True, False])
def test_whatever_the_shape_the_customer_goes_and_the_rest_stays(said: Any, left: Any, *, ascii_only: bool) -> None:
    """A name that stays behind in an unknown member makes the erasure a lie, and what is no name is the program's."""
    erased = FREE.body(json.dumps(said, ensure_ascii=ascii_only).encode())
    assert erased is None if left == said else (erased is not None and json.loads(erased) == left)


def test_json_inside_of_json_is_looked_through() -> None:
    inner = {"buyer": {"id": "c-4711", "phone": "1"}, "m": "jane.doe@example.org"}
    erased = FREE.body(json.dumps({"raw": json.dumps({"again": json.dumps(inner)})}).encode())
    assert erased is not None
    assert b"c-4711" not in erased
    assert b"jane" not in erased


def test_an_id_is_looked_for_only_in_what_a_program_has_written() -> None:
    """A customer may be called as a coupon is: what is ours keeps its words, but for what is known to be a customer."""
    said = {"uuid_code": "c-4711", "metadata": {"for": "c-4711"}, "customer_id": "c-4711"}
    erased = Erasing(DIGESTS).body(json.dumps(said).encode())
    assert erased is not None
    assert json.loads(erased) == {"uuid_code": "c-4711", "metadata": {"for": ID}, "customer_id": ID}


def test_an_id_that_is_an_address_stands_for_its_mailbox() -> None:
    job = CustomerJob(new_id(), new_id(), "erase", ("id:Jane@Example.org",), (ID,), "key", NOW)
    assert job.erasing.text("to jane+tag@example.org") == f"to {ID}"


@pytest.mark.parametrize(
    "raw",
    [
        "JANE.DOE@EXAMPLE.ORG",
        "j%61ne",
        r"\u006aane",
        "x@GoogleMail.com",
        "ＥＸＡＭＰＬＥ.org",
        "x@XN--bcher-kva.example",
    ],
)
def test_the_quick_look_never_passes_over_a_name(raw: str) -> None:
    wanted = needles([*(key.partition(":")[2] for key in DIGESTS), "x@bücher.example"])
    assert is_folded_in(wanted, raw.encode())
    assert not is_folded_in(wanted, b'{"nobody": "zoe@example.com"}')


def test_a_domain_beyond_ascii_is_found_however_it_is_written() -> None:
    digests = {"email:ana@bücher.example": MAIL}
    spellings = (
        "Ana@BÜCHER.example",
        "ana@xn--bcher-kva.example",
        r"ana@b\u00fccher.example",
        "ana@b%C3%BCcher.example",
    )
    for spelled in spellings:
        assert Erasing(digests).body(f'{{"note": "to {spelled}"}}'.encode()) == f'{{"note":"to {MAIL}"}}'.encode()


@pytest.mark.parametrize("piece", ["a@", "%41", "+", r"\u0040", "%2541", "%3D%26a", "\\", "[", '"', "a_", "a+"])
def test_the_work_grows_with_the_length_alone(piece: str) -> None:
    once, twice = (steps_of(lambda size=size: FREE.text("777 " + piece * size)) for size in (500, 1_000))  # type: ignore[misc]
    assert twice <= 2.2 * once + 1_000
