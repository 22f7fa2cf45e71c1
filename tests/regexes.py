"""Matches regular expressions as Python does, by backtracking, and counts the steps; hostile texts for each of them.

It knows what the product's expressions are made of and refuses the rest, so that nothing is passed by unseen.
"""

import re
from collections.abc import Iterator, Sequence
from itertools import product
from re import _parser as parser  # there is no public way to an expression's tree
from typing import Any

Text = str | bytes
Span = tuple[int, int]
# Beyond this many it is no longer a question of doubling.
MOST_STEPS = 2_000_000
_MOST_SAMPLES = 8


class TooManySteps(Exception):
    """The expression takes far more steps than its text has characters."""


class Matcher:
    """One expression at work on one text; `steps` counts how often a character was looked at."""

    def __init__(self, pattern: re.Pattern[Any], text: Text) -> None:
        if pattern.flags & re.IGNORECASE:
            raise NotImplementedError("expressions that ignore case")
        self.steps = 0
        self._nodes = _tree(pattern)
        self._flags = pattern.flags | (re.ASCII if isinstance(text, bytes) else 0)
        self._text = text.decode("latin-1") if isinstance(text, bytes) else text

    def match(self, *, is_full: bool) -> Span | None:
        """Match at the beginning; with `is_full` to the end."""
        return self._first(0, is_full=is_full)

    def find_all(self) -> list[Span]:
        """Find every match from left to right, as `finditer` does."""
        found: list[Span] = []
        place = 0
        while place <= len(self._text):
            if (span := self._first(place, is_full=False)) is not None:
                found.append(span)
            place = span[1] if span is not None and span[1] > place else place + 1
        return found

    def _first(self, place: int, *, is_full: bool) -> Span | None:
        for end in self._ends(self._nodes, 0, place):
            if not is_full or end == len(self._text):
                return place, end
        return None

    def _step(self) -> None:
        self.steps += 1
        if self.steps > MOST_STEPS:
            raise TooManySteps

    def _ends(self, nodes: Sequence[Any], nth: int, place: int) -> Iterator[int]:
        if nth == len(nodes):
            yield place
            return
        for end in self._node(nodes[nth], place):
            yield from self._ends(nodes, nth + 1, end)

    def _node(self, node: Any, place: int) -> Iterator[int]:
        name, argument = str(node[0]), node[1]
        if name in _SINGLE:
            self._step()
            if place < len(self._text) and _takes(node, self._text[place], self._flags):
                yield place + 1
        elif name == "BRANCH":
            for branch in argument[1]:
                yield from self._ends(branch, 0, place)
        elif name == "SUBPATTERN":
            yield from self._ends(argument[-1], 0, place)
        elif name == "MAX_REPEAT":
            yield from self._greedy(argument, place, 0)
        elif name == "POSSESSIVE_REPEAT":
            yield from self._possessive(argument, place)
        else:
            yield from self._at(name, argument, place)

    def _at(self, name: str, argument: Any, place: int) -> Iterator[int]:
        """What takes no character."""
        if name in {"ASSERT", "ASSERT_NOT"}:
            direction, nodes = argument
            start = place if direction > 0 else place - nodes.getwidth()[0]
            is_there = start >= 0 and next(self._ends(nodes, 0, start), None) is not None
            holds = is_there == (name == "ASSERT")
        elif name == "AT":
            self._step()
            rest = self._text[place:]
            holds = {
                "AT_BEGINNING": place == 0,
                "AT_END_STRING": not rest,
                "AT_END": rest in ("", "\n"),
            }[str(argument)]
        else:
            raise NotImplementedError(name)
        if holds:
            yield place

    def _greedy(self, argument: Any, place: int, times: int) -> Iterator[int]:
        least, most, nodes = argument
        if len(nodes) == 1 and str(nodes[0][0]) in _SINGLE:
            yield from reversed(self._run(nodes[0], place, int(most))[int(least) :])
            return
        if times < most:
            for end in self._ends(nodes, 0, place):
                if end > place:
                    yield from self._greedy(argument, end, times + 1)
        if times >= least:
            yield place

    def _run(self, node: Any, place: int, most: int) -> list[int]:
        """Where a repeat of one character may end, the shortest first."""
        ends = [place]
        while len(ends) <= most and (end := next(self._node(node, ends[-1]), None)) is not None:
            ends.append(end)
        return ends

    def _possessive(self, argument: Any, place: int) -> Iterator[int]:
        least, most, nodes = argument
        times = 0
        while times < most and (end := next(self._ends(nodes, 0, place), place)) > place:
            place, times = end, times + 1
        if times >= least:
            yield place


