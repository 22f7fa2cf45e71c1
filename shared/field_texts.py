"""Turns pydantic's errors about the fields of a request, or the members of an event, into texts for people."""

import re
from collections.abc import Callable, Mapping
from typing import Any, Final

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from shared.strict_json import Unreadable

_DECIMAL: Final = re.compile(r"Decimal\('([^']*)'\)")

_TEXTS: Final[Mapping[str, str]] = {
    "missing": "is required",
    "string_type": "must be a string",
    "string_unicode": "must be valid Unicode",
    "string_too_long": "must not have more than {max_length} characters",
    "int_type": "must be an integer",
    "int_parsing": "must be an integer",
    "int_parsing_size": "must be an integer of at most 64 bits",
    "int_from_float": "must be an integer",
    "float_type": "must be a number",
    "float_parsing": "must be a number",
    "finite_number": "must be a finite number",
    "decimal_type": "must be a number",
    "decimal_parsing": "must be a number",
    "decimal_max_places": "must not have more than {decimal_places} decimal places",
    "decimal_max_digits": "must not have more than {max_digits} digits",
    "decimal_whole_digits": "must not have more than {whole_digits} digits before the decimal point",
    "bool_type": "must be true or false",
    "bool_parsing": "must be true or false",
    "list_type": "must be an array",
    "set_type": "must be an array",
    "frozen_set_type": "must be an array",
    "tuple_type": "must be an array",
    "dict_type": "must be an object",
    "model_type": "must be an object",
    "none_required": "must be null",
    "literal_error": "must be {expected}",
    "enum": "must be {expected}",
    "greater_than": "must be greater than {gt}",
    "greater_than_equal": "must be at least {ge}",
    "less_than": "must be less than {lt}",
    "less_than_equal": "must not be greater than {le}",
    "multiple_of": "must be a multiple of {multiple_of}",
    "uuid_type": "must be a UUID",
    "uuid_parsing": "must be a UUID",
    "date_type": "must be a date such as 2026-03-18",
    "date_parsing": "must be a date such as 2026-03-18",
    "date_from_datetime_parsing": "must be a date such as 2026-03-18",
    "string_pattern_mismatch": "has a format that is not accepted; it must match {pattern}",
}


def field_errors(error: ValidationError, given: Any, noun: str = "field", prefix: str = "") -> dict[str, list[str]]:
    """Return messages by dotted field name; `given` is the decoded body, to tell fields from branches of a union.

    `prefix` is the path to the checked object, if that is part of a larger one.
    """
    found: dict[str, list[str]] = {}
    for detail in error.errors(include_url=False):
        path = ".".join(part for part in (prefix, _path(detail, given)) if part)
        texts = found.setdefault(path or "body", [])
        subject = f"The {path} {noun}" if path else "The body"
        text = _sentence(subject, detail, noun)
        if text not in texts:
            texts.append(text)
    return found


def _path(detail: ErrorDetails, given: Any) -> str:
    parts: list[str] = []
    here = given
    for part in detail["loc"]:
        # Where one object is expected, a list of one may stand for it.
        if isinstance(part, str) and isinstance(here, list) and len(here) == 1:
            here = here[0]
        try:
            here = here[part]
        except (KeyError, IndexError, TypeError):
            # A missing or unknown field comes last; anything else that is not found is a union's branch.
            if detail["type"] not in ("missing", "extra_forbidden") or part != detail["loc"][-1]:
                continue
        parts.append(str(part))
    if detail["type"] == "field_error":
        parts.append(detail["ctx"]["field"])
    return ".".join(parts)


def _sentence(subject: str, detail: ErrorDetails, noun: str) -> str:
    kind, context = detail["type"], detail.get("ctx", {})
    if isinstance(detail["input"], Unreadable):
        said = detail["input"].rule
    elif (special := _SPECIAL.get(kind)) is not None:
        said = special(detail, noun)
    elif (template := _TEXTS.get(kind)) is not None:
        said = template.format(**{name: _value(value) for name, value in context.items()})
    else:
        said = "is not valid"
    if not said[:1].islower():
        subject, said = "", said.lstrip()
    text = f"{subject} {said}".strip()
    return text if text.endswith((".", "!", "?")) else text + "."


def _value(value: Any) -> str:
    return _DECIMAL.sub(r"\1", str(value)).replace("'", "")


def _raised(detail: ErrorDetails, _noun: str) -> str:
    return str(detail["ctx"]["error"])


def _own_text(detail: ErrorDetails, _noun: str) -> str:
    return str(detail["ctx"]["text"])


def _unknown(_detail: ErrorDetails, noun: str) -> str:
    return f"is not known; this request has no such {noun}"


def _too_short(detail: ErrorDetails, _noun: str) -> str:
    least = detail["ctx"]["min_length"]
    things = "characters" if detail["type"] == "string_too_short" else "items"
    return "must not be empty" if least == 1 else f"must have at least {least} {things}"


def _too_long(detail: ErrorDetails, _noun: str) -> str:
    most = detail["ctx"]["max_length"]
    return f"must not have more than {most} item{'' if most == 1 else 's'}" if most else "must be empty"


_SPECIAL: Final[Mapping[str, Callable[[ErrorDetails, str], str]]] = {
    "value_error": _raised,
    "assertion_error": _raised,
    "field_error": _own_text,
    "extra_forbidden": _unknown,
    "string_too_short": _too_short,
    "too_short": _too_short,
    "too_long": _too_long,
}
