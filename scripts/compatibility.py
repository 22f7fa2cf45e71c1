"""Finds breaking changes to a published JSON Schema: only optional members and enumeration values may be added."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

# Annotations for people; validators ignore them.
_WORDS: Final = frozenset({"title", "description", "examples"})
_REFERENCE: Final = "#/$defs/"


def breaks(before: Mapping[str, Any], after: Mapping[str, Any]) -> list[str]:
    """Return each change that the published schema `before` does not allow, with its place."""
    return list(_breaks(before, after, before, after, "data"))


def _breaks(old: Any, new: Any, before: Mapping[str, Any], after: Mapping[str, Any], place: str) -> Iterator[str]:
    old, new = _followed(old, before), _followed(new, after)
    if isinstance(old, Mapping) and isinstance(new, Mapping):
        for name in sorted((old.keys() | new.keys()) - _WORDS - {"$defs"}):
            yield from _member_breaks(name, old.get(name), new.get(name), before, after, place)
    elif _is_list(old) and _is_list(new) and len(old) == len(new):
        for number, pair in enumerate(zip(old, new, strict=True)):
            yield from _breaks(*pair, before, after, f"{place}[{number}]")
    elif old != new:
        yield f"{place}: changed"


def _member_breaks(
    name: str, old: Any, new: Any, before: Mapping[str, Any], after: Mapping[str, Any], place: str
) -> Iterator[str]:
    if name == "properties":
        yield from _property_breaks(old or {}, new or {}, before, after, place)
    elif name == "required":
        yield from (f"{place}.{member}: no longer required" for member in sorted(set(old or ()) - set(new or ())))
        yield from (f"{place}.{member}: required" for member in sorted(set(new or ()) - set(old or ())))
    elif name == "enum":
        yield from (f"{place}: {value} removed" for value in old or () if value not in (new or ()))
    else:
        yield from _breaks(old, new, before, after, f"{place}.{name}")


def _property_breaks(
    old: Mapping[str, Any], new: Mapping[str, Any], before: Mapping[str, Any], after: Mapping[str, Any], place: str
) -> Iterator[str]:
    for name, schema in old.items():
        if name in new:
            yield from _breaks(schema, new[name], before, after, f"{place}.{name}")
        else:
            yield f"{place}.{name}: removed"


def _followed(schema: Any, root: Mapping[str, Any]) -> Any:
    reference = schema.get("$ref") if isinstance(schema, Mapping) else None
    if reference is None:
        return schema
    return root["$defs"][reference.removeprefix(_REFERENCE)]


def _is_list(value: Any) -> bool:
    return isinstance(value, Sequence) and not isinstance(value, str)