_SINGLE = frozenset({"LITERAL", "NOT_LITERAL", "ANY", "IN"})
_CATEGORIES = {"CATEGORY_DIGIT": r"\d", "CATEGORY_SPACE": r"\s", "CATEGORY_WORD": r"\w"}
_SAMPLES = {"CATEGORY_DIGIT": "0", "CATEGORY_SPACE": " ", "CATEGORY_WORD": "a"}
_FOREIGN = "\x07"


def _takes(node: Any, character: str, flags: int) -> bool:
    """Whether a node of one character takes this one."""
    name, argument = str(node[0]), node[1]
    if name == "ANY":
        return bool(flags & re.DOTALL) or character != "\n"
    if name == "IN":
        is_negated = str(argument[0][0]) == "NEGATE"
        return is_negated != any(_takes(member, character, flags) for member in argument[is_negated:])
    if name == "RANGE":
        return bool(argument[0] <= ord(character) <= argument[1])
    if name == "CATEGORY":
        return re.fullmatch(_CATEGORIES[str(argument)], character, flags & re.ASCII) is not None
    return bool((ord(character) == argument) == (name == "LITERAL"))


def hostile_texts(pattern: re.Pattern[Any], length: int) -> Iterator[Text]:
    """Yield texts of about a length that take the expression into each of its repeats and fail it there, or at its end.

    They begin as a match does, repeat one or two of the characters that the expression tells apart, and end in one
    that it does not know.
    """
    nodes = _tree(pattern)
    characters = list(dict.fromkeys((*_characters(nodes), _FOREIGN)))
    few = characters[:_MOST_SAMPLES]
    words = [*characters, *(a + b for a, b in product(few, few) if a != b)]
    for beginning in dict.fromkeys(_beginnings(nodes)):
        for word in words:
            text = beginning + word * ((length - len(beginning)) // len(word))
            for each in (text, text + _FOREIGN):
                yield each.encode("latin-1") if isinstance(pattern.pattern, bytes) else each


def _tree(pattern: re.Pattern[Any]) -> list[Any]:
    return list(parser.parse(pattern.pattern, pattern.flags))


def _characters(nodes: Any) -> Iterator[str]:
    """Yield samples of the characters that an expression tells apart."""
    for name, argument in ((str(node[0]), node[1]) for node in nodes):
        if name in {"LITERAL", "NOT_LITERAL"}:
            yield chr(argument)
        elif name == "RANGE":
            yield chr(argument[0])
        elif name == "CATEGORY":
            yield _SAMPLES[str(argument)]
        elif name == "IN":
            yield from _characters(argument)
        else:
            for inner in _inner(name, argument):
                yield from _characters(inner)


def _inner(name: str, argument: Any) -> list[Any]:
    if name == "BRANCH":
        return list(argument[1])
    return [argument[-1]] if name not in {"ANY", "AT", "NEGATE"} else []


def _beginnings(nodes: Sequence[Any]) -> Iterator[str]:
    """Yield how a match may begin, up to each of the outer nodes of the expression."""
    made = ""
    yield made
    for node in nodes:
        made += _shortest(node)
        yield made


def _shortest(node: Any) -> str:
    name, argument = str(node[0]), node[1]
    if name in {"LITERAL", "IN"}:
        return next((character for character in (*_characters([node]), "a") if _takes(node, character, 0)), "")
    if name in {"MAX_REPEAT", "POSSESSIVE_REPEAT"}:
        return max(1, int(argument[0])) * "".join(_shortest(each) for each in argument[2])
    if name == "SUBPATTERN":
        return "".join(_shortest(each) for each in argument[-1])
    if name == "BRANCH":
        return "".join(_shortest(each) for each in argument[1][0])
    return ""
